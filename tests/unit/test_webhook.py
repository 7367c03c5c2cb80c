"""The webhook's contract: the least of it, and everything that a setting can change."""

import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest

from pipeline.cdns.calling import Reply
from pipeline.cdns.webhook import open_cdn
from pipeline.errors import CallRefused, SettingsError
from pipeline.ports import CdnTask, Op, TaskState
from pipeline.providers import PROVIDERS, Credentials

BASE = "https://cdn.example.com"
DEFAULTS = {key: option.default for key, option in PROVIDERS["webhook"].options.items() if option.default is not None}


class Heard:
    """Stands for the caller: keeps what is sent, and answers as told."""

    def __init__(self, document=None, status=200):
        self.document, self.status = document or {}, status
        self.calls = []

    def now(self):
        return datetime(2026, 11, 22, 10, 0, tzinfo=UTC)

    def send(self, call):
        self.calls.append(call)
        return Reply(call, self.status, {}, self.document)


def hook(heard, credentials=(), **options):
    return open_cdn(
        base_url=BASE,
        endpoint="https://hook.example.com/api",
        credentials=Credentials(dict(credentials)),
        options={**DEFAULTS, **options},
        calling=heard,
    )


def test_least_contract_is_a_post_of_urls_that_is_answered_2xx():
    heard = Heard()
    cdn = hook(heard)
    (task,) = cdn.submit(Op.REFRESH, [f"{BASE}/a"], key="k")
    (call,) = heard.calls
    assert (call.method, call.url) == ("POST", "https://hook.example.com/api")
    assert json.loads(call.body) == {"urls": [f"{BASE}/a"]}
    assert call.headers == {"Content-Type": "application/json", "Idempotency-Key": "k"}
    assert call.may_be_empty
    assert (task.id, task.urls) == ("", (f"{BASE}/a",))
    assert not cdn.can_poll
    assert set(cdn.limits) == {Op.PREFETCH, Op.REFRESH}
    assert cdn.account == "hook.example.com"
    assert cdn.quota() is None
    assert cdn.find(Op.REFRESH, [], since=heard.now()) is None


def test_everything_about_it_is_a_setting():
    heard = Heard({"job": {"number": 7}})
    cdn = hook(
        heard,
        method="PUT",
        path="all",
        prefetch_path="/warm",
        operations=("prefetch", "refresh_prefix"),
        field="list",
        op_field="what",
        id_field="job.number",
        poll="https://tasks.example.com/{id}",
    )
    assert set(cdn.limits) == {Op.PREFETCH, Op.REFRESH_PREFIX}
    (task,) = cdn.submit(Op.PREFETCH, [f"{BASE}/a"], key="k")
    cdn.submit(Op.REFRESH_PREFIX, [f"{BASE}/a/"], key="k")
    assert [call.url for call in heard.calls] == ["https://hook.example.com/api/warm", "https://hook.example.com/api/all"]
    assert heard.calls[0].method == "PUT"
    assert json.loads(heard.calls[0].body) == {"list": [f"{BASE}/a"], "what": "prefetch"}
    assert task.id == "7"
    cdn.poll([CdnTask("a/b", Op.PREFETCH, ())])
    assert (heard.calls[2].method, heard.calls[2].url) == ("GET", "https://tasks.example.com/a%2Fb")


def test_signature_covers_time_and_body():
    heard = Heard()
    hook(heard, {"token": "the-token", "secret": "the-secret"}).submit(Op.REFRESH, [f"{BASE}/ü"], key="k")
    (call,) = heard.calls
    stamp = str(int(heard.now().timestamp()))
    wanted = hmac.new(b"the-secret", f"{stamp}.".encode() + call.body, hashlib.sha256).hexdigest()
    assert call.headers["X-Signature"] == f"sha256={wanted}"
    assert call.headers["X-Timestamp"] == stamp
    assert call.headers["Authorization"] == "Bearer the-token"
    assert set(call.secrets) == {"the-token", "the-secret"}
    assert "the-" not in repr(call)


@pytest.mark.parametrize(
    "document, ids",
    [
        ({}, [""]),
        ({"task_id": "x"}, ["x"]),
        ({"id": 5}, ["5"]),
        ({"taskId": "y"}, ["y"]),
        ({"tasks": ["a", "b"]}, ["a", "b"]),
        ({"tasks": [{"id": "a"}, {"task_id": 2}]}, ["a", "2"]),
        ({"id": {"deep": 1}}, [""]),
        ({"tasks": []}, [""]),
    ],
)
def test_task_ids_are_found_where_they_usually_stand(document, ids):
    tasks = hook(Heard(document)).submit(Op.REFRESH, [f"{BASE}/a"], key="k")
    assert [task.id for task in tasks] == ids


def test_tasks_may_name_their_own_urls():
    urls = [f"{BASE}/a", f"{BASE}/b"]
    document = {"tasks": [{"id": "1", "urls": [urls[1]]}, {"id": "2", "urls": [urls[0], "https://other/x"]}]}
    tasks = hook(Heard(document)).submit(Op.REFRESH, urls, key="k")
    assert [task.urls for task in tasks] == [(urls[1],), (urls[0],)]


@pytest.mark.parametrize("document", [{"error": "no"}, {"success": False, "message": "no"}, {"error": {"code": 1}}])
def test_error_inside_a_success_is_a_refusal(document):
    with pytest.raises(CallRefused):
        hook(Heard(document)).submit(Op.REFRESH, [f"{BASE}/a"], key="k")


def test_refusal_names_the_urls_that_its_message_names():
    heard = Heard({"message": f"bad url {BASE}/b, sorry"}, status=422)
    with pytest.raises(CallRefused) as caught:
        hook(heard).submit(Op.REFRESH, [f"{BASE}/a", f"{BASE}/b"], key="k")
    assert caught.value.urls == (f"{BASE}/b",)


@pytest.mark.parametrize(
    "document, status, state, percent, failed",
    [
        ({"state": "Done"}, 200, TaskState.DONE, 100, {}),
        ({"state": "running", "percent": 40}, 200, TaskState.RUNNING, 40, {}),
        ({"state": "running", "percent": 400}, 200, TaskState.RUNNING, None, {}),
        ({}, 200, TaskState.RUNNING, None, {}),
        ({"state": "failed", "error": "disk full"}, 200, TaskState.FAILED, None, {}),
        (
            {"state": "done", "failed": [f"{BASE}/a", "https://other/"]},
            200,
            TaskState.DONE,
            100,
            {f"{BASE}/a": "the CDN says that it failed"},
        ),
        ({"state": "failed", "failed": {f"{BASE}/a": "404"}}, 200, TaskState.FAILED, None, {f"{BASE}/a": "404"}),
        ({"message": "what?"}, 404, TaskState.UNKNOWN, None, {}),
        ({}, 410, TaskState.UNKNOWN, None, {}),
    ],
)
def test_state_of_a_task_is_read(document, status, state, percent, failed):
    cdn = hook(Heard(document, status), poll="/tasks/{id}")
    found = cdn.poll([CdnTask("1", Op.REFRESH, (f"{BASE}/a",))])["1"]
    assert (found.state, found.percent, dict(found.failed)) == (state, percent, failed)


def test_states_that_mean_done_and_failed_are_settings():
    cdn = hook(
        Heard({"result": {"word": "ERLEDIGT"}}), poll="/{id}", state_field="result.word", done=("Erledigt",), failed=("Kaputt",)
    )
    assert cdn.poll([CdnTask("1", Op.REFRESH, ())])["1"].state is TaskState.DONE


@pytest.mark.parametrize("options, said", [({"operations": ("purge",)}, "'purge'"), ({"poll": "/tasks"}, "has no {id}")])
def test_settings_that_cannot_be_are_told(options, said):
    with pytest.raises(SettingsError, match=said):
        hook(Heard(), **options)
