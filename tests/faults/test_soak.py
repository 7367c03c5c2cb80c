"""A short soak; the long one is ``python -m tests.soak``."""

import secrets

from tests.soak import run_soak


def test_everything_stays_whole_while_requests_fail_and_processes_die_at_random(seaweedfs, tmp_path, record_property):
    seed = secrets.randbelow(10**9)
    record_property("seed", seed)
    soak = run_soak(seaweedfs, tmp_path, rounds=15, seed=seed)
    assert sum(soak.done.values()) == 15
    assert soak.trouble.spoilt.total() > 0
