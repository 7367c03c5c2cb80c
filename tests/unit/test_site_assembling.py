"""Files of releases out of cached parts: what is opened for one is let go of, whatever happens."""

import os
from types import SimpleNamespace

import blake3
import pytest

from bundles.site.assembling import Assembler
from bundles.site.shelf import Shelf
from tests.open_files import open_below


def test_small_file_out_of_a_part_that_became_shorter_leaves_nothing_open(tmp_path):
    shelf = Shelf(tmp_path / "shelf", 1 << 20, lambda event: None)
    data = b"x" * 1000
    name = blake3.blake3(data).hexdigest()
    descriptor, temporary = shelf.begin()
    os.write(descriptor, data)
    shelf.keep(descriptor, temporary, "parts", name)
    os.close(descriptor)
    assembler = Assembler(SimpleNamespace(), shelf, lambda event: None)
    part = SimpleNamespace(blake3=name, size=2000)
    chunk = SimpleNamespace(part=0, offset=500, stored=1000)
    before = open_below(tmp_path)
    with pytest.raises(OSError, match="500 of 1000 bytes are there"):
        assembler.small(SimpleNamespace(parts=[part]), SimpleNamespace(chunks=[chunk], path="model.yaml"))
    assert open_below(tmp_path) == before
    assembler.close()
