"""What the flags of bundle tasks become, and which are refused."""

import hashlib
import json

import pytest

from bundles.carving import FAT32_BYTES
from bundles.wheels import choose_wheels, download_wheels, find_wheels, pinned_wheels
from pipeline.cli.bundle_orders import beside_for, bundle_order, check_fingerprint_flag, folders_of
from pipeline.cli.commands import flag_name
from pipeline.cli.namespace import build_namespace
from pipeline.cli.packing import Packing
from pipeline.errors import BadSignature, DigestMismatch, InvalidDocument, ModelportError, UsageError
from pipeline.settings import load_settings


def order(tmp_path, heard=None, **flags):
    asked = Packing(**{"model": ("bert@stable",), **flags})
    return bundle_order(load_settings({}, {"HOME": "/h"}, tmp_path), ([] if heard is None else heard).append, asked)


def test_without_flags_volumes_fit_on_fat32(tmp_path):
    made = order(tmp_path)
    assert (made.volume_size, made.medium, made.parity, made.only) == (FAT32_BYTES, "usb-fat32", 0, ())


@pytest.mark.parametrize(
    "text, size",
    [
        ("4GB", 4 * 10**9),
        ("700MiB", 700 << 20),
        ("12345", 12345),
        ("none", None),
        ("usb-fat32", FAT32_BYTES),
        ("dvd", FAT32_BYTES),
    ],
)
def test_volume_sizes_are_sizes_or_media(tmp_path, text, size):
    assert order(tmp_path, volume_size=text).volume_size == size


def test_parity_leaves_room_on_the_medium(tmp_path):
    whole = order(tmp_path, volume_size="bd25").volume_size
    assert order(tmp_path, volume_size="bd25", parity="10%").volume_size < whole * 0.91


@pytest.mark.parametrize(
    "flags, said",
    [
        ({"model": ()}, "--model is needed"),
        ({"model": ("bert@",)}, "bert@"),
        ({"volume_size": "dvdd"}, "did you mean 'dvd'"),
        ({"volume_size": "-1"}, "neither a size nor a medium"),
        ({"only": ("0",)}, "not the number of a volume"),
        ({"only": ("3,4",)}, "not the number of a volume"),
        ({"parity": "900%"}, "from 1% to 100%"),
        ({"parity": "0"}, "from 1% to 100%"),
        ({"base": ("bert",)}, "bert"),
        ({"have": "nothing.json"}, "cannot read the inventory"),
        ({"have": "x", "site_key": "xyz"}, "no Ed25519 key"),
        ({"site_key": "ab" * 32}, "--site-key without --have"),
    ],
)
def test_flags_that_cannot_be_are_refused(tmp_path, flags, said):
    with pytest.raises(UsageError) as refused:
        order(tmp_path, **flags)
    assert said in str(refused.value)
    assert refused.value.hint


def test_a_fingerprint_is_64_hex_digits():
    assert check_fingerprint_flag("AB" * 32) == "ab" * 32
    assert check_fingerprint_flag(" ".join(["ABAB"] * 16)) == "ab" * 32
    with pytest.raises(UsageError, match="64 lower-case hex digits"):
        check_fingerprint_flag("ab")


def test_folders_must_be_there(tmp_path):
    assert folders_of([str(tmp_path)], flag="from") == [tmp_path]
    assert folders_of([], flag="") == []
    for texts in ([], [str(tmp_path / "none")]):
        with pytest.raises(UsageError):
            folders_of(texts, flag="from")


def test_python_keeps_from_and_people_type_it():
    assert flag_name("from_") == "--from"
    # Tasks of its own: invoke takes the help out of those that it is asked for.
    tasks = build_namespace().collections["bundle"].tasks.values()
    flags = [name for task in tasks for argument in task.get_arguments() for name in argument.names]
    assert "from" in flags
    assert not [name for name in flags if name.endswith(("-", "_"))]


# --- inventories ---------------------------------------------------------------------------------


def inventory_file(tmp_path, **changes):
    signed = {
        "format": "modelport-inventory",
        "format_version": 1,
        "root_fingerprint": "00" * 32,
        "snapshot": 1,
        "made_at": "2026-11-22T10:00:00Z",
        "releases": [{"release": "bert-v1.0.0", "manifest_sha256": "11" * 32}],
        **changes,
    }
    path = tmp_path / "inventory.json"
    path.write_text(json.dumps({"signed": signed, "signatures": []}))
    return str(path), signed


def test_an_inventory_nobody_proved_is_taken_with_a_warning(tmp_path):
    heard = []
    made = order(tmp_path, heard, have=inventory_file(tmp_path)[0])
    assert [one.release for one in made.selection.have.releases] == ["bert-v1.0.0"]
    assert heard[0].code == "inventory-unproven"


def test_an_inventory_signed_by_the_sites_key_is_proven(tmp_path):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from securesystemslib.formats import encode_canonical

    path, signed = inventory_file(tmp_path, also="a field of a later version")
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw().hex()
    signatures = [{"keyid": "00", "sig": "zz"}, {"keyid": "01", "sig": key.sign(encode_canonical(signed).encode()).hex()}]
    (tmp_path / "inventory.json").write_text(json.dumps({"signed": signed, "signatures": signatures}))
    heard = []
    assert order(tmp_path, heard, have=path, site_key=public).selection.have.snapshot == 1
    assert heard == []
    with pytest.raises(BadSignature):
        order(tmp_path, have=path, site_key="ab" * 32)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "modelport-bundle"},
        {"format_version": 2},
        {"root_fingerprint": "x"},
        {"releases": [{"release": "../x", "manifest_sha256": "11" * 32}]},
        {"releases": [{"release": "bert-v1.0.0", "manifest_sha256": "x"}]},
        {"releases": "bert"},
        {"snapshot": 1.5},
    ],
)
def test_an_inventory_that_breaks_its_format_is_refused(tmp_path, changes):
    with pytest.raises(ModelportError) as refused:
        order(tmp_path, have=inventory_file(tmp_path, **changes)[0])
    assert refused.value.exit_code == 3


def test_a_file_that_is_no_inventory_says_how_to_make_one(tmp_path):
    (tmp_path / "config.json").write_text('{"rate": 0.1}')
    with pytest.raises(InvalidDocument) as refused:
        order(tmp_path, have=str(tmp_path / "config.json"))
    assert "--inventory FILE" in refused.value.hint


# --- wheels --------------------------------------------------------------------------------------

BODY = b"a wheel"
PINS = {
    f"zstandard-0.25.0-cp{python}-cp{python}-manylinux2014_{machine}.manylinux_2_17_{machine}.whl": hashlib.sha256(
        BODY
    ).hexdigest()
    for python in ("39", "314")
    for machine in ("x86_64", "aarch64")
}


def test_every_pinned_wheel_is_understood():
    wheels = pinned_wheels()
    assert {wheel.python for wheel in wheels} == {"3.9", "3.10", "3.11", "3.12", "3.13", "3.14"}
    assert {wheel.platform for wheel in wheels} == {"x86_64", "aarch64"}
    assert len(wheels) == 12


def test_wheels_are_chosen_by_python_and_platform():
    assert len(choose_wheels([], [], PINS)) == 4
    assert [wheel.python for wheel in choose_wheels(["3.14"], ["aarch64"], PINS)] == ["3.14"]
    with pytest.raises(UsageError, match=r"3\.9, 3\.14"):
        choose_wheels(["2.7"], [], PINS)
    with pytest.raises(UsageError, match="x86_64, aarch64"):
        choose_wheels([], ["sparc"], PINS)


def test_only_the_pinned_bytes_are_carried(tmp_path):
    chosen = choose_wheels(["3.9"], [], PINS)
    (tmp_path / chosen[0].name).write_bytes(BODY)
    (tmp_path / "numpy-2.0.0-cp39-cp39-manylinux2014_x86_64.whl").write_bytes(BODY)
    assert list(find_wheels(chosen, tmp_path, PINS)) == [chosen[0].name]
    (tmp_path / chosen[1].name).write_bytes(b"another wheel")
    with pytest.raises(DigestMismatch, match="expected"):
        find_wheels(chosen, tmp_path, PINS)


def test_a_folder_named_pip_where_the_command_is_typed_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__main__.py").write_text("open('was-run', 'w')")
    (tmp_path / "pip" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert "pip could not fetch" in download_wheels(choose_wheels(["3.9"], ["x86_64"], PINS), tmp_path / "cache", PINS)
    assert not (tmp_path / "was-run").exists()


def test_pip_that_finds_nothing_is_told_and_nothing_is_carried(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    chosen = choose_wheels(["3.9"], ["x86_64"], PINS)
    assert "pip could not fetch" in download_wheels(chosen, tmp_path / "cache", PINS)
    assert find_wheels(chosen, tmp_path / "cache", PINS) == {}
    assert list((tmp_path / "cache").iterdir()) == []


def test_raw_releases_carry_no_wheels(tmp_path):
    class Planned:
        class selected:  # noqa: N801 (stands for a field)
            needs_codec = False

    extra = beside_for("", [], [], tmp_path, lambda _: None)(Planned)
    assert extra.wheels == {}
    assert extra.installer.startswith(b"#!")
