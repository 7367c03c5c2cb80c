"""The sizes of the format, a thousandth as large, so that many chunks and parts fit into little time."""

from contextlib import ExitStack, contextmanager
from unittest import mock

CHUNK = 4096
JOIN = 1024


@contextmanager
def small_cuts():
    sizes = {
        "pipeline.formats.opaque.MIN_BYTES": 256,
        "pipeline.formats.opaque.AVERAGE_BYTES": 1024,
        "pipeline.formats.opaque.MAX_BYTES": CHUNK,
        "pipeline.plan.cut.CHUNK_BYTES": CHUNK,
        "pipeline.plan.cut.JOIN_BYTES": JOIN,
        "pipeline.steps.pieces.STRETCH_BYTES": 2 * CHUNK,
        "pipeline.steps.index.ONE_PART_BYTES": JOIN,
    }
    with ExitStack() as stack:
        for name, size in sizes.items():
            stack.enter_context(mock.patch(name, size))
        yield
