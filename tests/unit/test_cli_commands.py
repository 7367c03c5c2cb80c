"""``@command``: flags, refusals, exit codes and what stands on which stream."""

import json
import os
import signal

import pytest
from invoke.collection import Collection
from invoke.program import Program

from pipeline.cli.answer import Answer
from pipeline.cli.commands import command
from pipeline.errors import ConflictError, DiskError, IntegrityError, LeftInLedger, TrustError, UnavailableError, UsageError
from pipeline.events import PartDone, Progress, Retrying, StepFinished, StepStarted, Warned


@pytest.fixture
def ran(capsys, monkeypatch, tmp_path):
    """Run a body as the task ``act`` with the given words; gives (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(body, *words, flags=None, settings=()):
        body.__name__ = "act"
        program = Program(name="t", version="0", namespace=Collection(command(help=flags or {}, settings=settings)(body)))
        code = 0
        try:
            program.run(["t", *words])
        except SystemExit as stopped:
            code = stopped.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


def answered(run):
    return Answer({"found": 1}, "found 1")


def test_answer_is_a_summary_on_stdout(ran):
    assert ran(answered, "act") == (0, "found 1\n", "")


def test_answer_is_one_json_document_under_json(ran):
    code, out, err = ran(answered, "act", "--report", "json")
    assert (code, json.loads(out), err) == (0, {"found": 1}, "")


@pytest.mark.parametrize(
    "error, code",
    [
        (UsageError, 2),
        (IntegrityError, 3),
        (TrustError, 4),
        (UnavailableError, 5),
        (DiskError, 6),
        (LeftInLedger, 7),
        (ConflictError, 8),
    ],
)
def test_failure_has_its_code_and_leaves_stdout_empty(ran, error, code):
    def fail(run):
        run.listen(StepStarted("read"))
        raise error("what failed", hint="what to do")

    found, out, err = ran(fail, "act", "--report", "json")
    assert (found, out) == (code, "")
    assert json.loads(err.splitlines()[-1]) == {"event": "failed", "code": code, "error": "what failed", "hint": "what to do"}
    found, out, err = ran(fail, "act")
    assert (found, out) == (code, "")
    assert err.splitlines()[-2:] == ["error: what failed", "  what to do"]


def test_work_left_gives_the_answer_and_the_code(ran):
    code, out, err = ran(
        lambda run: Answer({"a": 1}, "a", left=LeftInLedger("3 URLs are left", hint="invoke cdn.resume")),
        "act",
        "--report",
        "json",
    )
    assert (code, json.loads(out)) == (7, {"a": 1})
    assert json.loads(err)["code"] == 7


@pytest.mark.parametrize("value", ["--help", "--dry", "-e", "--report=json", "-"])
def test_value_that_reads_as_a_flag_never_runs_the_task(ran, value):
    def act(run, *, model):
        raise AssertionError(model)

    code, out, err = ran(act, "act", "--model", value, flags={"model": "m"})
    assert (code, out) == (2, "")
    assert "--model" in err
    assert value in err


def test_list_flags_repeat_and_each_value_is_guarded(ran):
    def act(run, *, source=()):
        return Answer({"source": list(source)}, "")

    code, out, _ = ran(act, "act", "--source", "a", "--source", "b", "--report", "json", flags={"source": "s"})
    assert (code, json.loads(out)) == (0, {"source": ["a", "b"]})
    assert ran(act, "act", "--source", "a", "--source", "--dry", flags={"source": "s"})[0] == 2


def test_required_flag_is_asked_for_by_name(ran):
    def act(run, *, model_name):
        raise AssertionError(model_name)

    code, _, err = ran(act, "act", flags={"model_name": "m"})
    assert code == 2
    assert "--model-name is needed" in err


def test_nothing_is_positional(ran):
    def act(run, *, model=""):
        raise AssertionError(model)

    code, _, err = ran(act, "act", "bert-v2.1.0", flags={"model": "m"})
    assert (code, err.strip()) == (1, "No idea what 'bert-v2.1.0' is!")


def test_setting_flag_reaches_the_settings_and_not_the_body(ran, tmp_path):
    def act(run):
        return Answer({"store": run.settings.store, "from": run.settings.origins["store"]}, "")

    code, out, _ = ran(act, "act", "--store", "s3://b/p", "--report", "json", settings=("store",))
    assert (code, json.loads(out)) == (0, {"store": "s3://b/p", "from": "--store"})


def test_dry_is_invokes_own_flag(ran):
    def act(run):
        return Answer({"dry": run.dry}, "")

    assert json.loads(ran(act, "act", "--report", "json")[1]) == {"dry": False}
    assert json.loads(ran(act, "--dry", "act", "--report", "json")[1]) == {"dry": True}
    assert json.loads(ran(act, "act", "--dry", "--report", "json")[1]) == {"dry": True}


def test_unknown_report_is_refused_before_the_body_runs(ran):
    code, out, err = ran(answered, "act", "--report", "xml")
    assert (code, out) == (2, "")
    assert "expected one of auto, plain, json" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_with_130(ran, number):
    def act(run):
        os.kill(os.getpid(), number)
        signal.pause()

    code, out, err = ran(act, "act", "--report", "json")
    assert (code, out) == (130, "")
    assert json.loads(err.splitlines()[-1])["code"] == 130


def test_events_are_json_lines(ran):
    def act(run):
        run.listen(StepStarted("upload", 2, 30))
        run.listen(Progress("upload", 10))
        run.listen(PartDone("upload", "ab" * 32, 10, "sent"))
        run.listen(Retrying("put x", 1, 0.5, "reset"))
        run.listen(Warned("clock", "the clock is slow"))
        run.listen(StepFinished("upload", 2, 30, 1.25))
        return Answer({}, "")

    _, _, err = ran(act, "act", "--report", "json")
    lines = [json.loads(line) for line in err.splitlines()]
    assert [line["event"] for line in lines] == ["step_started", "part_done", "retrying", "warned", "progress", "step_finished"]
    assert lines[0] == {"event": "step_started", "step": "upload", "items": 2, "bytes": 30}
    _, _, err = ran(act, "act", "--report", "plain")
    assert err.splitlines() == [
        "upload: 2 items, 30 B",
        "retry 1 of put x in 0.5 s: reset",
        "warning (clock): the clock is slow",
        "upload: done, 2 items, 30 B in 1.2 s",
    ]


def test_secrets_are_masked_in_answers_events_and_failures(ran, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-4711")

    def act(run, *, fail=False):
        run.listen(Warned("w", "canary-4711 at https://u:pass1234@h/"))
        if fail:
            raise UsageError("canary-4711 is wrong", hint="not canary-4711")
        return Answer({"url": "https://u:pass1234@h/?Signature=abc", "k": ["canary-4711"]}, "canary-4711")

    for words in (["--report", "json"], ["--report", "plain"], ["--fail"], ["--fail", "--report", "json"]):
        _, out, err = ran(act, "act", *words, flags={"fail": "f"})
        assert "***" in out + err
        assert "canary" not in out + err
        assert "pass1234" not in out + err


def test_foreign_exceptions_pass_as_the_bugs_they_are(ran):
    def act(run):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ran(act, "act")


def test_help_and_flags_must_agree():
    def act(run, *, model=""):
        return Answer({}, model)

    with pytest.raises(TypeError, match="help and flags differ"):
        command(help={})(act)


def test_numbers_are_refused_as_flag_defaults():
    def act(run, *, count=3):
        return Answer({}, str(count))

    with pytest.raises(TypeError, match="text, a switch or a list"):
        command(help={"count": "c"})(act)
