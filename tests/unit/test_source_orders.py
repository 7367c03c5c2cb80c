"""What the flags of bench, export and doctor become, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli.source_orders import bench_order, export_order, setting_rows, source_to_measure
from pipeline.connect import open_target, store_folder
from pipeline.errors import SettingsError, UsageError
from pipeline.release import NameRefused
from pipeline.setting_keys import KEYS
from pipeline.settings import load_settings


def settings(folder, flags=None, **environ):
    return load_settings(flags or {}, {"HOME": str(folder), **environ}, folder)


def order(**changed):
    return bench_order(**{"model": [], "at": [], "repeat": "", "work": "", "url": "http://x", **changed})


def test_bench_has_defaults():
    made = order()
    assert (made.wants, made.connections, made.repeat, made.work) == ((), (1, 4, 16), 3, None)


@pytest.mark.parametrize("flag", ["at", "repeat"])
@pytest.mark.parametrize("text", ["x", "0", "1.5", "9999", "٣", "1e1", " 1", "0000000019999"])
def test_bench_refuses_what_is_no_number(flag, text):
    with pytest.raises(UsageError, match=f"--{flag}"):
        order(**{flag: [text] if flag == "at" else text})


def test_bench_refuses_what_is_no_name():
    with pytest.raises(NameRefused):
        order(model=["Bert!"])


@pytest.mark.parametrize("where", [{"source": "s3://bucket"}, {"store": "s3://bucket"}, {"store": "empty"}])
def test_bench_refuses_what_others_cannot_fetch_from(tmp_path, where):
    with pytest.raises(UsageError), source_to_measure(settings(tmp_path, where)):
        raise AssertionError("it was served")


def test_bench_takes_a_named_source_as_it_is(tmp_path):
    with source_to_measure(settings(tmp_path, {"source": "https://cdn.example/tree"})) as url:
        assert url == "https://cdn.example/tree"


def exported(tmp_path, form="curl", urls=(), **flags):
    return export_order(settings(tmp_path, flags), model="bert", form=form, to="out", urls=urls, allow_yanked=False)


def test_export_takes_addresses_from_flags_sources_or_the_store(tmp_path):
    assert exported(tmp_path, urls=["https://a", "https://b"]).urls == ("https://a", "https://b")
    assert exported(tmp_path, source="https://c https://d").urls == ("https://c", "https://d")
    assert exported(tmp_path, store="file:///srv/tree").urls == ("file:///srv/tree",)


def test_export_of_an_image_layout_takes_no_addresses(tmp_path):
    assert exported(tmp_path, "oci", source="https://c").form == "oci"
    with pytest.raises(UsageError, match="--url says nothing with --format oci"):
        exported(tmp_path, "oci", urls=["https://a"])


@pytest.mark.parametrize("form, hint", [("aria", "aria2"), ("zip", "There is: metalink"), ("", "There is: metalink")])
def test_export_refuses_an_unknown_format(tmp_path, form, hint):
    with pytest.raises(UsageError, match="metalink, aria2, curl") as caught:
        exported(tmp_path, form)
    assert hint in caught.value.hint


def test_every_setting_has_a_row_with_its_origin(tmp_path):
    (tmp_path / "modelport.yaml").write_text("source: {url: https://cdn.example/tree, auth: {kind: bearer, token: TOKEN_OF}}\n")
    given = settings(
        tmp_path,
        {"connections": "4"},
        MODELPORT_REGION="eu-1",
        TOKEN_OF="t0p-secret",
        HTTPS_PROXY="http://ada:s3cr3t-pw@proxy:3128",
        SSL_CERT_FILE="/ca.pem",
    )
    rows = {row.name: row for row in setting_rows(given)}
    assert rows.keys() >= set(KEYS)
    assert (rows["connections"].value, rows["connections"].origin) == ("4", "--connections")
    assert (rows["region"].value, rows["region"].origin) == ("eu-1", "MODELPORT_REGION")
    assert rows["source"].origin == f"{tmp_path}/modelport.yaml:1"
    assert rows["part_size"].value == "auto"
    assert rows["HTTPS_PROXY"].value == "http://…@proxy:3128"
    assert not any(secret in row.value for row in rows.values() for secret in ("t0p-secret", "s3cr3t-pw", "ada"))


def test_target_is_opened_like_a_store_and_its_faults_name_the_flag(tmp_path):
    given = settings(tmp_path)
    assert open_target(given, str(tmp_path / "copy")).url == (tmp_path / "copy").as_uri()
    with pytest.raises(SettingsError, match="--to"):
        open_target(given, "ftp://x/y")
    with pytest.raises(SettingsError, match="--to"):
        open_target(given, "s3://")


def test_folder_of_a_store(tmp_path):
    assert store_folder(settings(tmp_path, {"store": "file:///srv/a%20b"})) == Path("/srv/a b")
    assert store_folder(settings(tmp_path, {"store": "/srv/tree"})) == Path("/srv/tree")
    assert store_folder(settings(tmp_path, {"store": "s3://b"})) is None
