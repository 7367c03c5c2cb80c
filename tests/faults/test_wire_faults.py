"""Faults on the wire and in what stands in real stores: SeaweedFS, the JuiceFS gateway, the OSS server."""

import re

import pytest

from pipeline.digest import sha256_of
from pipeline.errors import ModelportError, PoisonedObject, UnsafeStore, VerifyFailed
from pipeline.events import Retrying
from pipeline.release import Release
from pipeline.retry import Patience
from pipeline.verify import verify_release
from tests.publish_calm import finish
from tests.publish_world import STABLE, Shelf
from tests.servers.relay import Rule, s3_error
from tests.servers.s3_servers import SECRET_KEY

XML = {"Content-Type": "application/xml"}
STORES = ["directory", "memory", "seaweedfs", "juicefs", "oss"]


def publish(machine, calm, number=0, **flags):
    flags = {"profile": "raw", "channel": STABLE, **flags}
    place = machine.place(patience=Patience(attempts=4))
    return machine.publish(calm.release(number), calm.sources[number], place=place, **flags)


def check_line(error):
    text = f"{error} {error.hint}"
    assert str(error), error
    assert "\n" not in text
    assert SECRET_KEY not in text


def told(rule):
    code = re.search(rb"<Code>(\w+)<", rule.body)
    said = f" {rule.status} {code[1].decode()}" if code else ""
    return f"{rule.how}{said} to {rule.method} {rule.path}"


def answer(method, path, status, code, *, times=1, headers=None):
    return Rule("answer", method, path, times=times, status=status, headers=XML | (headers or {}), body=s3_error(code))


# --- on the wire ----------------------------------------------------------------------------------

PASSING = [
    *(answer("PUT", "/parts/", status, code) for status, code in ((500, "InternalError"), (503, "SlowDown"))),
    answer("PUT", "/parts/", 409, "ConditionalRequestConflict"),
    answer("PUT", "/parts/", 412, "PreconditionFailed"),
    answer("PUT", "/parts/", 400, "RequestTimeout"),
    answer("PUT", "/parts/", 200, "InternalError"),
    answer("PUT", "snapshot.json", 503, "SlowDown", times=2, headers={"Retry-After": "1"}),
    answer("PUT", "timestamp.json", 200, "InternalError"),
    answer("PUT", "timestamp.json", 412, "PreconditionFailed"),
    answer("GET", "timestamp.json", 500, "InternalError"),
    answer("GET", "list-type=2", 503, "ServiceUnavailable"),
    *(Rule(how, "PUT", path) for how in ("reset", "lose answer") for path in ("/parts/", "snapshot.json", "timestamp.json")),
    Rule("cut answer", "GET", "root.json", keep=20),
    Rule("reset", "HEAD", "/parts/", times=2),
]


@pytest.mark.parametrize("rule", PASSING, ids=told)
def test_fault_that_passes_does_not_end_a_publish(calm, make_site, seaweedfs_relay, rule):
    site = make_site("seaweedfs", endpoint=seaweedfs_relay.endpoint)
    machine = site.machine()
    spoiled = seaweedfs_relay.spoil(Rule(**{name: getattr(rule, name) for name in TAKEN}))
    done = publish(machine, calm)
    assert spoiled._seen >= 1, "the fault never came"
    assert done.manifest == calm.manifests[0]
    seaweedfs_relay.forget()
    finish(calm, site, 0, machine, None)


LASTING = [
    (answer("PUT", "/parts/", 403, "AccessDenied", times=99), "AccessDenied"),
    (answer("PUT", "/parts/", 403, "ExpiredToken", times=99), "AccessDenied"),
    (answer("PUT", "/parts/", 403, "InvalidAccessKeyId", times=99), "AccessDenied"),
    (answer("PUT", "/parts/", 503, "SlowDown", times=99), "StoreUnavailable"),
    (answer("PUT", "/parts/", 500, "InternalError", times=99), "StoreUnavailable"),
    (answer("PUT", "snapshot.json", 409, "OperationAborted", times=99), "StoreUnavailable"),
    (answer("PUT", "timestamp.json", 403, "AccessDenied", times=99), "AccessDenied"),
    (answer("GET", "list-type=2", 404, "NoSuchBucket", times=99), "WrongStore"),
    (answer("PUT", "/parts/", 301, "PermanentRedirect", times=99, headers={"x-amz-bucket-region": "eu-west-9"}), "WrongStore"),
    (Rule("reset", "PUT", "/parts/", times=99), "StoreUnavailable"),
    (Rule("lose answer", "GET", "snapshot.json", times=99), "StoreUnavailable"),
]
TAKEN = ("how", "method", "path", "nth", "times", "status", "headers", "body", "keep")


@pytest.mark.parametrize(("rule", "kind"), LASTING, ids=lambda value: told(value) if isinstance(value, Rule) else value)
def test_fault_that_stays_ends_a_publish_with_5_and_the_next_run_finishes(calm, make_site, seaweedfs_relay, rule, kind):
    site = make_site("seaweedfs", endpoint=seaweedfs_relay.endpoint)
    machine = site.machine()
    seaweedfs_relay.spoil(Rule(**{name: getattr(rule, name) for name in TAKEN}))
    with pytest.raises(ModelportError) as raised:
        publish(machine, calm)
    assert (type(raised.value).__name__, raised.value.exit_code) == (kind, 5)
    check_line(raised.value)
    if rule.status == 301:
        assert "eu-west-9" in str(raised.value) + raised.value.hint
    if rule.status == 403 and "Expired" in rule.body.decode():
        assert "credentials from" in str(raised.value)
    seaweedfs_relay.forget()
    site.bury()
    finish(calm, site, 0, machine, None)


def test_store_that_does_not_answer_ends_a_publish_with_5(calm, make_site, seaweedfs_relay, monkeypatch):
    # Long enough for every other answer of a busy machine.
    monkeypatch.setattr("pipeline.stores.pools.READ_S", 3.0)
    monkeypatch.setattr("pipeline.stores.s3.READ_S", 3.0)
    site = make_site("seaweedfs", endpoint=seaweedfs_relay.endpoint)
    machine = site.machine()
    hung = seaweedfs_relay.spoil(Rule("hold", "PUT", "/parts/", times=99))
    place = machine.place(patience=Patience(attempts=1))
    with pytest.raises(ModelportError) as raised:
        machine.publish(calm.release(0), calm.sources[0], profile="raw", channel=STABLE, place=place)
    assert hung.held.is_set()
    assert raised.value.exit_code == 5
    check_line(raised.value)
    seaweedfs_relay.forget()
    site.bury()
    finish(calm, site, 0, site.machine(), None)


# --- the wrong place ------------------------------------------------------------------------------


def test_bucket_that_does_not_exist_is_named(calm, make_site, seaweedfs):
    site = make_site("seaweedfs")
    machine = site.machine()
    machine.shelf = Shelf("s3", "no-such-bucket-here", "", seaweedfs.endpoint, seaweedfs.region)
    with pytest.raises(ModelportError, match="no-such-bucket-here") as raised:
        publish(machine, calm)
    assert raised.value.exit_code == 5
    check_line(raised.value)


def test_bucket_in_another_region_is_told(calm, make_site, oss_server):
    site = make_site("oss")
    machine = site.machine()
    machine.shelf = Shelf("oss", site.shelf.where, site.shelf.prefix, oss_server.endpoint, "cn-elsewhere-2")
    with pytest.raises(ModelportError, match="region") as raised:
        publish(machine, calm)
    assert raised.value.exit_code == 5
    check_line(raised.value)


def test_gateway_without_conditional_writes_is_refused_and_works_when_that_is_allowed(calm, make_site):
    site = make_site("juicefs")
    machine = site.machine()
    with pytest.raises(UnsafeStore, match="conditional writes") as raised:
        publish(machine, calm)
    assert "--allow-unsafe-store" in raised.value.hint
    assert site.parts() == {}
    assert site.releases() == []
    done = publish(machine, calm, allow_unsafe=True)
    assert done.manifest == calm.manifests[0]
    assert publish(machine, calm, 1, allow_unsafe=True).manifest == calm.manifests[1]
    assert site.releases() == [calm.release(0), calm.release(1)]
    assert verify_release(Release.parse(done.release), machine.place(), machine.events.append, sample_percent=100).read
    site.reader().check(*map(Release.parse, site.releases()))


# --- poisoned objects -----------------------------------------------------------------------------

POISONS = {
    "same size": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "short": lambda data: data[:-7],
    "empty": lambda data: b"",
    "long": lambda data: data + b"x",
}


@pytest.mark.parametrize("poison", POISONS)
@pytest.mark.parametrize("kind", STORES)
def test_poisoned_part_is_named_and_replaced_only_under_repair(calm, make_site, kind, poison):
    site = make_site(kind)
    machine = site.machine()
    key = max(calm.parts[0], key=calm.parts[0].get)
    good = b"".join(calm.site.store.get(key))
    bad = POISONS[poison](good)
    unsafe = {"allow_unsafe": kind == "juicefs"}
    site.store.put(key, bad, sha256=sha256_of(bad))
    with pytest.raises(PoisonedObject, match=key) as raised:
        publish(machine, calm, **unsafe)
    assert raised.value.exit_code == 3
    check_line(raised.value)
    assert b"".join(site.store.get(key)) == bad, "it was replaced although nobody asked for it"
    assert site.announced() == 0 or site.releases() == []
    site.bury()
    assert publish(machine, calm, repair=True, **unsafe).manifest == calm.manifests[0]
    assert b"".join(site.store.get(key)) == good
    assert site.parts() == calm.parts[0]
    release = Release.parse(calm.release(0))
    assert verify_release(release, machine.place(), machine.events.append, sample_percent=100).read == len(calm.parts[0])


@pytest.mark.parametrize("poison", [*POISONS, "missing"])
@pytest.mark.parametrize("kind", STORES)
def test_part_that_goes_bad_later_is_found_by_verify_and_repaired_by_publishing_again(calm, make_site, kind, poison):
    site = make_site(kind)
    machine = site.machine()
    unsafe = {"allow_unsafe": kind == "juicefs"}
    publish(machine, calm, **unsafe)
    key = max(calm.parts[0], key=calm.parts[0].get)
    good = b"".join(site.store.get(key))
    if poison == "missing":
        site.store.delete(key)
    else:
        bad = POISONS[poison](good)
        site.store.put(key, bad, sha256=sha256_of(bad))
    release = Release.parse(calm.release(0))
    with pytest.raises(VerifyFailed, match=key) as raised:
        verify_release(release, machine.place(), machine.events.append, sample_percent=100)
    check_line(raised.value)
    assert "--repair" in raised.value.hint
    done = publish(machine, calm, repair=True, **unsafe)
    assert done.already_published
    assert b"".join(site.store.get(key)) == good
    assert verify_release(release, machine.place(), machine.events.append, sample_percent=100).read == len(calm.parts[0])
    assert site.leases() == []


@pytest.mark.parametrize(("kind", "longer"), [("directory", True), ("directory", False), ("seaweedfs", False), ("oss", False)])
def test_poisoned_manifest_is_named_and_replaced_only_under_repair(calm, make_site, kind, longer):
    site = make_site(kind)
    machine = site.machine()
    key = calm.manifests[0].path
    bad = b'{"format":"other"}\n' * (100_000 if longer else 1)
    site.store.put(key, bad, sha256=sha256_of(bad))
    with pytest.raises(PoisonedObject, match=key):
        publish(machine, calm)
    assert site.announced() == 0 or site.releases() == []
    site.bury()
    assert publish(machine, calm, repair=True).manifest == calm.manifests[0]
    site.reader().check(Release.parse(calm.release(0)))


def test_upload_damaged_on_its_way_is_noticed_and_sent_again(calm, make_site, oss_server):
    site = make_site("oss")
    machine = site.machine()
    key = max(calm.parts[0], key=calm.parts[0].get)
    oss_server.damaged.add(f"{site.shelf.where}/{site.shelf.prefix}/{key}")
    assert publish(machine, calm).manifest == calm.manifests[0]
    assert [event for event in machine.events if isinstance(event, Retrying) and "CRC-64" in event.why]
    assert b"".join(site.store.get(key)) == b"".join(calm.site.store.get(key))
    assert set(site.parts()) == set(calm.parts[0])
