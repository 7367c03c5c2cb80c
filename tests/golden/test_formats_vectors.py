"""Tiny files of every format are cut where they always were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pipeline.formats
from pipeline.formats import find_tensors
from pipeline.formats.opaque import ContentCutter
from pipeline.plan.cut import Element, Span, Tensor, cut_tensors
from tests.golden.formats_writers import tiny_files
from tests.golden.make_vectors import stretches

VECTORS = Path(__file__).parent / "vectors"
FORMATS = json.loads((VECTORS / "formats.json").read_text())
OPAQUE = json.loads((VECTORS / "opaque.json").read_text())


def test_vectors_cover_every_format():
    assert {golden["format"] for golden in FORMATS.values()} == {known.name for known in pipeline.formats.FORMATS}
    assert FORMATS.keys() == tiny_files().keys()


@pytest.mark.parametrize("name", FORMATS)
def test_file_is_cut_as_ever(name):
    data = (VECTORS / name).read_bytes()
    golden = FORMATS[name]
    found = find_tensors(lambda at, size: data[at : at + size], len(data), name)
    assert (found.format, found.warning, len(data)) == (golden["format"], None, golden["size"])
    assert found.tensors == tuple(Tensor(low, high, Element(width, floating)) for low, high, width, floating in golden["tensors"])
    spans = [Span(low, high, Element(width, floating)) for low, high, width, floating in golden["spans"]]
    assert list(cut_tensors(len(data), found.tensors)) == spans


@pytest.mark.parametrize("name", FORMATS)
def test_writer_still_writes_the_file(name):
    assert (VECTORS / name).read_bytes() == tiny_files()[name]


@pytest.mark.parametrize("name", OPAQUE)
def test_stretch_is_cut_as_ever(name):
    assert ContentCutter().feed(stretches()[name], final=True) == OPAQUE[name]
