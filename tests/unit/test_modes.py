"""Modes of new files: the umask is read, not set."""

import os

import pytest

from pipeline.steps import modes
from pipeline.steps.modes import current_umask


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_umask_is_read_without_setting_it(umask, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail(f"umask set to {mask:o}"))
    assert current_umask() == umask


def test_umask_is_known_where_the_system_does_not_tell_it(umask, monkeypatch, tmp_path):
    monkeypatch.setattr(modes, "STATUS", tmp_path / "none")
    assert current_umask() == umask
    assert current_umask() == umask
