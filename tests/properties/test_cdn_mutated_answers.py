"""A genuine answer with one thing in it changed: an adapter gives what its port promises, or one of our errors."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cdns.calling import Reply
from pipeline.errors import ModelportError
from pipeline.ports import Op, TaskStatus
from tests.our_cdns import ACCOUNTS, BASE_URL, open_ours
from tests.servers.control_planes.plane import Asked, Plane

OTHER = st.sampled_from([None, True, 0, -1, 7.5, 10**20, "", "x", "²", "9" * 5000, [], [1], [[]], {}, {"a": 1}, ["https://a"]])


@dataclass
class Direct:
    """A calling that asks a plane without a network, and changes what it tells: the ``at``-th of all its places, on and on."""

    plane: Plane
    spoil: bool = False
    at: int = 0
    value: object = None
    http: str = "http://127.0.0.1:1"
    spoiled: int = field(default=0)

    def now(self):
        return self.plane.now

    def send(self, call):
        parts = urlsplit(call.url)
        headers = {"host": parts.netloc, **{name.lower(): value for name, value in call.headers.items()}}
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        told, _ = self.plane.answer(Asked(call.method, target, headers, call.body))
        document = json.loads(told.body)
        if self.spoil:
            places = list(places_in(document))
            holder, key = places[self.at % len(places)]
            holder[key] = self.value
            self.spoiled += 1
        return Reply(call, told.status, {name.lower(): value for name, value in told.headers.items()}, document)


def places_in(document):
    """Every place of a JSON document, as its holder and its key there."""
    for key, value in list(document.items()) if isinstance(document, dict) else list(enumerate(document)):
        yield document, key
        if isinstance(value, dict | list):
            yield from places_in(value)


@pytest.mark.parametrize("name", [name for name in ACCOUNTS if name != "cloudfront"])
@settings(deadline=None)
@given(at=st.integers(0, 60), value=OTHER)
def test_a_changed_answer_is_understood_or_refused(name, at, value):
    calling = Direct(ACCOUNTS[name].plane(), at=at, value=value)
    calling.plane.rate = 10**6
    cdn = open_ours(name, calling, calling=calling)
    for op in cdn.limits:
        urls = [f"{BASE_URL}/parts/aa/{number}{'/' if op is Op.REFRESH_PREFIX else ''}" for number in range(2)]
        urls = urls[: cdn.limits[op].urls]
        calling.spoil = False
        tasks = cdn.submit(op, urls, key="k" * 64)
        calling.plane.advance(90)
        calling.spoil = True
        since = calling.plane.now - timedelta(minutes=5)
        others = [f"{url.rstrip('/')}-{at}{'/' * url.endswith('/')}" for url in urls]
        found = answered(cdn.poll, tasks)
        assert found is None or set(found) == {task.id for task in tasks}
        assert all(isinstance(status, TaskStatus) for status in (found or {}).values())
        quotas = answered(cdn.quota)
        assert all(quota.limit >= 0 and quota.remaining >= 0 for quota in (quotas or {}).values())
        told = [*(answered(cdn.find, op, urls, since=since) or []), *(answered(cdn.submit, op, others, key="l" * 64) or [])]
        assert all(isinstance(task.id, str) and set(task.urls) <= {*urls, *others} for task in told)


def answered(ask, *given_to, **named):
    """What a question gives, None if it raises one of our errors."""
    try:
        return ask(*given_to, **named)
    except ModelportError:
        return None
