"""A channel is removed: by a commit that readers accept, unless something needs it or somebody moved it."""

from dataclasses import replace

import pytest

from pipeline.cdn_work import resume_work
from pipeline.errors import ChannelMoved, UnknownName
from pipeline.layout import TIMESTAMP
from pipeline.ports import Op
from pipeline.release import Channel
from pipeline.trust.changes import RemoveChannel
from pipeline.trust.commit import commit_changes
from pipeline.withdraw import retire_channel
from tests.desk import Desk
from tests.edge_world import BERT, front_memory, version
from tests.publish_world import lay_out

TYPO = Channel("stabel")


@pytest.fixture
def fronted(tmp_path):
    return front_memory(tmp_path)


def quiet(event):
    pass


def test_channel_of_a_typo_is_removed_and_its_release_can_be_retired(tmp_path):
    desk = Desk(tmp_path / "desk", tmp_path / "home")
    for number, channel in ((0, "stable"), (1, "stabel")):
        lay_out(desk.folder / "models" / f"bert-v1.{number}.0", other=number)
        assert desk.run("publish", "--model", f"bert-v1.{number}.0", "--profile", "raw", "--channel", channel).code == 0
    assert "channel stabel points to it" in desk.run("retire", "--model", "bert-v1.1.0").refused(8)
    assert "--reason" in desk.run("retire", "--model", "bert", "--channel", "stabel", "--reason", "typo").refused(2)
    said = desk.run("retire", "--model", "bert", "--channel", "stabel", report="plain")
    assert said.code == 0
    assert "bert@stabel is removed; bert-v1.1.0, to which it pointed, stays" in said.out
    # What a reader of that channel is told from now on.
    told = desk.run("fetch", "--model", "bert@stabel", "--source", str(desk.folder / ".modelport" / "store")).refused(2)
    assert "there is no channel stabel" in told
    assert "Did you mean stable?" in told
    assert list(desk.run("show", "--model", "bert").result["models"][0]["channels"]) == ["stable"]
    assert "Did you mean stable?" in desk.run("retire", "--model", "bert", "--channel", "stabel").refused(2)
    assert desk.run("retire", "--model", "bert-v1.1.0").result["changed"]
    assert desk.run("verify", "--model", "bert-v1.0.0", "--all").code == 0


def test_removal_is_shown_at_the_edge_and_the_channel_can_be_begun_anew(fronted):
    fronted.publish(0)
    fronted.promote(0, channel=TYPO)
    done = retire_channel(BERT, TYPO, fronted.place(), quiet)
    assert (done.changed, done.channel, done.release) == (True, TYPO, str(version(0)))
    assert fronted.refreshed()[-1] == TIMESTAMP
    with pytest.raises(UnknownName):
        fronted.site.channel("bert", TYPO)
    assert fronted.seen() == str(version(0))
    fronted.promote(0, channel=TYPO)
    assert fronted.site.channel("bert", TYPO).sequence == 1


def test_channel_that_somebody_moved_meanwhile_stays(fronted):
    fronted.publish(0)
    fronted.publish(1)
    publisher = fronted.place().publisher(quiet)
    seen = RemoveChannel(BERT, Channel("stable"), version(0))
    with pytest.raises(ChannelMoved, match="by now it points to bert-v1"):
        commit_changes(publisher, [seen])
    assert fronted.seen() == str(version(1))


def test_move_that_waits_for_a_removed_channel_is_void(tmp_path):
    fronted = front_memory(tmp_path, per_day=2)
    fronted.publish(0, channel=TYPO, promote_cold=True)
    assert fronted.publish(1, channel=TYPO).channel_waits == TYPO
    retire_channel(BERT, TYPO, fronted.place(), quiet)
    (cdn,) = fronted.cdns
    cdn.limits = {**cdn.limits, Op.PREFETCH: replace(cdn.limits[Op.PREFETCH], per_day=1000)}
    fronted.days += 1
    with pytest.raises(ChannelMoved, match="stabel was removed after its move"):
        resume_work(fronted.place(), quiet)
    # The promise is void: nobody is told of it again.
    assert resume_work(fronted.place(), quiet).jobs == []
    with pytest.raises(UnknownName):
        fronted.site.channel("bert", TYPO)
