"""What edges write into their answers about their cache."""

import pytest

from pipeline.sources.answers import Head
from pipeline.sources.hits import hit_of

SAID = [
    ("hit", {"Cache-Status": "ExampleCache; hit; ttl=376"}),
    ("miss", {"Cache-Status": "ExampleCache; fwd=uri-miss; stored"}),
    ("hit", {"Cache-Status": "Origin; fwd=miss, Edge; hit"}),
    ("miss", {"Cache-Status": "Shield; hit, Edge; fwd=miss"}),
    ("hit", {"CF-Cache-Status": "HIT"}),
    ("hit", {"CF-Cache-Status": "REVALIDATED"}),
    ("hit", {"CF-Cache-Status": "STALE"}),
    ("miss", {"CF-Cache-Status": "MISS"}),
    ("miss", {"CF-Cache-Status": "EXPIRED"}),
    ("miss", {"CF-Cache-Status": "DYNAMIC"}),
    ("miss", {"CF-Cache-Status": "BYPASS"}),
    ("hit", {"X-Cache-Lookup": "Cache Hit"}),
    ("hit", {"X-Cache-Lookup": "Hit From MemCache"}),
    ("miss", {"X-Cache-Lookup": "Cache Miss"}),
    ("hit", {"X-Cache": "Hit from cloudfront"}),
    ("hit", {"X-Cache": "RefreshHit from cloudfront"}),
    ("miss", {"X-Cache": "Miss from cloudfront"}),
    ("hit", {"X-Cache": "HIT TCP_MEM_HIT dirn:-2:-2", "X-Swift-CacheTime": "31536000", "EagleId": "2f"}),
    ("miss", {"X-Cache": "MISS TCP_MISS dirn:-2:-2", "X-Swift-CacheTime": "31536000"}),
    ("miss", {"X-Cache": "HIT, MISS"}),
    ("hit", {"X-Cache": "MISS, HIT"}),
    ("hit", {"X-Cache": "TCP_HIT from a23-45.deploy.akamaitechnologies.com"}),
    ("miss", {"X-Cache": "TCP_MISS from a23-45.deploy.akamaitechnologies.com"}),
    ("miss", {"X-Cache": "TCP_REFRESH_MISS from a23-45.deploy"}),
    ("hit", {"X-Cache-Status": "UPDATING"}),
    ("hit", {"X-Response-Cache": "edge_hit"}),
    ("miss", {"X-Response-Cache": "miss"}),
    ("hit", {"X-Varnish": "32770 3"}),
    ("miss", {"X-Varnish": "32770"}),
    ("hit", {"X-Vinyl": "32770 3"}),
    ("miss", {"X-Vinyl": "32770"}),
    ("hit", {"X-HCS-Proxy-Type": "1"}),
    ("miss", {"X-HCS-Proxy-Type": "0"}),
    ("hit", {"Age": "12", "Via": "1.1 varnish"}),
    ("unknown", {"Age": "0"}),
    ("unknown", {"Via": "1.1 somebody"}),
    ("unknown", {"X-Cache": "-"}),
    ("unknown", {}),
]


@pytest.mark.parametrize("wanted, fields", SAID)
def test_word_of_a_vendor_is_understood(wanted, fields):
    assert hit_of(Head(200, tuple((name.lower(), value) for name, value in fields.items()))) == wanted


def test_the_cache_nearest_to_us_has_the_last_word():
    assert hit_of(Head(200, (("x-cache", "MISS"), ("x-cache", "HIT")))) == "hit"
    assert hit_of(Head(200, (("x-cache-lookup", "Cache Hit"), ("x-cache-lookup", "Cache Miss")))) == "miss"
