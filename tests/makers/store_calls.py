"""Every call of a store, each made once: for tests of what is said when it is refused."""

from __future__ import annotations

from pipeline.digest import sha256_of

BODY = b"hello"
SHA = sha256_of(BODY)
CALLS = {
    "put": lambda store: store.put("parts/x", BODY, sha256=SHA),
    "create": lambda store: store.put("parts/x", BODY, sha256=SHA, if_absent=True),
    "swap": lambda store: store.put("parts/x", BODY, sha256=SHA, if_etag='"e"'),
    "get": lambda store: list(store.get("parts/x")),
    "head": lambda store: store.head("parts/x"),
    "list": lambda store: list(store.list("parts/")),
    "delete": lambda store: store.delete("parts/x"),
}
