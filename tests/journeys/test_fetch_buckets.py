"""A release fetched straight from a bucket, pulled off the plug in the middle, and fetched to its end: S3 and OSS."""

from __future__ import annotations

import pytest

from tests.desk import Desk
from tests.fetch_world import contents
from tests.publish_world import lay_out
from tests.servers.relay import Rule

TENSOR = 1 << 20


@pytest.fixture(params=["s3", "oss"])
def bucket(request):
    """(the server, a relay before it, the store's URL in a bucket of its own)."""
    names = {"s3": ("seaweedfs", "seaweedfs_relay"), "oss": ("oss_server", "oss_relay")}
    server, relay = map(request.getfixturevalue, names[request.param])
    return server, relay, f"{request.param}://{server.new_bucket()}/some/tree"


def test_a_killed_fetch_from_a_bucket_is_finished_by_the_next(bucket, tmp_path):
    server, relay, url = bucket
    environment = {**server.environment, "MODELPORT_ENDPOINT": relay.endpoint}
    publisher = Desk(tmp_path / "publisher", tmp_path / "publisher-home", {**environment, "MODELPORT_STORE": url})
    source = lay_out(publisher.folder / "models" / "bert-v1.0.0", tensor_bytes=TENSOR)
    publisher.run("trust.init")
    words = ("publish", "--model", "bert-v1.0.0", "--channel", "stable", "--profile", "raw")
    fingerprint = publisher.run(*words).result["root_fingerprint"]

    user = Desk(tmp_path / "user", tmp_path / "user-home", {**environment, "MODELPORT_SOURCE": url})
    fetch = ("fetch", "--model", "bert@stable", "--connections", "1")
    assert fingerprint in user.run(*fetch).refused(4)
    user.run("trust.pin", "--fingerprint", fingerprint)

    stuck = relay.spoil(Rule("hold", "GET", "parts", nth=3))
    child = user.start(*fetch)
    assert stuck.held.wait(30), "it never asked for a third range"
    child.kill()
    child.communicate(timeout=30)
    relay.forget()
    folder = user.folder / "models" / "bert-v1.0.0"
    assert not folder.exists()

    done = user.run(*fetch).result
    assert contents(folder) == contents(source)
    # Two ranges came before the third; one more may have been on its way.
    assert done["bytes_reused"] > 0
    assert done["bytes_fetched"] + done["bytes_reused"] == done["bytes"]
    assert [one["url"] for one in done["sources"]] == [url]
    again = user.run(*fetch).result
    assert (again["already_there"], again["bytes_fetched"]) == (True, 0)
    assert again["requests"] <= 3


def test_a_bucket_that_is_not_there_and_keys_that_are_wrong_are_one_line(bucket, tmp_path):
    server, relay, url = bucket
    user = Desk(tmp_path / "user", tmp_path / "home", {**server.environment, "MODELPORT_ENDPOINT": relay.endpoint})
    fetch = ("fetch", "--model", "bert", "--source")
    assert "no such bucket" in user.run(*fetch, f"{url.rpartition('/some')[0]}-not/tree").refused(5)
    secrets = [name for name in user.environment if "SECRET" in name]
    user.environment.update(dict.fromkeys(secrets, "canary-4711"))
    refused = user.run(*fetch, url)
    refused.refused(5)
    assert "canary-4711" not in refused.err
