"""The tasks of CDNs at the command line, before a control plane that checks what it is sent."""

import json
import shutil
import time
from datetime import UTC, datetime

import pytest

from pipeline.state_folders import place_id
from tests.desk import Desk
from tests.publish_world import lay_out
from tests.servers.control_planes.door import run_plane
from tests.servers.control_planes.webhook import OPTIONS, SECRET, TOKEN, WebhookPlane

BASE = "https://cdn.example.com/tree"
SETTINGS = {"provider": "webhook", "base_url": BASE, **OPTIONS}
CREDENTIALS = {"CDN_WEBHOOK_TOKEN": TOKEN, "CDN_WEBHOOK_SECRET": SECRET}


@pytest.fixture
def plane():
    """A plane whose tasks are done at once; it is asked by another process, which has the real clock."""
    with run_plane(WebhookPlane(now=datetime.now(UTC), takes_s=0)) as running:
        yield running


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A store with one release, published before there was a CDN."""
    folder = tmp_path_factory.mktemp("published")
    desk = Desk(folder / "desk", folder / "home")
    lay_out(desk.folder / "models" / "bert-v1.0.0")
    assert desk.run("publish", "--model", "bert-v1.0.0", "--profile", "raw").code == 0
    return desk


@pytest.fixture
def desk(published, plane, tmp_path):
    return desk_at(published, tmp_path, {**SETTINGS, "endpoint": plane.http})


def desk_at(published, folder, cdn, environment=None):
    shutil.copytree(published.folder, folder / "desk")
    shutil.copytree(published.home, folder / "home")
    (folder / "desk" / "modelport.yaml").write_text(json.dumps({"cdn": cdn}))
    # What is trusted is kept by the store's address.
    before, now = (place_id((at / ".modelport" / "store").as_uri(), "") for at in (published.folder, folder / "desk"))
    trust = folder / "home" / "state" / "modelport" / "trust"
    (trust / before).rename(trust / now)
    return Desk(folder / "desk", folder / "home", CREDENTIALS if environment is None else environment)


def sent(plane):
    return [url for job in plane.jobs.values() for url in job.urls]


def parts_of(desk):
    store = desk.folder / ".modelport" / "store"
    return sorted(str(file.relative_to(store)) for file in (store / "parts").rglob("*") if file.is_file())


def rewrite(desk, **changes):
    file = desk.folder / "modelport.yaml"
    words = json.loads(file.read_text())
    words["cdn"].update(changes)
    file.write_text(json.dumps(words))


def test_release_is_prefetched_once_and_the_ledger_shows_it(desk, plane):
    done = desk.run("cdn.prefetch", "--model", "bert-v1.0.0").result
    assert done["complete"]
    assert done["left"] == 0
    urls = sent(plane)
    assert urls[0].startswith(f"{BASE}/targets/bert/1.0.0/")
    assert all(url.startswith(f"{BASE}/parts/") for url in urls[1:])
    assert len(urls) == len(set(urls)) == done["jobs"][0]["cdns"][0]["done"]
    shown = desk.run("cdn.status", "--all").result
    assert shown["jobs"][0]["cdns"][0]["percent"] == 100
    assert desk.run("cdn.status").result["jobs"] == []


def test_quota_of_the_settings_leaves_7_then_0_if_told_and_a_later_run_ends_it(desk, plane):
    rewrite(desk, prefetch_per_day=2)
    said = desk.run("cdn.prefetch", "--model", "bert-v1.0.0")
    assert said.code == 7
    assert json.loads(said.out)["complete"] is False
    assert "URLs are left in the ledger until 20" in said.err
    assert len(sent(plane)) == 2
    again = desk.run("cdn.resume", "--quota-ok")
    assert again.code == 0
    assert again.result["complete"] is False
    assert len(sent(plane)) == 2
    plain = desk.run("cdn.status", report="plain").out
    assert "quota webhook prefetch: 0 of 2 URLs left until" in plain
    assert "2 done" in plain
    rewrite(desk, prefetch_per_day=1000)
    assert desk.run("cdn.resume").result["complete"]
    assert len(sent(plane)) == len(set(sent(plane))) > 2


def test_dry_runs_tell_the_calls_and_call_nobody(desk, plane):
    rewrite(desk, prefetch_per_day=2)
    planned = desk.run("--dry", "cdn.prefetch", "--model", "bert-v1.0.0").result["cdns"][0]
    assert (planned["today"], planned["remaining"]) == (2, 2)
    assert planned["urls"] > 2
    # A call a day, for one takes all that a day's quota allows.
    assert planned["calls"] == -(-planned["urls"] // 2)
    assert desk.run("--dry", "cdn.refresh").result["cdns"][0]["urls"] == 1
    assert desk.run("--dry", "cdn.resume").code == 0
    assert desk.run("--dry", "cdn.status").code == 0
    plain = desk.run("--dry", "cdn.prefetch", "--model", "bert-v1.0.0", report="plain").out
    assert "nothing was sent" in plain
    assert "2 today (2 left by the settings)" in plain
    assert plane.calls == []
    assert desk.run("cdn.status", "--all").result["jobs"] == []


def test_refresh_without_a_path_is_that_of_the_one_mutable_url(desk, plane):
    assert desk.run("cdn.refresh").result["complete"]
    assert sent(plane) == [f"{BASE}/metadata/timestamp.json"]
    assert desk.run("cdn.refresh", "--path", "targets/bert", "--prefix").result["complete"]
    assert sent(plane)[1:] == [f"{BASE}/targets/bert/"]


def test_failure_is_told_by_url(desk, plane):
    first, second = parts_of(desk)[:2]
    bad = f"{BASE}/{first}"
    plane.spoil("failed", "warm", times=9, urls=(bad,))
    said = desk.run("cdn.prefetch", "--path", first, "--path", second)
    assert said.code == 7
    shown = desk.run("cdn.status").result["jobs"][0]["cdns"][0]
    assert shown["failed"] == {bad: "the origin says failed"}
    assert f"failed {bad}: the origin says failed" in desk.run("cdn.status", report="plain").out


@pytest.mark.parametrize(
    "words, line",
    [
        (["cdn.prefetch"], "--model or --path is needed"),
        (["cdn.prefetch", "--model", "bert-v9.0.0"], "there is no release bert-v9.0.0"),
        (["cdn.prefetch", "--path", "https://elsewhere.example.com/a"], "not below any CDN's base_url"),
        (["cdn.refresh", "--path", "ftp://cdn.example.com/a"], "no http or https URL"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_with_2(desk, plane, words, line):
    assert line in desk.run(*words).refused(2)
    assert plane.calls == []


@pytest.mark.parametrize("task", ["cdn.prefetch --model bert-v1.0.0", "cdn.refresh", "cdn.resume"])
def test_without_a_cdn_there_is_nothing_to_do(published, task):
    assert "no CDN is set" in published.run(*task.split()).refused(2)


def test_status_without_a_cdn_shows_an_empty_ledger(published):
    assert published.run("cdn.status").result["jobs"] == []


def test_damaged_record_is_one_line_with_exit_3_and_stops_no_other_job(desk, plane):
    desk.run("cdn.prefetch", "--path", "metadata/1.root.json")
    record = desk.folder / ".modelport/store/control/ledger/prefetch/00000001.json"
    record.write_bytes(b"{")
    record.with_name("00000009.json").write_bytes(b"")
    rewrite(desk, prefetch_per_day=1)
    assert desk.run("cdn.prefetch", "--model", "bert-v1.0.0").code == 7
    rewrite(desk, prefetch_per_day=1000)
    said = desk.run("cdn.status")
    assert said.code == 3
    assert "control/ledger/prefetch/00000001.json is not strict JSON" in said.err.splitlines()[-1]
    assert [job["job"] for job in json.loads(said.out)["jobs"]] == ["bert-v1.0.0"]
    resumed = desk.run("cdn.resume")
    assert resumed.code == 3
    assert "Remove this record" in resumed.err.splitlines()[-1]
    assert [(job["job"], job["complete"]) for job in json.loads(resumed.out)["jobs"]] == [("bert-v1.0.0", True)]
    # What could be done was done.
    assert len(sent(plane)) == len(set(sent(plane))) > 2
    assert desk.run("cdn.status").code == 3
    shutil.rmtree(record.parent)
    assert desk.run("cdn.status").result["jobs"] == []


def test_resume_tells_every_failure_and_ends_with_the_code_of_the_gravest(desk, plane):
    rewrite(desk, prefetch_per_day=1)
    assert desk.run("cdn.prefetch", "--model", "bert-v1.0.0").code == 7
    for name, record in (("another", "{"), ("third", "[]")):
        folder = desk.folder / ".modelport/store/control/ledger" / name
        folder.mkdir()
        (folder / "00000001.json").write_text(record)
    desk.environment = {**CREDENTIALS, "CDN_WEBHOOK_TOKEN": "another-token-canary"}
    rewrite(desk, prefetch_per_day=1000)
    said = desk.run("cdn.resume")
    # Another token (5) is mended by another run; a damaged record (3) by nobody but a person.
    assert said.code == 3
    last = json.loads(said.err.splitlines()[-1])
    assert last["error"].startswith("3 things failed: ")
    told = ["HTTP 401", "control/ledger/another/00000001.json", "control/ledger/third/00000001.json"]
    assert [words for words in told if words in last["error"]] == told
    assert "Remove this record" in last["hint"]
    assert "HTTP 401" in json.loads(said.out)["jobs"][0]["note"]


def test_killed_prefetch_is_ended_by_the_next_run_and_two_at_once_send_nothing_twice(desk, plane):
    held = plane.spoil("hang", "warm")
    killed = desk.start("cdn.prefetch", "--model", "bert-v1.0.0")
    wait_until(lambda: plane.named("warm"))
    killed.kill()
    killed.communicate()
    held.release.set()
    runs = [desk.start("cdn.resume", "--report", "json") for _ in range(2)]
    codes = [(run.communicate(timeout=60), run.returncode)[1] for run in runs]
    # Who comes second leaves the job to the first, or finds it done.
    assert 0 in codes
    assert set(codes) <= {0, 7}
    assert desk.run("cdn.status").result["jobs"] == []
    assert len(sent(plane)) == len(set(sent(plane))) > 2


def wait_until(happens):
    end = time.monotonic() + 30
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_wrong_credential_is_one_attempt_and_5(desk, plane):
    desk.environment = {**CREDENTIALS, "CDN_WEBHOOK_TOKEN": "another-token-canary"}
    assert "HTTP 401" in desk.run("cdn.prefetch", "--model", "bert-v1.0.0").refused(5)
    assert len(plane.calls) == 1


def test_credentials_may_stand_in_variables_of_any_name_and_are_masked(published, plane, tmp_path):
    cdn = {**SETTINGS, "endpoint": plane.http, "credentials": {"token": "STAGING_ONE", "secret": "STAGING_TWO"}}
    desk = desk_at(published, tmp_path, cdn, {"STAGING_ONE": TOKEN, "STAGING_TWO": SECRET})
    said = desk.run("--debug", "cdn.prefetch", "--model", "bert-v1.0.0")
    assert said.result["complete"]
    everything = said.out + said.err
    assert TOKEN not in everything
    assert SECRET not in everything


def test_secrets_appear_in_no_output_and_in_no_object(desk, plane):
    said = [
        desk.run("--debug", "cdn.prefetch", "--model", "bert-v1.0.0"),
        desk.run("--debug", "cdn.status", "--all"),
    ]
    for how, part in zip(("html", "redirect", "refused"), parts_of(desk), strict=False):
        plane.faults.clear()
        plane.spoil(how, "warm", body=f"http://elsewhere.example/?token={TOKEN}")
        before = len(plane.calls)
        said.append(desk.run("--debug", "cdn.prefetch", "--path", part))
        assert len(plane.calls) > before
    stored = [file.read_bytes() for file in (desk.folder / ".modelport").rglob("*") if file.is_file()]
    for canary in (TOKEN, SECRET):
        assert [one for one in said if canary in one.out + one.err] == []
        assert [data for data in stored if canary.encode() in data] == []


def test_several_cdns_are_all_served_and_the_smallest_quota_decides_the_part_size(published, plane, tmp_path):
    other = "https://other.example.com"
    plane.hosts.add("other.example.com")
    cdns = [
        {**SETTINGS, "endpoint": plane.http, "prefetch_per_day": 500},
        {**SETTINGS, "endpoint": plane.http, "base_url": other, "prefetch_per_day": 100},
    ]
    desk = desk_at(published, tmp_path, cdns)
    done = desk.run("cdn.prefetch", "--model", "bert-v1.0.0").result
    assert [share["url"] for share in done["jobs"][0]["cdns"]] == [BASE, other]
    urls = sent(plane)
    assert {url for url in urls if url.startswith(other)} == {url.replace(BASE, other) for url in urls if url.startswith(BASE)}


@pytest.mark.parametrize(
    "provider, environment, code, lacks",
    [
        ("tencent", {}, 5, "Set TENCENTCLOUD_SECRET_ID"),
        ("tencent", {"TENCENTCLOUD_SECRET_ID": "id"}, 5, "Set TENCENTCLOUD_SECRET_KEY"),
        ("qiniu", {}, 5, "Set QINIU_ACCESS_KEY"),
        ("akamai", {f"AKAMAI_{name}": "x" for name in ("CLIENT_TOKEN", "CLIENT_SECRET", "ACCESS_TOKEN")}, 2, "AKAMAI_HOST"),
    ],
)
def test_promote_says_what_a_cdn_lacks_before_anything_moves(published, tmp_path, provider, environment, code, lacks):
    desk = desk_at(published, tmp_path, {"provider": provider, "base_url": BASE}, environment)
    store = desk.folder / ".modelport" / "store"
    before = {file: file.stat().st_mtime_ns for file in store.rglob("*")}
    assert lacks in desk.run("promote", "--model", "bert-v1.0.0", "--channel", "beta").refused(code)
    assert {file: file.stat().st_mtime_ns for file in store.rglob("*")} == before
