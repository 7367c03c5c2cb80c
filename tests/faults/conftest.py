"""What the fault tests share: children, and the sites that they publish to."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.sources.http import HttpReader
from tests.http_world import OBJECTS
from tests.publish_calm import Calm
from tests.publish_children import Children, open_children
from tests.publish_world import Site, directory_shelf, memory_shelf, oss_shelf, s3_shelf
from tests.servers.hostile import run_hostile
from tests.servers.processes import scratch


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that everybody may enter, which those of pytest are not."""
    with scratch() as folder:
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="session")
def children(tmp_path_factory) -> Iterator[Children]:
    """Processes on demand."""
    yield from open_children(tmp_path_factory.mktemp("children"))


@pytest.fixture(scope="session")
def calm(tmp_path_factory) -> Calm:
    """Two publishes that nobody disturbs."""
    return Calm(tmp_path_factory.mktemp("calm"))


@pytest.fixture
def make_site(request, tmp_path, bucket_on):
    """A begun or empty place to publish to, by the kind of store; ``endpoint`` is a relay before it."""
    count = itertools.count(1)

    def make(kind: str, *, begun: bool | None = None, endpoint: str = "") -> Site:
        folder = tmp_path / f"site{next(count)}"
        folder.mkdir()
        if kind == "directory":
            site = Site(folder, directory_shelf(folder / "store"))
        elif kind == "memory":
            site = Site(folder, memory_shelf())
        elif kind == "oss":
            server = request.getfixturevalue("oss_server")
            site = Site(folder, oss_shelf(server, bucket_on(server), endpoint=endpoint))
        else:
            server = request.getfixturevalue(kind)
            site = Site(folder, s3_shelf(server, bucket_on(server), endpoint=endpoint))
        if begun if begun is not None else kind not in {"directory", "memory"}:
            site.begin()
        return site

    return make


@pytest.fixture
def server():
    """A web server with one object, which misbehaves as a test says."""
    with run_hostile(OBJECTS) as running:
        yield running


@pytest.fixture
def open_reader():
    """Makes readers, which are closed at the end."""
    with contextlib.ExitStack() as stack:

        def make(url, **more):
            made = HttpReader(url, **more)
            stack.callback(made.close)
            return made

        yield make
