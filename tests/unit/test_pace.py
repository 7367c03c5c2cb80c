"""Progress is told at a pace, and nothing of it is lost."""

import itertools

import pytest

from pipeline.cli.masking import Mask
from pipeline.cli.pace import Pace
from pipeline.cli.report import JsonReport, PlainReport
from pipeline.events import Progress, StepFinished, StepStarted


def test_progress_is_told_at_most_once_in_a_while_and_in_full():
    clock = itertools.count(0, 0.25)
    pace = Pace(1.0, lambda: next(clock))
    told = [event.bytes for _ in range(20) if (event := pace.add(Progress("upload", 10)))]
    left = pace.rest("upload")
    assert told == [50, 40, 40, 40]
    assert sum(told) + left.bytes == 200
    assert pace.rest("upload") is None


def test_steps_keep_their_own_pace():
    clock = itertools.count(0, 1)
    pace = Pace(1.0, lambda: next(clock))
    assert pace.add(Progress("a", 1)) is None
    assert pace.add(Progress("b", 2)) is None
    assert pace.add(Progress("a", 1)) == Progress("a", 2)
    assert pace.rest("b") == Progress("b", 2)


def test_json_lines_tell_all_bytes_before_the_step_is_finished(capsys):
    report = JsonReport(Mask(()))
    report.listen(StepStarted("upload", 1, 3000))
    for _ in range(3000):
        report.listen(Progress("upload", 1))
    report.listen(StepFinished("upload", 1, 3000, 0.1))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) < 20
    assert sum(int(line.rpartition(":")[2].strip(" }")) for line in lines if '"progress"' in line) == 3000
    assert '"step_finished"' in lines[-1]


@pytest.mark.parametrize(("total", "said"), [(64 << 20, "upload: 32.0 MiB of 64.0 MiB"), (0, "upload: 32.0 MiB")])
def test_plain_log_of_a_long_step_shows_signs_of_life(capsys, monkeypatch, total, said):
    clock = itertools.count(0, 31)
    monkeypatch.setattr("pipeline.cli.report.Pace", lambda every_s: Pace(every_s, lambda: next(clock)))
    report = PlainReport(Mask(()))
    report.listen(StepStarted("upload", 1, total))
    report.listen(Progress("upload", 16 << 20))
    report.listen(Progress("upload", 16 << 20))
    assert capsys.readouterr().err.splitlines()[-1] == said
