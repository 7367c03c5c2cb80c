"""A caching mirror before a real nginx: what goes over the line, what stays, and what clients get."""

import hashlib
import json
import os
import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from bundles.site.upstream import Upstream
from pipeline.layout import TIMESTAMP
from pipeline.sources.cachefolder import CacheFolder
from pipeline.sources.objects import StoreReader
from pipeline.trust.state import TrustState
from tests.caching_world import fetcher_of, kept, parts_of, run_mirror, run_upstream, settle
from tests.fetch_world import contents, copy_of
from tests.site_world import APP_SCRIPT, publish_all, python

WEIGHTS = "/models/bert-v1.1.0/weights.bin"
# What names and descriptions take, which are read before anything else.
LITTLE = 64 << 10


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return publish_all(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def weights(tree):
    return (tree.sources["bert-v1.1.0"] / "weights.bin").read_bytes()


@pytest.fixture
def upstream(tree):
    with run_upstream(tree.store) as upstream:
        yield upstream


@pytest.fixture
def place(tmp_path):
    return tmp_path / "mirror" / "site"


@pytest.fixture
def mirror(tree, upstream, place):
    with run_mirror(tree, upstream.url, place) as mirror:
        yield mirror


def largest_part(tree):
    path = max(parts_of(tree).values(), key=lambda one: one.stat().st_size)
    return f"/parts/{path.parent.name}/{path.name}", path.read_bytes()


def test_hundred_clients_of_one_cold_release_cost_one_transfer(tree, upstream, mirror, weights):
    part, data = largest_part(tree)
    targets = [part, WEIGHTS, "/bert/resolve/1.1.0/weights.bin", f"/v2/bert/blobs/sha256:{hashlib.sha256(weights).hexdigest()}"]
    ready = threading.Barrier(100)

    def client(number):
        ready.wait()
        return number % 4, hashlib.sha256(mirror.ask(targets[number % 4]).body).hexdigest()

    with ThreadPoolExecutor(100) as clients:
        got = Counter(clients.map(client, range(100)))
    plain, stored = (hashlib.sha256(each).hexdigest() for each in (weights, data))
    assert got == {(0, stored): 25, (1, plain): 25, (2, plain): 25, (3, plain): 25}
    # And once the few bytes of model.yaml, for the repository's other names.
    assert len(data) <= sum(size for _, _, size in upstream.sent(part)) <= len(data) + LITTLE
    assert all(count == 1 for count in Counter(path for path, _, _ in upstream.sent("/targets/")).values())


def test_release_arrives_through_the_mirror_and_each_object_travels_once(tree, upstream, mirror):
    for _ in range(2):
        machine = fetcher_of(tree, mirror.url)
        machine.fetch("bert-v1.1.0")
        assert contents(machine.models / "bert-v1.1.0") == contents(tree.sources["bert-v1.1.0"])
    rows = upstream.sent()
    # A long part comes by several requests, each for bytes of its own.
    for name, path in parts_of(tree).items():
        assert sum(size for _, _, size in upstream.sent(f"/parts/{name[:2]}/{name}")) in {0, path.stat().st_size}
    others = Counter(path for path, _, _ in rows if not path.startswith("/parts/"))
    assert [path for path, count in others.items() if count > 1] == []
    assert [path for path, status, _ in rows if status == 404] == ["/metadata/2.root.json"]


def test_only_the_timestamp_is_asked_for_again(tree, upstream, place):
    # Published some seconds ago: what was written in the second of the answer tells nothing by its ETag.
    settled = time.time() - 60
    os.utime(tree.store / "metadata/timestamp.json", (settled, settled))
    with run_mirror(tree, upstream.url, place) as mirror:
        for target in (WEIGHTS, "/bert/resolve/stable/weights.bin", "/metadata/5.snapshot.json", "/web/app/"):
            assert mirror.ask(target).status == 200
        settle(place)
    before = len(upstream.sent())
    with run_mirror(tree, upstream.url, place) as mirror:
        for target in (
            WEIGHTS,
            "/bert/resolve/stable/weights.bin",
            "/metadata/5.snapshot.json",
            "/web/app/",
            "/metadata/timestamp.json",
        ):
            assert mirror.ask(target).status == 200
    rows = upstream.sent()[before:]
    # A new process reads the tree anew, for which it asks whether there is a newer root.
    assert [(path, status) for path, status, _ in rows] == [("/metadata/timestamp.json", 304), ("/metadata/2.root.json", 404)]


def test_new_release_and_moved_channel_are_seen(tmp_path):
    tree = publish_all(tmp_path / "tree")
    with (
        run_upstream(tree.store) as upstream,
        run_mirror(tree, upstream.url, tmp_path / "mirror" / "site", "--max-age", "0") as mirror,
    ):
        assert mirror.ask("/bert/resolve/2.0.0/config.json").status == 404
        source = tree.lay_out("bert-v2.0.0", publish=False, other=7)
        tree.publish("bert-v2.0.0", source, channel="stable")
        got = mirror.ask("/bert/resolve/main/model.safetensors")
        assert (got.status, got.body) == (200, (source / "model.safetensors").read_bytes())
        machine = fetcher_of(tree, mirror.url)
        assert machine.fetch("bert@stable").release == "bert-v2.0.0"


@pytest.mark.parametrize(
    "asked, start, end", [("bytes=0-99", 0, 100), ("bytes=12000000-12000999", 12000000, 12001000), ("bytes=-7", -7, None)]
)
def test_range_of_what_is_not_here_yet(tree, upstream, mirror, weights, asked, start, end):
    part, data = largest_part(tree)
    for target, whole in ((part, data), (WEIGHTS, weights)):
        got = mirror.ask(target, Range=asked)
        assert (got.status, got.body) == (206, whole[start:end] if end else whole[start:])
        assert got.headers["content-range"].endswith(f"/{len(whole)}")
    assert len(data) <= sum(size for _, _, size in upstream.sent(part)) <= len(data) + LITTLE


def test_head_and_conditions_bring_nothing(tree, upstream, mirror, weights):
    mirror.ask("/api/models/bert/revision/1.1.0")
    got = mirror.ask(WEIGHTS, "HEAD")
    assert (got.status, got.headers["content-length"]) == (200, str(len(weights)))
    assert mirror.ask(WEIGHTS, If_None_Match=got.headers["etag"]).status == 304
    part, data = largest_part(tree)
    assert mirror.ask(part, "HEAD").headers["content-length"] == str(len(data))
    assert sum(size for _, _, size in upstream.sent("/parts/")) < LITTLE


def test_every_protocol_of_a_site_is_served(tree, mirror):
    for target, release, path in (
        ("/web/app/", "app-v1.0.0", "index.html"),
        (f"/web/app/{APP_SCRIPT}", "app-v1.0.0", APP_SCRIPT),
        ("/acme/bert-base/resolve/1.0.0/weights.bin", "bert-v1.0.0", "weights.bin"),
        ("/models/bert-v1.1.0/n%C3%A4me%20%26amp%3B%20%C3%BCnd.txt", "bert-v1.1.0", "näme &amp; ünd.txt"),
        ("/models/bert-v1.1.0/empty.txt", "bert-v1.1.0", "empty.txt"),
    ):
        got = mirror.ask(target)
        assert (got.status, got.body) == (200, (tree.sources[release] / path).read_bytes())
    assert "bert-v1.0.0" in mirror.ask("/").body.decode()
    wheel = re.search(r'href="(/wheels/[^#"]+)', mirror.ask("/simple/tiny-thing/").body.decode())[1]
    assert mirror.ask(wheel).body == (tree.sources["house-v1.0.0"] / wheel.rpartition("/")[2]).read_bytes()
    manifest = mirror.ask("/v2/bert/manifests/stable").json
    for layer in manifest["layers"]:
        assert hashlib.sha256(mirror.ask(f"/v2/bert/blobs/{layer['digest']}").body).hexdigest() == layer["digest"][7:]


def test_hub_client_downloads_a_snapshot_through_the_mirror(tree, mirror, tmp_path):
    code = "from huggingface_hub import snapshot_download as s; print(s('acme/bert-base', revision='1.1.0', local_dir='there'))"
    ran = python(code, environment={"HF_ENDPOINT": mirror.url, "HF_HOME": str(tmp_path / "hf")}, folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    for path in ("weights.bin", "config.json", "onnx/noise.bin"):
        assert (tmp_path / "there" / path).read_bytes() == (tree.sources["bert-v1.1.0"] / path).read_bytes()


def test_works_from_what_is_here_when_the_upstream_is_gone_and_says_so(tree, place, weights):
    with run_upstream(tree.store) as upstream, run_mirror(tree, upstream.url, place, "--max-age", "0") as mirror:
        for target in (WEIGHTS, "/bert/resolve/main/weights.bin"):
            got = mirror.ask(target)
            assert (got.status, got.headers.get("modelport-upstream")) == (200, None)
        fetcher_of(tree, mirror.url).fetch("bert-v1.1.0")
        settle(place)
        port = int(upstream.url.rpartition(":")[2])
        url = upstream.url
    # Gone before the mirror starts anew, and while it runs.
    with run_mirror(tree, url, place, "--max-age", "0") as mirror:
        got = mirror.ask(WEIGHTS)
        assert (got.status, got.body) == (200, weights)
        assert re.fullmatch(r"unreachable; verified-at=20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", got.headers["modelport-upstream"])
        machine = fetcher_of(tree, mirror.url)
        machine.fetch("bert-v1.1.0")
        assert contents(machine.models / "bert-v1.1.0") == contents(tree.sources["bert-v1.1.0"])
        missing = mirror.ask("/models/app-v1.0.0/index.html")
        assert missing.status == 504
        assert missing.body.count(b"\n") == 1
        with run_upstream(tree.store, port=port):
            back = mirror.ask("/models/app-v1.0.0/index.html")
            assert (back.status, back.headers.get("modelport-upstream")) == (200, None)


def test_size_limit_keeps_what_was_used_last(tree, upstream, place):
    parts = {name: path.stat().st_size for name, path in parts_of(tree).items()}
    # Documents have a twentieth of the limit.
    limit = sum(parts.values()) * 20 // 19 - min(parts.values()) // 2
    *others, last = sorted(parts, key=parts.__getitem__, reverse=True)
    first = others[1]
    with run_mirror(tree, upstream.url, place, "--cache-size", str(limit)) as mirror:
        for name in (first, *(one for one in others if one != first), last):
            assert mirror.ask(f"/parts/{name[:2]}/{name}").status == 200
        settle(place)
        assert sum((place / "cache" / "parts" / name[:2] / name).stat().st_size for name in kept(place, "parts")) <= limit
        assert first not in kept(place, "parts")
        assert last in kept(place, "parts")
    # What stands there is counted when it starts anew, and an evicted part comes again.
    with run_mirror(tree, upstream.url, place, "--cache-size", str(parts[last] * 3)) as mirror:
        assert kept(place, "parts") <= {name for name, size in parts.items() if size <= parts[last] * 3}
        assert mirror.ask(f"/parts/{first[:2]}/{first}").status == 200


def test_part_that_rotted_on_the_disk_is_fetched_again(tree, upstream, place):
    part, data = largest_part(tree)
    with run_mirror(tree, upstream.url, place) as mirror:
        mirror.ask(part)
        settle(place)
    stored = place / "cache" / part[1:]
    with stored.open("r+b") as file:
        file.seek(1000)
        file.write(b"rotten")
    with run_mirror(tree, upstream.url, place) as mirror:
        assert mirror.ask(part).body == data
        assert any("rotten" in line for line in mirror.said)
    assert stored.read_bytes() == data


def test_two_mirrors_on_one_folder_serve_and_keep_the_same(tree, upstream, place):
    part, data = largest_part(tree)
    with (
        run_mirror(tree, upstream.url, place) as one,
        run_mirror(tree, upstream.url, place) as other,
        ThreadPoolExecutor(8) as clients,
    ):
        bodies = list(clients.map(lambda number: (one, other)[number % 2].ask(part).body, range(16)))
        assert set(bodies) == {data}
        assert set(clients.map(lambda number: (one, other)[number % 2].ask(WEIGHTS).status, range(8))) == {200}
    with run_mirror(tree, upstream.url, place):
        assert list((place / "cache" / "new").iterdir()) == []


def test_installed_site_answers_first_and_the_upstream_gives_the_rest(tree, upstream, tmp_path):
    from tests.site_world import install_all

    site = install_all(tree, tmp_path / "installed")
    installed = (tree.sources["bert-v1.1.0"] / "weights.bin").read_bytes()
    source = copy_of(tree, tmp_path / "later")
    source.lay_out("extra-v1.0.0", profile=None)
    with (
        run_upstream(source.store) as later,
        run_mirror(source, later.url, site.folder, "--root-fingerprint", tree.site.fingerprint) as mirror,
    ):
        assert mirror.ask(WEIGHTS).body == installed
        assert later.sent("/parts/") == []
        assert mirror.ask("/extra/resolve/1.0.0/config.json").status == 200


def test_upstream_that_is_not_pinned_is_not_served(tree, upstream, place, tmp_path):
    import subprocess

    from tests.desk import BIN, CLEAN

    words = ["site.serve", "--site", str(place), "--upstream", upstream.url, "--listen", "127.0.0.1:0", "--report", "json"]
    environment = {**CLEAN, "HOME": str(tmp_path)}
    ran = subprocess.run(
        [BIN / "modelport", *words], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 4
    assert json.loads(ran.stderr.splitlines()[-1])["code"] == 4
    other = ["--root-fingerprint", "0" * 64]
    ran = subprocess.run(
        [BIN / "modelport", *words, *other],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 4


def test_private_folders_of_a_mirror_are_not_served(mirror, place):
    mirror.ask(WEIGHTS)
    for path in [path for path in place.rglob("*") if path.is_file()]:
        assert mirror.ask(f"/{path.relative_to(place)}").status == 404


def test_kept_file_that_became_shorter_is_put_together_again(tree, upstream, place, weights):
    with run_mirror(tree, upstream.url, place) as mirror:
        assert mirror.ask(WEIGHTS).body == weights
        settle(place)
        digest = hashlib.sha256(weights).hexdigest()
        with (place / "cache" / "files" / digest[:2] / digest).open("r+b") as file:
            file.truncate(len(weights) // 2)
        assert mirror.ask(WEIGHTS).body == weights
        settle(place)
        assert (place / "cache" / "files" / digest[:2] / digest).stat().st_size == len(weights)


def test_upstream_that_stands_still_until_it_expires_is_told(tree, tmp_path):
    clock, said = [datetime.now(UTC)], []
    state = TrustState(tmp_path / "state")
    state.pin(tree.site.fingerprint)
    documents = CacheFolder(tmp_path / "documents", 1 << 20)
    upstream = Upstream(StoreReader(tree.site.store), state, documents, said.append, now=lambda: clock[0], max_age_s=0)
    upstream.refresh()
    before = upstream.document(TIMESTAMP)
    assert (upstream.standing.header, said) == ("", [])
    clock[0] += timedelta(days=3650)
    upstream.refresh()
    assert upstream.standing.header.startswith("refused; verified-at=2")
    assert "expired" in said[-1].message
    assert upstream.document(TIMESTAMP) == before
