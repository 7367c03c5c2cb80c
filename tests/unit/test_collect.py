"""What a collection takes, what keeps the rest, and when: by the store's clock alone."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from pipeline.collect import CollectOrder
from pipeline.digest import sha256_of
from pipeline.errors import AccessDenied, NotPinned, ObjectMissing, StoreUnavailable, UsageError
from pipeline.events import Warned, ignore
from pipeline.keeping import keep_releases, release_pins
from pipeline.layout import LEASES, PARTS, TARGETS, TIMESTAMP, role_version
from pipeline.manifest import Base
from pipeline.plan.inputs import Inputs
from pipeline.release import Release
from pipeline.steps import lease as lease_module
from pipeline.steps import sweep as sweep_module
from pipeline.steps.lease import COLLECTOR, Lease, new_record
from pipeline.steps.sweep import sweep_store
from pipeline.stores.dryrun import DryRunStore
from pipeline.stores.faulty import Fault, FaultyStore
from pipeline.stores.memory import MemoryStore
from pipeline.trust.changes import Retire
from pipeline.trust.commit import commit_changes
from pipeline.trust.facts import PinFact
from pipeline.trust.keyfolder import open_keys
from pipeline.trust.state import TrustState
from pipeline.wire import encode_document
from pipeline.withdraw import yank_release
from tests.collect_world import Garden, deleted_of, garbage_of
from tests.makers.stores import plant
from tests.publish_world import Killed, Machine

ORPHAN = f"{PARTS}ab/{'ab' * 32}"


@pytest.fixture(scope="module")
def grown(tmp_path_factory) -> Garden:
    return Garden(tmp_path_factory.mktemp("grown")).plant()


@pytest.fixture
def garden(grown, tmp_path) -> Garden:
    return grown.copy(tmp_path)


@pytest.fixture
def ripe(garden) -> Garden:
    """What is retired was recorded 8 days ago."""
    garden.collect()
    garden.pass_days(8)
    return garden


def test_more_garbage_than_a_record_holds_goes_in_turn(monkeypatch):
    # Some 30 of these keys in each of its three lists.
    monkeypatch.setattr("pipeline.steps.audit.RECORD_BYTES", 8000)
    at = [datetime(2026, 11, 22, tzinfo=UTC)]
    store = MemoryStore(now=lambda: at[0])
    for number in range(64):
        plant(store, f"{PARTS}{number:02x}/{number:02x}{number:062x}", b"x")
    left = []
    for _ in range(6):
        sweep_store(store, (), ignore, by="me@test")
        left.append(len(list(store.list(PARTS))))
        at[0] += timedelta(days=8)
    # Of two records of one second only what both name counts, so that each second run finds nothing due.
    assert left[0] == 64
    assert 64 > left[1] > left[3] > left[5] == 0


def of_model(keys, model):
    return {key for key in keys if key.startswith(f"{TARGETS}{model}/") and "manifest" in key}


def parts(keys):
    return {key for key in keys if key.startswith(PARTS)}


def roles(keys, role):
    return sorted(role_version(key)[1] for key in keys if (role_version(key) or ("", 0))[0] == role)


# ---- the plan


def test_plan_shows_what_goes_and_what_keeps_the_rest_and_writes_nothing(garden):
    before = dict(garden.store.inner._objects)
    done = garden.collect(apply=False)
    assert garden.store.inner._objects == before
    assert [(one.release, one.why) for one in done.kept] == [("bert-v1.0.0", ["published"]), ("bert-v1.1.0", ["channel stable"])]
    assert of_model(garbage_of(done), "gpt")
    assert not of_model(garbage_of(done), "bert")
    assert all((one.recorded_at, one.due_at, one.due, one.deleted) == ("", "", False, False) for one in done.garbage)
    assert done.bytes == sum(len(b"".join(garden.store.get(one.key))) for one in done.garbage)
    shared = parts(info.key for info in garden.store.list(PARTS)) - parts(garbage_of(done))
    assert sum(one.alone for one in done.kept) <= sum(one.bytes for one in done.kept)
    assert shared


def test_dry_store_takes_a_whole_collection_and_nothing_is_changed(ripe):
    before = dict(ripe.store.inner._objects)
    dry = DryRunStore(ripe.store)
    done = ripe.collect(place=ripe.place(store=dry))
    assert done.deleted
    assert ripe.store.inner._objects == before


def test_place_that_trusts_nothing_there_writes_nothing_there(garden, tmp_path):
    stranger = Machine(tmp_path / "stranger", garden.machine.shelf, garden.machine.keys)
    before = dict(garden.store.inner._objects)
    with pytest.raises(NotPinned):
        garden.collect(place=stranger.place(store=garden.store))
    assert garden.store.inner._objects == before


def test_no_key_is_needed(ripe, tmp_path):
    keyless = Machine(tmp_path / "keyless", ripe.machine.shelf, "")
    TrustState(tmp_path / "keyless" / "state").pin(ripe.site.fingerprint)
    assert ripe.collect(place=keyless.place(store=ripe.store)).deleted


# ---- grace


def test_first_run_records_and_a_run_after_the_grace_deletes(garden):
    first = garden.collect()
    assert (first.deleted, first.next_due_at != "") == (0, True)
    garden.pass_days(6.9)
    assert garden.collect().deleted == 0
    garden.pass_days(0.2)
    before = garden.tree()
    done = garden.collect()
    assert deleted_of(done) == of_model(garbage_of(first), "gpt") | parts(garbage_of(first)) | {
        key for key in garbage_of(first) if "channels" in key
    }
    assert garden.tree() == before - deleted_of(done)
    garden.whole("bert-v1.0.0", "bert-v1.1.0")
    garden.pass_days(23)
    rest = garden.collect()
    assert deleted_of(rest) == garbage_of(first) - deleted_of(done)
    assert garbage_of(garden.collect()) == set()
    garden.whole("bert-v1.0.0", "bert-v1.1.0")
    garden.reader().check(Release.parse("bert-v1.0.0"), Release.parse("bert-v1.1.0"))


def test_graces_may_be_other_ones(garden):
    garden.collect()
    garden.pass_days(2)
    assert garden.collect(grace=timedelta(days=3)).deleted == 0
    assert parts(deleted_of(garden.collect(grace=timedelta(days=1))))
    garden.pass_days(2)
    done = garden.collect(metadata_grace=timedelta(days=3))
    assert roles(deleted_of(done), "snapshot")


@pytest.mark.parametrize("flag", ["grace", "metadata_grace"])
def test_grace_under_a_day_is_refused(flag):
    with pytest.raises(UsageError, match="under a day"):
        CollectOrder(**{flag: timedelta(hours=23)})


def test_what_was_needed_in_between_waits_anew(garden):
    garden.collect()
    garden.pass_days(6)
    garden.publish("gpt-v1.1.0", garden.source("gpt", 0))
    garden.collect()
    garden.retire("gpt-v1.1.0")
    garden.pass_days(2)
    assert not parts(deleted_of(garden.collect()))
    garden.pass_days(8)
    assert parts(deleted_of(garden.collect()))


def test_parts_wait_for_a_manifest_that_stays_and_names_them(garden):
    """The parts were garbage before, too; nobody looked while the second release had them."""
    garden.collect()
    garden.pass_days(6)
    garden.publish("gpt-v1.1.0", garden.source("gpt", 0))
    garden.retire("gpt-v1.1.0")
    garden.pass_days(2)
    done = garden.collect()
    held = {one.key: one.held_by for one in done.garbage if one.held_by}
    assert parts(held) == set(held)
    assert all("gpt/1.1.0" in manifest for manifest in held.values())
    assert not parts(deleted_of(done))
    assert of_model(deleted_of(done), "gpt") == {key for key in of_model(garbage_of(done), "gpt") if "1.0.0" in key}
    garden.pass_days(8)
    assert parts(deleted_of(garden.collect())) == set(held)


def test_manifest_that_a_role_named_since_it_was_recorded_waits_anew(garden):
    """Left by a killed publisher and recorded; then published, and retired a week later. Nobody looked in between."""

    def killing(name):
        if name == "publish.commit":
            raise Killed

    with pytest.raises(Killed):
        garden.publish("app-v1.0.0", garden.source("app", 1), place=garden.place(step=killing))
    for info in list(garden.store.list(LEASES)):
        garden.store.delete(info.key)
    assert of_model(garbage_of(garden.collect()), "app")
    garden.publish("app-v1.0.0", garden.source("app", 1))
    garden.pass_days(8)
    garden.retire("app-v1.0.0")
    done = garden.collect()
    held = {one.key: one.held_by for one in done.garbage if one.held_by}
    assert of_model(held, "app")
    assert parts(held)
    assert not of_model(deleted_of(done), "app")
    garden.pass_days(7)
    done = garden.collect()
    assert of_model(deleted_of(done), "app")
    assert parts(held) <= deleted_of(done)


@pytest.mark.parametrize("body", [b"", b"{", b'{"signed":{"targets":{"x":{"hashes":{}}}}}', b'{"signed":{"targets":[]}}'])
def test_role_that_cannot_be_read_holds_nothing(ripe, body):
    for number in (98, 99):
        plant(ripe.store, f"metadata/{number}.gpt.json", body)
    assert of_model(deleted_of(ripe.collect()), "gpt")


def test_young_object_waits_for_its_own_age(garden):
    plant(garden.store, ORPHAN, b"first")
    garden.collect()
    garden.pass_days(6)
    plant(garden.store, ORPHAN, b"again")
    garden.pass_days(2)
    assert ORPHAN not in deleted_of(garden.collect())
    garden.pass_days(5)
    assert ORPHAN in deleted_of(garden.collect())


@pytest.mark.parametrize("year", [1970, 2099])
def test_machine_with_a_wrong_clock_collects_by_the_stores(garden, monkeypatch, year):
    off_s = (datetime(year, 6, 1, tzinfo=UTC) - datetime.now(UTC)).total_seconds()
    right, garden.machine.ahead_s = garden.machine.ahead_s, off_s
    monkeypatch.setattr(time, "time", lambda: datetime(year, 6, 1, tzinfo=UTC).timestamp())
    garden.collect()
    garden.pass_days(6)
    assert garden.collect().deleted == 0
    garden.pass_days(2)
    assert parts(deleted_of(garden.collect()))
    garden.machine.ahead_s = right
    garden.whole("bert-v1.0.0", "bert-v1.1.0")


# ---- what stays


def test_roots_the_timestamp_and_strange_names_are_never_taken(garden):
    strange = ["metadata/notes.txt", "parts/README", "targets/x", "parts/ab/short", "web/other/app.0123456789abcdef.js", "x.txt"]
    ours = ["control/ledger/job/00000001.json", "control/probes/0.json"]
    for key in (*strange, *ours):
        plant(garden.store, key, b"x")
    garden.collect()
    garden.pass_days(1000)
    done = garden.collect()
    assert done.deleted
    assert {info.key for info in garden.store.list("control/l")} | {info.key for info in garden.store.list("control/p")} == {
        *ours
    }
    assert garden.tree() >= {*strange, TIMESTAMP, "metadata/1.root.json"}
    assert all(role_version(key) is None or role_version(key)[0] != "root" for key in garbage_of(done))


def test_channel_keeps_what_it_names_and_its_older_documents_go(garden):
    documents = {key for key in garden.tree() if "channels" in key}
    assert len(documents) == 2
    assert len(documents & garbage_of(garden.collect(apply=False))) == 1


def test_yanked_release_stays(garden):
    yank_release(Release.parse("bert-v1.0.0"), garden.place(), garden.machine.events.append, reason="bad")
    assert "bert-v1.0.0" in {one.release for one in garden.collect(apply=False).kept}


def test_parts_that_others_share_stay_while_they_need_them(garden):
    garden.publish("app-v1.0.0", garden.source("gpt", 0))
    garden.publish("app-v1.1.0", garden.source("gpt", 0))
    garden.retire("app-v1.0.0")
    done = garden.collect(apply=False)
    assert not parts(garbage_of(done))
    assert of_model(garbage_of(done), "app")
    assert next(one for one in done.kept if one.release == "app-v1.1.0").alone > 0


def test_live_lease_keeps_its_bases_though_they_are_retired(garden):
    base = next(key for key in garden.tree() if key.startswith(f"{TARGETS}gpt/1.0.0/"))
    sha256 = base.rpartition("/")[2].partition(".")[0]
    inputs = Inputs(
        bases=(Base(release="gpt-v1.0.0", manifest_sha256=sha256),),
        part_size=64 << 20,
        profile="raw",
        encoding="raw",
        encoder="x",
    )
    record = msgspec.structs.replace(new_record("gpt-v2.0.0", inputs=inputs), host="far-away", id="1-a")
    plant(garden.store, f"{LEASES}gpt-v2.0.0.1-a.json", encode_document(record))
    done = garden.collect(apply=False)
    kept = {one.release: one.why for one in done.kept}
    assert kept["gpt-v1.0.0"] == ["base of gpt-v2.0.0, which far-away publishes"]
    assert base not in garbage_of(done)
    assert any("gpt-v2.0.0" in warning for warning in done.warnings)
    garden.pass_days(1)
    assert base in garbage_of(garden.collect(apply=False))


@pytest.mark.parametrize("release", ["gpt-v1.0.0", "../../x"])
def test_lease_that_names_nothing_real_keeps_nothing(garden, release):
    inputs = Inputs(
        bases=(Base(release=release, manifest_sha256="0" * 64),), part_size=64 << 20, profile="raw", encoding="raw", encoder="x"
    )
    record = msgspec.structs.replace(new_record("gpt-v2.0.0", inputs=inputs), host="far-away", id="1-a")
    plant(garden.store, f"{LEASES}gpt-v2.0.0.1-a.json", encode_document(record))
    assert len(garden.collect(apply=False).kept) == 2


def test_snapshot_that_nobody_announced_keeps_all_it_names(garden):
    """A publisher that is killed before its timestamp: the next one will announce what it left."""

    def killing(name):
        if name == "commit.names":
            raise Killed

    with pytest.raises(Killed):
        garden.publish("gpt-v2.0.0", garden.source("gpt", 0), place=garden.place(step=killing))
    for info in list(garden.store.list(LEASES)):
        garden.store.delete(info.key)
    done = garden.collect(apply=False)
    assert "gpt-v2.0.0" in {one.release for one in done.kept}
    assert not of_model(garbage_of(done), "gpt") - {key for key in garden.tree() if "gpt/1.0.0" in key}
    announced = json.loads(b"".join(garden.store.get(TIMESTAMP)))["signed"]["version"]
    assert f"metadata/{announced}.snapshot.json" not in garbage_of(done)
    garden.collect()
    garden.pass_days(40)
    garden.collect()
    publisher = garden.place().publisher(lambda _: None)
    commit_changes(replace_keys(publisher, garden), [])
    garden.whole("gpt-v2.0.0", "bert-v1.1.0")


def replace_keys(publisher, garden):
    return replace(publisher, keys=open_keys(Path(garden.machine.keys)))


def test_highest_number_of_each_role_stays_taken_though_nothing_names_it(garden):
    """A torn snapshot, and a role of a model that never came to be: an edge may hold these bytes for a year."""
    top = roles(garden.tree(), "snapshot")[-1]
    for key in (f"metadata/{top + 1}.snapshot.json", f"metadata/{top + 2}.snapshot.json", "metadata/1.ghost.json"):
        plant(garden.store, key, b"torn")
    garden.collect()
    garden.pass_days(40)
    done = garden.collect()
    assert f"metadata/{top + 1}.snapshot.json" in deleted_of(done)
    assert garden.tree() >= {f"metadata/{top + 2}.snapshot.json", "metadata/1.ghost.json"}
    garden.publish("bert-v2.0.0", garden.source("bert", 2))
    assert roles(garden.tree(), "snapshot")[-1] == top + 3
    garden.collect()
    garden.pass_days(40)
    assert f"metadata/{top + 2}.snapshot.json" in deleted_of(garden.collect())


def test_release_without_its_manifest_stops_everything(ripe):
    key = next(key for key in ripe.tree() if key.startswith(f"{TARGETS}bert/1.0.0/"))
    ripe.store.delete(key)
    before = ripe.tree()
    with pytest.raises(ObjectMissing, match=r"bert-v1\.0\.0") as caught:
        ripe.collect()
    assert "--repair" in caught.value.hint
    assert ripe.tree() == before
    assert not list(ripe.store.list(LEASES))


# ---- the web view


def test_hashed_files_of_the_last_five_live_pages_stay(garden, tmp_path):
    name = "app.{:016x}.js".format
    for number in range(8):
        folder = tmp_path / f"page{number}"
        folder.mkdir()
        (folder / "index.html").write_text(f"<script src={name(number)}></script>")
        (folder / name(number)).write_text(f"// {number}")
        garden.publish(f"page-v1.{number}.0", folder, kind="web", profile="web", channel="old" if number == 1 else None)
        plant(garden.store, f"web/page/{name(number)}", b"//")
    for key in ("web/page/index.html", "web/page/release.json", f"web/page/{name(99)}"):
        plant(garden.store, key, b"x")
    garden.retire("page-v1.6.0")
    garden.collect()
    garden.pass_days(8)
    done = garden.collect()
    gone = {key for key in deleted_of(done) if key.startswith("web/")}
    # 1 is on a channel; of the live ones 2, 3, 4, 5 and 7 are the last.
    assert gone == {f"web/page/{name(number)}" for number in (0, 6, 99)}
    assert {"web/page/index.html", "web/page/release.json"} <= garden.tree()


# ---- pins


def pin(garden, *releases, **more):
    return keep_releases(
        [Release.parse(name) for name in releases], garden.place(), garden.machine.events.append, **{"reason": "site A", **more}
    )


def test_pin_keeps_a_release_from_being_retired_until_it_ends(garden):
    done = pin(garden, "bert-v1.0.0", until=timedelta(days=10))
    assert (done.changed, done.until != "") == (True, True)
    why = {one.release: one.why for one in garden.collect(apply=False).kept}["bert-v1.0.0"]
    assert why == [f"pinned until {done.until}: site A"]
    with pytest.raises(Exception, match="pinned until"):
        garden.retire("bert-v1.0.0")
    garden.pass_days(11)
    assert {one.release: one.why for one in garden.collect(apply=False).kept}["bert-v1.0.0"] == ["published"]
    assert garden.retire("bert-v1.0.0").changed


def test_several_reasons_keep_a_release_and_each_goes_alone(garden):
    pin(garden, "bert-v1.0.0")
    pin(garden, "bert-v1.0.0", reason="audit")
    assert not pin(garden, "bert-v1.0.0", reason="audit").changed
    undo = [Release.parse("bert-v1.0.0")]
    assert release_pins(undo, garden.place(), garden.machine.events.append, reason="site A").changed
    assert {one.release: one.why for one in garden.collect(apply=False).kept}["bert-v1.0.0"] == ["pinned: audit"]
    assert release_pins(undo, garden.place(), garden.machine.events.append).changed
    assert not release_pins(undo, garden.place(), garden.machine.events.append).changed
    assert garden.retire("bert-v1.0.0").changed


def test_pins_of_several_models_are_one_commit_and_ended_ones_go(garden):
    garden.publish("app-v1.0.0", garden.source("gpt", 0))
    before = roles(garden.tree(), "snapshot")[-1]
    done = pin(garden, "bert-v1.0.0", "app-v1.0.0", until=timedelta(days=1))
    assert (done.releases, done.snapshot) == (["bert-v1.0.0", "app-v1.0.0"], before + 1)
    garden.pass_days(2)
    pin(garden, "bert-v1.1.0", reason="later")
    assert [one.release for one in garden.place().view().pins("bert")] == ["bert-v1.1.0"]


def test_pinned_release_that_another_program_retired_is_kept_all_the_same(garden):
    """No rule of ours lets that be signed; a tree of others may hold it."""

    class RetireAndPin(Retire):
        def apply(self, draft):
            super().apply(draft)
            draft.put_pins(self.release.model, [PinFact(release=str(self.release), reason="site A")])

    publisher = replace_keys(garden.place().publisher(lambda _: None), garden)
    commit_changes(publisher, [RetireAndPin(Release.parse("bert-v1.0.0"), "me", "old")])
    assert {one.release: one.why for one in garden.collect(apply=False).kept}["bert-v1.0.0"] == ["pinned: site A"]


@pytest.mark.parametrize(
    "more", [{"reason": ""}, {"until": timedelta(seconds=-1)}, {"until": datetime(2020, 1, 1, tzinfo=UTC)}], ids=str
)
def test_pin_without_a_reason_or_with_a_past_end_is_refused(garden, more):
    before = garden.tree()
    with pytest.raises(UsageError):
        pin(garden, "bert-v1.0.0", **more)
    assert garden.tree() == before


def test_retired_release_cannot_be_pinned(garden):
    with pytest.raises(UsageError, match=r"gpt-v1\.0\.0"):
        pin(garden, "gpt-v1.0.0")


# ---- leases


def test_live_publisher_lets_it_only_record(ripe):
    plant(ripe.store, ORPHAN, b"x")
    lease = Lease(ripe.store, new_record("bert-v3.0.0"), lambda _: None)
    lease.take()
    before = ripe.tree()
    done = ripe.collect()
    assert (done.deleted, done.stopped_by.startswith("bert-v3.0.0 on ")) == (0, True)
    assert ripe.tree() == before
    assert (ORPHAN in ripe.records()[-1]["unreachable"], ripe.records()[-1]["stopped_by"]) == (True, done.stopped_by)
    lease.drop()
    ripe.pass_days(7)
    assert ORPHAN in deleted_of(ripe.collect())


def test_stale_lease_stops_nothing_and_stays_for_its_owner(ripe):
    record = msgspec.structs.replace(new_record("bert-v3.0.0"), host="far-away", id="1-a")
    plant(ripe.store, f"{LEASES}bert-v3.0.0.1-a.json", encode_document(record))
    gone = msgspec.structs.replace(new_record(COLLECTOR), host="far-away", id="1-b")
    plant(ripe.store, f"{LEASES}gc.1-b.json", encode_document(gone))
    ripe.pass_days(1)
    assert ripe.collect().deleted
    assert [info.key for info in ripe.store.list(LEASES)] == [f"{LEASES}bert-v3.0.0.1-a.json"]


def test_publisher_that_comes_between_two_batches_stops_it(ripe, monkeypatch):
    monkeypatch.setattr(sweep_module, "BATCH", 1)
    lease = Lease(ripe.store, new_record("bert-v3.0.0"), lambda _: None)
    seen = []

    def step(name):
        if name == "gc.again":
            seen.append(name)
            if len(seen) == 2:
                lease.take()

    done = ripe.collect(place=ripe.place(step=step))
    lease.drop()
    assert (done.deleted, done.due > 1) == (1, True)
    assert set(ripe.records()[-1]["deleted"]) == deleted_of(done)
    assert any(isinstance(event, Warned) and event.code == "gc-stopped" for event in ripe.machine.events)


@pytest.mark.parametrize("other_id, goes_on", [("0-earlier", False), ("9" * 12 + "-later", True)])
def test_of_two_collectors_the_one_with_the_lower_id_goes_on(ripe, other_id, goes_on):
    record = msgspec.structs.replace(new_record(COLLECTOR), host="far-away", id=other_id)
    plant(ripe.store, f"{LEASES}gc.{other_id}.json", encode_document(record))
    assert bool(ripe.collect().deleted) == goes_on


def test_collector_that_slept_stops_before_its_next_delete(ripe, monkeypatch):
    """Its lease was renewed over ten minutes ago: publishers may soon take it for dead."""
    slept = [0.0]
    real = lease_module.elapsed_s
    monkeypatch.setattr(Lease.__init__, "__defaults__", (lambda: real() + slept[0],))

    def step(name):
        if name == "gc.delete":
            slept[0] += 601

    before = ripe.tree()
    done = ripe.collect(place=ripe.place(step=step))
    assert (done.deleted, "its own lease" in done.stopped_by) == (0, True)
    assert ripe.tree() == before


def test_collector_that_slept_stops_though_its_lease_was_renewed_when_it_woke(ripe, monkeypatch):
    slept = [0.0]
    real = lease_module.elapsed_s
    monkeypatch.setattr(Lease.__init__, "__defaults__", (lambda: real() + slept[0],))
    leases = []
    monkeypatch.setattr(sweep_module, "Lease", lambda *given: leases.append(Lease(*given)) or leases[-1])

    def step(name):
        if name == "gc.delete":
            slept[0] += 601
            # What its thread does.
            leases[0]._write()

    done = ripe.collect(place=ripe.place(step=step))
    assert (done.deleted, "its own lease" in done.stopped_by) == (0, True)


def test_collector_renews_its_lease_between_batches(ripe, monkeypatch):
    slept = [0.0]
    real = lease_module.elapsed_s
    monkeypatch.setattr(Lease.__init__, "__defaults__", (lambda: real() + slept[0],))
    monkeypatch.setattr(sweep_module, "BATCH", 1)

    def step(name):
        if name == "gc.again":
            slept[0] += 400

    done = ripe.collect(place=ripe.place(step=step))
    assert done.deleted == done.due > 1


# ---- records


def test_record_names_who_deleted_what(ripe):
    done = ripe.collect()
    record = ripe.records()[-1]
    assert (set(record["deleted"]), record["by"]) == (deleted_of(done), ripe.machine.place().by)
    assert set(record["unreachable"]) == garbage_of(done) - deleted_of(done)
    assert not list(ripe.store.list(LEASES))


def test_record_that_cannot_be_read_lets_every_time_begin_anew(ripe):
    plant(ripe.store, "control/audit/999999999999-x.json", b"{")
    assert ripe.collect().deleted == 0
    ripe.pass_days(8)
    assert ripe.collect().deleted


def test_records_do_not_pile_up_and_no_time_is_lost_by_it(garden):
    garden.collect()
    for day in range(1, 29):
        garden.pass_days(1)
        done = garden.collect()
        # The first of the row, the one before it ends, the newest, and what says what was deleted.
        assert len(garden.records()) <= 4, day
    garden.pass_days(2)
    done = garden.collect()
    assert garbage_of(done) == deleted_of(done)
    assert [record for record in garden.records() if record["deleted"]]
    garden.pass_days(50)
    garden.collect()
    assert [record for record in garden.records() if record["deleted"]]


# ---- a store that refuses


def denied():
    return AccessDenied("DELETE refused: 403 AccessDenied")


def test_refused_delete_is_one_clear_line_and_the_record_says_what_is_gone(ripe, monkeypatch):
    monkeypatch.setattr(sweep_module, "DELETES_AT_ONCE", 1)
    store = FaultyStore(ripe.store, [Fault("delete", "refuse", times=99, key=PARTS, error=denied)])
    before = ripe.tree()
    with pytest.raises(AccessDenied) as caught:
        ripe.collect(place=ripe.place(store=store))
    assert caught.value.exit_code == 5
    assert PARTS in str(caught.value)
    assert "right to delete" in caught.value.hint
    gone = before - ripe.tree()
    assert gone
    assert set(ripe.records()[-1]["deleted"]) == gone
    assert not list(ripe.store.list(LEASES))
    assert ripe.collect().deleted
    ripe.whole("bert-v1.0.0", "bert-v1.1.0")


def test_lost_answer_to_a_delete_is_no_failure(ripe):
    store = FaultyStore(ripe.store, [Fault("delete", "lose answer", key=PARTS)])
    assert ripe.collect(place=ripe.place(store=store)).deleted


def test_collector_that_cannot_record_deletes_nothing(ripe):
    store = FaultyStore(ripe.store, [Fault("put", "refuse", times=99, key="control/audit/")])
    before = ripe.tree()
    with pytest.raises(StoreUnavailable):
        ripe.collect(place=ripe.place(store=store))
    assert ripe.tree() == before


def test_bytes_of_a_garbage_manifest_that_lie_hold_nothing(ripe):
    body = b'{"parts":[]}'
    plant(ripe.store, f"{TARGETS}gpt/9.9.9/{'0' * 64}.manifest.json", body)
    torn = b"{"
    plant(ripe.store, f"{TARGETS}gpt/9.9.8/{sha256_of(torn)}.manifest.json", torn)
    assert parts(deleted_of(ripe.collect()))
