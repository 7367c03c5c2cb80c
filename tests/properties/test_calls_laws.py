"""Laws of the plan of calls: for any URLs and limits."""

from datetime import timedelta
from itertools import pairwise
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st

from pipeline.plan.calls import BETWEEN, chunk_key, chunk_urls, fault_of, key_of, normalise_url, url_of
from pipeline.ports import CallLimits, Op

KEYS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(lambda key: key.strip() == key)
URLS = st.builds(lambda host, path: f"https://h{host}.example/{path}", st.integers(0, 4), st.integers(0, 10**9))
LIMITS = st.builds(
    CallLimits,
    urls=st.integers(1, 20),
    url_chars=st.integers(20, 60),
    body_bytes=st.none() | st.integers(60, 400),
    hosts=st.none() | st.integers(1, 4),
    history=st.none() | st.just(timedelta(days=3)),
)


@given(KEYS)
def test_a_keys_url_is_normal_and_leads_back(key):
    url = url_of("https://cdn.example.com/tree", key)
    assert normalise_url(url) == url
    assert url.isascii()
    assert key_of("https://cdn.example.com/tree", url) == key


@given(st.text(max_size=60))
def test_normalising_twice_is_normalising_once(text):
    try:
        url = normalise_url(f"https://h.example/{text}")
    except ValueError:
        return
    assert normalise_url(url) == url


@given(st.lists(URLS, max_size=60), LIMITS, st.none() | st.integers(1, 30))
def test_chunks_are_legal_and_hold_every_url_once_in_order(urls, limits, batch):
    fit = [url for url in urls if not fault_of(url, limits)]
    chunks = chunk_urls(fit, limits, batch=batch)
    assert [url for chunk in chunks for url in chunk] == list(dict.fromkeys(fit))
    for chunk in chunks:
        assert 1 <= len(chunk) <= min(limits.urls, batch or limits.urls)
        assert limits.body_bytes is None or sum(len(url) + BETWEEN for url in chunk) <= limits.body_bytes
        assert limits.hosts is None or len({urlsplit(url).netloc for url in chunk}) <= limits.hosts


@given(st.lists(URLS, max_size=60), LIMITS)
def test_no_chunk_could_have_taken_the_next_url(urls, limits):
    fit = [url for url in urls if not fault_of(url, limits)]
    chunks = chunk_urls(fit, limits)
    for one, following in pairwise(chunks):
        both = (*one, following[0])
        assert len(chunk_urls(both, limits)) == 2


@given(st.permutations([f"https://h/{number}" for number in range(6)]))
def test_a_chunks_name_does_not_depend_on_the_order(urls):
    assert chunk_key("p", "a", Op.PREFETCH, urls, "o") == chunk_key("p", "a", Op.PREFETCH, sorted(urls), "o")
