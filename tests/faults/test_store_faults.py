"""Every call of a publish fails in every way: the right class, one clear line, and the next run finishes."""

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import AccessDenied, IntegrityError, ModelportError, StoreUnavailable, VerifyFailed
from pipeline.layout import part_key
from pipeline.order import PublishOrder
from pipeline.planning import plan_release
from pipeline.publish import publish_release
from pipeline.release import Release
from pipeline.retry import Patience
from pipeline.stores.faulty import Fault, FaultyStore
from pipeline.wire import decode_manifest
from tests.publish_calm import finish
from tests.publish_world import STABLE, check_reader

OPS = ("put", "get", "head", "list", "delete", "now")
ONCE = Patience(attempts=1)


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch):
    """What is not visible yet is looked for again at once."""
    monkeypatch.setattr("pipeline.steps.prove.LATE_WAITS_S", (0, 0, 0))
    monkeypatch.setattr("pipeline.trust.survey.SECOND_LOOK_S", 0)


@pytest.fixture(scope="module")
def calls(calm, tmp_path_factory):
    """How often a later publish makes each call."""
    site = calm.site_before(1, tmp_path_factory.mktemp("count") / "site")
    faulty = FaultyStore(site.store)
    machine = site.machine("machine")
    machine.publish(calm.release(1), calm.sources[1], profile="raw", channel=STABLE, place=machine.place(store=faulty))
    return {op: sum(found == op for found, _ in faulty.calls) for op in OPS}


def disturbed(calm, folder, fault, *, patience=None, number=1):
    """A publish with one fault: the site, its reader, and the error that came of it."""
    site = calm.site_before(number, folder)
    machine = site.machine("machine")
    reader = check_reader(site)
    faulty = FaultyStore(site.store, [fault])
    error = None
    try:
        place = machine.place(store=faulty, patience=patience)
        machine.publish(calm.release(number), calm.sources[number], profile="raw", channel=STABLE, place=place)
    except ModelportError as raised:
        error = raised
    reader = check_reader(site, reader)
    site.bury()
    return site, machine, reader, error


def check_told(error, codes, fault):
    told = f"{fault}: {error!r}"
    assert error is not None, told
    assert error.exit_code in codes, told
    assert str(error), told
    assert "\n" not in str(error) + error.hint, told


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("kind", [StoreUnavailable, AccessDenied])
def test_call_that_is_refused_ends_the_publish_and_the_next_run_finishes(calm, calls, tmp_path, op, kind):
    assert calls[op]
    for nth in range(1, calls[op] + 1):
        fault = Fault(op, "refuse", nth, error=lambda: kind("planned", hint="planned"))
        site, machine, reader, error = disturbed(calm, tmp_path / f"{nth}", fault, patience=ONCE)
        # A reader of names may do without some answers, and a part that was seen on a thread may be asked for once less.
        if error is not None:
            check_told(error, {5}, fault)
        finish(calm, site, 1, machine, reader, told=str(fault))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("number", [0, 1], ids=["first", "second"])
def test_lost_answer_is_repeated_and_does_no_harm(calm, calls, tmp_path, op, number):
    for nth in range(1, calls[op] + 1):
        fault = Fault(op, "lose answer", nth)
        site, machine, reader, error = disturbed(calm, tmp_path / f"{nth}", fault, number=number)
        assert error is None, f"{fault}: {error!r}"
        finish(calm, site, number, machine, reader, told=str(fault))


@pytest.mark.parametrize("op", ["put", "delete"])
def test_lost_answer_that_nobody_repeats_is_found_done_by_the_next_run(calm, calls, tmp_path, op):
    for nth in range(1, calls[op] + 1):
        fault = Fault(op, "lose answer", nth)
        site, machine, reader, error = disturbed(calm, tmp_path / f"{nth}", fault, patience=ONCE)
        check_told(error, {5}, fault)
        finish(calm, site, 1, machine, reader, told=str(fault))


@pytest.mark.parametrize("op", ["get", "list"])
def test_answer_cut_short_is_asked_for_again(calm, calls, tmp_path, op):
    for nth in range(1, calls[op] + 1):
        fault = Fault(op, "cut short", nth)
        site, machine, reader, error = disturbed(calm, tmp_path / f"{nth}", fault)
        assert error is None, f"{fault}: {error!r}"
        finish(calm, site, 1, machine, reader, told=str(fault))


@pytest.mark.parametrize("op", ["get", "head"])
@pytest.mark.parametrize("times", [1, 2])
def test_object_that_is_not_there_yet_is_looked_for_again_or_the_next_run_finds_it(calm, calls, tmp_path, op, times):
    refused = 0
    for nth in range(1, calls[op] + 1):
        fault = Fault(op, "not there yet", nth, times)
        site, machine, reader, error = disturbed(calm, tmp_path / f"{nth}", fault)
        if error is not None:
            refused += 1
            check_told(error, {3, 4, 5}, fault)
        finish(calm, site, 1, machine, reader, told=str(fault))
    assert refused < calls[op]


def test_flipped_bit_in_what_is_read_is_never_believed(calm, calls, tmp_path):
    refused = 0
    for nth in range(1, calls["get"] + 1):
        fault = Fault("get", "flip bit", nth)
        site, machine, reader, error = disturbed(calm, tmp_path / f"{nth}", fault)
        if error is not None:
            refused += 1
            check_told(error, {3, 4}, fault)
        finish(calm, site, 1, machine, reader, told=str(fault))
    assert refused


def test_flipped_bit_in_what_is_sent_is_refused_by_a_store_that_verifies(calm, make_site):
    wanted = calm.manifests[0]
    puts = 0
    for nth in range(1, 30):
        site = make_site("memory")
        machine = site.machine()
        faulty = FaultyStore(site.store, [Fault("put", "flip bit", nth)], seed=nth)
        try:
            machine.publish(calm.release(0), calm.sources[0], profile="raw", channel=STABLE, place=machine.place(store=faulty))
        except ModelportError as error:
            check_told(error, {3}, f"put {nth}")
            puts += 1
        done = machine.publish(calm.release(0), calm.sources[0], profile="raw", channel=STABLE)
        assert done.manifest == wanted
        assert site.parts() == calm.parts[0]
        site.reader().refresh()
    assert puts > len(calm.parts[0])


def test_part_that_never_shows_up_stops_the_publish_before_any_metadata(calm, tmp_path):
    site = calm.site_before(0, tmp_path / "site")
    machine = site.machine("machine")
    key = min(calm.parts[0])
    faulty = FaultyStore(site.store, [Fault("head", "not there yet", 1, 99, key=key)])
    with pytest.raises(ModelportError, match=key) as raised:
        machine.publish(calm.release(0), calm.sources[0], profile="raw", place=machine.place(store=faulty))
    assert raised.value.exit_code in {3, 5}
    assert site.releases() == []
    site.bury()
    finish(calm, site, 0, machine, None)


def test_part_that_vanishes_between_upload_and_commit_is_missed_by_the_proof(calm, tmp_path):
    site = calm.site_before(0, tmp_path / "site")
    machine = site.machine("machine")
    key = min(calm.parts[0])
    place = machine.place(step=lambda name: site.store.delete(key) if name == "publish.prove" else None)
    with pytest.raises(ModelportError, match=key) as raised:
        machine.publish(calm.release(0), calm.sources[0], profile="raw", place=place)
    assert raised.value.exit_code == 3
    assert site.releases() == []
    site.bury()
    finish(calm, site, 0, machine, None)


def test_part_that_is_gone_is_missed_by_publishing_again(calm, tmp_path):
    site = calm.site_before(1, tmp_path / "site")
    machine = site.machine("machine")
    key = min(calm.parts[0])
    site.store.delete(key)
    with pytest.raises(VerifyFailed, match=key) as raised:
        machine.publish(calm.release(0), calm.sources[0], profile="raw")
    assert "--repair" in raised.value.hint


@pytest.mark.parametrize("whose", ["the base's", "another run's"])
def test_part_that_a_plan_counted_on_and_that_vanished_stops_its_publish(calm, tmp_path, whose):
    site = calm.site_before(1, tmp_path / "site")
    machine = site.machine("machine")
    flags = {"release": Release.parse(calm.release(1)), "source": calm.sources[1], "profile": "raw", "channel": STABLE}
    new = calm.parts[1].keys() - calm.parts[0].keys()
    if whose == "another run's":
        machine.shelf.open().put(key := min(new), b"".join(calm.site.store.get(min(new))), sha256=digest_of(calm, key))
    else:
        key = min(calm.parts[0].keys() & used_by(calm))
    plan = plan_release(PublishOrder(**flags), machine.place(), machine.events.append)
    assert next(part for part in plan.parts if part_key(part.blake3) == key).present
    site.store.delete(key)
    before = [info.key for info in site.store.list("metadata/")]
    with pytest.raises(IntegrityError) as raised:
        publish_release(PublishOrder(**flags), machine.place(), machine.events.append, plan=plan)
    check_told(raised.value, {3}, whose)
    assert [info.key for info in site.store.list("metadata/")] == before
    assert "plan" in str(raised.value) or key in str(raised.value)


def used_by(calm):
    manifest = decode_manifest(b"".join(calm.site.store.get(calm.manifests[1].path)), what="calm")
    return {part_key(part.blake3) for part in manifest.parts}


def digest_of(calm, key):
    return sha256_of(b"".join(calm.site.store.get(key)))
