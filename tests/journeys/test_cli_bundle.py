"""Bundles as a person makes and uses them: the real command line, from a store to a fetch out of volumes."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bundles.verifying import BundleVerified
from pipeline.cli.bundle_summaries import verify_summary
from tests.bundle_world import flip, member_at, volumes_in
from tests.desk import Desk
from tests.publish_world import lay_out

# An empty folder: nothing is to be fetched for these tests.
NO_WHEELS = ("--wheels", "wheels")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Two releases of bert, one channel; the second one's middle tensor differs."""
    folder = tmp_path_factory.mktemp("desk")
    made = Desk(folder / "work", folder / "home")
    (made.folder / "wheels").mkdir()
    lay_out(made.folder / "models" / "bert-v1.0.0", tensor_bytes=1 << 20)
    lay_out(made.folder / "models" / "bert-v2.0.0", other=1, tensor_bytes=1 << 20)
    (made.folder / "models" / "bert-v1.0.0" / "weights.json").write_text('{"layers": ["attention", "output"]}' * 4000)
    assert made.run("publish", "--model", "bert-v1.0.0").code == 0
    assert made.run("publish", "--model", "bert-v2.0.0", "--channel", "stable").code == 0
    return made


@pytest.fixture(scope="module")
def built(desk):
    done = desk.run(
        "bundle.build", "--model", "bert@stable", "--to", "usb", "--volume-size", "3300000", "--parity", "10%", *NO_WHEELS
    ).result
    assert done["safe_to_remove"]
    return done


def test_plan_says_what_build_then_writes(desk, built):
    plan = desk.run("bundle.plan", "--model", "bert@stable", "--volume-size", "3300000", "--parity", "10").result
    assert plan["bundle"] == built["bundle"]
    assert [(one["name"], one["size"]) for one in plan["volumes"]] == [(one["name"], one["size"]) for one in built["volumes"]]
    assert plan["media"] == len(built["volumes"]) == 2
    assert not (desk.folder / "elsewhere").exists()


def test_dry_build_writes_nothing(desk):
    shown = desk.start("--dry", "bundle.build", "--model", "bert@stable", "--to", "elsewhere", "--report", "json")
    assert (shown.wait(60), (desk.folder / "elsewhere").exists()) == (0, False)
    shown.communicate()


def test_what_was_written_passes_coreutils(desk, built):
    folder = desk.folder / "usb"
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {line.split(": ")[0] for line in checked.stdout.splitlines()} == names - {"SHA256SUMS"}
    readme = (folder / "README.txt").read_text()
    assert built["installer_sha256"] in readme
    assert readme.count(built["root_fingerprint"]) == 2


def test_steps_of_the_readme_do_what_they_say(desk, built, tmp_path):
    """By a person who types them as they stand, in the medium's folder."""
    usb = shutil.copytree(desk.folder / "usb", tmp_path / "usb")
    readme = (usb / "README.txt").read_text()
    steps = [line.strip() for line in readme.splitlines() if line.strip().startswith(("sha256sum ", "python3 "))]
    # The last is for a site that has trusted this root before, as this one has by then.
    assert [step.split()[0] for step in steps] == ["sha256sum", "python3", "python3"]
    assert ["SITE/bin/install.pyz" in step for step in steps] == [False, False, True]
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    for step in steps:
        words = step.replace("SITE", str(tmp_path / "site"))
        ran = subprocess.run(["sh", "-c", words], cwd=usb, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
    installed = tmp_path / "site" / "current" / "bert" / "model.safetensors"
    assert installed.read_bytes() == (desk.folder / "models/bert-v2.0.0/model.safetensors").read_bytes()
    (one,) = [line for line in readme.splitlines() if built["installer_sha256"] in line]
    assert one.strip() == hashlib.sha256((usb / "install.pyz").read_bytes()).hexdigest()
    assert "an empty folder" in readme
    assert not [line for line in readme.splitlines() if len(line) > 130 and built["root_fingerprint"] not in line]


def test_summary_tells_what_to_compare_and_that_it_is_safe(desk, built):
    again = desk.run(
        "bundle.build",
        "--model",
        "bert@stable",
        "--to",
        "usb",
        "--volume-size",
        "3300000",
        "--parity",
        "10%",
        *NO_WHEELS,
        report="plain",
    )
    assert again.code == 0, again.err
    assert "safe to remove" in again.out
    assert built["installer_sha256"] in again.out
    assert "kept" in again.out
    follow = again.out.splitlines()[-1].removeprefix("next: modelport ").split()
    assert desk.run(*follow).result["trusted"]


def test_one_volume_is_made_again_to_the_byte(desk, built):
    done = desk.run(
        "bundle.build", "--model", "bert@stable", "--to", "third", "--volume-size", "3300000", "--only", "2", *NO_WHEELS
    ).result
    assert (done["bundle"], [one["volume"] for one in done["volumes"]], done["of_volumes"]) == (built["bundle"], [2], 2)
    name = built["volumes"][1]["name"]
    assert (desk.folder / "third" / name).read_bytes() == (desk.folder / "usb" / name).read_bytes()


def test_a_bundle_is_a_source_for_fetch_show_and_verify(desk, built):
    usb = str(desk.folder / "usb")
    site = Desk(desk.folder.parent / "site", desk.folder.parent / "site-home")
    assert "trust.pin" in site.run("fetch", "--model", "bert@stable", "--source", usb).refused(4)
    assert site.run("trust.pin", "--source", usb, "--fingerprint", built["root_fingerprint"]).code == 0
    fetched = site.run("fetch", "--model", "bert", "--source", usb).result
    assert fetched["release"] == "bert-v2.0.0"
    assert (site.folder / "models/bert-v2.0.0/model.safetensors").read_bytes() == (
        desk.folder / "models/bert-v2.0.0/model.safetensors"
    ).read_bytes()
    shown = site.run("show", "--source", usb).result
    assert [one["model"] for one in shown["models"]] == ["bert"]
    assert site.run("show", "--model", "bert-v2.0.0", "--source", usb).result["facts"]["files"] == 5
    assert site.run("verify", "--model", "bert-v2.0.0", "--source", usb, "--all").result["read"] > 0
    assert "The bundle holds bert-v2.0.0" in site.run("fetch", "--model", "bert-v1.0.0", "--source", usb).refused(3)


def test_damaged_media_are_named_and_made_whole(desk, built, tmp_path):
    subprocess.run(["cp", "-r", desk.folder / "usb", tmp_path / "usb"], check=True)
    path = volumes_in(tmp_path / "usb")[0]
    flip(path, member_at(path, "parts/")[0] + 1000)
    assert path.name in desk.run("bundle.verify", "--from", str(tmp_path / "usb")).refused(3)
    done = desk.run("bundle.repair", "--folder", str(tmp_path / "usb")).result
    assert [one["name"] for one in done["repaired"]] == [path.name]
    proven = desk.run("bundle.verify", "--from", str(tmp_path / "usb"), "--root-fingerprint", built["root_fingerprint"]).result
    assert (proven["trusted"], proven["missing"]) == (True, [])
    for root in (f"root {proven['root_fingerprint']}", "the root that you named"):
        found = msgspec.convert(proven | {"trusted": root.startswith("the")}, BundleVerified)
        assert verify_summary(found).startswith(f"{found.name} is whole, signed under {root}: ")


def test_a_differential_holds_only_what_the_site_lacks(desk, built):
    done = desk.run("bundle.build", "--model", "bert-v2.0.0", "--base", "bert-v1.0.0", "--to", "delta", *NO_WHEELS).result
    assert done["bases"] == ["bert-v1.0.0"]
    assert done["left_out"] > 0
    assert done["bytes"] < built["bytes"] * 0.6
    # As a source it tells of its release, and what it lacks for a fetch; only the site can tell whether the base is there.
    desk.run("trust.pin", "--source", "delta", "--fingerprint", built["root_fingerprint"])
    shown = desk.run("show", "--source", "delta", "--model", "bert-v2.0.0").result
    assert shown["release"] == "bert-v2.0.0"
    proven = desk.run("bundle.verify", "--from", "delta", "--root-fingerprint", built["root_fingerprint"]).result
    assert any("to be made from bert-v1.0.0 at the site" in warning for warning in proven["warnings"])
    lacking = desk.run("fetch", "--source", "delta", "--model", "bert-v2.0.0", "--models-dir", "elsewhere")
    assert "bundle bert-v2.0.0-delta does not hold parts/" in lacking.refused(3)
    assert "it is for a site that has bert-v1.0.0" in lacking.err
    assert "asked again" not in lacking.err


def test_keep_for_pins_what_the_bundle_needs(desk):
    words = ("bundle.build", "--model", "bert-v1.0.0", "--to", "kept", "--keep-for", "1y", *NO_WHEELS)
    first = desk.run(*words).result
    assert "bundle bert-v1.0.0" in desk.run("retire", "--model", "bert-v1.0.0").refused(8)
    again = desk.run(*words).result
    assert (again["bundle"], again["bytes_written"]) == (first["bundle"], 0)


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["bundle.build", "--model", "bert-v2.0.0"], 2, "--to is needed"),
        (
            ["bundle.build", "--model", "bert-v2.0.0", "--to", "x", "--volume-size", "1MiB"],
            2,
            "The least that works is --volume-size",
        ),
        (["bundle.build", "--model", "bert-v2.0.0", "--to", "x", "--only", "-1"], 2, "reads as a flag"),
        (["bundle.verify", "--from", "-x"], 2, "--from has the value '-x'"),
        (["bundle.verify", "--from", "models"], 2, "no volume"),
        (["bundle.repair", "--folder", "models"], 2, "no volume"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(desk, words, code, said):
    assert said in desk.run(*words).refused(code)
    assert not (desk.folder / "x").exists()


def test_a_site_key_that_did_not_sign_is_refused(desk):
    inventory = desk.folder / "inventory.json"
    signed = {
        "format": "modelport-inventory",
        "format_version": 1,
        "root_fingerprint": "00" * 32,
        "snapshot": 1,
        "made_at": "2026-11-22T10:00:00Z",
        "releases": [],
    }
    inventory.write_text(json.dumps({"signed": signed, "signatures": [{"keyid": "00", "sig": "ab" * 64}]}))
    words = ("bundle.plan", "--model", "bert-v2.0.0", "--have", str(inventory))
    assert "is none of" in desk.run(*words).refused(2)
    assert "not signed by the key" in desk.run(*words, "--site-key", "cd" * 32).refused(4)


def test_another_bundle_than_the_one_asked_for_again_is_not_taken_for_it(desk, built):
    words = ("bundle.build", "--model", "bert@stable", "--to", "usb", "--volume-size", "3300000", *NO_WHEELS, "--bundle")
    assert "ordered is --bundle 00zz" in desk.run(*words, "00zz").refused(8)
    assert desk.run(*words, built["bundle"][:12]).result["bundle"] == built["bundle"]


@pytest.mark.parametrize("name, text", [("README.txt", "my own notes\n"), ("SHA256SUMS", f"{'00' * 32}  photo.jpg\n")])
def test_files_of_somebody_else_are_not_written_over(desk, name, text):
    medium = desk.folder / f"stick-{name}"
    medium.mkdir()
    (medium / name).write_text(text)
    words = ("bundle.build", "--model", "bert@stable", "--to", medium.name, *NO_WHEELS)
    assert f"{name} is not of a bundle" in desk.run(*words).refused(8)
    assert [path.name for path in medium.iterdir()] == [name]
    assert (medium / name).read_text() == text


def test_what_stands_beside_a_bundle_that_lost_its_volumes_is_taken_for_its_own(desk, built):
    medium = shutil.copytree(desk.folder / "usb", desk.folder / "emptied")
    for volume in volumes_in(medium):
        volume.unlink()
    words = ("bundle.build", "--model", "bert@stable", "--to", "emptied", "--volume-size", "3300000", *NO_WHEELS)
    assert desk.run(*words).result["name"] == built["name"]


def test_some_volumes_are_verified_as_the_build_says(desk, built):
    words = ("bundle.build", "--model", "bert@stable", "--to", "some", "--volume-size", "3300000", "--only", "2", *NO_WHEELS)
    follow = desk.run(*words, report="plain").out.splitlines()[-1].removeprefix("next: modelport ").split()
    verified = desk.run(*follow, report="plain")
    assert verified.code == 0, verified.err
    said = verified.out.strip()
    assert said.startswith(f"what is here of {built['name']} is whole, signed under the root that you named: 1 volume, ")
    assert said.endswith("; volume 1 of 2 is not here")
