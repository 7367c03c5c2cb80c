"""Names: what is refused on every system, and how a release name is divided."""

import time

import pytest

from pipeline.release import (
    NameRefused,
    Release,
    check_channel,
    check_model,
    check_version,
    clash,
    fold,
    path_fault,
)

RESERVED = ["root", "targets", "snapshot", "timestamp", "models", "channels", "current", "control", "metadata", "parts", "web"]


@pytest.mark.parametrize(
    "name", ["a", "7", "bert", "bert-v2", "qwen2.5-0.5b", "a_b", "x" * 64, "bert-v2.1.0", "rooted", "conx", "com10"]
)
def test_model_name_is_taken(name):
    assert check_model(name) == name


@pytest.mark.parametrize("name", RESERVED)
def test_model_name_that_clashes_with_the_tree_is_refused(name):
    with pytest.raises(NameRefused, match="reserved"):
        check_model(name)


@pytest.mark.parametrize("name", ["con", "prn", "aux", "nul", "com1", "lpt9", "con.txt", "nul.", "com0.a.b"])
def test_model_name_that_is_a_windows_device_is_refused(name):
    with pytest.raises(NameRefused):
        check_model(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Bert",
        "-a",
        "a-",
        ".a",
        "a.",
        "_a",
        "a_",
        "a..b",
        "a/b",
        "a b",
        "a\n",
        "x" * 65,
        "é",
        "\u0661",
        "a\x00b",
        "a@b",
        "../a",
    ],
)
def test_malformed_model_name_is_refused(name):
    with pytest.raises(NameRefused, match="model name"):
        check_model(name)


@pytest.mark.parametrize(
    "version",
    ["0.0.0", "2.1.0", "1.2.3-rc.1", "1.2.3-0a", "1.2.3-x-y", "1.2.3-v", "1.2.3-a-vb", "1.2.3--", "10.20.30-a." + "b" * 53],
)
def test_version_is_taken(version):
    assert check_version(version) == version


@pytest.mark.parametrize(
    "version, why",
    [
        ("1.2.3+build", "build metadata"),
        ("1.2.3-RC.1", "upper case"),
        ("1.2.3-v1", "'-v'"),
        ("1.2.3-a-v2.0.0", "'-v'"),
        ("1.2.3-" + "a" * 59, "65 characters"),
        ("1.2", "SemVer"),
        ("v1.2.3", "SemVer"),
        ("1.2.3.4", "SemVer"),
        ("01.2.3", "SemVer"),
        ("1.2.3-01", "SemVer"),
        ("1.2.3-", "SemVer"),
        ("1.2.3-a..b", "SemVer"),
        ("1.2.3-a_b", "SemVer"),
        ("", "SemVer"),
        (" 1.2.3", "SemVer"),
        ("2.1.0\n", "SemVer"),
        ("2.1.0-a\n", "SemVer"),
        ("\uff11.2.3", "SemVer"),
        ("1.2.\u0663", "SemVer"),
        ("../1.2.3", "SemVer"),
    ],
)
def test_malformed_version_is_refused(version, why):
    with pytest.raises(NameRefused) as refused:
        check_version(version)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    "text, model, version",
    [
        ("bert-v2.1.0", "bert", "2.1.0"),
        ("bert-v2.1.0-v1.0.0", "bert-v2.1.0", "1.0.0"),
        ("a-v1-v1.0.0", "a-v1", "1.0.0"),
        ("bert-v1.0.0-rc-vx", "bert", "1.0.0-rc-vx"),
        ("bert-v-v1.0.0", "bert-v", "1.0.0"),
        ("vicuna-vision-v1.5.0-beta.2", "vicuna-vision", "1.5.0-beta.2"),
    ],
)
def test_release_divides_at_the_last_whole_version(text, model, version):
    release = Release.parse(text)
    assert (release.model, release.version) == (model, version)
    assert str(release) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bert",
        "bert-v",
        "bert-v2.1",
        "-v2.1.0",
        "bert-V2.1.0",
        "bert v2.1.0",
        "bert-v2.1.0-v1",
        "bert-v2.1.0+x",
        "bert-v2.1.0\n",
        "root-v1.0.0",
        "a/b-v1.0.0",
        "BERT-v1.0.0",
    ],
)
def test_what_is_no_release_name_is_refused(text):
    with pytest.raises(NameRefused):
        Release.parse(text)


def test_releases_of_one_model_compare_by_semver_precedence():
    versions = ["1.0.0-rc.2", "1.0.0-rc.10", "1.0.0", "1.2.0", "1.10.0"]
    assert sorted((Release.parse(f"m-v{version}") for version in reversed(versions)), key=lambda release: release.semver) == [
        Release.parse(f"m-v{version}") for version in versions
    ]


@pytest.mark.parametrize("name", ["stable", "a", "canary-eu", "b2", "a" * 30])
def test_channel_is_taken(name):
    assert check_channel(name) == name


@pytest.mark.parametrize("name", ["", "2b", "-a", "Stable", "a" * 31, "a.b", "a_b", "stable\n", "é"])
def test_malformed_channel_is_refused(name):
    with pytest.raises(NameRefused, match="channel"):
        check_channel(name)


@pytest.mark.parametrize(
    "path",
    ["a", "model.yaml", "onnx/model.onnx", ".gitattributes", "..a", "a..b", "...a", "日本/重み.bin", "é.bin", "a b.txt", "a/-b", "a/~b", "c@d#e&f'g(h)[i]{j}=k+l,m;n!o$p%q^r`s", "com1x", "xnul", "%20", "a" * 255],
)  # fmt: skip
def test_path_is_taken(path):
    assert path_fault(path) is None


@pytest.mark.parametrize(
    "path, why",
    [
        ("", "empty"),
        ("/x", "starts with '/'"),
        ("//host/share", "starts with '/'"),
        ("~", "starts with '~'"),
        ("~root/x", "starts with '~'"),
        ("-rf", "starts with '-'"),
        ("../x", "component '..'"),
        ("a/../../b", "component '..'"),
        ("a/..", "component '..'"),
        ("./a", "component '.'"),
        (".", "component '.'"),
        ("a//b", "empty component"),
        ("a/", "empty component"),
        ("C:\\x", "holds ':'"),
        ("C:x", "holds ':'"),
        ("x:y", "holds ':'"),
        ("a\\b", "holds '\\\\'"),
        ("\\\\srv\\s", "holds '\\\\'"),
        ("a.", "dot or a space"),
        ("a ", "dot or a space"),
        ("a /b", "dot or a space"),
        ("a./b", "dot or a space"),
        ("a\x00b", "U+0000"),
        ("a\nb", "U+000A"),
        ("a\x7fb", "U+007F"),
        ("a\x85b", "U+0085"),
        ("a\u202eb", "U+202E"),
        ("a\u2066b", "U+2066"),
        ("a\u200fb", "U+200F"),
        ("a\u061cb", "U+061C"),
        ("a\u2215b", "U+2215"),
        ("a\u2044b", "U+2044"),
        ("a\uff0fb", "U+FF0F"),
        ("%2e%2e%2f", "percent-encoded"),
        ("a%2Fb", "percent-encoded"),
        ("x%2Ey", "percent-encoded"),
        ("e\u0301.bin", "normal form C"),
        ("\u212b", "normal form C"),
        ("\udcff", "UTF-8"),
        ("a" * 256, "255 bytes"),
        ("é" * 128, "255 bytes"),
        ("/".join(["a" * 200] * 6), "1205 bytes"),
        *((f"a{character}b", "Windows forbids") for character in '<>"|?*'),
        *((name, "Windows reserves") for name in ("aux", "NUL", "CoN", "prn", "COM1.txt", "lpt9.tar.gz", "com¹", "LPT³.x", "x/con/y", "con .txt", "CONIN$", "conout$.x")),
    ],
)  # fmt: skip
def test_path_is_refused_on_every_system(path, why):
    assert why in path_fault(path)


def test_path_limits_are_bytes_and_exact():
    assert path_fault("/".join(["a" * 255] * 4)) is None
    assert path_fault("/".join(["a" * 255] * 4) + "/") is not None
    assert path_fault("a" * 255) is None
    exact = "/".join(["a" * 200] * 5) + "/" + "b" * 19
    assert len(exact) == 1024
    assert path_fault(exact) is None
    assert "1025 bytes" in path_fault(exact + "b")
    web = "/".join(["a" * 233] * 2) + "/" + "b" * 232
    assert path_fault(web, limit=700) is None
    assert "701 bytes" in path_fault(web + "b", limit=700)
    assert "UTF-8" not in path_fault("é" * 600)


@pytest.mark.parametrize(
    "one, other",
    [
        ("Model.bin", "model.BIN"),
        ("k", "\u212a"),
        ("straße", "STRASSE"),
        ("ﬁle", "file"),
        ("é", "É"),
        ("①", "1"),
        ("a/B/c", "A/b/C"),
        ("ｍodel", "model"),
        ("ΑΣ", "ας"),
    ],
)
def test_paths_that_some_system_takes_for_one_clash(one, other):
    found = clash(["x", one, "y", other])
    assert found is not None
    assert {found[0], found[1]} == {one, other}
    assert "equal" in found[2]
    assert clash([other, one]) is not None


@pytest.mark.parametrize("paths", [["a", "a/b"], ["a/b", "a"], ["A", "a/b"], ["a/b/c/d", "a/B"], ["a", "a/b/c"]])
def test_path_that_is_anothers_folder_clashes(paths):
    found = clash(paths)
    assert found is not None
    assert set(found[:2]) == set(paths)
    assert "folder" in found[2]


def test_paths_that_only_look_alike_do_not_clash():
    assert clash(["a", "ab", "a.b", "b/a", "b/c", "B2/a"]) is None
    assert clash([]) is None


def test_folding_is_settled_for_every_character():
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    assert [character for character in characters if fold(fold(character)) != fold(character)] == []


def test_text_without_end_is_refused_at_once_and_not_repeated():
    """Each "-v" might begin a version; only those near the end are looked at."""
    started = time.monotonic()
    with pytest.raises(NameRefused) as caught:
        Release.parse("a" + "-v" * 2_000_000)
    assert time.monotonic() - started < 5
    assert len(str(caught.value)) < 400
