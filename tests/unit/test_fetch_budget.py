"""Bytes in flight share one budget: who asks for more waits, and nobody waits for ever."""

import threading

import pytest

from pipeline.errors import Interrupted
from pipeline.steps.blocks import BUDGET_BYTES, GRAIN_BYTES, Blocks, Budget


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


def test_block_that_was_given_back_serves_the_next_chunk_of_its_size():
    blocks = Blocks(8 * GRAIN_BYTES)
    first = blocks.take(GRAIN_BYTES - 5)
    blocks.give(first)
    second = blocks.take(GRAIN_BYTES - 9)
    assert second.memory is first.memory
    assert (len(first.view), len(second.view)) == (GRAIN_BYTES - 5, GRAIN_BYTES - 9)


def test_kept_blocks_make_room_for_other_sizes():
    blocks = Blocks(8 * GRAIN_BYTES)
    for size in (3, 4, 1):
        blocks.give(blocks.take(size * GRAIN_BYTES))
    assert blocks.mapped == 8 * GRAIN_BYTES
    large = blocks.take(6 * GRAIN_BYTES)
    assert blocks.mapped <= 8 * GRAIN_BYTES
    large.view[-1] = 7
    assert large.view[-1] == 7


def test_blocks_of_many_threads_stay_within_their_budget():
    blocks, most = Blocks(8 * GRAIN_BYTES), []

    def connection(number):
        for turn in range(50):
            block = blocks.take((1 + (number + turn) % 8) * GRAIN_BYTES)
            block.view[0] = number
            most.append(blocks.mapped)
            assert block.view[0] == number
            blocks.give(block)

    threads = [threading.Thread(target=connection, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 6 * 50
    assert max(most) <= 8 * GRAIN_BYTES
