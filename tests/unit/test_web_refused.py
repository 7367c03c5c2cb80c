"""Assets, folders and settings that no release can be made of, each refused in one line; and what must not be touched."""

import pytest

from pipeline.errors import DiskError, SourceChanged, SourceError, UsageError
from sw.check import check_folder
from sw.scan import kinds
from tests.web_world import Site


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_binary_garbage_with_the_names_of_text_is_served_as_it_is(site):
    noise = bytes(range(256)) * 50
    files = {f"noise.{ending}": noise for ending in ("js", "mjs", "css", "svg", "webmanifest", "map")}
    site.write({**files, "page.html": noise})
    site.build()
    assert {site.served(name) for name in files} == {noise}


def test_page_in_utf_16_is_left_alone_with_a_warning(site):
    data = "<img src=a.png>".encode("utf-16")
    site.write({"index.html": data, "a.png": b"1"})
    site.build()
    assert site.served("index.html") == data
    assert any("UTF-16" in warning for warning in site.warnings())


def test_line_of_many_megabytes_is_read_in_seconds(site):
    code = b"import './a.js';" + b"x(1),y('text'),z`t`;" * 200_000
    site.write({"big.js": code, "a.js": ""})
    built = site.build(strict=True)
    assert site.text("big.js").startswith("import './a.#.js'")
    assert built.seconds < 30


def test_deep_nesting_is_read(site):
    site.write({"a.js": "[" * 100_000, "b.css": "a{" * 20_000, "c.html": "<b>" * 20_000, "d.webmanifest": "[" * 50_000})
    site.build()


def test_link_out_of_the_folder_is_refused(site, tmp_path):
    site.write({"index.html": "x"})
    (tmp_path / "secret.js").write_text("secret")
    (site.assets / "a.js").symlink_to(tmp_path / "secret.js")
    with pytest.raises(SourceError, match=r"a\.js"):
        site.build()


@pytest.mark.parametrize("names", [("CON.js",), ("a:b.js",), ("a.js.",), ("A.js", "a.js"), ("%2e.js",), ("-a.js",)], ids=str)
def test_name_that_the_format_refuses_is_refused(site, names):
    site.write(dict.fromkeys(names, "1"))
    with pytest.raises(SourceError):
        site.build()
    assert not site.to.exists()


@pytest.mark.parametrize("name", ["release.json", "sw.js", "sw-client.js"])
def test_name_of_what_the_build_writes_is_refused(site, name):
    site.write({name: "{}"})
    with pytest.raises(SourceError, match="has the name of a file that the build writes"):
        site.build()


@pytest.mark.parametrize("to", [".", "dist", "dist/public"])
def test_output_in_the_assets_or_around_them_is_refused(site, to):
    site.write({"index.html": "x"})
    with pytest.raises(UsageError, match="lie in each other"):
        site.build(to=site.folder / to)


def test_folder_of_somebody_else_is_not_written_into(site):
    site.write({"index.html": "x"})
    site.to.mkdir()
    (site.to / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds files"):
        site.build()
    assert site.files() == {"mine.txt": b"mine"}


def test_missing_folder_is_one_clear_line(site):
    with pytest.raises(SourceError, match="dist"):
        site.build()


def test_folder_that_cannot_be_made_is_one_clear_line(site):
    site.write({"index.html": "x"})
    (site.folder / "file").write_text("")
    with pytest.raises((DiskError, UsageError)):
        site.build(to=site.folder / "file" / "public")


def test_file_that_changes_while_it_is_read_ends_the_build(site, monkeypatch):
    site.write({"index.html": "x", "a.bin": bytes(1000)})
    real = kinds.has_references

    def meanwhile(path):
        if path == "a.bin":
            (site.assets / "a.bin").write_bytes(bytes(2000))
        return real(path)

    monkeypatch.setattr("sw.load.has_references", meanwhile)
    with pytest.raises(SourceChanged):
        site.build()
    assert not (site.to / "release.json").exists()


def test_build_that_is_stopped_leaves_the_release_before(site, monkeypatch):
    site.write({"index.html": "1", "a.js": "1"})
    site.build("1.0.0")
    before = site.pointer

    def stop(self, path, *_):
        raise DiskError(f"no space for {path}")

    site.write({"index.html": "1", "a.js": "2"})
    monkeypatch.setattr("sw.output.Output.copy", stop)
    with pytest.raises(DiskError):
        site.build("1.1.0")
    assert site.pointer == before
    assert check_folder(site.to).findings == []
