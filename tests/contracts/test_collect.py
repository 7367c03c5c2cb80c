"""The whole life of garbage on every kind of store: recorded, waited for, deleted; others share, others refuse."""

from __future__ import annotations

import pytest

from pipeline.errors import AccessDenied
from pipeline.release import Release
from pipeline.stores.faulty import Fault, FaultyStore
from tests.collect_world import Garden, deleted_of, garbage_of
from tests.publish_world import directory_shelf, memory_shelf, oss_shelf, s3_shelf


@pytest.fixture(params=["memory", "directory", "seaweedfs", "oss"])
def garden(request, tmp_path, bucket_on) -> Garden:
    if request.param == "memory":
        shelf = memory_shelf()
    elif request.param == "directory":
        shelf = directory_shelf(tmp_path / "store")
    elif request.param == "oss":
        server = request.getfixturevalue("oss_server")
        shelf = oss_shelf(server, bucket_on(server))
    else:
        server = request.getfixturevalue("seaweedfs")
        shelf = s3_shelf(server, bucket_on(server))
    return Garden(tmp_path, shelf).plant()


def test_retired_release_goes_after_the_grace_and_another_that_shares_its_parts_is_published_anew(garden):
    first = garden.collect()
    assert (first.deleted, {one.release for one in first.kept}) == (0, {"bert-v1.0.0", "bert-v1.1.0"})
    garden.pass_days(8)
    second = garden.collect()
    assert {key.partition("/")[0] for key in deleted_of(second)} == {"targets", "parts"}
    assert not deleted_of(second) & garden.tree()
    garden.whole("bert-v1.0.0", "bert-v1.1.0")
    # Its parts are gone, so they are sent again.
    done = garden.publish("gpt-v1.1.0", garden.source("gpt", 0))
    assert {key for key in deleted_of(second) if key.startswith("parts/")} <= garden.tree()
    assert done.bytes_uploaded > done.bytes_stored
    garden.pass_days(30)
    third = garden.collect()
    assert {key.partition("/")[0] for key in deleted_of(third)} == {"metadata"}
    assert garden.dangling() == set()
    garden.whole("bert-v1.0.0", "bert-v1.1.0", "gpt-v1.1.0")
    garden.reader().check(*map(Release.parse, ("bert-v1.0.0", "bert-v1.1.0", "gpt-v1.1.0")))
    assert garden.site.leases() == []


def test_release_that_takes_up_what_was_recorded_keeps_it(garden):
    recorded = garbage_of(garden.collect())
    garden.pass_days(8)
    done = garden.publish("gpt-v1.1.0", garden.source("gpt", 0))
    assert done.bytes_uploaded < done.bytes_stored
    later = garden.collect()
    assert not {key for key in deleted_of(later) if key.startswith("parts/")}
    assert {key for key in recorded if key.startswith("parts/")} <= garden.tree()
    garden.whole("bert-v1.0.0", "bert-v1.1.0", "gpt-v1.1.0")


def test_store_that_refuses_deletes_is_named_in_one_line(garden):
    garden.collect()
    garden.pass_days(8)
    before = garden.tree()
    refusing = FaultyStore(
        garden.store, [Fault("delete", "refuse", times=99, key="targets/", error=lambda: AccessDenied("403 AccessDenied"))]
    )
    with pytest.raises(AccessDenied, match="cannot be deleted") as caught:
        garden.collect(place=garden.place(store=refusing))
    assert (caught.value.exit_code, "\n" in str(caught.value)) == (5, False)
    assert garden.tree() == before
    assert garden.records()[-1]["deleted"] == []
    garden.collect()
    garden.whole("bert-v1.0.0", "bert-v1.1.0")


def test_plan_writes_nothing(garden):
    before = {info.key: info.etag for info in garden.site.store.list("")}
    assert garden.collect(apply=False).garbage
    assert {info.key: info.etag for info in garden.site.store.list("")} == before
