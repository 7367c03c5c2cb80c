"""site.serve at a desk: it starts with a line, stops with one, and refuses with one."""

import json
import signal
import socket
import ssl
import subprocess
import urllib.request

import pytest
import trustme

from tests.desk import Desk
from tests.servers.processes import free_port
from tests.site_world import install_all, publish_all, serving


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    return install_all(publish_all(folder), folder / "site")


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path / "desk", tmp_path / "home")


def test_server_says_where_it_is_and_what_it_did(place):
    with serving(place.folder) as server:
        assert server.url.startswith("http://127.0.0.1:")
        server.ask("/healthz")
        code, out = server.stop()
    assert code == 0
    done = json.loads(out)
    assert (done["requests"], done["url"]) == (1, server.url)
    assert done["releases"] == ["app-v1.0.0", "bert-v1.0.0", "bert-v1.1.0", "house-v1.0.0"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_person_reads_one_line_at_the_start_and_one_at_the_end(place, desk, number):
    child = desk.start("site.serve", "--site", str(place.folder), "--listen", "127.0.0.1:0", "--report", "plain")
    lines = []
    for line in child.stderr:
        lines.append(line)
        if line.startswith("serving "):
            break
    child.send_signal(number)
    out, rest = child.communicate(timeout=30)
    assert child.returncode == 0
    assert f"serving 4 releases of {place.folder} at http://127.0.0.1:" in lines[-1]
    assert "Ctrl-C stops it" in lines[-1]
    assert "was served at http://127.0.0.1:" in out
    assert "Traceback" not in rest


def test_dry_run_serves_nothing_and_asks_no_upstream(place, desk):
    words = ("--site", str(place.folder), "--listen", "127.0.0.1:0")
    for more in ((), ("--upstream", f"http://127.0.0.1:{free_port()}")):
        done = desk.run("--dry", "site.serve", *words, *more, report="plain")
        assert (done.code, " would be served at http://127.0.0.1:" in done.out) == (0, True), done.err
    assert not (place.folder / "state" / "upstream").exists()


def test_dry_run_of_a_new_mirror_makes_no_folder(desk, tmp_path):
    words = ("--site", str(tmp_path / "srv" / "new"), "--listen", "127.0.0.1:0", "--upstream", f"HTTP://127.0.0.1:{free_port()}")
    done = desk.run("--dry", "site.serve", *words)
    assert (done.code, done.result["releases"]) == (0, []), done.err
    assert not (tmp_path / "srv").exists()


def test_open_download_does_not_keep_the_server_alive(place):
    with serving(place.folder) as server, socket.create_connection(server.address, timeout=10) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /models/bert-v1.1.0/weights.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(100)
        code, out = server.stop()
    assert code == 0
    assert json.loads(out)["requests"] == 1


@pytest.mark.parametrize(
    "words, code, why",
    [
        (["--site", "nowhere"], 2, "nothing was installed into nowhere"),
        (["--site", "SITE", "--listen", "8080"], 2, "not host:port"),
        (["--site", "SITE", "--listen", "127.0.0.1:99999"], 2, "not host:port"),
        (["--site", "SITE", "--listen", "198.51.100.7:0"], 5, "cannot listen at 198.51.100.7:0"),
        (["--site", "SITE", "--listen", "127.0.0.1:BUSY"], 5, "cannot listen at 127.0.0.1:"),
        (["--site", "SITE", "--tls-cert", "cert.pem"], 2, "go together"),
        (["--site", "SITE", "--tls-cert", "cert.pem", "--tls-key", "key.pem"], 2, "cannot be used"),
        (["--site", "SITE", "--token-file", "none"], 2, "cannot be read"),
        (["--site", "SITE", "--upstream", "ftp://x"], 2, "--upstream: the source 'ftp://x' has the unknown scheme 'ftp'"),
        (["--site", "SITE", "--upstream", "htps://x"], 2, "did you mean 'https'?"),
        (["--site", "SITE", "--upstream", "HTTPS://127.0.0.1:1/x?y"], 2, "without user, query and fragment"),
        (["--site", "SITE", "--upstream", "memory:x"], 2, "--upstream: what is in memory:x is gone"),
        (["--site", "SITE", "--max-age", "5"], 2, "--max-age belongs to --upstream"),
        (["--site", "SITE", "--cache-size", "1GiB"], 2, "--cache-size belongs to --upstream"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(place, desk, words, code, why):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        spelled = {"SITE": str(place.folder), "127.0.0.1:BUSY": f"127.0.0.1:{busy.getsockname()[1]}"}
        said = desk.run("site.serve", *(spelled.get(word, word) for word in words))
    assert why in said.refused(code)


def test_mirror_of_an_upstream_that_is_neither_there_nor_trusted_does_not_start(desk):
    words = ("--site", "new", "--listen", "127.0.0.1:0", "--upstream", f"http://127.0.0.1:{free_port()}")
    why = desk.run("site.serve", *words).refused(4)
    assert "no root of it is trusted here" in why
    assert "--root-fingerprint" in why


def test_address_that_others_reach_is_told(place):
    with serving(place.folder, "--listen", "0.0.0.0:0") as server:
        warned = [json.loads(line) for line in server.said if "exposed" in line]
    assert "4 releases to everybody who reaches this address" in warned[0]["message"]


def test_token_opens_the_site_and_is_shown_nowhere(place, tmp_path):
    token = "canary-0123456789abcdef"
    file = tmp_path / "tokens"
    file.write_text(token)
    file.chmod(0o600)
    with serving(place.folder, "--token-file", str(file)) as server:
        refused = server.ask("/")
        assert (refused.status, refused.headers["www-authenticate"].partition(" ")[0]) == (401, "Basic")
        assert server.ask("/", Authorization="Bearer wrong-0123456789abcdef").status == 401
        got = server.ask("/models/bert-v1.1.0/config.json", Authorization=f"Bearer {token}")
        assert got.status == 200
        assert "public" not in got.headers["cache-control"]
        tags = server.ask("/v2/bert/manifests/1.1.0", Authorization=f"Bearer {token}")
        digest = tags.headers["docker-content-digest"]
        manifest = server.ask(f"/v2/bert/manifests/{digest}", Authorization=f"Bearer {token}")
        assert manifest.status == 200
        assert manifest.headers["cache-control"].startswith("private, max-age=")
        assert server.ask("/healthz").status == 200
        _, out = server.stop()
    assert token not in out + "".join(server.said)


def test_pages_of_other_origins_read_only_if_that_is_allowed(place):
    with serving(place.folder) as server:
        assert "access-control-allow-origin" not in server.ask("/", Origin="https://app.example").headers
    with serving(place.folder, "--allow-origin", "https://app.example") as server:
        got = server.ask("/bert/resolve/main/config.json", Origin="https://app.example")
        assert got.headers["access-control-allow-origin"] == "https://app.example"
        assert "X-Repo-Commit" in got.headers["access-control-expose-headers"]
        assert "access-control-allow-origin" not in server.ask("/", Origin="https://evil.example").headers
        asked = server.ask("/bert/resolve/main/config.json", "OPTIONS", Origin="https://app.example")
        assert (asked.status, asked.headers["access-control-allow-methods"]) == (204, "GET, HEAD")


def test_site_is_served_over_tls(place, tmp_path):
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    for blob in issued.cert_chain_pems:
        blob.write_to_path(tmp_path / "cert.pem", append=True)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    words = ("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    with serving(place.folder, *words) as server:
        assert server.url.startswith("https://")
        with urllib.request.urlopen(f"{server.url}/models/bert-v1.1.0/weights.bin", context=context, timeout=30) as answer:
            assert answer.read() == place.source("bert-v1.1.0", "weights.bin")


def test_extra_that_is_missing_is_named(desk, place):
    """A Python that has everything but the server's packages."""
    code = (
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('starlette', 'uvicorn', 'httptools'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Gone())\n"
        "import importlib.util as util\n"
        "real = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name in ('starlette', 'uvicorn', 'httptools') else real(name, *more)\n"
        "sys.argv = ['modelport', 'site.serve', '--site', sys.argv[1], '--report', 'json']\n"
        "from pipeline.cli.program import main\n"
        "main()\n"
    )
    from tests.desk import BIN

    ran = subprocess.run(
        [BIN / "python", "-c", code, str(place.folder)], env=desk.environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 2, ran.stderr
    assert "pip install 'modelport[site]'" in ran.stderr
