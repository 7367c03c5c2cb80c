"""Verify names every missing, short or wrong object of a release."""

import pytest

from tests.desk import Desk
from tests.publish_world import lay_out


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Desk:
    folder = tmp_path_factory.mktemp("prepared")
    desk = Desk(folder / "desk", folder / "home")
    lay_out(desk.folder / "models" / "bert-v1.0.0")
    assert desk.run("publish", "--model", "bert-v1.0.0", "--profile", "raw").code == 0
    desk.keep()
    return desk


@pytest.fixture
def desk(prepared) -> Desk:
    prepared.restore()
    return prepared


def parts(desk):
    """Objects of parts, the largest last."""
    store = desk.folder / ".modelport" / "store"
    return sorted((path for path in (store / "parts").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def key_of(path):
    return f"parts/{path.parent.name}/{path.name}"


def test_every_object_that_is_not_as_signed_is_named(desk):
    missing, short, *_, wrong = parts(desk)
    missing.unlink()
    short.write_bytes(short.read_bytes()[:-1])
    wrong.write_bytes(bytes(wrong.stat().st_size))
    refused = desk.run("verify", "--model", "bert-v1.0.0", "--all").refused(3)
    assert f"{key_of(missing)}: it is missing" in refused
    assert f"{key_of(short)}: it has" in refused
    assert f"{key_of(wrong)}: it has" in refused
    assert "3 of 4 objects" in refused
    assert "--repair" in refused
    # Without reading, sizes still tell.
    quick = desk.run("verify", "--model", "bert-v1.0.0").refused(3)
    assert key_of(missing) in quick
    assert key_of(short) in quick
    repaired = desk.run("publish", "--model", "bert-v1.0.0", "--profile", "raw", "--repair").result
    assert repaired["already_published"]
    assert desk.run("verify", "--model", "bert-v1.0.0", "--all").result["read"] == 4


def test_altered_manifest_is_refused_before_its_parts_are_looked_at(desk):
    [manifest] = (desk.folder / ".modelport" / "store" / "targets" / "bert" / "1.0.0").iterdir()
    manifest.write_bytes(manifest.read_bytes().replace(b'"size":', b'"size" :'))
    desk.run("verify", "--model", "bert-v1.0.0").refused(3)
    desk.run("show", "--model", "bert-v1.0.0").refused(3)


def test_altered_metadata_is_refused(desk):
    timestamp = desk.folder / ".modelport" / "store" / "metadata" / "timestamp.json"
    good = timestamp.read_bytes()
    timestamp.write_bytes(good.replace(b'"version": 2', b'"version": 9').replace(b'"version":2', b'"version":9'))
    assert timestamp.read_bytes() != good
    desk.run("verify", "--model", "bert-v1.0.0").refused(4)


def test_lower_timestamp_than_was_seen_is_refused_as_rollback(desk):
    timestamp = desk.folder / ".modelport" / "store" / "metadata" / "timestamp.json"
    old = timestamp.read_bytes()
    lay_out(desk.folder / "models" / "bert-v1.1.0", other=1)
    desk.run("publish", "--model", "bert-v1.1.0", "--profile", "raw")
    timestamp.write_bytes(old)
    assert "version" in desk.run("verify", "--model", "bert-v1.0.0").refused(4)


@pytest.mark.parametrize(("words", "read"), [((), 1), (("--sample", "0%"), 0), (("--sample", "60%"), 2), (("--all",), 4)])
def test_as_much_is_read_as_was_asked_for_and_one_part_where_nothing_is_said(desk, words, read):
    assert desk.run("verify", "--model", "bert-v1.0.0", *words).result["read"] == read


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "bert-v9.9.9"], "bert-v9.9.9"),
        (["--model", "brt-v1.0.0"], "bert"),
        (["--model", "bert-v1.0.0", "--sample", "5x"], "--sample"),
        (["--model", "bert-v1.0.0", "--sample", "101%"], "--sample"),
        (["--model", "bert@stable"], "modelport show --model bert lists them"),
        (["--model", "bert-v1.0"], "three numbers, as in bert-v1.0.0."),
        (["--model", "bert-1.0.0"], "Did you mean bert-v1.0.0?"),
        (["--model", "bert_v1.0.0"], "Did you mean bert-v1.0.0?"),
        (["--model", "bert@1.0.0"], "Did you mean bert-v1.0.0?"),
        (["--model", "v1.0.0"], "Name the model, too, as in bert-v1.0.0."),
        (["--model", "gpt-2"], "modelport show --model gpt-2 lists them"),
        (["--model", "bert-v1"], "three numbers, as in bert-v1.0.0."),
    ],
)
def test_unusable_request_is_one_clear_line(desk, words, said):
    assert said in desk.run("verify", *words).refused(2)
