"""Releases as OCI artifacts: documents whose digests never change for equal releases."""

import json

import pytest

from bundles.site.catalogue import HeldFile
from pipeline.plan.ocilayout import describe_release, layer_type, layout_index

FILES = [HeldFile("README.md", 3, "a" * 64), HeldFile("model.safetensors", 10, "b" * 64)]


def describe(files=FILES, version="1.0.0"):
    return describe_release("bert", version, "model", "c" * 64, files)


def test_digests_are_as_ever():
    artifact = describe()
    assert artifact.config_sha256 == "6057a69e1d989e49c29b9529793a93e8a5196cdb51ff64961de2b8bed82bf27d"
    assert artifact.manifest_sha256 == "fffd708c12b2b17a4658b571a8bba9b031630253e7328895586e0fac69d88e1d"


def test_layer_is_a_file_and_unchanged_ones_keep_their_digest():
    old, new = (
        json.loads(describe(files, version).manifest)
        for files, version in ((FILES, "1.0.0"), ([FILES[0], HeldFile("model.safetensors", 11, "d" * 64)], "1.1.0"))
    )
    assert old["layers"][0] == new["layers"][0] == {
        "mediaType": "application/vnd.cncf.model.doc.v1.raw",
        "digest": f"sha256:{'a' * 64}",
        "size": 3,
        "annotations": {"org.cncf.model.filepath": "README.md"},
    }  # fmt: skip
    assert old["layers"][1] != new["layers"][1]
    assert json.loads(describe().config)["modelfs"]["diffIds"] == [layer["digest"] for layer in old["layers"]]


@pytest.mark.parametrize(
    "path, kind",
    [
        ("model.safetensors", "weight"), ("onnx/model.ONNX", "weight"), ("a.gguf", "weight"), ("config.json", "weight.config"),
        ("vocab", "weight.config"), ("tokenizer.model", "weight.config"), ("LICENSE", "doc"), ("docs/readme.md", "doc"), ("LICENSE.txt", "doc"),
        ("run.sh", "code"), ("safetensors", "weight.config"), ("bin", "weight.config"), (".bin", "weight"),
    ],
)  # fmt: skip
def test_media_type_follows_from_the_name(path, kind):
    assert layer_type(path) == f"application/vnd.cncf.model.{kind}.v1.raw"


def test_index_keeps_what_it_named_but_for_the_same_name():
    first = json.loads(layout_index([], describe(), ["bert:1.0.0"]))["manifests"]
    both = json.loads(layout_index(first, describe(version="1.1.0"), ["bert:1.1.0"]))["manifests"]
    assert [row["annotations"]["org.opencontainers.image.ref.name"] for row in both] == ["bert:1.0.0", "bert:1.1.0"]
    again = json.loads(layout_index(both, describe(version="1.1.0"), ["bert:1.1.0"]))["manifests"]
    assert again == both


@pytest.mark.parametrize("annotations", [None, "text", ["list"]])
def test_index_keeps_rows_of_other_programs_whatever_their_annotations_are(annotations):
    foreign = {"digest": "sha256:0", "annotations": annotations}
    rows = json.loads(layout_index([foreign], describe(), ["bert:1.0.0"]))["manifests"]
    assert rows[0] == foreign
    assert len(rows) == 2
