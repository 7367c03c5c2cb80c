"""What to type next is what can be typed."""

import pytest

from pipeline.cli.typable import flag_words, make_typable

TAKES = {
    "publish": ("store", "endpoint", "models_dir", "part_size"),
    "verify": ("store", "endpoint"),
    "trust.init": ("store",),
    "sample": (),
}


@pytest.mark.parametrize(
    "text, expected",
    [
        ("next: invoke verify --model bert-v2.1.0 --all", "next: invoke verify --model bert-v2.1.0 --all --store s3://b/p"),
        ("Run: invoke trust.init", "Run: invoke trust.init --store s3://b/p"),
        ("Ask `invoke verify --model bert`; then go on.", "Ask `invoke verify --model bert --store s3://b/p`; then go on."),
        (
            "invoke publish --model a-v1.0.0, or not",
            "invoke publish --model a-v1.0.0 --store s3://b/p --models-dir 'my models', or not",
        ),
        ("Run this command, then invoke sample again.", "Run this command, then invoke sample again."),
        ("invoke --help publish shows an example.", "invoke --help publish shows an example."),
        ("invoke is a program", "invoke is a program"),
    ],
)
def test_command_carries_the_places_that_were_given_and_its_task_takes(text, expected):
    given = {"store": "s3://b/p", "models_dir": "my models", "connections": "9"}
    assert make_typable(text, program="invoke", takes=TAKES, given=given) == expected


def test_sources_are_repeated_and_a_flag_that_stands_there_is_not_given_twice():
    takes = {"trust.pin": ("source", "ca_bundle", "store"), "verify": ("source", "store")}
    given = {"source": ["https://a", "https://b"], "ca_bundle": "own.pem"}
    shown = make_typable("invoke trust.pin --fingerprint ab", program="invoke", takes=takes, given=given)
    assert shown == "invoke trust.pin --fingerprint ab --source https://a --source https://b --ca-bundle own.pem"
    shown = make_typable("invoke verify --source https://c", program="invoke", takes=takes, given=given)
    assert shown == "invoke verify --source https://c"


def test_program_without_a_checkout_names_itself():
    shown = make_typable("Run: invoke trust.init\n`invoke --help publish`", program="modelport", takes=TAKES, given={})
    assert shown == "Run: modelport trust.init\n`modelport --help publish`"


def test_flags_are_spelled_as_they_are_typed():
    assert (
        flag_words(model="m-v1.0.0", source="a b", kind="", base=("x", "y"))
        == " --model m-v1.0.0 --source 'a b' --base x --base y"
    )
