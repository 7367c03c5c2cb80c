"""A web build beside Workbox 7, in turn in one run: 200 files, 20 MB.

    python benchmarks/web_build.py

Workbox gets files that are named after their content already, as it asks for; ours names them itself, rewrites every
reference, and writes packs besides.

Targets: at most 0.3 s; at most 300 bytes for an idle check; an update of 5 % of the files announces itself in at most 2 KB
beside the changed bytes; a 1 % edit inside a 500 KB script moves at most 10 % of its compressed size.
"""

from __future__ import annotations

import gzip
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from figures import Job
from workbox import NAME, look_for_workbox

from pipeline.events import ignore
from sw.assemble import engine_files
from sw.build import BuildOrder, Built, build_web
from sw.manifest import Pointer, WebManifest

ROUNDS = 7
FILES, BYTES, SCRIPTS, STYLES, PAGES = 200, 20_000_000, 60, 20, 10
WORDS = [
    "model",
    "part",
    "chunk",
    "digest",
    "edge",
    "cache",
    "worker",
    "page",
    "update",
    "version",
    "browser",
    "store",
    "offline",
    "patch",
]


def script(chance: random.Random, size: int, number: int) -> str:
    """A module of about ``size`` bytes that imports the one before it."""
    lines = [
        f'import {{ value as before }} from "./m{number - 1}.js";' if number else "const before = 0;",
        "export const value = before;",
    ]
    length = sum(map(len, lines))
    while length < size:
        words = [chance.choice(WORDS) for _ in range(6)]
        lines.append(
            f'export function {words[0]}{chance.randrange(10**6)}({words[1]}) {{ return {words[1]} + "{" ".join(words)}"; }}'
        )
        length += len(lines[-1])
    return "\n".join(lines)


def lay_out(folder: Path) -> None:
    """Write the assets: scripts that import each other, style sheets with pictures, pages, pictures."""
    chance = random.Random(6)
    (folder / "js").mkdir(parents=True)
    (folder / "img").mkdir()
    pictures = FILES - SCRIPTS - STYLES - PAGES
    share = BYTES // FILES
    for number in range(SCRIPTS):
        size = 500_000 if number == 0 else share // 2
        (folder / "js" / f"m{number}.js").write_text(script(chance, size, number))
    for number in range(STYLES):
        rules = [f".c{one} {{ background: url(../img/p{number * 5 + one}.png) }}" for one in range(5)]
        rules += [
            f".d{one} > a:hover {{ margin: {chance.randrange(99)}px auto; color: #{chance.randrange(16**6):06x} }}"
            for one in range(250)
        ]
        (folder / "js" / f"s{number}.css").write_text("\n".join(rules))
    for number in range(PAGES):
        shown = range(number * 10, number * 10 + 10)
        body = "".join(f'<p><img src="img/p{one}.png" alt="picture {one}"></p>\n' for one in shown)
        head = f'<link rel="stylesheet" href="js/s{number}.css"><script type="module" src="js/m{SCRIPTS - 1}.js"></script>'
        (folder / ("index.html" if not number else f"page{number}.html")).write_text(f"<!doctype html>\n{head}\n{body}")
    written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    for number in range(pictures):
        (folder / "img" / f"p{number}.png").write_bytes(chance.randbytes((BYTES - written) // pictures))


def build(assets: Path, to: Path, version: str = "1.0.0") -> Built:
    """What ``web.build`` does."""
    return build_web(BuildOrder(assets, to, "bench", version, engine_files()), ignore)


def documents(to: Path) -> tuple[Pointer, WebManifest, bytes]:
    """The pointer and the manifest of what stands in ``to``."""
    import msgspec

    pointer = msgspec.json.decode((to / "release.json").read_bytes(), type=Pointer)
    data = (to / pointer.manifest).read_bytes()
    return pointer, msgspec.json.decode(data, type=WebManifest), data


def main() -> int:
    """Measure and print."""
    job = Job("web_build", "Web build", "")
    workbox = look_for_workbox(job)
    folder = Path(tempfile.mkdtemp(prefix="modelport-bench-"))
    try:
        assets = folder / "dist"
        lay_out(assets)
        ours: list[float] = []
        theirs: list[float] = []
        spent: list[float] = []
        for number in range(ROUNDS):
            started_s, cpu_s = time.perf_counter(), time.process_time()
            built = build(assets, folder / f"round{number}")
            ours.append(time.perf_counter() - started_s)
            spent.append(time.process_time() - cpu_s)
            if workbox:
                theirs.append(workbox.generate(folder / f"round{number}", folder / "sw.js"))
        job.setting = (
            f"{FILES} files, {built.bytes / 1e6:.1f} MB: scripts that import each other, style sheets, pages, pictures; {ROUNDS} turns. "
            "Ours names the files, rewrites references and writes packs; Workbox gets them named already, and Node starts before its clock."
        )
        if theirs:
            job.compare("web build", f"{NAME}, generateSW", ours, theirs)
        job.amount("web build", statistics.median(ours), "s", most=0.3)
        job.amount("… of CPU", statistics.median(spent), "s")
        started_s = time.perf_counter()
        build(assets, folder / "round0")
        job.amount("built again, nothing changed", time.perf_counter() - started_s, "s")
        update(assets, folder / "public", job)
        edit(assets, folder / "public", job)
        return job.finish()
    finally:
        shutil.rmtree(folder)


def update(assets: Path, to: Path, job: Job) -> None:
    """What an update of 5 % of the files moves: their bytes, and documents."""
    build(assets, to)
    old = {file.sha256 for file in documents(to)[1].files}
    chance = random.Random(7)
    for number in range(10):
        (assets / "img" / f"p{number}.png").write_bytes(chance.randbytes(60_000))
    build(assets, to, "1.1.0")
    pointer, manifest, _ = documents(to)
    idle = len((to / "release.json").read_bytes())
    announced = idle + (to / f"patches/{pointer.origin[0]}.{pointer.sha256[:16]}.gz").stat().st_size
    changed = [file for file in manifest.files if file.sha256 not in old]
    patches = {one.to.sha256: one.size for one in manifest.patches}
    job.amount("idle check: the body", idle, "B", most=300)
    job.amount("10 pictures changed: documents beside the changed bytes", announced, "B", most=2048)
    job.amount(f"… {len(changed)} files with what leads to them, whole", sum(file.size for file in changed), "B")
    job.amount("… the same with patches", sum(patches.get(file.sha256, file.size) for file in changed), "B")


def edit(assets: Path, to: Path, job: Job) -> None:
    """What a small edit of a large script moves."""
    chance = random.Random(8)
    large = assets / "js" / "m0.js"
    lines = large.read_text().split("\n")
    at = len(lines) // 2
    for number in range(at, at + len(lines) // 100):
        lines[number] = f"export const changed{number} = {chance.random()};"
    large.write_text("\n".join(lines))
    build(assets, to, "1.2.0")
    manifest = documents(to)[1]
    file = next(file for file in manifest.files if file.source == "js/m0.js")
    whole = len(gzip.compress((to / file.path).read_bytes(), 6))
    size = next(one.size for one in manifest.patches if one.to.sha256 == file.sha256)
    job.amount("1 % edit of a script of 500 KB: its patch", size, "B")
    job.amount(f"… of its {whole:,} compressed bytes", 100 * size / whole, "%", most=10)


if __name__ == "__main__":
    sys.exit(main())
