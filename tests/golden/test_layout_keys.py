"""The tree's keys, cache rules and content types, as docs/format.md §2 draws them. A change here is another format."""

import pytest

from pipeline import layout
from pipeline.release import Release

NAME = "ab" + "0" * 62
SHA = "f" * 64
RELEASE = Release.parse("bert-v2.1.0")

KEYS = {
    layout.part_key(NAME): f"parts/ab/{NAME}",
    layout.role_key("root", 3): "metadata/3.root.json",
    layout.role_key("targets", 12): "metadata/12.targets.json",
    layout.role_key("snapshot", 1): "metadata/1.snapshot.json",
    layout.role_key("bert", 7): "metadata/7.bert.json",
    layout.role_key("timestamp", 99): "metadata/timestamp.json",
    layout.manifest_target(RELEASE): "bert/2.1.0/manifest.json",
    layout.channel_target("bert", "stable"): "bert/channels/stable.json",
    layout.target_key("bert/2.1.0/manifest.json", SHA): f"targets/bert/2.1.0/{SHA}.manifest.json",
    layout.target_key("bert/channels/stable.json", SHA): f"targets/bert/channels/{SHA}.stable.json",
    layout.model_paths("bert"): "bert/*/*",
    layout.lease_key(RELEASE, "000000000001-aa"): "control/leases/bert-v2.1.0.000000000001-aa.json",
    layout.lease_key("gc", "000000000001-aa"): "control/leases/gc.000000000001-aa.json",
}


@pytest.mark.parametrize("found, pinned", KEYS.items(), ids=list(KEYS.values()))
def test_key_is_where_the_format_puts_it(found, pinned):
    assert found == pinned


FOREVER = "public, max-age=31536000, immutable"
HEADERS = {
    f"parts/ab/{NAME}": ("application/octet-stream", FOREVER),
    "metadata/1.root.json": ("application/json", FOREVER),
    "metadata/7.bert.json": ("application/json", FOREVER),
    "metadata/timestamp.json": ("application/json", "no-cache"),
    f"targets/bert/2.1.0/{SHA}.manifest.json": ("application/json", FOREVER),
    f"targets/bert/channels/{SHA}.stable.json": ("application/json", FOREVER),
    "control/leases/bert-v2.1.0.x.json": ("application/json", "no-store"),
    "control/ledger/1.json": ("application/json", "no-store"),
    "web/viewer/index.html": ("text/html; charset=utf-8", "no-cache"),
    "web/viewer/release.json": ("application/json", "no-cache"),
    "web/viewer/sw.js": ("text/javascript; charset=utf-8", "no-cache"),
    "web/viewer/assets/app.3f9c0a1b2c4d.js": ("text/javascript; charset=utf-8", FOREVER),
    "web/viewer/assets/app.3f9c0a1b2c4d.js.map": ("application/json", FOREVER),
    "web/viewer/assets/style.3f9c0a1b2c4d.css": ("text/css; charset=utf-8", FOREVER),
    "web/viewer/m.3f9c0a1b2c4d.wasm": ("application/wasm", FOREVER),
    "web/viewer/m.3f9c0a1b2c4d.onnx": ("application/octet-stream", FOREVER),
    "web/viewer/i.3f9c0a1b2c4d.png": ("image/png", FOREVER),
    "web/viewer/app.3f9c.js": ("text/javascript; charset=utf-8", "no-cache"),
    "web/viewer/LICENSE": ("application/octet-stream", "no-cache"),
    "web/viewer/manifest.webmanifest": ("application/manifest+json", "no-cache"),
}


@pytest.mark.parametrize("key", HEADERS)
def test_object_is_served_with_its_headers(key):
    found = layout.headers_for(key)
    assert (found.content_type, found.cache_control) == HEADERS[key]
