"""A web release at the command line: built, checked, tried, published, shown, taken back."""

import json
import signal
import urllib.request

import pytest

from tests.desk import Desk

PAGE = '<!doctype html><script type="module" src="app.js"></script>'


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path / "desk", tmp_path / "home")
    write(desk, 1)
    return desk


def write(desk, number):
    dist = desk.folder / "dist"
    dist.mkdir(exist_ok=True)
    (dist / "index.html").write_text(PAGE)
    (dist / "app.js").write_text(f"export const version = {number};\n")


def build(desk, version, *words):
    return desk.run("web.build", "--assets", "dist", "--to", "public", "--name", "shop", "--version", version, *words)


def view(desk):
    folder = desk.folder / ".modelport" / "store" / "web" / "shop"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_build_check_publish_promote_and_roll_back(desk):
    done = build(desk, "1.0.0").result
    assert (done["name"], done["version"], done["changed"], done["warnings"]) == ("shop", "1.0.0", True, [])
    assert desk.run("web.check", "--to", "public").result["findings"] == []
    assert desk.run("publish", "--kind", "web", "--source", "public", "--model", "shop-v1.0.0").result["release"] == "shop-v1.0.0"
    assert "release.json" not in view(desk)
    assert desk.run("promote", "--model", "shop-v1.0.0").result["to"] == "shop-v1.0.0"
    first = view(desk)
    assert json.loads(first["release.json"])["version"] == "1.0.0"
    write(desk, 2)
    assert build(desk, "1.1.0").result["changed"]
    assert desk.run("publish", "--kind", "web", "--source", "public", "--model", "shop-v1.1.0", "--channel", "stable").code == 0
    assert json.loads(view(desk)["release.json"])["version"] == "1.1.0"
    assert desk.run("rollback", "--model", "shop").result["to"] == "shop-v1.0.0"
    assert first.items() <= view(desk).items()
    (desk.folder / ".modelport" / "store" / "web" / "shop" / "index.html").unlink()
    synced = desk.run("web.sync", "--model", "shop").result
    assert (synced["shows"], synced["files_written"]) == ("shop-v1.0.0", 1)
    assert first.items() <= view(desk).items()


def test_dry_build_writes_nothing(desk):
    done = desk.run("--dry", "web.build", "--assets", "dist", "--to", "public").result
    assert done["files"] == 4
    assert done["bytes_written"] > 0
    assert not (desk.folder / "public").exists()


def test_strict_build_of_a_dangling_reference_ends_with_2(desk):
    (desk.folder / "dist" / "index.html").write_text('\n<img src="gone.png">')
    said = build(desk, "1.0.0", "--strict").refused(2)
    assert "index.html:2: 'gone.png' leads to no file" in said


def test_finding_ends_with_3_and_is_named(desk):
    build(desk, "1.0.0")
    page = desk.folder / "public" / "index.html"
    page.write_text(PAGE.replace("app", "ape"))
    assert "index.html has other bytes" in desk.run("web.check", "--to", "public").refused(3)


def test_kill_tells_workers_to_leave(desk):
    build(desk, "1.0.0")
    assert desk.run("web.build", "--to", "public", "--kill").result["killed"] == "public/release.json"
    assert json.loads((desk.folder / "public" / "release.json").read_bytes())["kill"] is True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("web.build", "--to", "public"), "--assets is needed"),
        (("web.build", "--assets", "dist", "--to", "public", "--name", "web"), "web"),
        (("web.build", "--assets", "dist", "--to", "public", "--version", "1"), "1"),
        (("web.build", "--assets", "gone", "--to", "public"), "gone"),
        (("web.build", "--assets", "dist", "--to", "dist/public"), "lie in each other"),
        (("web.check", "--to", "gone"), "holds no web release"),
        (("web.serve", "--to", "gone"), "is no folder"),
        (("web.serve", "--to", "dist", "--listen", "http"), "--listen http is not host:port"),
        (("web.serve", "--to", "dist", "--listen", "[::zz]:0"), "--listen ::zz: "),
    ],
)
def test_wrong_words_end_with_2_and_one_line(desk, words, said):
    assert said in desk.run(*words).refused(2)


def test_settings_say_how_a_release_behaves(desk):
    (desk.folder / "modelport.yaml").write_text(
        "web:\n  keep: [app.js]\n  isolate: true\n  mirrors: [https://m.example/shop]\n"
        "  navigate: {fallback: index.html, deny: [^api/]}\n  optional: ['*.mp4']\n"
    )
    done = build(desk, "1.0.0").result
    manifest = json.loads((desk.folder / "public" / done["manifest"]).read_bytes())
    assert (desk.folder / "public" / "app.js").exists()
    assert (manifest["isolate"], manifest["mirrors"]) == (True, ["https://m.example/shop/"])
    assert manifest["navigate"]["fallback"] == "index.html"
    assert manifest["navigate"]["deny"] == ["^api/"]
    assert manifest["groups"] == {"app": {"required": True}, "optional": {"required": False}}


@pytest.mark.parametrize("text", ["{keeps: [a]}", "{navigate: {deny: ['(']}}", "{models: {a: {tree: x}}}", "{isolate: perhaps}"])
def test_settings_that_cannot_be_are_one_line(desk, text):
    (desk.folder / "modelport.yaml").write_text(f"web: {text}\n")
    assert "modelport.yaml:1" in build(desk, "1.0.0").refused(2)


def test_models_are_named_by_digests_from_signed_metadata(desk):
    model = desk.folder / "models" / "silero-v5.0.0"
    model.mkdir(parents=True)
    (model / "model.onnx").write_bytes(bytes(range(256)) * 5000)
    published = desk.run("publish", "--model", "silero-v5.0.0", "--profile", "web").result
    (desk.folder / "modelport.yaml").write_text("web:\n  models:\n    silero: silero-v5.0.0\n")
    done = build(desk, "1.0.0").result
    manifest = json.loads((desk.folder / "public" / done["manifest"]).read_bytes())
    size = (desk.folder / ".modelport" / "store" / published["manifest"]["path"]).stat().st_size
    assert manifest["models"] == {
        "silero": {
            "release": "silero-v5.0.0",
            "tree": "../../",
            "manifest": published["manifest"]["path"],
            "sha256": published["manifest"]["sha256"],
            "size": size,
        }
    }


def test_model_of_another_profile_is_refused(desk):
    model = desk.folder / "models" / "silero-v5.0.0"
    model.mkdir(parents=True)
    (model / "model.onnx").write_bytes(bytes(1000))
    desk.run("publish", "--model", "silero-v5.0.0")
    (desk.folder / "modelport.yaml").write_text("web:\n  models:\n    silero: silero-v5.0.0\n")
    assert "has profile default: a page needs profile web" in build(desk, "1.0.0").refused(2)


def test_serve_until_it_is_stopped(desk):
    build(desk, "1.0.0")
    child = desk.start("web.serve", "--to", "public", "--listen", "127.0.0.1:0", "--report", "plain")
    try:
        line = child.stderr.readline()
        url = line.split(" at ")[1].split("; ")[0]
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert answer.read().decode().startswith("<!doctype html>")
            assert answer.headers["Cache-Control"] == "no-cache"
    finally:
        child.send_signal(signal.SIGINT)
        said = child.communicate(timeout=20)[0]
    assert child.returncode == 0
    assert f"public was served at {url}" in said


def test_ci_without_the_last_build_starts_from_the_last_release(desk):
    lines = "".join(f"export const value{number} = {number * 7919};\n" for number in range(900))
    (desk.folder / "dist" / "app.js").write_text(lines)
    build(desk, "1.0.0")
    desk.run("publish", "--kind", "web", "--source", "public", "--model", "shop-v1.0.0", "--channel", "stable")
    assert desk.run("fetch", "--model", "shop@stable", "--to", "runner").code == 0
    (desk.folder / "dist" / "app.js").write_text(f"{lines}// edited\n")
    done = desk.run("web.build", "--assets", "dist", "--to", "runner", "--version", "1.1.0").result
    assert (done["name"], done["patches"]) == ("shop", 1)
    assert desk.run("web.check", "--to", "runner").result["findings"] == []
