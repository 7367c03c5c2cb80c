"""Plan, save, and publish by the plan: exactly that, or a stop before any metadata."""

import json
import os
from pathlib import Path

import pytest

from tests.desk import Desk
from tests.publish_world import lay_out, write_safetensors

PLANNED = ["--model", "bert-v1.1.0", "--channel", "stable", "--part-size", "4MiB"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Desk:
    """A desk with one published release, a second one in its folder, and a plan for it."""
    folder = tmp_path_factory.mktemp("prepared")
    desk = Desk(folder / "desk", folder / "home")
    lay_out(desk.folder / "models" / "bert-v1.0.0", tensor_bytes=2 << 20)
    lay_out(desk.folder / "models" / "bert-v1.1.0", tensor_bytes=2 << 20, other=1)
    assert desk.run("publish", "--model", "bert-v1.0.0", "--channel", "stable", "--part-size", "4MiB").code == 0
    assert desk.run("plan", *PLANNED, "--save", "plan.json").code == 0
    desk.keep()
    return desk


@pytest.fixture
def desk(prepared) -> Desk:
    prepared.restore()
    return prepared


def objects(desk, folder=".modelport/store"):
    store = desk.folder / folder
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and ".tmp" not in path.parts and "control" not in path.parts
    }


def visible(desk):
    return {key: data for key, data in objects(desk).items() if not key.startswith("parts/")}


def test_plan_writes_nothing_and_says_what_it_would_cost(desk):
    before = objects(desk)
    plan = desk.run("plan", *PLANNED).result
    assert objects(desk) == before
    assert not (desk.folder / ".modelport" / "store" / "control" / "leases").exists() or not list(
        (desk.folder / ".modelport" / "store" / "control" / "leases").iterdir()
    )
    assert plan["totals"]["objects"] >= 1
    assert plan["totals"]["bytes"] >= 2 << 20
    assert plan["totals"]["writes"]
    assert "estimate" in plan
    text = desk.run("plan", *PLANNED, report="plain").out
    assert "requests" in text
    assert "bert-v1.1.0" in text


def test_publish_does_exactly_what_the_plan_said(desk):
    plan = json.loads((desk.folder / "plan.json").read_text())
    done = desk.run("publish", *PLANNED, "--plan", "plan.json").result
    assert done["manifest"]["sha256"] == plan["manifest_sha256"]
    assert done["parts"]["total"] == len(plan["parts"])
    sent = sum(part["size"] for part in plan["parts"] if not part["present"])
    assert sent < done["bytes_uploaded"] < sent + 100_000
    assert done["bases"] == [base["release"] for base in plan["inputs"]["bases"]]
    again = desk.run("publish", *PLANNED, "--plan", "plan.json").result
    assert (again["already_published"], again["bytes_uploaded"]) == (True, 0)


def test_plan_holds_although_the_channel_moved_meanwhile(desk):
    lay_out(desk.folder / "models" / "bert-v1.0.5", tensor_bytes=2 << 20, other=5)
    desk.run("publish", "--model", "bert-v1.0.5", "--channel", "stable", "--part-size", "4MiB")
    done = desk.run("publish", *PLANNED, "--plan", "plan.json").result
    assert done["bases"] == ["bert-v1.0.0"]


def other_byte(desk):
    path = desk.folder / "models" / "bert-v1.1.0" / "model.safetensors"
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return PLANNED


def other_size(desk):
    with (desk.folder / "models" / "bert-v1.1.0" / "config.json").open("a") as file:
        file.write(" ")
    return PLANNED


def new_file(desk):
    (desk.folder / "models" / "bert-v1.1.0" / "more.txt").write_text("more")
    return PLANNED


def other_mode(desk):
    (desk.folder / "models" / "bert-v1.1.0" / "config.json").chmod(0o755)
    return PLANNED


def other_channel(desk):
    return ["--model", "bert-v1.1.0", "--channel", "beta", "--part-size", "4MiB"]


def no_channel(desk):
    return ["--model", "bert-v1.1.0", "--part-size", "4MiB"]


def other_release(desk):
    return ["--model", "bert-v1.2.0", "--source", "models/bert-v1.1.0", "--channel", "stable", "--part-size", "4MiB"]


def other_header(desk):
    folder = desk.folder / "models" / "bert-v1.1.0"
    path = folder / "model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    body = data[8 + size :]
    third = len(body) // 3
    write_safetensors(path, {"a": body[:third], "c": body[third : 2 * third], "b": body[2 * third :]})
    assert path.stat().st_size == len(data)
    return PLANNED


DIFFERENCES = [
    other_byte,
    other_size,
    new_file,
    other_mode,
    other_channel,
    no_channel,
    other_release,
    other_header,
]


@pytest.mark.parametrize("differ", DIFFERENCES)
def test_publish_that_differs_from_its_plan_stops_before_any_metadata(desk, differ):
    words = differ(desk)
    before = visible(desk)
    refused = desk.run("publish", *words, "--plan", "plan.json").refused(3)
    assert "this publish differs from its plan" in refused
    assert visible(desk) == before


def test_plan_for_another_store_is_refused(desk, tmp_path):
    refused = desk.run("publish", *PLANNED, "--store", str(tmp_path / "other"), "--plan", "plan.json").refused(3)
    assert "this publish differs from its plan: the store is" in refused
    assert not [path for path in (tmp_path / "other").rglob("*") if "targets" in path.name and path.suffix != ".json"]


def test_release_that_stands_already_is_held_against_the_plan_too(desk):
    desk.run("publish", "--model", "bert-v1.1.0", "--part-size", "4MiB")
    before = visible(desk)
    desk.run("publish", "--model", "bert-v1.1.0", "--channel", "beta", "--plan", "plan.json").refused(3)
    assert visible(desk) == before
    done = desk.run("publish", *PLANNED, "--plan", "plan.json").result
    assert (done["already_published"], done["channel"]) == (True, "stable")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": "x"', "\x00\x01"])
def test_file_that_is_no_plan_is_refused(desk, text):
    Path(desk.folder / "bad.json").write_text(text)
    assert "bad.json" in desk.run("publish", *PLANNED, "--plan", "bad.json").refused(3)


def test_dry_publish_only_plans(desk):
    before = objects(desk)
    shown = desk.run("--dry", "publish", *PLANNED).result
    assert shown["manifest_sha256"] == json.loads((desk.folder / "plan.json").read_text())["manifest_sha256"]
    assert objects(desk) == before


def test_plan_for_a_release_that_stands_sends_nothing(desk):
    desk.run("publish", "--model", "bert-v1.1.0", "--channel", "stable", "--part-size", "4MiB")
    lay_out(desk.folder / "models" / "bert-v1.2.0", tensor_bytes=2 << 20, other=2)
    desk.run("publish", "--model", "bert-v1.2.0", "--channel", "stable", "--part-size", "4MiB")
    # Today's bases and part size would be others: what stands is what counts.
    plan = desk.run("plan", "--model", "bert-v1.1.0", "--save", "again.json").result
    assert plan["already_published"]
    assert (plan["totals"]["objects"], plan["totals"]["bytes"], plan["totals"]["writes"]) == (0, 0, 0)
    done = desk.run("publish", "--plan", "again.json").result
    assert (done["already_published"], done["bytes_uploaded"]) == (True, 0)
    assert done["manifest"]["sha256"] == plan["manifest_sha256"]


def test_plan_for_a_name_that_is_taken_is_refused_as_the_publish_would_be(desk):
    desk.run("publish", "--model", "bert-v1.1.0", "--part-size", "4MiB")
    (desk.folder / "models" / "bert-v1.1.0" / "more.txt").write_text("more")
    assert "more.txt is new" in desk.run("plan", "--model", "bert-v1.1.0").refused(8)
    desk.run("retire", "--model", "bert-v1.1.0")
    assert "retired" in desk.run("plan", "--model", "bert-v1.1.0").refused(8)
