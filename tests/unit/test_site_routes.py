"""From names to answers, over a catalogue made by hand."""

import json

import pytest

from bundles.site.answers import Made, Moved, Refused, Stored
from bundles.site.catalogue import Catalogue, Held, HeldFile
from bundles.site.routes import Request, find
from bundles.site.wheelhouse import SIMPLE_HTML, SIMPLE_JSON, accepted_form
from pipeline.layout import FOREVER, REVALIDATE


def held(model, version, *paths, kind="model", digit="a", **more):
    folder = f"{'wheels' if kind == 'wheels' else 'models'}/{model}-v{version}"
    files = {path: HeldFile(path, 10, digit * 63 + str(index % 10)) for index, path in enumerate(sorted(paths))}
    return Held(f"{model}-v{version}", model, version, kind, digit * 64, folder, files, **more)


OLD = held("bert", "1.0.0", "config.json", "onnx/model.onnx", aliases=("acme/old",))
NEW = held("bert", "1.1.0", "config.json", "onnx/deep/model.onnx", digit="b", aliases=("acme/bert",), display_name="<script>")
APP = held("app", "1.0.0", "index.html", "docs/index.html", "a.0123456789ab.js", kind="web", digit="c")
HOUSE = held("house", "1.0.0", "Foo_Bar-1.0-py3-none-any.whl", "foo.bar-2.0.tar.gz", "notes.txt", kind="wheels", digit="d")
SIMPLE = held("simple", "1.0.0", "config.json", digit="e")
EVERY = (OLD, NEW, APP, HOUSE, SIMPLE)
SITE = Catalogue(
    generation=3,
    releases={one.release: one for one in EVERY},
    live={"bert": "bert-v1.1.0", "app": "app-v1.0.0", "house": "house-v1.0.0", "simple": "simple-v1.0.0", "gone": "gone-v1.0.0"},
    channels={"bert": {"stable": ("bert-v1.0.0", "a" * 64), "beta": ("bert-v2.0.0", "f" * 64), "odd": ("bert-v1.0.0", "f" * 64)}},
    unserved={"ruin-v1.0.0": "its <manifest> is gone"},
)


def ask(target, *, tree=True, accept="", **query):
    return find(SITE, Request(target.encode(), query, accept), tree=tree)


def stored(target, **more):
    found = ask(target, **more)
    assert isinstance(found, Stored), found
    return found


def refused(target, **more):
    found = ask(target, **more)
    assert isinstance(found, Refused), found
    assert found.status == 404
    return dict(found.headers)


# --- files ----------------------------------------------------------------------------------------


def test_file_of_a_release_is_what_its_manifest_says():
    found = stored("/models/bert-v1.0.0/onnx/model.onnx")
    assert (found.path, found.size, found.etag) == ("models/bert-v1.0.0/onnx/model.onnx", 10, OLD.files["onnx/model.onnx"].sha256)
    assert found.cache == FOREVER
    assert stored("/models/bert-v1.0.0/config.json").content_type == "application/json"


def test_document_of_a_model_runs_nowhere():
    headers = dict(stored("/bert/resolve/main/config.json").headers)
    assert headers["Content-Security-Policy"] == "sandbox"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "target",
    [
        "/models", "/models/", "/models/none-v1.0.0/", "/models/bert-v1.0.0/none", "/models/bert-v1.0.0/onnx", "/models/bert-v1.0.0/onnx/",
        "/models/house-v1.0.0/notes.txt", "/wheels/bert-v1.0.0/config.json", "/models/bert-v1.0.0/config.json/", "/web/bert/config.json",
        "/web/app/none", "/web/none/", "/web", "/state/lock", "/state/trust/state.json", "/control/leases/x.json", "/bin/install.pyz",
        "/generations/1/bert", "/current/bert/config.json", "/keys/root.pem", "/.well-known/x", "/api", "/api/models", "/api/x/y",
        "/models/bert-v1.0.0%2Fconfig.json", "/models%2Fbert-v1.0.0/config.json", "/models/bert-v1.0.0/..%2Fx",
    ],
)  # fmt: skip
def test_everything_else_is_not_there(target):
    refused(target)


def test_folder_without_its_slash_is_sent_there():
    assert ask("/models/bert-v1.0.0") == Moved("/models/bert-v1.0.0/")
    assert ask("/web/app") == Moved("/web/app/")
    assert ask("/web/app/docs") == Moved("/web/app/docs/")


def test_web_application_is_the_live_one_and_a_folder_its_index():
    assert stored("/web/app/").path == "models/app-v1.0.0/index.html"
    assert stored("/web/app/docs/").path == "models/app-v1.0.0/docs/index.html"
    assert stored("/web/app/").cache == REVALIDATE
    assert stored("/web/app/a.0123456789ab.js").cache == FOREVER


def test_pages_name_everything_and_escape_it():
    page = ask("/")
    assert isinstance(page, Made)
    text = page.body.decode()
    for word in ("bert-v1.0.0", "bert-v1.1.0", "/web/app/", "/simple/", "stable", "&lt;script&gt;", "&lt;manifest&gt;"):
        assert word in text
    assert "<script>" not in text
    assert "modelport fetch" in text
    assert "modelport fetch" not in ask("/", tree=False).body.decode()
    assert OLD.files["config.json"].sha256 in ask("/models/bert-v1.0.0/").body.decode()


# --- the tree -------------------------------------------------------------------------------------


def test_tree_is_served_where_it_was_kept():
    digest = "0" * 64
    part = stored(f"/parts/00/{digest}")
    assert (part.etag, part.cache, part.size) == (digest, FOREVER, None)
    assert stored(f"/targets/bert/1.0.0/{digest}.manifest.json").etag == digest
    assert stored("/metadata/timestamp.json").cache == REVALIDATE
    assert stored("/metadata/1.root.json").cap > 0
    refused(f"/parts/00/{digest}", tree=False)


@pytest.mark.parametrize(
    "target", ["/metadata/", "/metadata/x.json", "/parts/00/xx", "/targets/x", "/parts", "/metadata/1.root.json/"]
)
def test_only_objects_of_the_tree_are_served(target):
    refused(target)


# --- Hugging Face ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "revision, release",
    [
        ("main", NEW), ("stable", OLD), ("1.0.0", OLD), ("v1.1.0", NEW), ("bert-v1.0.0", OLD), ("a" * 40, OLD), ("b" * 64, NEW),
    ],
)  # fmt: skip
def test_revisions(revision, release):
    found = stored(f"/bert/resolve/{revision}/config.json")
    headers = dict(found.headers)
    assert found.path == f"models/{release.release}/config.json"
    assert headers["X-Repo-Commit"] == release.manifest_sha256[:40]
    assert headers["X-Linked-Etag"] == f'"{found.etag}"'
    assert headers["X-Linked-Size"] == "10"
    assert (found.cache == FOREVER) is (revision not in {"main", "stable"})


@pytest.mark.parametrize("revision", ["beta", "odd", "nope", "3.0.0", "a" * 39, "A" * 40, "f" * 40, "refs%2Fpr%2F1"])
def test_revision_that_is_not_installed_is_named_so(revision):
    assert refused(f"/bert/resolve/{revision}/config.json")["X-Error-Code"] == "RevisionNotFound"


@pytest.mark.parametrize("repo", ["bert", "acme/bert", "acme/old"])
def test_repository_is_a_model_by_name_or_alias(repo):
    assert stored(f"/{repo}/resolve/main/config.json").path == "models/bert-v1.1.0/config.json"
    info = ask(f"/api/models/{repo}/revision/stable")
    assert json.loads(info.body)["sha"] == OLD.commit
    assert json.loads(ask(f"/api/models/{repo}").body)["id"] == repo


def test_a_model_may_be_called_as_a_route_is():
    assert stored("/simple/resolve/main/config.json").path == "models/simple-v1.0.0/config.json"


def test_what_is_missing_is_told_in_the_hubs_words():
    assert refused("/nope/resolve/main/config.json")["X-Error-Code"] == "RepoNotFound"
    assert refused("/api/models/acme/none/revision/main")["X-Error-Code"] == "RepoNotFound"
    missing = refused("/bert/resolve/main/nope")
    assert missing["X-Error-Code"] == "EntryNotFound"
    assert missing["X-Repo-Commit"] == NEW.commit
    assert refused("/api/models/bert/tree/main/none")["X-Error-Code"] == "EntryNotFound"


def test_listing_goes_as_deep_as_was_asked():
    def paths(target, **query):
        return {row["path"]: row["type"] for row in json.loads(ask(target, **query).body)}

    assert paths("/api/models/bert/tree/main") == {"onnx": "directory", "config.json": "file"}
    assert paths("/api/models/bert/tree/main", recursive="True") == {
        "onnx": "directory", "onnx/deep": "directory", "config.json": "file", "onnx/deep/model.onnx": "file",
    }  # fmt: skip
    assert paths("/api/models/bert/tree/main/onnx") == {"onnx/deep": "directory"}


def test_refs_are_channels_and_versions():
    refs = json.loads(ask("/api/models/bert/refs").body)
    assert {row["name"]: row["targetCommit"] for row in refs["branches"]} == {"main": NEW.commit, "stable": OLD.commit}
    assert [row["name"] for row in refs["tags"]] == ["1.0.0", "1.1.0"]


# --- pip ------------------------------------------------------------------------------------------


def test_index_of_wheels_as_page_and_as_json():
    page = ask("/simple/")
    assert b'<a href="foo-bar/">foo-bar</a>' in page.body
    project = ask("/simple/foo-bar/").body.decode()
    assert (
        f'href="/wheels/house-v1.0.0/Foo_Bar-1.0-py3-none-any.whl#sha256={HOUSE.files["Foo_Bar-1.0-py3-none-any.whl"].sha256}"'
        in project
    )
    assert "foo.bar-2.0.tar.gz" in project
    assert "notes.txt" not in project
    document = json.loads(ask("/simple/foo-bar/", accept=SIMPLE_JSON).body)
    assert [file["filename"] for file in document["files"]] == ["Foo_Bar-1.0-py3-none-any.whl", "foo.bar-2.0.tar.gz"]
    assert json.loads(ask("/simple/", accept=SIMPLE_JSON).body)["projects"] == [{"name": "foo-bar"}]


def test_other_spellings_of_a_project_are_sent_to_the_normal_one():
    assert ask("/simple") == Moved("/simple/")
    assert ask("/simple/Foo.Bar/") == Moved("/simple/foo-bar/")
    assert ask("/simple/Foo_Bar") == Moved("/simple/foo-bar/")
    refused("/simple/none/")
    refused("/simple/foo-bar/x")


@pytest.mark.parametrize(
    "accept, form",
    [
        ("", "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        ("text/html", "text/html; charset=utf-8"),
        (SIMPLE_JSON, SIMPLE_JSON),
        (f"{SIMPLE_JSON}, {SIMPLE_HTML}; q=0.1, text/html; q=0.01", SIMPLE_JSON),
        (f"{SIMPLE_JSON};q=0.1, text/html", "text/html; charset=utf-8"),
        (SIMPLE_HTML, SIMPLE_HTML),
        (f"{SIMPLE_JSON};q=0", "text/html; charset=utf-8"),
        (f"{SIMPLE_JSON};q=nan", "text/html; charset=utf-8"),
    ],
)
def test_form_is_what_the_client_prefers(accept, form):
    assert accepted_form(accept) == form
