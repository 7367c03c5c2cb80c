"""Bytes in flight share one budget: who asks for more waits, and nobody waits for ever."""

import threading

import pytest

from pipeline.errors import Interrupted
from pipeline.steps.receive import BUDGET_BYTES, Budget


def test_budget_is_32_mib_unless_told_otherwise():
    assert BUDGET_BYTES == 32 << 20
    budget = Budget()
    budget.take(32 << 20)
    waiting = threading.Thread(target=budget.take, args=(1,))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    budget.give(1)
    waiting.join(5)
    assert not waiting.is_alive()


def test_many_connections_together_never_hold_more_than_the_budget():
    budget, lock = Budget(100), threading.Lock()
    held, most = 0, 0

    def connection(size):
        nonlocal held, most
        for _ in range(50):
            budget.take(size)
            with lock:
                held += size
                most = max(most, held)
            with lock:
                held -= size
            budget.give(size)

    threads = [threading.Thread(target=connection, args=(size,)) for size in (7, 30, 55, 100, 1, 60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert 100 >= most >= 60


def test_fetch_that_ends_lets_nobody_wait():
    budget, ended = Budget(1), []
    budget.take(1)

    def connection():
        with pytest.raises(Interrupted):
            budget.take(1)
        ended.append(True)

    waiting = threading.Thread(target=connection)
    waiting.start()
    budget.stop()
    waiting.join(5)
    assert ended == [True]
