"""Whatever JSON a control plane answers, an adapter gives what its port promises, or one of our errors."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cdns.calling import Reply
from pipeline.errors import ModelportError
from pipeline.ports import CdnTask, Op, TaskStatus
from tests.our_cdns import ACCOUNTS, BASE_URL, open_ours
from tests.servers.control_planes.plane import BEGIN

URLS = [f"{BASE_URL}/parts/aa/{number}" for number in range(2)]
# Words that adapters look at, so that answers get further than their first check.
WORDS = [
    "code",
    "error",
    "errors",
    "message",
    "requestId",
    "invalidUrls",
    "items",
    "url",
    "state",
    "status",
    "createAt",
    "success",
]
WORDS += ["result", "id", "msg", "detail", "title", "purgeId", "httpStatus", "job_states", "failure_tasks", "description"]
# Of Aliyun, Tencent, Huawei and Volcengine.
WORDS += [
    "Code",
    "PushTaskId",
    "RefreshTaskId",
    "Tasks",
    "CDNTask",
    "TaskId",
    "ObjectPath",
    "Status",
    "Process",
    "UrlRemain",
    "UrlQuota",
]
WORDS += [
    "Response",
    "Error",
    "PushLogs",
    "PurgeLogs",
    "TotalCount",
    "UrlPush",
    "UrlPurge",
    "Total",
    "Available",
    "Area",
    "Percent",
]
WORDS += ["preheating_task", "error_code", "tasks", "total", "urls", "quotas", "type", "quota_limit", "used"]
WORDS += ["ResponseMetadata", "Result", "TaskID", "Data", "Url", "PreloadQuota", "PreloadRemain", "PreloadLimit", "StatusCode"]
VALUES = [
    200,
    "200",
    400037,
    "ok",
    "FAILURE",
    "SUCCESS",
    "success",
    "failure",
    True,
    "2026-11-22 18:00:00",
    "preheat",
    "running",
    "done",
    "²",
    "9" * 5000,
    -1,
    *URLS,
]
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(VALUES)
DOCUMENTS = st.dictionaries(
    st.sampled_from(WORDS),
    st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)),
    max_size=8,
)


class Answering:
    """A calling that is answered with a document."""

    def __init__(self, status, document):
        self.status, self.document = status, document

    def now(self):
        return BEGIN

    def send(self, call):
        return Reply(call, self.status, {}, self.document)


@pytest.mark.parametrize("name", [name for name in ACCOUNTS if name != "cloudfront"])
@settings(deadline=None)
@given(status=st.sampled_from([200, 201, 400, 401, 403, 404, 422, 429, 500, 503, 507]), document=DOCUMENTS)
def test_any_answer_is_understood_or_refused(name, status, document):
    nowhere = SimpleNamespace(http="http://127.0.0.1:1", now=BEGIN)
    cdn = open_ours(name, nowhere, calling=Answering(status, document))
    for op in cdn.limits:
        task = CdnTask("7", op, tuple(URLS))
        for ask in (
            lambda op=op: cdn.submit(op, URLS[:1] if op is Op.REFRESH else URLS, key="k"),
            lambda op=op: cdn.find(op, URLS, since=BEGIN) or [],
            lambda task=task: cdn.poll([task]),
        ):
            try:
                given_back = ask()
            except ModelportError:
                continue
            if isinstance(given_back, dict):
                assert set(given_back) == {"7"}
                assert isinstance(given_back["7"], TaskStatus)
            else:
                assert all(isinstance(one, CdnTask) and isinstance(one.id, str) for one in given_back)
                assert all(set(one.urls) <= set(URLS) for one in given_back)
