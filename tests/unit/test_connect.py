"""Connect: the store that the settings name, and a clear word for every other."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.connect import open_place, open_reader, open_source_place, open_store, open_target, pick_store
from pipeline.digest import sha256_of
from pipeline.errors import SettingsError
from pipeline.settings import load_settings, refuse_memory
from pipeline.state_folders import place_id


def settings(store, folder=Path("/work-folder"), **environ):
    return load_settings({"store": store}, {"HOME": "/home/u", **environ}, folder)


@pytest.mark.parametrize(
    "store, url",
    [
        ("/srv/tree", "file:///srv/tree"),
        ("tree", "file:///work-folder/tree"),
        ("./a b", "file:///work-folder/a%20b"),
        ("file:///srv/a%20b", "file:///srv/a%20b"),
        ("file://localhost/srv", "file:///srv"),
        ("memory:one", "memory:one"),
        ("s3://bucket/some/prefix/", "s3://bucket/some/prefix"),
        ("s3://bucket", "s3://bucket"),
        ("S3://bucket/Prefix", "s3://bucket/Prefix"),
        ("File:///srv", "file:///srv"),
    ],
)
def test_store_is_picked_by_its_url(store, url):
    assert pick_store(settings(store)).url.rstrip("/") == url


def test_oss_takes_its_own_variables():
    store = pick_store(
        settings("oss://bucket/p", OSS_REGION="cn-hangzhou", OSS_ACCESS_KEY_ID="id", OSS_ACCESS_KEY_SECRET="secret")
    )
    assert store.url.rstrip("/") == "oss://bucket/p"


@pytest.mark.parametrize(
    "store, said",
    [
        ("s4://bucket/p", "unknown scheme 's4'; did you mean 's3'?"),
        ("gopher://bucket/p", "unknown scheme 'gopher'; known are: file, s3, oss"),
        ("htps://host/tree", "unknown scheme 'htps'; did you mean 'https'?"),
        ("ftp://host/tree", "unknown scheme 'ftp'; did you mean 'http'?"),
        ("s3:bucket", "does not name a bucket"),
        ("s3:///prefix", "does not name a bucket"),
        ("s3://bucket/p?x=1", "does not name a bucket"),
        ("file://elsewhere/srv", "is not a file URL of this machine"),
        ("file:srv", "is not a file URL of this machine"),
        ("s3:", "does not name a bucket"),
        ("GS://bucket/p", "unknown scheme 'gs'"),
        ("https://bucket/p", "is a web server, which nothing can be written to"),
        ("S3:bucket", "does not name a bucket"),
    ],
)
def test_store_that_cannot_be_is_refused_with_its_place(store, said):
    with pytest.raises(SettingsError) as caught:
        pick_store(settings(store))
    assert said in str(caught.value)
    assert str(caught.value).startswith("--store: ")
    assert caught.value.hint


def test_source_of_another_scheme_is_told_all_that_sources_may_be():
    with pytest.raises(SettingsError, match="'htp'; did you mean 'http'") as caught:
        open_reader(settings("tree"), {"url": "htp://x"})
    assert "https://" in caught.value.hint


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("htps://x/tree", "--source: the source 'htps://x/tree' has the unknown scheme 'htps'; did you mean 'https'?"),
        ("ooss://bucket", "did you mean 'oss'?"),
        ("flie:///tree", "did you mean 'file'?"),
    ],
)
def test_source_to_look_at_is_called_one_and_asked_about(url, said):
    named = replace(settings("tree"), source=({"url": url},))
    with pytest.raises(SettingsError) as caught:
        open_source_place(named)
    assert said in str(caught.value)
    assert "http://…" in caught.value.hint


def test_file_is_no_store(tmp_path):
    (tmp_path / "tree").write_text("x")
    with pytest.raises(SettingsError, match="tree is a file, expected a folder"):
        open_store(settings(str(tmp_path / "tree")))
    with pytest.raises(SettingsError, match="tree is a file, expected a folder"):
        open_reader(settings("tree"), {"url": str(tmp_path / "tree")})


def test_what_would_end_with_the_process_is_refused_before_it_is_opened():
    refuse_memory(settings("tree"))
    with pytest.raises(SettingsError, match="--store: what is in memory:one is gone"):
        refuse_memory(settings("memory:one"))
    for spelled in ("memory:", "MEMORY://one"):
        with pytest.raises(SettingsError, match=f"--store: what is in {spelled.lower()} is gone"):
            refuse_memory(settings(spelled))
    with pytest.raises(SettingsError, match="--store: what is in memory:two is gone"):
        refuse_memory(settings("tree\nmemory:two"))
    with pytest.raises(SettingsError, match="MODELPORT_SOURCE: what is in memory:three is gone"):
        refuse_memory(settings("tree", MODELPORT_SOURCE="memory:three"))
    with pytest.raises(SettingsError, match="--to: what is in memory:four is gone"):
        open_target(settings("tree"), "memory:four")


def test_opened_store_counts_what_is_sent(tmp_path):
    opened = open_store(settings(str(tmp_path / "tree")))
    opened.store.put("control/a", b"12345", sha256=sha256_of(b"12345"))
    assert opened.bytes_sent() == 5


def test_dry_store_sends_and_writes_nothing(tmp_path):
    opened = open_store(settings(str(tmp_path / "tree")), dry=True)
    opened.store.put("control/a", b"12345", sha256=sha256_of(b"12345"))
    assert opened.bytes_sent() == 0
    assert list(pick_store(settings(str(tmp_path / "tree"))).list("")) == []


def test_place_keeps_trust_and_keys_apart_from_the_store(tmp_path):
    place = open_place(settings(str(tmp_path / "tree"), XDG_STATE_HOME="/s", XDG_DATA_HOME="/d", XDG_CACHE_HOME="/c"))
    assert place.state.folder.parent == Path("/s/modelport/trust")
    assert place.keys.home == Path("/d/modelport/keys")
    assert place.cache == Path("/c/modelport")
    assert (place.keys.named, place.keys.first_use) == (None, True)


def test_keys_are_made_on_first_use_only_for_ones_own_directory():
    assert not open_place(settings("s3://bucket/p")).keys.first_use


def test_named_keys_take_their_variables_from_the_settings():
    place = open_place(settings("s3://bucket/p", MODELPORT_KEYS__RELEASE="envvar:RELEASE_KEY", RELEASE_KEY="canary-pem"))
    assert place.keys.named.uris == {"release": ("envvar:RELEASE_KEY",)}
    assert place.keys.named.secrets.environ == {"RELEASE_KEY": "canary-pem"}
    assert "canary" not in repr(place)


def test_one_bucket_name_at_two_endpoints_is_two_places():
    assert place_id("s3://b/p", "http://a") != place_id("s3://b/p", "http://b") != place_id("s3://b/p", "")
