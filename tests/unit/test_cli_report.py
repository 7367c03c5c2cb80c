"""Reports: what a terminal shows, and how sizes and values are spelled."""

import io
from dataclasses import dataclass

import msgspec
import pytest
from rich.console import Console

from pipeline.cli.answer import Answer
from pipeline.cli.lines import plain_line
from pipeline.cli.masking import Mask
from pipeline.cli.report import (
    EVENT_NAMES,
    JsonReport,
    PlainReport,
    open_report,
    plain_value,
)
from pipeline.cli.terminal import RichReport
from pipeline.errors import UsageError
from pipeline.events import Event, PartDone, Progress, Retrying, StepFinished, StepStarted, Warned
from pipeline.spelling import spell_count, spell_size, spell_subject


@pytest.fixture
def terminal():
    text = io.StringIO()
    return RichReport(Mask(["canary-4711"]), Console(file=text, force_terminal=True, width=60, highlight=False)), text


def test_terminal_shows_lines_above_its_bars_masked(terminal, capsys):
    report, text = terminal
    report.listen(StepStarted("upload", 2, 100))
    report.listen(Progress("upload", 60))
    report.listen(Progress("upload", -10))
    report.listen(Progress("never started", 5))
    report.listen(PartDone("upload", "ab" * 32, 50, "sent"))
    report.listen(PartDone("upload", "cd" * 32, 50, "replaced"))
    report.listen(Retrying("put x", 1, 0.5, "canary-4711"))
    report.listen(Warned("w", "[bold]canary-4711[/bold]"))
    report.listen(StepFinished("upload", 2, 100, 1.0))
    report.close()
    report.answer(Answer({}, "all canary-4711 done"))
    shown = text.getvalue()
    assert "upload: done, 2 items, 100 B in 1.0 s" in shown
    assert "replaced part cdcd" in shown
    assert "retry 1 of put x in 0.5 s: ***" in shown
    # Square brackets belong to names and are no markup.
    assert "[bold]***[/bold]" in shown
    assert "canary" not in shown
    assert capsys.readouterr().out == "all *** done\n"


def test_terminal_never_breaks_a_hint_that_may_be_copied(terminal):
    report, text = terminal
    report.failed(2, "no", "invoke publish --model bert-v2.1.0 --store s3://a-long-bucket/with/a/prefix --channel stable")
    assert "invoke publish --model bert-v2.1.0 --store s3://a-long-bucket/with/a/prefix --channel stable" in text.getvalue()


def test_report_is_plain_where_there_is_no_terminal(monkeypatch):
    assert isinstance(open_report("auto", Mask()), PlainReport)
    assert isinstance(open_report("json", Mask()), JsonReport)
    with pytest.raises(UsageError):
        open_report("rich", Mask())


def test_report_is_rich_on_a_terminal_that_can(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert isinstance(open_report("auto", Mask()), RichReport)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(open_report("auto", Mask()), PlainReport)


def test_every_event_has_a_name():
    assert set(EVENT_NAMES) == set(Event.__args__)


@pytest.mark.parametrize(
    "size, text",
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (64 << 20, "64.0 MiB"),
        (3 << 30, "3.0 GiB"),
        (5 << 40, "5.0 TiB"),
        (-2048, "-2.0 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (2**30 - 2**14, "1.0 GiB"),
    ],
)
def test_sizes_are_spelled_for_people(size, text):
    assert spell_size(size) == text


def test_answers_may_be_dataclasses_structs_and_lists_of_them():
    @dataclass
    class Inner:
        path: str

    class Outer(msgspec.Struct):
        n: int

    assert plain_value({"a": Inner("x"), "b": [Outer(1)], "c": (1, None)}) == {
        "a": {"path": "x"},
        "b": [{"n": 1}],
        "c": [1, None],
    }


@pytest.mark.parametrize(
    "event, said",
    [
        (StepStarted("fetch", 1, 0), "fetch: 1 item"),
        (StepStarted("fetch", 2, 30), "fetch: 2 items, 30 B"),
        (StepStarted("fetch", 0, 0), "fetch: started"),
        (StepFinished("fetch", 1, 0, 0.1), "fetch: done, 1 item in 0.1 s"),
        (StepFinished("fetch", 0, 0, 0.1), "fetch: done in 0.1 s"),
    ],
)
def test_one_is_not_many(event, said):
    assert plain_line(event) == said


def test_counts_are_spelled_as_people_do():
    assert [spell_count(number, "entry") for number in (0, 1, 2)] == ["0 entries", "1 entry", "2 entries"]
    assert [spell_count(number, "key") for number in (0, 1, 2)] == ["0 keys", "1 key", "2 keys"]


def test_verbs_follow_their_number():
    assert [spell_subject(number, "URL", "are") for number in (0, 1, 2)] == ["0 URLs are", "1 URL is", "2 URLs are"]
    assert spell_subject(1, "task", "have") == "1 task has"


@pytest.mark.parametrize("name", ["a\nerror: fooled", "a\x1b[2J", "a\rerror: fooled", "a\u202egpj.exe", "a\x9b2J", "a\u2028b"])
@pytest.mark.parametrize("is_terminal", [False, True])
def test_name_from_outside_neither_begins_a_line_nor_moves_a_terminal(is_terminal, name, capsys):
    text = io.StringIO()
    report = RichReport(Mask(), Console(file=text, width=200, highlight=False)) if is_terminal else PlainReport(Mask())
    report.listen(Warned("verify-finding", f"{name}: no file of the release"))
    report.failed(3, f"{name}: no file", f"Look at {name}.")
    report.close()
    lines = [line for line in (text.getvalue() or capsys.readouterr().err).split("\n") if line]
    assert [line[:9] for line in lines] == ["warning (", "error: a\\", "  Look at"]
    assert all(line.isprintable() for line in lines)
