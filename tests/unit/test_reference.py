"""The generated schemas say what the readers take."""

import json

import jsonschema
import pytest

from pipeline.cli.checkout import benchmarks, root
from pipeline.cli.reference import bundle_index_schema, inventory_schema, manifest_schema, model_yaml_schema, write_reference
from pipeline.errors import UsageError
from pipeline.sources.model_yaml import ModelYaml
from pipeline.wire import encode_manifest
from tests.makers.manifests import manifest


@pytest.mark.parametrize(
    "schema",
    [manifest_schema(), bundle_index_schema(), inventory_schema(), model_yaml_schema()],
    ids=["manifest", "index", "inventory", "model.yaml"],
)
def test_schema_is_a_schema(schema):
    jsonschema.Draft202012Validator.check_schema(schema)


def test_schema_takes_a_real_manifest_and_refuses_a_broken_one():
    value = json.loads(encode_manifest(manifest()))
    jsonschema.validate(value, manifest_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**value, "kind": "picture"}, manifest_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**value, "parts": [{"blake3": "00"}]}, manifest_schema())


def test_model_yaml_schema_refuses_unknown_keys():
    jsonschema.validate({"display_name": "BERT", "dependencies": {"tokenizer": "^1.0"}}, model_yaml_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "BERT"}, model_yaml_schema())
    assert set(model_yaml_schema()["$defs"]["ModelYaml"]["properties"]) == set(ModelYaml.__struct_fields__)


def test_pages_are_written_once(tmp_path):
    first = write_reference(tmp_path, dry=False)
    assert first
    assert write_reference(tmp_path, dry=True) == []
    (tmp_path / first[0]).write_text("stale")
    assert write_reference(tmp_path, dry=True) == [first[0]]
    assert (tmp_path / first[0]).read_text() == "stale"


def test_benchmarks_are_found_by_name():
    assert benchmarks(root(), ["startup"]) == {"startup": "benchmarks/startup.py"}
    with pytest.raises(UsageError, match="no benchmark 'nonsense'"):
        benchmarks(root(), ["nonsense"])
