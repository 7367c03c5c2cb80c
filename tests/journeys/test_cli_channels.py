"""Channels at the command line, with a real store, a real edge and a webhook between them."""

import re

import pytest

from tests.desk import Desk
from tests.publish_world import lay_out
from tests.servers.edges import run_hook, run_nginx
from tests.servers.origins import open_origin, public_bucket

SETTINGS = """
store: s3://{bucket}/{prefix}
endpoint: {endpoint}
cdn:
  provider: webhook
  base_url: {edge}
  endpoint: {hook}
  prefetch_path: /prefetch
  refresh_path: /refresh
"""


@pytest.fixture(scope="module")
def bucket(seaweedfs):
    return public_bucket(seaweedfs)


@pytest.fixture
def fronted(seaweedfs, bucket, tmp_path):
    """A desk whose settings name store and CDN, and the edge."""
    origin = open_origin(seaweedfs, bucket)
    with run_nginx(origin.server, origin.path) as edge, run_hook(edge) as hook:
        desk = Desk(tmp_path / "desk", tmp_path / "home", seaweedfs.environment)
        words = {"bucket": origin.shelf.where, "prefix": origin.shelf.prefix, "endpoint": seaweedfs.endpoint}
        (desk.folder / "modelport.yaml").write_text(SETTINGS.format(edge=edge.url, hook=hook, **words))
        for number in range(2):
            lay_out(desk.folder / "models" / f"bert-v1.{number}.0", other=number)
        desk.run("trust.init")
        yield desk, edge


EDGE_TOKEN = "edge-token-canary-7"


def test_private_edge_is_proved_with_its_token_which_nobody_sees(seaweedfs, bucket, tmp_path):
    origin = open_origin(seaweedfs, bucket)
    with run_nginx(origin.server, origin.path, token=EDGE_TOKEN) as edge, run_hook(edge) as hook:
        desk = Desk(tmp_path / "desk", tmp_path / "home", {**seaweedfs.environment, "EDGE_TOKEN": EDGE_TOKEN})
        words = {"bucket": origin.shelf.where, "prefix": origin.shelf.prefix, "endpoint": seaweedfs.endpoint}
        settings = desk.folder / "modelport.yaml"
        settings.write_text(SETTINGS.format(edge=edge.url, hook=hook, **words))
        lay_out(desk.folder / "models" / "bert-v1.0.0")
        assert "403" in desk.run("trust.init").refused(5)
        with settings.open("a") as more:
            more.write("  auth: {kind: bearer, token: EDGE_TOKEN}\n")
        said = [desk.run("--debug", "trust.init")]
        assert said[0].code == 0, said[0].err.splitlines()[-3:]
        said.append(desk.run("--debug", "publish", "--model", "bert-v1.0.0", "--profile", "raw", "--channel", "stable"))
        assert said[1].result["complete"]
        assert said[1].result["edges"][0]["misses"] == 0
        del desk.environment["EDGE_TOKEN"]
        # Who asks no edge needs no token; who does is told which.
        assert desk.run("show").code == 0
        said.append(desk.run("promote", "--model", "bert-v1.0.0"))
        assert "EDGE_TOKEN is not set" in said[2].refused(2)
    assert [one for one in said if EDGE_TOKEN in one.out + one.err] == []
    ledger = [b"".join(origin.shelf.open().get(info.key)) for info in origin.shelf.open().list("control/")]
    assert [data for data in ledger if EDGE_TOKEN.encode() in data] == []


@pytest.fixture(scope="module")
def small_desk(tmp_path_factory):
    """A desk with one release in its own folder and no CDN."""
    folder = tmp_path_factory.mktemp("desk")
    desk = Desk(folder / "desk", folder / "home")
    lay_out(desk.folder / "models" / "bert-v1.0.0")
    assert desk.run("publish", "--model", "bert-v1.0.0", "--profile", "raw").code == 0
    return desk


def test_publish_promote_show_and_roll_back(fronted):
    desk, edge = fronted
    done = desk.run("publish", "--model", "bert-v1.0.0", "--profile", "raw", "--sample", "100%").result
    assert done["complete"]
    assert done["left"] == []
    (seen,) = done["edges"]
    assert seen["url"] == edge.url
    assert seen["hits"] == seen["objects"] == seen["read"] == done["parts"]["total"] + 1
    assert desk.run("promote", "--model", "bert-v1.0.0", "--channel", "stable").result["changed"]
    said = desk.run("publish", "--model", "bert-v1.1.0", "--profile", "raw", "--channel", "stable", report="plain")
    assert said.code == 0
    assert re.search(rf"edge +{edge.url}: \d+ objects as they should be: \d+ hits, 0 misses, 1 read back", said.out)
    said = desk.run("rollback", "--model", "bert", "--channel", "stable", report="plain")
    assert said.code == 0
    assert "bert@stable points to bert-v1.0.0, before to bert-v1.1.0" in said.out
    shown = desk.run("show", "--model", "bert", report="plain").out
    moves = re.findall(r"\d\dZ  (\S+): (\S+) -> (\S+)", shown)
    assert [(origin, to) for _, origin, to in moves] == [
        ("nothing", "bert-v1.0.0"),
        ("bert-v1.0.0", "bert-v1.1.0"),
        ("bert-v1.1.0", "bert-v1.0.0"),
    ]
    assert all("@" in by for by, _, _ in moves)
    history = desk.run("show", "--model", "bert").result["models"][0]["history"]["stable"]
    assert [(move["from"], move["to"]) for move in history] == [
        ("", "bert-v1.0.0"),
        ("bert-v1.0.0", "bert-v1.1.0"),
        ("bert-v1.1.0", "bert-v1.0.0"),
    ]
    served = edge.get(f"{edge.url}/metadata/timestamp.json").data
    assert b'"timestamp"' in served


def test_quota_leaves_7_and_the_day_of_the_rest_and_ends_with_0_if_told(fronted):
    desk, _ = fronted
    with (desk.folder / "modelport.yaml").open("a") as settings:
        settings.write("  prefetch_per_day: 2\n")
    said = desk.run("publish", "--model", "bert-v1.0.0", "--profile", "raw", "--channel", "stable")
    assert said.code == 7
    assert '"complete":false' in said.out.replace(" ", "")
    assert re.search(r"stable stays where it is; \d+ URLs wait in the ledger until 20\d\d-", said.err)
    assert "cdn.resume" in said.err
    again = desk.run("publish", "--model", "bert-v1.0.0", "--profile", "raw", "--channel", "stable", "--quota-ok")
    assert again.code == 0
    assert again.result["complete"] is False
    assert (again.result["channel"], again.result["channel_waits"]) == ("", "stable")
    assert "--promote-cold" in desk.run("promote", "--model", "bert-v1.0.0").refused(3)
    moved = desk.run("promote", "--model", "bert-v1.0.0", "--promote-cold").result
    assert moved["forced"]
    assert (moved["from"], moved["to"]) == ("", "bert-v1.0.0")


def test_dry_promotion_moves_nothing_and_calls_nobody(fronted):
    desk, edge = fronted
    desk.run("publish", "--model", "bert-v1.0.0", "--profile", "raw")
    acted = len(edge.acted)
    assert desk.run("--dry", "promote", "--model", "bert-v1.0.0").code == 0
    said = desk.run("--dry", "promote", "--model", "bert-v1.0.0", report="plain").out
    assert said.startswith("dry run, nothing was changed:\nbert@stable points to bert-v1.0.0")
    assert len(edge.acted) == acted
    assert desk.run("show", "--model", "bert").result["models"][0]["channels"] == {}


@pytest.mark.parametrize(
    "words, line",
    [
        (["promote", "--model", "bert-v9.0.0"], "there is no release bert-v9.0.0"),
        (["rollback", "--model", "bert", "--channel", "stable"], "has no channel yet"),
        (["rollback", "--model", "bert", "--to", "gpt-v1.0.0"], "no release of bert"),
        (["promote", "--model", "bert-v1.0.0", "--sample", "many"], "not a percentage"),
        (["promote", "--model", "bert-v1.0.0", "--channel", "Stable"], "channel"),
    ],
)
def test_what_cannot_be_moved_is_refused_with_2(small_desk, words, line):
    assert line in small_desk.run(*words).refused(2)


def test_new_model_that_reads_like_another_is_told(small_desk, tmp_path):
    lay_out(tmp_path / "folder", other=9)
    words = ("--dry", "publish", "--source", str(tmp_path / "folder"))
    assert "brt is a new model of this tree: did you mean bert?" in small_desk.run(*words, "--model", "brt-v1.0.0").err
    assert "new-model" not in small_desk.run(*words, "--model", "bert-v9.0.0").err


@pytest.mark.parametrize("words", [("promote", "--model", "bert-v1.0.0"), ("publish", "--model", "bert-v1.1.0")])
def test_new_channel_that_reads_like_another_is_told(tmp_path, words):
    desk = Desk(tmp_path / "desk", tmp_path / "home")
    for number in range(2):
        lay_out(desk.folder / "models" / f"bert-v1.{number}.0", other=number)
    first = desk.run("publish", "--model", "bert-v1.0.0", "--profile", "raw", "--channel", "stable")
    assert "new-channel" not in first.err
    assert "did you mean stable?" in desk.run("--dry", "publish", "--model", "bert-v1.1.0", "--channel", "stabel").err
    assert "stabel is a new channel of bert: did you mean stable?" in desk.run(*words, "--channel", "stabel").err
    assert "new-channel" not in desk.run(*words, "--channel", "stabel").err + desk.run(*words, "--channel", "beta").err
