"""Installing and updating in a real Chromium beside Workbox 7, in one run: 200 files, 20 MB, 100 ms for each request.

    python benchmarks/web_worker.py

It needs Debian's chromium. Bytes and requests are counted by the server.

Targets: install at most 2 s with packs and 4.5 s without; an update of 5 % of the files costs the changed bytes and at most
2 KB; a 1 % edit of a 500 KB script at most 10 % of its compressed size; an idle check one request and at most 300 bytes; one
missing file that file and 2 KB; a cut inside a 30 MB file at most one part.
"""

from __future__ import annotations

import gzip
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from figures import Job
from playwright.sync_api import Browser, Page, sync_playwright
from workbox import NAME, look_for_workbox

from sw.manifest import PART_BYTES
from tests.browser_world import CHROMIUM, again, assets, build, opened, served
from tests.servers.web_host import Talk, WebHost, run_web_host, status

FILES, BYTES = 200, 20_000_000
SMALL, MIDDLE, LATE = 32_000, 160_000, 300_000
DELAY_S = 0.1
TURNS = 3
REGISTER = """() => new Promise(async (done, fail) => {
  const registration = await navigator.serviceWorker.register("workbox-sw.js");
  const next = registration.installing;
  next.onstatechange = () => (next.state === "activated" ? done(true) : next.state === "redundant" && fail(new Error("redundant")));
})"""


def site(chance: random.Random) -> dict[str, bytes]:
    """200 files of 20 MB: pictures, large and small, and scripts that compress."""
    lines = [f"export const value{number} = {chance.random()} + {chance.randrange(10**6)};" for number in range(9500)]
    files = assets("1.0.0", {"big.js": "\n".join(lines).encode()})
    sizes = [SMALL] * 118 + [MIDDLE] * 60
    large = FILES - len(files) - len(sizes)
    left = BYTES - sum(sizes) - sum(map(len, files.values()))
    sizes += [left // large] * (large - 1) + [left - left // large * (large - 1)]
    return files | {f"img/p{number}.png": chance.randbytes(size) for number, size in enumerate(sizes)}


def main() -> int:
    """Measure and print."""
    setting = (
        f"{{}} files, {{:.1f}} MB, HTTP/1.1 on the loopback with {DELAY_S * 1000:.0f} ms a request; bytes and requests are exact."
    )
    job = Job("web_worker", "Web worker in a browser", setting)
    folder = Path(tempfile.mkdtemp(prefix="modelport-bench-"))
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for part in (installs, updates, cut):
                part(browser, folder, job)
            browser.close()
        return job.finish()
    finally:
        shutil.rmtree(folder)


@contextmanager
def visited(browser: Browser, root: Path, delay_s: float = 0.0) -> Iterator[tuple[Page, WebHost]]:
    """A page of a new profile, and a host to visit."""
    with run_web_host(root) as host:
        host.delay_s = delay_s
        context = browser.new_context()
        yield context.new_page(), host
        context.close()


def installs(browser: Browser, folder: Path, job: Job) -> None:
    """A first visit, ours with and without packs and Workbox, in turn."""
    files = site(random.Random(1))
    build(folder / "packs", files)
    build(folder / "plain", files, packs=False)
    job.setting = job.setting.format(len(files), sum(map(len, files.values())) / 1e6)
    workbox = look_for_workbox(job)
    if workbox:
        workbox.generate(folder / "plain", folder / "plain" / "workbox-sw.js", inlineWorkboxRuntime=True, sourcemap=False)
    times: dict[str, list[float]] = {"packs": [], "plain": [], NAME: []}
    for _ in range(TURNS):
        for root in ("packs", "plain"):
            with visited(browser, folder / root, DELAY_S) as (page, host):
                started_s = time.perf_counter()
                opened(page, host.url, "ready")
                times[root].append(time.perf_counter() - started_s)
        if workbox:
            with visited(browser, folder / "plain", DELAY_S) as (page, host):
                page.goto(host.url + "robots.txt")
                started_s = time.perf_counter()
                page.evaluate(REGISTER)
                times[NAME].append(time.perf_counter() - started_s)
    for root, what, most in (("packs", "install with packs", 2.0), ("plain", "install without packs", 4.5)):
        if workbox:
            job.compare(what, NAME, times[root], times[NAME])
        job.amount(what, statistics.median(times[root]), "s", most=most)


def updates(browser: Browser, folder: Path, job: Job) -> None:
    """Bytes of an update, of an edit, of an idle check, and of a file that was missing."""
    chance = random.Random(2)
    files = site(random.Random(1))
    root = folder / "updates"
    build(root, files)
    with visited(browser, root) as (page, host):
        opened(page, host.url, "ready")
        files |= {f"img/p{number * 19}.png": chance.randbytes(SMALL if number < 7 else MIDDLE) for number in range(10)}
        build(root, files, "1.1.0")
        host.forget()
        again(page, "ready")
        changed = sum(len(files[f"img/p{number * 19}.png"]) for number in range(10))
        job.amount("5 % of the files changed: all that is not their bytes", host.sent - changed, "B", most=2048)
        job.amount("… requests", len(host.asked), "")
        edited(page, host, root, files, job)
        host.forget()
        again(page, "current")
        job.amount("idle check: the body", host.sent, "B", most=300)
        job.amount("… requests", len(host.asked), "", most=1)
        mended(page, host, root, files | {"late.bin": chance.randbytes(LATE)}, job)


def edited(page: Page, host: WebHost, root: Path, files: dict[str, bytes], job: Job) -> None:
    lines = files["big.js"].split(b"\n")
    lines[4000:4095] = [b"export const other%d = %d;" % (number, number * number) for number in range(95)]
    files["big.js"] = b"\n".join(lines)
    build(root, files, "1.2.0")
    host.forget()
    again(page, "ready")
    patches = sum(one.sent for one in host.asked if one.path.startswith("patches/"))
    whole = len(gzip.compress(files["big.js"], 6))
    job.amount(f"1 % edit of a script of {len(files['big.js']) / 1e3:.0f} KB", patches, "B", most=whole // 10)


def mended(page: Page, host: WebHost, root: Path, files: dict[str, bytes], job: Job) -> None:
    build(root, files, "1.3.0")
    host.rule("late.*", status(404))
    again(page, "failed")
    host.rules.clear()
    host.forget()
    again(page, "ready")
    job.amount("one missing file, tried again: all that is not its bytes", host.sent - LATE, "B", most=2048)


def cut(browser: Browser, folder: Path, job: Job) -> None:
    """A line that ends inside a file of 30 MB: what the next try costs beyond what was left."""
    build(folder / "cut", assets(more={"movie.mp4": random.Random(3).randbytes(30_000_000)}))
    with visited(browser, folder / "cut") as (page, host):
        name = served(folder / "cut", "movie.mp4")
        third = f"bytes={2 * PART_BYTES}-"

        def broken(talk: Talk) -> bool:
            if not talk.headers.get("Range", "").startswith(third):
                return False
            talk.reply(206, b"", length=PART_BYTES)
            return True

        host.rule(name, broken)
        opened(page, host.url, "failed")
        host.rules.clear()
        host.forget()
        again(page, "ready")
        job.amount("cut inside a file of 30 MB: the next try", host.sent, "B", most=PART_BYTES + 2048)


if __name__ == "__main__":
    sys.exit(main())
