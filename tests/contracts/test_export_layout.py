"""An image layout on disk: what stands there is kept, read strictly, and written by one export at a time."""

import fcntl
import json
import os
import threading

import pytest

from pipeline.errors import DiskError, InvalidDocument, UsageError
from pipeline.events import Warned
from pipeline.ociexport import OciOrder, export_layout
from pipeline.plan.wants import read_want
from tests.mirror_world import begin_tree, supply_of

NAME = "org.opencontainers.image.ref.name"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return begin_tree(tmp_path_factory.mktemp("tree"))[0]


def export(site, folder, model="bert-v1.0.0", listen=lambda event: None, **flags):
    supply = supply_of(site.store, folder=folder.parent, pins=[site.fingerprint])
    return export_layout(OciOrder(read_want(model), folder), supply, listen, **flags)


def names_in(folder):
    return [row["annotations"][NAME] for row in json.loads((folder / "index.json").read_bytes())["manifests"]]


def damaged(folder, index):
    (folder / "blobs").mkdir(parents=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(index)
    return folder


@pytest.mark.parametrize("row", ['{"annotations":[1]}', '{"annotations":"x"}', "[]", "3"])
def test_index_of_another_shape_is_refused_and_kept(site, tmp_path, row):
    folder = damaged(tmp_path / "layout", f'{{"manifests":[{row}]}}')
    before = (folder / "index.json").read_bytes()
    with pytest.raises(UsageError, match="no index of an OCI image layout"):
        export(site, folder)
    assert (folder / "index.json").read_bytes() == before


def test_index_of_another_tool_whose_rows_have_no_annotations_is_kept(site, tmp_path):
    folder = damaged(tmp_path / "layout", '{"manifests":[{"digest":"sha256:1","annotations":null},{"digest":"sha256:2"}]}')
    export(site, folder)
    digests = [row["digest"] for row in json.loads((folder / "index.json").read_bytes())["manifests"]]
    assert digests[:2] == ["sha256:1", "sha256:2"]
    assert len(digests) == 3


def test_index_that_is_no_json_is_a_file_of_this_machine(site, tmp_path):
    with pytest.raises(InvalidDocument, match=r"index\.json is not strict JSON") as caught:
        export(site, damaged(tmp_path / "layout", "{"))
    assert "--to" in caught.value.hint


def test_layout_that_cannot_be_read_is_told(site, tmp_path):
    folder = damaged(tmp_path / "layout", "{}")
    (folder / "index.json").unlink()
    (folder / "index.json").mkdir()
    with pytest.raises(DiskError, match="layout"):
        export(site, folder)


def test_second_export_waits_and_keeps_what_the_first_one_names(site, tmp_path):
    folder = tmp_path / "layout"
    export(site, folder)
    other = json.loads((folder / "index.json").read_bytes())
    other["manifests"][0]["annotations"][NAME] = "other:1.0.0"
    held = os.open(folder, os.O_RDONLY)
    waits = threading.Event()
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        heard = [lambda event: waits.set() if isinstance(event, Warned) and event.code == "waiting" else None]
        second = threading.Thread(target=export, args=(site, folder, "gpt-v1.0.0", heard[0]))
        second.start()
        assert waits.wait(30)
        (folder / "index.json").write_text(json.dumps(other))
    finally:
        os.close(held)
    second.join(30)
    assert not second.is_alive()
    assert names_in(folder) == ["other:1.0.0", "gpt:1.0.0"]


def test_dry_run_writes_nothing(site, tmp_path):
    assert export(site, tmp_path / "layout", dry=True).reused == 0
    assert not (tmp_path / "layout").exists()
