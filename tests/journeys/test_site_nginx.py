"""nginx before a site that changes, with tokens, with an upstream; and what ``site.nginx`` refuses."""

import base64
import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bundles.installing import install_bundle
from bundles.site.nginx_site import NginxOrder, write_nginx
from bundles.site.tending import remove_release, use_release
from bundles.site.terms import Terms
from pipeline.errors import DiskError
from pipeline.events import ignore
from tests.desk import CLEAN, Desk
from tests.install_world import order_for
from tests.media_world import pack
from tests.servers.processes import free_port, program
from tests.site_nginx import AROUND, nginx_running, nginx_serving
from tests.site_world import serving

WEIGHTS = "/models/bert-v1.1.0/weights.bin"
TOKEN = "canary-0123456789abcdef"
QUOTED = r"""a\"b\\c'd;e{f}$g#h i"""


@pytest.fixture
def place(site_place, tmp_path):
    # Without the configuration that a server of another test may have written.
    shutil.copytree(site_place.folder, tmp_path / "site", symlinks=True, ignore=shutil.ignore_patterns("nginx"))
    return tmp_path / "site"


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path / "desk", tmp_path / "home")


def test_written_configuration_is_one_that_nginx_takes(place, desk, tmp_path):
    done = desk.run("site.nginx", "--site", str(place), "--listen", f"127.0.0.1:{free_port()}")
    assert done.code == 0, done.err
    assert done.result["releases"] == ["app-v1.0.0", "bert-v1.0.0", "bert-v1.1.0", "house-v1.0.0"]
    assert "nginx -t" in " ".join(done.result["commands"])
    (tmp_path / "nginx.conf").write_text(AROUND.format(folder=tmp_path, configuration=done.result["configuration"]))
    words = [program("nginx"), "-e", "stderr", "-t", "-c", tmp_path / "nginx.conf", "-p", tmp_path]
    ran = subprocess.run(words, env=CLEAN, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "[warn]" not in ran.stderr


def test_dry_run_writes_nothing(place, desk):
    done = desk.run("--dry", "site.nginx", "--site", str(place))
    assert done.code == 0, done.err
    assert not (place / "nginx").exists()
    shown = desk.run("--dry", "site.nginx", "--site", str(place), report="plain").out.splitlines()
    assert [line for line in shown if line.startswith("next: ")] == ["next: the same without --dry"]
    assert shown[0] == "dry run, nothing was changed:"


def test_switch_and_removal_are_seen_without_a_reload(site_place, place):
    with nginx_serving(place) as server:
        newer = server.ask("/bert/resolve/main/weights.bin").body
        assert newer == site_place.source("bert-v1.1.0", "weights.bin")
        use_release(place, "bert-v1.0.0")
        assert server.ask("/bert/resolve/main/weights.bin").body == site_place.source("bert-v1.0.0", "weights.bin")
        assert server.ask("/v2/bert/manifests/latest").body == server.ask("/v2/bert/manifests/1.0.0").body
        refs = server.ask("/api/models/bert/refs").json["branches"]
        assert {ref["targetCommit"] for ref in refs} == {server.ask("/api/models/bert/revision/1.0.0").json["sha"]}
        assert server.ask(WEIGHTS).body == newer
        remove_release(place, "bert-v1.1.0")
        assert server.ask(WEIGHTS).status == 404
        assert server.ask("/bert/resolve/1.1.0/weights.bin").headers["x-error-code"] == "RevisionNotFound"
        assert b"bert-v1.1.0" not in server.ask("/").body
        assert len(list((place / "nginx" / "views").iterdir())) == 2


def test_installation_is_served_once_the_view_is_made_and_never_in_halves(site_place, tmp_path, desk):
    older = pack(site_place.tree, "bert-v1.0.0").write(tmp_path / "one")
    newer = pack(site_place.tree, "bert-v1.1.0").write(tmp_path / "two")
    site = tmp_path / "place"
    install_bundle(order_for((older,), site, site_place.tree.site.fingerprint), ignore)
    with nginx_serving(site) as server, ThreadPoolExecutor(1) as pool:
        running = pool.submit(install_bundle, order_for((newer,), site, site_place.tree.site.fingerprint), ignore)
        seen = []
        while not running.done():
            seen.append(server.ask("/bert/resolve/main/config.json").status)
        running.result()
        assert set(seen) == {200}
        # As after install.pyz: live, and not in the view yet. What was served before still is.
        assert server.ask("/bert/resolve/main/weights.bin").body == site_place.source("bert-v1.0.0", "weights.bin")
        done = desk.run("bundle.install", "--from", str(newer), "--site", str(site))
        assert done.code == 0, done.err
        assert server.ask("/bert/resolve/main/weights.bin").body == site_place.source("bert-v1.1.0", "weights.bin")


def test_planted_link_is_not_followed(place, tmp_path):
    with nginx_serving(place) as server:
        for link in ("models/bert-v1.1.0/onnx", "models/bert-v1.1.0/weights.bin"):
            (place / link).rename(tmp_path / "outside")
            (place / link).symlink_to(tmp_path / "outside")
            assert server.ask(f"/{link}" + ("/noise.bin" if link.endswith("onnx") else "")).status == 404
            (place / link).unlink()
            (tmp_path / "outside").rename(place / link)
        assert server.ask(WEIGHTS).status == 200


@pytest.mark.parametrize("user", ["", "u", "us", "use", "user", "long user name"])
def test_token_opens_the_site_as_bearer_or_password(place, tmp_path, user):
    file = tmp_path / "tokens"
    file.write_text(f"# ours\n{TOKEN}\nother-token-of+the/site.$\n{QUOTED}\n")
    file.chmod(0o600)
    with nginx_serving(place, token_file=file) as server:
        assert server.ask("/healthz").status == 200
        refused = server.ask(WEIGHTS)
        assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Basic realm="site", charset="UTF-8"')
        for token in (TOKEN, "other-token-of+the/site.$", QUOTED):
            spelled = base64.b64encode(f"{user}:{token}".encode()).decode()
            assert server.ask(WEIGHTS, Authorization=f"Basic {spelled}").status == 200
            got = server.ask(WEIGHTS, Authorization=f"bearer {token}")
            assert (got.status, got.headers["cache-control"][:7]) == (200, "private")
        for wrong in (TOKEN.upper(), TOKEN[:-1], TOKEN + "x", "x" + TOKEN, "other-token-of+the/sitex$", ""):
            spelled = base64.b64encode(f"{user}:{wrong}".encode()).decode()
            assert server.ask(WEIGHTS, Authorization=f"Basic {spelled}").status == 401
            assert server.ask(WEIGHTS, Authorization=f"Bearer {wrong}").status == 401
    assert (place / "nginx" / "tokens.conf").stat().st_mode & 0o077 == 0
    assert TOKEN not in (place / "nginx" / "site.conf").read_text()


def test_pages_of_other_origins_read_only_if_that_is_allowed(place):
    with nginx_serving(place, origins=("https://app.example",)) as server:
        got = server.ask(WEIGHTS, Origin="https://app.example")
        assert got.headers["access-control-allow-origin"] == "https://app.example"
        assert "X-Repo-Commit" in got.headers["access-control-expose-headers"]
        assert "access-control-allow-origin" not in server.ask(WEIGHTS, Origin="https://evil.example").headers
        assert server.ask(WEIGHTS, "OPTIONS", Origin="https://app.example").status == 204
        assert server.ask(WEIGHTS, "POST", body=b"x").status == 405


def test_upstream_is_asked_once_for_a_slice_and_outlived(site_place, place, tmp_path):
    """A site that holds one release and takes the others, and the tree, from the site behind it."""
    alone = pack(site_place.tree, "bert-v1.0.0").write(tmp_path / "one")
    site = tmp_path / "edge"
    install_bundle(order_for((alone,), site, site_place.tree.site.fingerprint), ignore)
    with nginx_serving(place) as behind:
        port = free_port()
        written = write_nginx(NginxOrder(Terms(site, f"127.0.0.1:{port}"), behind.url))
        with nginx_running(Path(written.configuration), port) as server:
            data = site_place.source("bert-v1.1.0", "weights.bin")
            with ThreadPoolExecutor(20) as pool:
                bodies = list(pool.map(lambda _: server.ask(WEIGHTS).body, range(20)))
            assert bodies == [data] * 20
            asked = [line for line in (behind.folder / "access.log").read_text().splitlines() if WEIGHTS in line]
            assert len(asked) == 3, asked
            # A query is none of the upstream's business, and no other object.
            assert server.ask(f"{WEIGHTS}?once=more").body == data
            asked = [line for line in (behind.folder / "access.log").read_text().splitlines() if WEIGHTS in line]
            assert len(asked) == 3, asked
            assert server.ask(WEIGHTS, Range="bytes=5000000-5000009").body == data[5_000_000:5_000_010]
            timestamp = server.ask("/metadata/timestamp.json")
            assert timestamp.body == (place / "metadata" / "timestamp.json").read_bytes()
            assert server.ask("/state/lock").status == server.ask("/control/leases/x.json").status == 404
            assert server.ask("/models/bert-v9.9.9/config.json").status == 404
            behind.process.kill()
            behind.process.wait()
            assert server.ask(WEIGHTS).body == data
            stale = server.ask("/metadata/timestamp.json")
            assert (stale.body, stale.headers["x-cache"]) in {(timestamp.body, "STALE"), (timestamp.body, "HIT")}
            assert server.ask("/models/bert-v1.0.0/config.json").status == 200
            assert server.ask("/parts/00/" + "0" * 64).status == 502


@pytest.mark.parametrize("target", ["/metadata/9.root.json", "/models/bert-v9.9.9/config.json"])
def test_upstream_cannot_have_private_files_sent(place, target):
    class Orders(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("X-Accel-Redirect", "/.send/state/secret")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    (place / "state" / "secret").write_text("canary")
    with ThreadingHTTPServer(("127.0.0.1", 0), Orders) as behind, ThreadPoolExecutor(1) as pool:
        pool.submit(behind.serve_forever, 0.01)
        try:
            with nginx_serving(place, upstream=f"http://127.0.0.1:{behind.server_port}") as server:
                assert b"canary" not in server.ask(target).body
        finally:
            behind.shutdown()


def test_modelport_fetches_through_the_slices(site_place, place, tmp_path, desk):
    alone = pack(site_place.tree, "bert-v1.0.0").write(tmp_path / "one")
    site = tmp_path / "edge"
    install_bundle(order_for((alone,), site, site_place.tree.site.fingerprint), ignore)
    with serving(place) as behind, nginx_serving(site, upstream=behind.url) as server:
        pin = desk.run("trust.pin", "--source", server.url, "--fingerprint", site_place.tree.site.fingerprint)
        assert pin.code == 0, pin.err
        done = desk.run("fetch", "--model", "bert-v1.1.0", "--source", server.url)
        assert done.code == 0, done.err


@pytest.mark.parametrize(
    "words, why",
    [
        (["--listen", "8080"], "is not host:port"),
        (["--listen", "127.0.0.1:0"], "nginx needs a port"),
        (["--tls-cert", "x"], "go together"),
        (["--allow-origin", "https://a;b"], "cannot stand in a configuration"),
        (["--upstream", "ftp://x"], "--upstream: the source 'ftp://x' has the unknown scheme 'ftp'"),
        (["--upstream", "s3://x"], "is no address of a tree"),
        (["--upstream", "https://user:pw@x"], "must not hold a user name"),
        (["--upstream", "https://x", "--cache-size", "lots"], "a size such as"),
        (["--cache-size", "1GiB"], "belongs to --upstream"),
    ],
)
def test_what_cannot_stand_in_a_configuration_is_refused(place, desk, words, why):
    assert why in desk.run("site.nginx", "--site", str(place), *words).refused(2)


def test_folder_whose_name_nginx_would_read_otherwise_is_refused(place, desk):
    other = place.with_name("si te;")
    place.rename(other)
    assert "cannot stand in a configuration" in desk.run("site.nginx", "--site", str(other)).refused(2)


def test_disk_that_is_full_leaves_the_view_before(place, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    with nginx_serving(place) as server:
        before = (place / "nginx" / "view").readlink()
        monkeypatch.setattr("bundles.site.nginx_view._Writer._simple", full)
        with pytest.raises(DiskError, match="No space left") as caught:
            use_release(place, "bert-v1.0.0")
        assert caught.value.exit_code == 6
        assert (place / "nginx" / "view").readlink() == before
        assert not list((place / "nginx" / "views").glob(".grow-*"))
        # The switch itself was made, and is served.
        commit = json.loads(server.ask("/api/models/bert/revision/1.0.0").body)["sha"]
        assert server.ask("/bert/resolve/main/config.json").headers["x-repo-commit"] == commit
