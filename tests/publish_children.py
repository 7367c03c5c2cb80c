"""Processes that publish for a test and can be killed, stopped and let go on; see ``publish_child`` for their side."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from tests.publish_world import Machine

_COUNT = itertools.count(1)


class Child:
    """A process that does one job."""

    def __init__(self, number: int, result: Path) -> None:
        self.number = number
        self.pid = 0
        self._result = result
        self._changed = threading.Condition()
        self._status: int | None = None
        self._stopped = False

    def told(self, message: dict) -> None:
        with self._changed:
            self.pid = message.get("pid", self.pid)
            self._stopped = message.get("stopped", self._stopped)
            self._status = message.get("status", self._status)
            self._changed.notify_all()

    def _until(self, done: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(done, 60), f"child {self.pid}: nothing happened for a minute"

    def started(self) -> Child:
        self._until(lambda: self.pid > 0)
        return self

    def wait_stopped(self) -> None:
        self._until(lambda: self._stopped or self._status is not None)
        assert self._stopped, f"it ended with {self._status} instead: {self.answer()}"

    def wait(self) -> int:
        """Its exit code; negative for a signal."""
        self._until(lambda: self._status is not None)
        assert self._status is not None
        return self._status

    @property
    def alive(self) -> bool:
        return self._status is None

    def signal(self, number: int) -> None:
        self.started()
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def answer(self) -> dict:
        """What it reported; {} if it was killed before it could."""
        try:
            return json.loads(self._result.read_text() or "{}")
        except FileNotFoundError:
            return {}


class Children:
    """Makes children quickly: one process has read all modules and forks for every job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: dict[int, Child] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.publish_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[1],
            text=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            message = json.loads(line)
            self._children[message["job"]].told(message)

    def start(self, job: str, machine: Machine, **words) -> Child:
        """Begin ``job`` (a function of ``tests.publish_child``) on ``machine``."""
        number = next(_COUNT)
        child = Child(number, self._folder / f"result{number}.json")
        self._children[number] = child
        message = {
            "job": number,
            "do": job,
            "result": str(self._folder / f"result{number}.json"),
            "home": str(machine.home),
            "keys": machine.keys,
            "ahead_s": machine.ahead_s,
            "shelf": [
                machine.shelf.kind,
                machine.shelf.where,
                machine.shelf.prefix,
                machine.shelf.endpoint,
                machine.shelf.region,
            ],
            **words,
        }
        assert self._process.stdin
        self._process.stdin.write(json.dumps(message, default=str) + "\n")
        self._process.stdin.flush()
        return child

    def start_together(self, jobs: Sequence[tuple[str, Machine, dict]]) -> list[Child]:
        """Begin jobs that wait for one another, so that they race."""
        number = next(_COUNT)
        gates = [self._folder / f"gate{number}.{at}" for at in range(len(jobs))]
        children = []
        for gate, (job, machine, words) in zip(gates, jobs, strict=True):
            os.mkfifo(gate)
            children.append(self.start(job, machine, wait=str(gate), **words))
        opened = [gate.open("wb") for gate in gates]
        for gate in opened:
            gate.close()
        return children

    def close(self) -> None:
        """End what is left; a child that a test forgot is killed."""
        for child in self._children.values():
            if child.alive and child.pid:
                child.signal(signal.SIGKILL)
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
        self._listener.join()
        assert self._process.stdout
        self._process.stdout.close()


def open_children(folder: Path) -> Iterator[Children]:
    children = Children(folder)
    try:
        yield children
    finally:
        children.close()
