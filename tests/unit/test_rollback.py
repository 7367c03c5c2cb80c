"""Which release a rollback goes to."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.plan.rollback import release_before


def before(*releases, bad=()):
    moves = list(zip(("", *releases), releases, strict=False))
    return release_before(moves, lambda release: release not in bad)


def test_rollback_goes_to_the_release_before():
    assert before("v1", "v2", "v3") == "v2"


def test_first_release_has_none_before_it():
    assert before("v1") is None
    assert before() is None


def test_second_rollback_goes_one_further_back():
    assert before("v1", "v2", "v3", "v2") == "v1"
    assert before("v1", "v2", "v3", "v2", "v1") is None


def test_what_was_taken_back_is_not_gone_to_again():
    assert before("v1", "v2", "v1", "v3") == "v1"


def test_releases_that_cannot_be_used_are_passed_over():
    assert before("v1", "v2", "v3", bad={"v2"}) == "v1"
    assert before("v1", "v2", "v3", bad={"v1", "v2"}) is None


def test_history_that_was_cut_begins_where_its_first_move_came_from():
    assert release_before([("v7", "v8")], lambda _: True) == "v7"


@given(st.lists(st.sampled_from(["v1", "v2", "v3", "v4"]), min_size=1, max_size=30))
def test_rolling_back_ends_and_never_shows_a_release_twice(releases):
    seen = [releases[-1]]
    while (found := before(*releases)) is not None:
        assert found not in seen
        seen.append(found)
        releases = [*releases, found]
    assert len(seen) <= 4
