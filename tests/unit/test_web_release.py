"""What a build leaves: the release that is served, its documents, patches, and what a second build changes."""

import gzip
import json
import os
import random
import zlib
from pathlib import Path

import jsonschema
import pytest
import zstandard

from pipeline.digest import sha256_of
from sw.build import kill_release
from sw.check import check_folder
from sw.manifest import PART_BYTES, Navigate
from sw.patches import apply_patch
from tests.web_world import ENGINE, Site, page

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


# --- documents ------------------------------------------------------------------------------------


def test_pointer_is_small_and_names_the_manifest(site):
    site.write({"index.html": "x"})
    for number in range(8):
        site.write({"index.html": f"x{number}"})
        site.build(f"1.{number}.0-preview.of.a.very.long.name.as.long.as.it.may.be.1234")
    assert len((site.to / "release.json").read_bytes()) <= 300
    assert site.pointer.origin


def test_manifest_describes_what_is_served(site):
    site.write({"index.html": "<img src=a.png>", "a.png": b"12345"})
    site.build("1.4.0", isolate=True, mirrors=("https://m.example/",), navigate=Navigate(fallback="index.html"))
    manifest = site.manifest
    assert (manifest.name, manifest.version, manifest.isolate, manifest.mirrors) == (
        "shop",
        "1.4.0",
        True,
        ("https://m.example/",),
    )
    assert [file.path for file in manifest.files] == sorted(file.path for file in manifest.files)
    for file in manifest.files:
        data = (site.to / file.path).read_bytes()
        assert (file.size, file.sha256) == (len(data), sha256_of(data))
    assert {manifest.types[file.type] for file in manifest.files} == {
        "image/png",
        "text/html; charset=utf-8",
        "text/javascript; charset=utf-8",
    }


def test_large_file_is_described_by_parts(site):
    data = os.urandom(PART_BYTES + 7)
    site.write({"big.bin": data, "exact.bin": data[:PART_BYTES]})
    site.build()
    parts = {file.source: file.more.parts for file in site.manifest.files}
    assert parts["big.bin"] == (PART_BYTES, (sha256_of(data[:PART_BYTES]), sha256_of(data[PART_BYTES:])))
    assert parts["exact.bin"] is None


def test_small_files_travel_in_packs(site):
    site.write({f"f{number:03}.bin": bytes([number]) * 5000 for number in range(250)} | {"big.bin": bytes(300_000)})
    site.build()
    files = site.manifest.files
    packed = {file.source for pack in site.manifest.packs for file in pack.files}
    assert packed == {file.source for file in files} - {"big.bin"}
    for pack in site.manifest.packs:
        assert pack.size <= 1 << 20
        assert (site.to / pack.path).read_bytes() == b"".join((site.to / file.path).read_bytes() for file in pack.files)


def test_text_that_names_a_renamed_file_is_told(site):
    script = """const logo = "/assets/logo.svg", other = '/icon.svg?v=1';
    import("./assets/lazy.js"); new URL("/assets/logo.svg", import.meta.url); const word = "icon.svg", far = "https://x/assets/logo.svg";
    const kept = `/assets/kept.svg`;"""
    site.write(
        {
            "index.html": '<img src="assets/logo.svg"><img src="icon.svg"><script type="module" src="app.js"></script>',
            "app.js": script,
            "assets/logo.svg": "<svg/>",
            "assets/kept.svg": "<svg/>",
            "icon.svg": "<svg/>",
            "assets/lazy.js": "let a;",
        }
    )
    site.build(keep=("assets/kept.svg",))
    told = [one for one in site.warnings() if "is a text there" in one]
    assert len(told) == 1
    assert told[0].startswith("app.js:1: 'assets/logo.svg'")
    assert "(1 more such texts)" in told[0]
    site.events.clear()
    site.build(keep=("assets/kept.svg", "assets/logo.svg", "icon.svg"))
    assert not [one for one in site.warnings() if "is a text there" in one]


def test_what_no_page_needs_is_of_no_group_that_an_install_brings(site):
    script = "//# sourceMappingURL=app.js.map"
    site.write(
        {
            "index.html": '<script src="app.js"></script><img src=".img/a.png"><img src="sea.map">',
            "app.js": "let a;\n" * 2000 + script,
            "app.js.map": '{"version":3}',
            "sea.map": "an island",
            ".img/a.png": b"x",
            ".vite/manifest.json": "{}",
            ".htaccess": "Deny",
            ".well-known/security.txt": "Contact",
            "_headers": "/*",
            "_redirects": "/",
            "CNAME": "shop.example",
        }
    )
    site.build()
    groups = {file.source: file.group for file in site.manifest.files if file.path not in ENGINE}
    asked = {source for source, group in groups.items() if group == "asked"}
    assert asked == {"app.js.map", ".vite/manifest.json", ".htaccess", "_headers", "_redirects", "CNAME"}
    assert {group for source, group in groups.items() if source not in asked} == {"app"}
    packed = {file.source for pack in site.manifest.packs for file in pack.files}
    assert packed & asked == set()
    assert site.names()[".vite/manifest.json"] == ".vite/manifest.json"
    assert not [one for one in site.warnings() if ".vite" in one]
    assert check_folder(site.to).findings == []


def test_optional_files_are_a_group_that_nobody_waits_for(site):
    site.write({"index.html": "x", "video/a.mp4": b"1"})
    site.build(optional=("video/*",))
    assert {name: group.required for name, group in site.manifest.groups.items()} == {"app": True, "optional": False}
    assert {file.source: file.group for file in site.manifest.files}["video/a.mp4"] == "optional"
    assert all(file.group == "app" for pack in site.manifest.packs for file in pack.files)


def test_single_file_holds_the_manifest(site):
    site.write({"index.html": "x"})
    site.build(single_file=True)
    first, _, rest = (site.to / "sw.js").read_bytes().partition(b";\n")
    assert rest == ENGINE["sw.js"]
    inside = json.loads(first.removeprefix(b"self.modelport="))
    assert inside.pop("text").encode() == (site.to / site.pointer.manifest).read_bytes()
    assert inside == {"sha256": site.pointer.sha256, "size": site.pointer.size, "version": site.pointer.version}
    assert "sw.js" not in {file.path for file in site.manifest.files}


def test_engine_is_the_same_in_every_release(site):
    site.write({"index.html": "1"})
    site.build("1.0.0")
    before = site.files()
    site.write({"index.html": "2"})
    site.build("2.0.0")
    assert {name: site.files()[name] for name in ENGINE} == {name: before[name] for name in ENGINE} == ENGINE


# --- again ----------------------------------------------------------------------------------------


def test_same_assets_give_the_same_bytes_elsewhere(site, tmp_path):
    site.write({"index.html": "<script src=a.js></script>", "a.js": "import './b.js'", "b.js": "import './a.js'"})
    site.build(to=tmp_path / "one")
    site.build(to=tmp_path / "two")
    assert site.files(tmp_path / "one") == site.files(tmp_path / "two")


def test_building_again_changes_nothing(site):
    site.write({"index.html": "<script src=a.js></script>", "a.js": "1"})
    site.build()
    site.write({"index.html": "<script src=a.js></script>", "a.js": "2"})
    site.build("1.1.0")
    before = site.files()
    built = site.build("1.1.0")
    assert (built.changed, built.bytes_written) == (False, 0)
    assert site.files() == before


def test_damaged_file_is_written_again(site):
    site.write({"a.js": "1"})
    site.build()
    before = site.files()
    (site.to / site.names()["a.js"]).write_bytes(b"x")
    site.build()
    assert site.files() == before


def edited(number):
    lines = [f"export const value{line} = {line * 7919 % 10007}; // words {line * 31337 % 65537}" for line in range(1500)]
    lines[number] = "export const changed = true;"
    return "\n".join(lines)


def test_small_edit_of_a_large_script_travels_as_a_patch(site):
    site.write({"app.js": edited(3)})
    site.build("1.0.0")
    old = site.served("app.js")
    site.write({"app.js": edited(1200)})
    built = site.build("1.1.0")
    (patch,) = site.manifest.patches
    new = site.served("app.js")
    assert built.patches == 1
    assert (patch.origin, patch.to.sha256) == (sha256_of(old)[:16], sha256_of(new))
    assert patch.size == len((site.to / patch.path).read_bytes())
    assert apply_patch(old, (site.to / patch.path).read_bytes(), len(new)) == new
    assert patch.size < len(zlib.compress(new)) / 10


def test_negotiated_patch_is_the_new_file_with_the_old_one_as_dictionary(site):
    site.write({"app.js": edited(3)})
    site.build("1.0.0")
    old = site.served("app.js")
    site.write({"app.js": edited(1200)})
    site.build("1.1.0")
    (patch,) = site.manifest.patches
    data = (site.to / patch.negotiated).read_bytes()
    assert data[:8].hex() == "5e2a4d1820000000"
    assert data[8:40].hex() == sha256_of(old)
    dictionary = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    assert zstandard.ZstdDecompressor(dict_data=dictionary).decompress(data[40:]) == site.served("app.js")
    assert len(data) < len(zlib.compress(old)) / 10


def test_manifest_has_a_patch_from_each_release_that_the_pointer_names(site):
    manifests = []
    for number in range(6):
        site.write({"index.html": f"{number}", "a.js": "1"})
        site.build(f"1.{number}.0")
        manifests.append((site.to / site.pointer.manifest).read_bytes())
    origins = site.pointer.origin
    assert 1 <= len(origins) <= 4
    for origin, old in zip(origins, reversed(manifests[:-1]), strict=False):
        patch = (site.to / f"patches/{origin}.{site.pointer.sha256[:16]}.gz").read_bytes()
        assert sha256_of(old)[:16] == origin
        assert apply_patch(old, patch, site.pointer.size) == manifests[-1]


def test_hashed_files_of_the_last_releases_stay_and_older_ones_go(site):
    names = []
    for number in range(8):
        site.write({"index.html": f"<script src=a.js></script>{number}", "a.js": f"{number}"})
        site.build(f"1.{number}.0")
        names.append(site.names()["a.js"])
    kept = [name for name in names if (site.to / name).exists()]
    assert kept == names[-1 - len(site.pointer.origin) :]
    assert check_folder(site.to).findings == []


def test_page_that_is_gone_is_removed(site):
    site.write({"index.html": "1", "help.html": "2"})
    site.build("1.0.0")
    site.write({"index.html": "1"})
    assert site.build("1.1.0").removed >= 1
    assert not (site.to / "help.html").exists()


def test_kill_switch_stays_a_release_and_the_next_build_ends_it(site):
    site.write({"index.html": "1"})
    site.build()
    kill_release(site.to)
    assert json.loads((site.to / "release.json").read_bytes())["kill"] is True
    site.build()
    assert "kill" not in json.loads((site.to / "release.json").read_bytes())


def test_tampered_manifest_of_before_is_no_base_for_patches(site):
    site.write({"app.js": edited(3)})
    site.build("1.0.0")
    (site.to / site.pointer.manifest).write_bytes(b"{}")
    site.write({"app.js": edited(4)})
    assert site.build("1.1.0").patches == 0
    assert check_folder(site.to).findings == []


@pytest.mark.parametrize("seed", range(3))
def test_update_of_some_files_is_announced_in_two_kilobytes(site, seed):
    chance = random.Random(seed)
    files = {f"img/p{number}.png": chance.randbytes(100_000) for number in range(170)}
    for number in range(20):
        shown = range(number * 8, number * 8 + 8)
        files[f"css/s{number}.css"] = "\n".join(f".c{one} {{ background: url(../img/p{one}.png) }}" for one in shown).encode()
    for number in range(10):
        links = [f'<link rel=stylesheet href="css/s{2 * number + one}.css">' for one in range(2)]
        files[f"page{number}.html"] = f"<title>{number}</title>{''.join(links)}".encode()
    site.write(files)
    site.build()
    before = {file.sha256 for file in site.manifest.files}
    # 5 % of the files, and what refers to them; with other sizes, so that all packs are others.
    for name in chance.sample([name for name in files if name.endswith("png")], 10):
        files[name] = chance.randbytes(chance.randrange(50_000, 250_000))
    site.write(files)
    site.build("1.1.0")
    assert sum(file.sha256 not in before for file in site.manifest.files) > 20
    (origin,) = site.pointer.origin
    patch = site.to / f"patches/{origin}.{site.pointer.sha256[:16]}.gz"
    assert patch.stat().st_size + (site.to / "release.json").stat().st_size <= 2048


def test_gzip_of_a_patch_names_no_file_and_no_time(site):
    site.write({"app.js": edited(3)})
    site.build("1.0.0")
    site.write({"app.js": edited(4)})
    site.build("1.1.0")
    data = (site.to / site.manifest.patches[0].path).read_bytes()
    assert data[:4] == b"\x1f\x8b\x08\x00"
    assert data[4:8] == bytes(4)
    assert gzip.decompress(data)


# --- the documents and their schemas ------------------------------------------------------------------


def schema(name):
    return json.loads((CHECKOUT / "docs" / "reference" / f"{name}.schema.json").read_text())


def test_documents_hold_to_their_schemas(site):
    for number in (3, 4):
        site.write({"index.html": "<script src=app.js></script>", "app.js": edited(number), "big.bin": bytes(PART_BYTES + 1)})
        site.build(f"1.{number}.0", optional=("*.png",), mirrors=("https://m.example/",))
    jsonschema.validate(json.loads((site.to / site.pointer.manifest).read_bytes()), schema("web-manifest"))
    jsonschema.validate(json.loads((site.to / "release.json").read_bytes()), schema("web-release"))
    kill_release(site.to)
    jsonschema.validate(json.loads((site.to / "release.json").read_bytes()), schema("web-release"))


@pytest.mark.parametrize("change", [{"files": [["a.js"]]}, {"groups": []}, {"files": [["a", "1", "", 0, "app", {}]]}], ids=str)
def test_schema_refuses_what_is_no_manifest(site, change):
    site.write({"index.html": "x"})
    site.build()
    document = json.loads((site.to / site.pointer.manifest).read_bytes()) | change
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema("web-manifest"))


@pytest.mark.parametrize("name", ["../victim.txt", "a/../../victim.txt", "{victim}"])
def test_earlier_release_that_names_files_outside_is_none(site, name):
    """What stands in the folder may come from a repository that others write to: nothing outside is read or removed for it."""
    site.write({"index.html": "<p>one</p>", "a.txt": "1"})
    site.build()
    victim = site.to.parent / "victim.txt"
    victim.write_text("mine")
    pointer = json.loads((site.to / "release.json").read_bytes())
    manifest = json.loads((site.to / pointer["manifest"]).read_bytes())
    manifest["files"].append([name.format(victim=victim), 4, sha256_of(b"mine"), 0, "app", {}])
    data = json.dumps(manifest).encode()
    digest = sha256_of(data)
    (site.to / f"manifest.{digest[:16]}.json").write_bytes(data)
    told = {**pointer, "sha256": digest, "size": len(data), "manifest": f"manifest.{digest[:16]}.json"}
    (site.to / "release.json").write_text(json.dumps(told, separators=(",", ":")))
    for number in range(6):
        site.write({"index.html": f"<p>{number}</p>", "a.txt": f"{number}"})
        site.build()
    assert victim.read_text() == "mine"


def test_assets_that_were_built_for_another_base_are_told_so(site):
    site.write(
        {"index.html": '<script type="module" src="/app/assets/a.js"></script><img src="/app/gone.png">', "assets/a.js": "1"}
    )
    site.build()
    told = [one for one in site.warnings() if "leads to no file" in one]
    assert told == [
        "index.html:1: '/app/assets/a.js' leads to no file; without /app/ it would: let the bundler build for the base ./",
        "index.html:1: '/app/gone.png' leads to no file",
    ]


def test_what_a_build_replaces_is_dated_a_second_after_what_stood_there(site):
    site.write({"index.html": page("1")}).build("1.1.0")
    # In the future, so that no clock that goes on meanwhile dates the next ones later by itself.
    shown = [site.to / name for name in ("release.json", "index.html")]
    first = int(shown[0].stat().st_mtime) + 60
    for path in shown:
        os.utime(path, (first, first + 0.9))
    for number in (2, 3):
        site.write({"index.html": page(str(number))}).build(f"1.{number}.0")
        assert {int(path.stat().st_mtime) for path in shown} == {first + number - 1}
