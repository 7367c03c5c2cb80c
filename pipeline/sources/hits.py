"""Did the edge have it? What vendors write into an answer about their cache.

Takes the ``Head`` of an answer, gives ``hit``, ``miss`` or ``unknown``. Pure. Where several caches stand in a row, each adds
a word, and the last is the one nearest to us.

next: ``sources.edge``
"""

from __future__ import annotations

import re

from pipeline.ports import Cached
from pipeline.sources.answers import Head

# In this order: the standard first, then the fields that say it in words. Their vendors:
#   CF-Cache-Status          Cloudflare (developers.cloudflare.com/cache/concepts/cache-responses)
#   X-Cache-Lookup           Tencent: "Cache Hit", "Hit From MemCache", "Hit From Upstream" (another of its own caches)
#   X-Response-Cache         Volcengine: "edge_hit", "parent_hit", "miss"
#   X-Cache                  Alibaba and Qiniu "HIT TCP_MEM_HIT …", CloudFront "Hit from cloudfront", Fastly "MISS, HIT",
#                            Akamai "TCP_HIT from …", Huawei, and most nginx and Varnish set-ups
#   X-Cache-Status, X-Proxy-Cache, X-Cache-Remote …   nginx set-ups
_WORDED = (
    "cf-cache-status",
    "x-cache-lookup",
    "x-response-cache",
    "x-cache",
    "x-cache-status",
    "x-proxy-cache",
    "x-dragonfly-cache",
)
# A copy that had to be asked about or fetched anew was no copy; one that was served while stale was.
_HIT = re.compile(r"hit|stale|updating|revalidated", re.IGNORECASE)
_MISS = re.compile(r"miss|expired|bypass|dynamic|none|pass", re.IGNORECASE)


def hit_of(head: Head) -> Cached:
    """Say whether the edge had a copy; ``unknown`` where nothing in the answer tells."""
    standard = head.every("cache-status")
    if standard:
        # RFC 9211 §2: the caches in order, the nearest to the client last; "hit" or "fwd=…" of each.
        nearest = standard[-1].rpartition(",")[2].lower()
        return "hit" if re.search(r";\s*hit\b", nearest) else "miss"
    for name in _WORDED:
        words = head.every(name)
        if words:
            nearest = words[-1].rpartition(",")[2]
            # "TCP_REFRESH_MISS" and "MISS TCP_MISS" beside "HIT TCP_REFRESH_HIT": the verdict is the first word of the two.
            hit, miss = _HIT.search(nearest), _MISS.search(nearest)
            if hit or miss:
                return "hit" if hit and (miss is None or hit.start() < miss.start()) else "miss"
    # Varnish, called Vinyl from its version 9 on, names the request that fetched the copy beside this one.
    varnish = (head.first("x-varnish") or head.first("x-vinyl")).split()
    if varnish:
        return "hit" if len(varnish) > 1 else "miss"
    # Huawei's switch (support.huaweicloud.com, "X-HCS-Proxy-Type"): 1 came from a cache.
    if head.first("x-hcs-proxy-type") in {"0", "1"}:
        return "hit" if head.first("x-hcs-proxy-type") == "1" else "miss"
    # RFC 9111 §5.1: only an answer from a cache has an age; Alibaba's nodes give the seconds they may keep it beside it.
    age = head.first("age")
    return "hit" if age.isdigit() and int(age) > 0 else "unknown"
