"""Laws of names, over generated ones."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from pipeline.release import NameRefused, Release, check_model, check_version, clash, fold, path_fault

NUMBER = st.integers(0, 10**6).map(str)
PRE_RELEASE = st.lists(st.from_regex(r"[0-9a-z-]{1,6}", fullmatch=True), max_size=4).map(".".join)
VERSIONS = st.builds(
    lambda numbers, pre: ".".join(numbers) + (f"-{pre}" if pre else ""), st.lists(NUMBER, min_size=3, max_size=3), PRE_RELEASE
)
MODELS = st.one_of(
    st.from_regex(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", fullmatch=True),
    st.lists(st.sampled_from(["a", "-v", "1.0.0", "-", "v", ".", "2", "-v1.2.3", "_"]), min_size=1, max_size=8).map("".join),
)
TEXT = st.text(st.sampled_from("abkKé/.-~ \\:\u0301\u212a\u202e%2eE\x00ßA\ud800\uff0f"), max_size=12)


def taken(check, text):
    try:
        check(text)
    except NameRefused:
        return False
    return True


@given(MODELS, VERSIONS)
def test_release_name_reads_back(model, version):
    if not (taken(check_model, model) and taken(check_version, version)):
        return
    release = Release(model, version)
    assert Release.parse(str(release)) == release


@given(
    st.lists(st.sampled_from(["a", "bert", "-v", "1.0.0", "2.1", "-rc", ".", "0", "v", "-", "-v2.0.0"]), max_size=8).map("".join)
)
def test_what_parses_is_spelled_the_same(text):
    if taken(Release.parse, text):
        assert str(Release.parse(text)) == text


@given(TEXT)
def test_path_that_is_taken_is_safe_to_join(path):
    if path_fault(path) is not None:
        return
    assert path.encode("utf-8")
    assert unicodedata.is_normalized("NFC", path)
    assert not {"", ".", ".."} & set(path.split("/"))
    assert not set(path) & set('\\:<>"|?*\x00')
    assert path[0] not in "/~-"


@given(st.lists(TEXT, max_size=6, unique=True))
def test_paths_without_a_clash_stay_apart_when_folded(paths):
    found = clash(paths)
    folded = [fold(path) for path in paths]
    apart = len(set(folded)) == len(folded) and not any(
        one != other and other.startswith(one + "/") for one in folded for other in folded
    )
    assert (found is None) == apart


@given(st.text(st.characters(codec="utf-8"), max_size=8))
def test_folding_twice_is_folding_once(text):
    assert fold(fold(text)) == fold(text)
