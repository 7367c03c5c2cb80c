"""model.yaml: what it may say, and the one line that says what is wrong."""

import time

import pytest

from pipeline.errors import SourceError
from pipeline.manifest import Dependency
from pipeline.sources.model_yaml import FILE_BYTES, ModelYaml, parse_model_yaml


def parse(text):
    return parse_model_yaml(text.encode() if isinstance(text, str) else text, "models/bert/model.yaml")


def refusal(text):
    with pytest.raises(SourceError) as error:
        parse(text)
    assert error.value.hint
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600
    assert str(error.value).startswith("models/bert/model.yaml")
    return f"{error.value} {error.value.hint}"


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}\n", "---\n{}\n"])
def test_empty_file_says_nothing(text):
    assert parse(text) == ModelYaml()


def test_dependencies_are_sorted_by_model():
    about = parse("display_name: BERT ☂\ndependencies:\n  tokenizer: ~1.8.2\n  a-model: '>=1.2 <3'\n  m: 2.1.0\n")
    assert about.display_name == "BERT ☂"
    assert about.as_dependencies() == (
        Dependency(model="a-model", version=">=1.2 <3"),
        Dependency(model="m", version="2.1.0"),
        Dependency(model="tokenizer", version="~1.8.2"),
    )


@pytest.mark.parametrize(
    "text, why",
    [
        ("displayname: x", "Did you mean display_name?"),
        ("dependency: {}", "Did you mean dependencies?"),
        ("zzz: 1", "unknown key 'zzz'"),
        ("a.b: 1", "a.b"),
        ("display_name: a\ndisplay_name: b", "stands twice"),
        ("dependencies: {a: ^1, a: ^2}", "stands twice"),
        ("display_name: [1]", "display_name"),
        ("display_name: 7", "display_name"),
        ("display_name: " + "x" * 201, "200"),
        ("dependencies: [a, b]", "dependencies"),
        ("dependencies: {a: 1.0}", "dependencies"),
        ("dependencies: {a: null}", "dependencies"),
        ("dependencies: {a: latest}", "dependency a: 'latest' is no range of versions"),
        ("dependencies: {a: ^1.0.0+x y}", "no range of versions"),
        ("dependencies: {a: 1.0 - <2}", "no range of versions"),
        ("dependencies: {a: '" + "1 || " * 50 + "'}", "200"),
        ("dependencies: {Bert: ^1}", "model name 'Bert'"),
        ("dependencies: {../x: ^1}", "model name '../x'"),
        ("dependencies: {1: ^1}", "key that is not text"),
        ("- a", "not a mapping"),
        ("just text", "not a mapping"),
        ("a: b: c", "not YAML"),
        ("{", "not YAML"),
        ("\t", "not YAML"),
        ("a: !!python/object/apply:os.system ['true']", "model.yaml"),
        ("display_name: !!binary aGk=", "display_name"),
        ("--- {}\n--- {}\n", "not YAML"),
        ("display_name: &x a\ndependencies: {m: *x}", "alias"),
        (b"display_name: \xff", "not UTF-8"),
        ("display_name: x".encode("utf-16"), "not UTF-8"),
        ("display_name: a\x07", "not YAML"),
        ("? [a, b]\n: 1", "key that is not text"),
        ("[" * 30_000, "not YAML"),
        ("x: " * 20_000, "not YAML"),
        ("#" * (FILE_BYTES + 1), f"at most {FILE_BYTES}"),
        ("display_name: 2001-99-99", "not YAML"),
        ("aliases: acme/bert", "aliases"),
        ("aliases: [acme/bert/x]", "aliases"),
        ("aliases: [../bert]", "aliases"),
        ("aliases: [-x/bert]", "aliases"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text, why):
    assert why in refusal(text)


def test_aliases_are_ids_of_repositories():
    assert parse_model_yaml(b"aliases: [acme/Bert-Base.v2, bert_x]", "model.yaml").aliases == ("acme/Bert-Base.v2", "bert_x")


@pytest.mark.timeout(20)
def test_bombs_end_at_once():
    started = time.monotonic()
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))
    refusal(bomb)
    refusal("".join(f"k{n}: 1\n" for n in range(7000)))
    refusal("? &a [&b [x], *b]\n: 1\n? [*a, *a]\n: 2\n")
    assert time.monotonic() - started < 15
