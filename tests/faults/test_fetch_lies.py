"""A whole fetch against a server that lies about parts: beside an honest mirror it ends identical, alone it installs nothing false."""

import random
import signal
import threading
import time

import pytest

from pipeline.errors import ModelportError
from pipeline.sources.http import HttpReader
from pipeline.sources.pace import Limits
from tests.best_of import quickest_s
from tests.fetch_world import QUICK, Fetcher, contents, make_tree
from tests.servers import hostile

LIES = [
    hostile.whole,
    hostile.whole_chunked,
    hostile.whole_until_close,
    hostile.ok_with_span,
    hostile.ok_with_other_span,
    hostile.earlier,
    hostile.later,
    hostile.other_total,
    hostile.star_span,
    hostile.no_span,
    hostile.two_spans,
    hostile.multipart,
    hostile.not_satisfiable,
    hostile.short,
    hostile.short_span,
    hostile.short_reset,
    hostile.longer,
    hostile.longer_declared,
    hostile.encoded,
    hostile.encoded_range,
    hostile.web_page,
    hostile.other_length,
    hostile.two_lengths,
    hostile.bad_length,
    hostile.not_http,
    hostile.bit_flip,
    hostile.hang_up,
    hostile.reset,
]
RELEASE = "bert-v1.0.0"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    tree = make_tree(tmp_path_factory.mktemp("lies") / "tree")
    tree.lay_out(RELEASE, tensor_bytes=600 << 10)
    return tree


@pytest.fixture(scope="module")
def objects(tree):
    return {path.relative_to(tree.store).as_posix(): path.read_bytes() for path in tree.store.rglob("*") if path.is_file()}


def reader(server):
    return HttpReader(server.url, limits=Limits(connect_s=5, idle_s=5))


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_beside_an_honest_mirror_every_lie_ends_in_the_right_folder(tree, objects, tmp_path, lie):
    with hostile.run_hostile(objects) as liar, hostile.run_hostile(objects) as honest:
        liar.behave(lie, key="parts/")
        fetcher = Fetcher(tmp_path, (reader(liar), reader(honest)), tree.site.fingerprint)
        fetcher.fetch(RELEASE)
    assert contents(fetcher.models / RELEASE) == contents(tree.sources[RELEASE])


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_alone_a_lie_is_seen_through_or_ends_the_fetch_with_nothing_installed(tree, objects, tmp_path, lie):
    with hostile.run_hostile(objects) as liar:
        liar.behave(lie, key="parts/")
        fetcher = Fetcher(tmp_path, (reader(liar),), tree.site.fingerprint)
        code = 0
        try:
            fetcher.fetch(RELEASE)
        except ModelportError as error:
            code = error.exit_code
        assert code in {0, 3, 5}
        if code:
            assert not (fetcher.models / RELEASE).exists()
        else:
            assert contents(fetcher.models / RELEASE) == contents(tree.sources[RELEASE])
        # When it is honest again, the next run needs no more than what is missing.
        liar.behave(hostile.honest)
        fetcher.readers = (reader(liar),)
        fetcher.fetch(RELEASE)
    assert contents(fetcher.models / RELEASE) == contents(tree.sources[RELEASE])


def test_a_stop_in_the_middle_of_a_silent_answer_takes_less_than_two_seconds(tree, objects, tmp_path):
    def attempt():
        asked = threading.Event()
        stopped_at = []

        def silent(talk):
            asked.set()
            return hostile.silent(talk)

        def stop():
            assert asked.wait(30)
            stopped_at.append(time.monotonic())
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        with hostile.run_hostile(objects) as server:
            server.behave(silent, key="parts/")
            machine = tmp_path / f"machine {time.monotonic_ns()}"
            fetcher = Fetcher(machine, (HttpReader(server.url, limits=Limits(idle_s=120)),), tree.site.fingerprint)
            stopper = threading.Thread(target=stop)
            stopper.start()
            with pytest.raises(KeyboardInterrupt):
                fetcher.fetch(RELEASE)
            took = time.monotonic() - stopped_at[0]
            stopper.join()
        assert not (fetcher.models / RELEASE).exists()
        # However busy this machine is: the silence itself would have been borne for longer.
        assert took < 60
        return took

    assert quickest_s(attempt, within_s=2) < 2


def test_a_source_that_only_trickles_ends_the_fetch_with_its_name_and_its_speed(tmp_path):
    """Every chunk that came whole would count as progress, however long it took."""
    tree = make_tree(tmp_path / "small")
    source = tmp_path / "files"
    source.mkdir()
    for number in range(100):
        (source / f"{number}.bin").write_bytes(random.Random(number).randbytes(16))
    tree.publish(RELEASE, source)
    objects = {path.relative_to(tree.store).as_posix(): path.read_bytes() for path in tree.store.rglob("*") if path.is_file()}
    limits = Limits(connect_s=5, idle_s=5, window_s=0.3, least_per_s=2000)
    with hostile.run_hostile(objects) as server:
        server.drip_s = 0.002
        server.behave(hostile.slow_body, key="parts/")
        fetcher = Fetcher(tmp_path / "machine", (HttpReader(server.url, limits=limits),), tree.site.fingerprint)
        with pytest.raises(ModelportError, match=f"{server.url}: .*expected at least 2000 bytes a second"):
            fetcher.fetch(RELEASE, connections=1)
        assert sum("parts/" in one.target for one in server.requests) <= QUICK.attempts
    assert not (fetcher.models / RELEASE).exists()
