"""How the timestamp of a copy moves: by what the store allows, and not for ever."""

import pytest

from pipeline.errors import AnotherPublisher, ConditionFailed
from pipeline.layout import TIMESTAMP
from pipeline.release import Release
from pipeline.stores.memory import MemoryStore
from pipeline.trust.copying import announce_copy
from pipeline.trust.whole import SignedTree
from tests.trust_world import read, world_with_release


class Refusing(MemoryStore):
    """Refuses the first ``times`` writes of the timestamp."""

    def __init__(self, times: int) -> None:
        super().__init__("copy")
        self.times = times

    def put(self, key, body, **conditions):
        if key == TIMESTAMP and self.times:
            self.times -= 1
            raise ConditionFailed("412")
        return super().put(key, body, **conditions)


@pytest.fixture
def tree(tmp_path):
    view = read(world_with_release(tmp_path, Release.parse("bert-v1.0.0")))
    return SignedTree("memory:", view.root, view.timestamp, (view.root,), (), (), (), (), (), (), None, ())


def test_timestamp_is_written_after_lost_writes(tree):
    pauses = []
    store = Refusing(3)
    assert announce_copy(store, tree, pause=pauses.append) == (tree.timestamp.version, True)
    assert len(pauses) == 3
    assert b"".join(store.get(TIMESTAMP)) == tree.timestamp.data


@pytest.mark.timeout(20)
def test_store_that_never_lets_the_timestamp_be_written_ends_the_copy(tree):
    store = Refusing(10**9)
    with pytest.raises(AnotherPublisher, match=r"timestamp\.json changed before each of") as caught:
        announce_copy(store, tree, pause=lambda seconds: None)
    assert "If-Match" in caught.value.hint
