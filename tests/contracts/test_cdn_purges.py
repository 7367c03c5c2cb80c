"""Cloudflare, Fastly and Akamai: purges that are accepted and cannot be asked for."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import AccessDenied, CallRefused, CallUnanswered, CdnUnavailable, ClockSkew, SettingsError
from pipeline.plan.calls import chunk_urls
from pipeline.ports import Op, TaskState
from pipeline.providers import PROVIDERS
from tests.our_cdns import BASE_URL, open_ours
from tests.servers.control_planes.akamai import BODY_BYTES, AkamaiPlane
from tests.servers.control_planes.cloudflare import CloudflarePlane
from tests.servers.control_planes.door import run_plane
from tests.servers.control_planes.fastly import SERVICE, FastlyPlane

PLANES = {"cloudflare": CloudflarePlane, "fastly": FastlyPlane, "akamai": AkamaiPlane}
URL = f"{BASE_URL}/metadata/timestamp.json"
URLS = [URL, f"{BASE_URL}/a%20b"]
FOLDERS = [f"{BASE_URL}/targets/bert/", f"{BASE_URL}/metadata/"]


@pytest.fixture
def cloudflare():
    with run_plane(CloudflarePlane()) as running:
        yield running


@pytest.fixture
def fastly():
    with run_plane(FastlyPlane()) as running:
        yield running


@pytest.fixture
def akamai():
    with run_plane(AkamaiPlane()) as running:
        yield running


@pytest.mark.parametrize("name", PLANES)
def test_nobody_prefetches_and_accepted_is_the_last_word(name):
    with run_plane(PLANES[name]()) as plane:
        cdn = open_ours(name, plane)
        assert Op.PREFETCH not in cdn.limits
        assert not PROVIDERS[name].prefetches
        assert not cdn.can_poll
        tasks = cdn.submit(Op.REFRESH, [URL], key="k")
        asked = len(plane.calls)
        assert {status.state for status in cdn.poll(tasks).values()} == {TaskState.ACCEPTED}
        assert cdn.find(Op.REFRESH, [URL], since=plane.now) is None
        assert cdn.quota() is None
        assert len(plane.calls) == asked


# --- Cloudflare ---------------------------------------------------------------------------------------


def test_cloudflare_takes_urls_and_prefixes(cloudflare):
    cdn = open_ours("cloudflare", cloudflare)
    (files,) = cdn.submit(Op.REFRESH, URLS, key="k")
    (prefixes,) = cdn.submit(Op.REFRESH_PREFIX, FOLDERS, key="k")
    assert files.request_id.startswith("ray-")
    assert cloudflare.jobs[files.id].urls == URLS
    assert cloudflare.jobs[prefixes.id].urls == FOLDERS


@pytest.mark.parametrize(
    ("status", "errors", "error"),
    [
        (200, [{"code": 10000, "message": "Authentication error"}], AccessDenied),
        (400, [{"code": 6003, "message": "Invalid request headers"}, {"code": 6111, "message": "bad token"}], AccessDenied),
        (400, [{"code": 1, "message": "new"}, {"code": 10000, "message": "Authentication error"}], AccessDenied),
        (401, [{"code": 1, "message": "new"}], AccessDenied),
        (403, [{"code": 9109, "message": "Unauthorized to access requested resource"}], AccessDenied),
        (400, [{"code": 1107, "message": "Only enterprise zones can purge by tag."}], CallRefused),
        (200, [{"code": 1012, "message": "no"}], CallRefused),
        (200, [], CallRefused),
        (200, None, CallRefused),
        (429, [{"code": 10429, "message": "slow down"}], CdnUnavailable),
        (500, [{"code": 1, "message": "oh"}], CallUnanswered),
        (503, [], CdnUnavailable),
    ],
)
def test_cloudflare_says_no_by_success_and_numbers(cloudflare, status, errors, error):
    cloudflare.spoil("status", status=status, body=json.dumps({"success": False, "errors": errors, "messages": []}))
    with pytest.raises(error) as caught:
        open_ours("cloudflare", cloudflare).submit(Op.REFRESH, URLS, key="k")
    assert type(caught.value) is error


def test_cloudflare_retry_after_is_obeyed(cloudflare):
    cloudflare.spoil("status", status=429, body='{"success":false,"errors":[]}', headers={"Retry-After": "12"})
    with pytest.raises(CdnUnavailable) as caught:
        open_ours("cloudflare", cloudflare).submit(Op.REFRESH, URLS, key="k")
    assert caught.value.retry_after_s == 12


def test_cloudflare_names_the_url_that_it_refuses(cloudflare):
    foreign = "https://elsewhere.example.com/a"
    with pytest.raises(CallRefused, match="1016") as caught:
        open_ours("cloudflare", cloudflare).submit(Op.REFRESH, [URL, foreign], key="k")
    assert caught.value.urls == (foreign,)


def test_cloudflare_zone_that_is_not_there_is_refused(cloudflare):
    with pytest.raises(CallRefused, match="7003"):
        open_ours("cloudflare", cloudflare, zone="0000").submit(Op.REFRESH, URLS, key="k")


# --- Fastly -------------------------------------------------------------------------------------------


def test_fastly_purges_one_url_a_call(fastly):
    cdn = open_ours("fastly", fastly)
    (task,) = cdn.submit(Op.REFRESH, URLS[1:], key="k")
    assert fastly.jobs[task.id].urls == URLS[1:]
    assert fastly.calls[0][1].target == "/purge/cdn.example.com/a%20b"
    assert [len(chunk) for chunk in chunk_urls(URLS, cdn.limits[Op.REFRESH])] == [1, 1]
    with pytest.raises(CallRefused, match="2 URLs, expected one"):
        cdn.submit(Op.REFRESH, URLS, key="k")


@pytest.mark.parametrize("op", [Op.REFRESH, Op.REFRESH_PREFIX])
@pytest.mark.parametrize("soft", [False, True])
def test_fastly_purges_softly_when_asked_to(fastly, op, soft):
    open_ours("fastly", fastly, soft=soft).submit(op, FOLDERS[:1], key="k")
    (job,) = fastly.jobs.values()
    assert job.more["soft"] is soft


def test_fastly_purges_prefixes_by_surrogate_keys(fastly):
    tasks = open_ours("fastly", fastly).submit(Op.REFRESH_PREFIX, FOLDERS, key="k")
    assert fastly.calls[0][1].path == f"/service/{SERVICE}/purge"
    assert fastly.calls[0][1].json == {"surrogate_keys": ["targets/bert", "metadata"]}
    assert [task.urls for task in tasks] == [(url,) for url in FOLDERS]
    assert len({task.id for task in tasks}) == 2


def test_fastly_key_that_the_answer_does_not_name_was_not_taken(fastly):
    cdn = open_ours("fastly", fastly)
    fastly.spoil("status", status=200, body='{"metadata":"108-1"}')
    assert [task.urls for task in cdn.submit(Op.REFRESH_PREFIX, FOLDERS, key="k")] == [(FOLDERS[1],)]
    fastly.faults.clear()
    fastly.spoil("status", status=200, body="{}")
    with pytest.raises(CallUnanswered, match="names no key"):
        cdn.submit(Op.REFRESH_PREFIX, FOLDERS, key="k")


def test_fastly_has_no_key_for_the_whole_host(fastly):
    with pytest.raises(CallRefused, match="whole host") as caught:
        open_ours("fastly", fastly).submit(Op.REFRESH_PREFIX, [*FOLDERS, f"{BASE_URL}/"], key="k")
    assert caught.value.urls == (f"{BASE_URL}/",)
    assert fastly.calls == []


def test_fastly_without_a_service_has_no_prefixes(fastly):
    cdn = open_ours("fastly", fastly, service="")
    assert set(cdn.limits) == {Op.REFRESH}
    assert cdn.account == "cdn.example.com"


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, {"msg": "Provided credentials are missing or invalid"}, AccessDenied),
        (403, {"msg": "You are not authorized to perform this action"}, AccessDenied),
        (404, {"msg": "Record not found", "detail": "no such service"}, CallRefused),
        (429, {"msg": "Too many requests"}, CdnUnavailable),
        (200, {"status": "error"}, CallRefused),
        (200, {}, CallUnanswered),
        (500, {"msg": "oh"}, CallUnanswered),
    ],
)
def test_fastly_says_no_by_status_and_words(fastly, status, body, error):
    fastly.spoil("status", status=status, body=json.dumps(body), headers={"Retry-After": "7"})
    with pytest.raises(error) as caught:
        open_ours("fastly", fastly).submit(Op.REFRESH, [URL], key="k")
    assert type(caught.value) is error
    assert caught.value.retry_after_s == (7 if status == 429 else None)


# --- Akamai -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["invalidate", "delete"])
@pytest.mark.parametrize("network", ["production", "staging"])
def test_akamai_does_what_is_set_where_it_is_set(akamai, action, network):
    cdn = open_ours("akamai", akamai, action=action, network=network)
    (task,) = cdn.submit(Op.REFRESH, URLS, key="k")
    assert akamai.calls[0][1].path == f"/ccu/v3/{action}/url/{network}"
    assert akamai.jobs[task.id].urls == URLS
    assert cdn.account.endswith(network)


def test_akamai_nonces_are_fresh(akamai):
    cdn = open_ours("akamai", akamai)
    for _ in range(3):
        cdn.submit(Op.REFRESH, URLS, key="k")
    assert len(akamai.jobs) == 3


@pytest.mark.parametrize("chars", [60, 1000, 8192])
def test_akamai_chunks_fit_into_its_body(akamai, chars):
    cdn = open_ours("akamai", akamai)
    urls = [f"{BASE_URL}/{number:06}/".ljust(chars, "x") for number in range(3 * BODY_BYTES // chars)]
    chunks = chunk_urls(urls, cdn.limits[Op.REFRESH])
    assert len(chunks) > 2
    for chunk in chunks:
        cdn.submit(Op.REFRESH, chunk, key="k")
    sizes = [len(asked.body) for _, asked in akamai.calls]
    assert max(sizes) <= BODY_BYTES
    # No chunk is much smaller than it has to be.
    assert min(sizes[:-1]) > BODY_BYTES - 2 * chars - 4 * max(map(len, chunks))


def test_akamai_too_large_a_body_is_refused(akamai):
    with pytest.raises(CallRefused, match="413"):
        open_ours("akamai", akamai).submit(Op.REFRESH, [f"{BASE_URL}/{n:08000}" for n in range(7)], key="k")


def test_akamai_429_denies_the_whole_call_and_waits_five_seconds(akamai):
    akamai.spoil("throttled")
    cdn = open_ours("akamai", akamai)
    with pytest.raises(CdnUnavailable, match="Rate Limit exceeded") as caught:
        cdn.submit(Op.REFRESH, URLS, key="k")
    assert caught.value.retry_after_s == 5
    assert akamai.jobs == {}
    cdn.submit(Op.REFRESH, URLS, key="k")


def test_akamai_403_for_an_arl_names_one_url(akamai):
    foreign = "https://elsewhere.example.com/a"
    with pytest.raises(CallRefused, match="unauthorized arl") as caught:
        open_ours("akamai", akamai).submit(Op.REFRESH, [URL, foreign], key="k")
    assert caught.value.urls == (foreign,)


def test_akamai_507_can_be_tried_again(akamai):
    akamai.spoil("quota")
    with pytest.raises(CdnUnavailable, match="507"):
        open_ours("akamai", akamai).submit(Op.REFRESH, URLS, key="k")


def test_akamai_403_for_the_client_is_about_credentials(akamai):
    akamai.spoil("status", status=403, body='{"httpStatus":403,"title":"Forbidden","detail":"no grant"}')
    with pytest.raises(AccessDenied, match="Forbidden"):
        open_ours("akamai", akamai).submit(Op.REFRESH, URLS, key="k")


def test_akamai_clock_that_is_off_is_named_with_both_times(akamai):
    ahead = type("Ahead", (), {"now": akamai.now.replace(hour=20), "http": akamai.http})
    with pytest.raises(ClockSkew, match=r"20:00:00Z.*10:00:00Z"):
        open_ours("akamai", ahead).submit(Op.REFRESH, URLS, key="k")


def test_akamai_endpoint_is_that_of_the_credentials_unless_set(akamai):
    from pipeline.cdns.akamai import open_cdn
    from pipeline.cdns.calling import Calling
    from pipeline.providers import Credentials

    keys = {"client_token": "a", "client_secret": "b", "access_token": "c"}
    more = {"base_url": BASE_URL, "options": {"action": "invalidate", "network": "production"}, "calling": Calling()}
    with_host = open_cdn(endpoint="", credentials=Credentials({**keys, "host": "akab-1.luna.akamaiapis.net"}), **more)
    assert with_host.endpoint == "https://akab-1.luna.akamaiapis.net"
    with pytest.raises(SettingsError, match="no endpoint"):
        open_cdn(endpoint="", credentials=Credentials(keys), **more)
    with pytest.raises(AccessDenied, match="client_token"):
        open_cdn(endpoint="https://a.example", credentials=Credentials({}), **more)
