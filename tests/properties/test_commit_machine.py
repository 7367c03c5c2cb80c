"""Any sequence of commits, kills and rotations by any publisher: a client always reads, and nothing committed is lost."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from securesystemslib.signer import CryptoSigner

from pipeline.digest import sha256_of
from pipeline.errors import ConflictError
from pipeline.layout import TIMESTAMP, role_version
from pipeline.release import Channel, Release
from pipeline.trust import commit, rotate
from pipeline.trust.changes import MoveChannel, Pin, Retire, Unyank, Yank
from pipeline.trust.commit import commit_changes
from pipeline.trust.reading import open_timestamp, read_view
from pipeline.trust.renewal import renew_trust
from pipeline.trust.rotate import rotate_key
from tests.servers.processes import scratch
from tests.trust_world import Killed, World, killing

STABLE = Channel("stable")
ROLES = ("root", "targets", "snapshot", "timestamp", "release")
STEPS = (*commit.STEPS, *rotate.STEPS)


class Commits(RuleBasedStateMachine):
    """``sure`` are releases whose commit returned, ``maybe`` those whose publisher died."""

    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        self.world = World(self.stack.enter_context(scratch()))
        first = self.world.begin()
        commit_changes(first, self.world.publish_changes(first, "bert-v1.0.0"))
        self.keys = first.keys
        self.publishers = [first, self.world.publisher(), self.world.publisher()]
        self.clients = [self.world.client()]
        self.sure = {"bert-v1.0.0"}
        self.number = 0

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    def who(self, number: int):
        return replace(self.publishers[number], keys=self.keys)

    @rule(who=st.integers(0, 2), move=st.booleans())
    def publish(self, who: int, move: bool) -> None:
        self.number += 1
        change = self.world.release_change(f"bert-v2.{self.number}.0")
        moves = [MoveChannel(STABLE, change.release, "me")] if move else []
        commit_changes(self.who(who), [change, *moves])
        self.sure.add(str(change.release))

    @rule(who=st.integers(0, 2), stop=st.sampled_from(commit.STEPS))
    def publish_and_die(self, who: int, stop: str) -> None:
        self.number += 1
        change = self.world.release_change(f"bert-v3.{self.number}.0")
        try:
            commit_changes(killing(self.who(who), stop), [change])
        except Killed:
            return
        self.sure.add(str(change.release))

    @rule(who=st.integers(0, 2), what=st.sampled_from(["yank", "unyank", "pin", "retire"]), data=st.data())
    def edit(self, who: int, what: str, data) -> None:
        release = Release.parse(data.draw(st.sampled_from(sorted(self.sure))))
        change = {
            "yank": Yank(release, "me", "bad"),
            "unyank": Unyank(release),
            "pin": Pin(release, "kept"),
            "retire": Retire(release, "me", "old"),
        }[what]
        try:
            commit_changes(self.who(who), [change])
        except ConflictError:
            assert what == "retire"
        else:
            if what == "retire":
                self.sure.discard(str(release))
        if not self.sure:
            self.publish(who, move=False)

    @rule(who=st.integers(0, 2), days=st.integers(0, 30))
    def renew(self, who: int, days: int) -> None:
        self.world.pass_time(days=days)
        renew_trust(self.who(who), settle=lambda: None)

    @rule(who=st.integers(0, 2), role=st.sampled_from(ROLES))
    def rotate(self, who: int, role: str) -> None:
        new = CryptoSigner.generate_ed25519()
        rotate_key(self.who(who), role, [new], settle=self.refresh)
        self.keys = self.keys.with_signers(new)

    @rule(who=st.integers(0, 2), role=st.sampled_from(ROLES), stop=st.sampled_from(STEPS))
    def rotate_and_die(self, who: int, role: str, stop: str) -> None:
        new = CryptoSigner.generate_ed25519()
        try:
            rotate_key(killing(self.who(who), stop), role, [new], settle=self.refresh)
        except Killed:
            self.refresh()
        # Whoever continues holds the key that was made.
        self.keys = self.keys.with_signers(new)
        rotate_key(self.who((who + 1) % 3), role, [new], settle=self.refresh)

    @rule(junk=st.sampled_from([b"", b"{", b"null", b'{"signatures":[],"signed":{}}']))
    def somebody_leaves_a_torn_snapshot(self, junk: bytes) -> None:
        named = [role_version(info.key) for info in self.world.store.list("metadata/")]
        number = max(version for role, version in filter(None, named) if role == "snapshot") + 1
        self.world.store.put(f"metadata/{number}.snapshot.json", junk, sha256=sha256_of(junk))

    def refresh(self) -> None:
        for client in self.clients:
            client.refresh()

    @invariant()
    def every_client_reads_and_nothing_sure_is_lost(self) -> None:
        if not hasattr(self, "clients"):
            return
        self.refresh()
        fresh = self.world.client()
        fresh.check(*(Release.parse(name) for name in sorted(self.sure)))
        view = read_view(self.world.store, self.world.state(), now=lambda: self.world.at)
        found = {str(entry.release) for entry in view.releases(Release.parse("bert-v1.0.0").model)}
        assert self.sure <= found
        assert open_timestamp(b"".join(self.world.store.get(TIMESTAMP))).version == view.snapshot.version


Commits.TestCase.settings = settings(
    max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
TestCommits = Commits.TestCase
