"""What the tasks say to type next is typed here, word for word, and works."""

import shlex

import pytest

from tests.desk import Desk
from tests.publish_world import lay_out


@pytest.fixture
def desk(tmp_path) -> Desk:
    desk = Desk(tmp_path / "desk", tmp_path / "home")
    lay_out(desk.folder / "my models" / "one")
    return desk


def follow(desk, text):
    """Type the command after ``next:``; give what it says."""
    program, *words = shlex.split(text.rpartition("next: ")[2])
    assert program == "modelport"
    return desk.run(*words, report="plain")


def test_plan_publish_and_verify_follow_each_other_with_the_flags_that_were_given(desk):
    given = ["--store", "trees/a", "--source", "my models/one", "--part-size", "4MiB", "--channel", "stable", "--profile", "raw"]
    planned = desk.run("plan", "--model", "bert-v1.0.0", *given, report="plain")
    published = follow(desk, planned.out)
    assert "published bert-v1.0.0 on channel stable" in published.out, published.err
    assert "is whole" in follow(desk, published.out).out


def test_saved_plan_is_all_that_publish_needs(desk):
    given = ["--store", "trees/b", "--source", "my models/one", "--kind", "wheels", "--channel", "stable"]
    planned = desk.run("plan", "--model", "bert-v1.0.0", *given, "--save", "my plan.json", report="plain")
    published = follow(desk, planned.out)
    assert "published bert-v1.0.0 on channel stable" in published.out, published.err


def test_first_look_at_a_place_without_a_tree_says_how_to_begin(desk):
    refused = desk.run("show", "--store", "trees/c").refused(4)
    assert "modelport publish --model NAME-vVERSION --store file://" in refused


@pytest.mark.parametrize("task, flag", [("trust.pin", "fingerprint"), ("yank", "model"), ("publish", "model")])
def test_missing_flag_leads_to_a_help_that_exists(desk, task, flag):
    refused = desk.run(task).refused(2)
    assert f"--{flag} is needed" in refused
    words = refused[refused.index("modelport --help") :].split()[1:3]
    shown = desk.start(*words).communicate(timeout=60)[0]
    assert f"Usage: modelport [--core-opts] {task}" in shown
