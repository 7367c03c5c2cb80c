"""The workflows under examples/: their shell, taken out of the YAML and run as CI would run it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLES = CHECKOUT / "examples"
BIN = Path(sys.executable).parent
# Stands for the package index: the install step is proven by the README's first line.
PIP = '#!/bin/sh\necho "pip $*" >> "$PIP_LOG"\n'
VENV = """#!/bin/sh
[ "$*" = "-m venv .venv" ] || exec {python} "$@"
mkdir -p .venv/bin && cp {pip} .venv/bin/pip && ln -sf {modelport} .venv/bin/modelport
"""


def github(job):
    """The environment and the steps' shell of a job, as GitHub starts them: bash -e, one process a step."""
    files = [yaml.safe_load(file.read_text()) for file in sorted((EXAMPLES / "github-actions").glob("*.yml"))]
    workflow = next(one for one in files if job in one["jobs"])
    found = workflow["jobs"][job]
    return {**workflow["env"], **found["env"]}, [step["run"] for step in found["steps"] if "run" in step]


def gitlab(job):
    """The environment and the shell of a job, as GitLab starts it: one process for all lines."""
    workflow = yaml.safe_load((EXAMPLES / "gitlab" / "gitlab-ci.yml").read_text())
    found = workflow[job]
    return found.get("variables", {}), ["\n".join([*workflow["default"]["before_script"], *found["script"]])]


@pytest.fixture
def engineer(tmp_path):
    """A release engineer's machine with keys and a tree, and a runner that has neither."""
    work = tmp_path / "repository"
    model = work / "models" / "tiny-v1.0.0"
    model.mkdir(parents=True)
    (model / "config.json").write_text('{"tiny": true}\n')
    (model / "weights.bin").write_bytes(bytes(range(256)) * 4096)
    store = str(tmp_path / "store")

    def act(*words):
        home = {"HOME": str(tmp_path / "engineer"), "PATH": os.environ["PATH"], "MODELPORT_STORE": store}
        shown = subprocess.run(
            [BIN / "modelport", *words, "--report", "json"],
            cwd=work,
            env=home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert shown.returncode == 0, shown.stderr
        return json.loads(shown.stdout)

    act("trust.init")
    act("trust.delegate", "--model", "tiny")
    keys = next((tmp_path / "engineer" / ".local/share/modelport/keys").glob("*/release.pem"))
    fingerprint = act("trust.show")["fingerprint"]

    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in {
        "pip": PIP,
        "python3": VENV.format(python=sys.executable, pip=tools / "pip", modelport=BIN / "modelport"),
    }.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)

    def run(environ, steps, **given):
        values = {
            "vars.MODELPORT_STORE": store,
            "vars.ROOT_FINGERPRINT": fingerprint,
            "secrets.RELEASE_KEY": keys.read_text(),
            **given,
        }
        filled = {name: re.sub(r"\$\{\{ ([\w.]+) \}\}", lambda at: values.get(at[1], ""), text) for name, text in environ.items()}
        runner = {
            "HOME": str(tmp_path / "runner"),
            "PATH": f"{tools}:{os.environ['PATH']}",
            "GITHUB_PATH": str(tmp_path / "github-path"),
            "PIP_LOG": str(tmp_path / "pip.log"),
            "MODELPORT_STORE": store,
            "ROOT_FINGERPRINT": fingerprint,
        }
        log = ""
        for step in steps:
            added = Path(runner["GITHUB_PATH"])
            path = ":".join([*(added.read_text().split() if added.exists() else []), runner["PATH"]])
            shown = subprocess.run(
                ["bash", "-eo", "pipefail", "-c", step],
                cwd=work,
                env={**runner, **{name: text for name, text in filled.items() if text}, "PATH": path},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            log += shown.stdout + shown.stderr
            assert shown.returncode == 0, log
        return log

    run.keys, run.work, run.act, run.pip_log = keys, work, act, tmp_path / "pip.log"
    return run


@pytest.mark.parametrize("read", [github, gitlab])
def test_publish_workflow_publishes_what_the_tag_names(engineer, read):
    environ, steps = read("publish")
    key = engineer.keys.read_text()
    log = engineer({**environ, "RELEASE_KEY": key, "CI_COMMIT_TAG": "tiny-v1.0.0"}, steps, **{"github.ref_name": "tiny-v1.0.0"})
    published = json.loads((engineer.work / "published.json").read_text())
    assert published["release"] == "tiny-v1.0.0"
    assert key.splitlines()[1] not in log
    assert engineer.pip_log.read_text() == "pip install modelport\n"
    assert "tiny-v1.0.0" in json.dumps(engineer.act("show", "--model", "tiny"))


@pytest.mark.parametrize("read", [github, gitlab])
def test_plan_workflow_writes_nothing_and_needs_no_key(engineer, read):
    before = sorted((path, path.stat().st_mtime_ns) for path in (engineer.work.parent / "store").rglob("*") if path.is_file())
    environ, steps = read("plan")
    log = engineer(environ, steps)
    assert "tiny-v1.0.0" in log
    after = sorted((path, path.stat().st_mtime_ns) for path in (engineer.work.parent / "store").rglob("*") if path.is_file())
    assert [entry for entry in after if "/.tmp" not in str(entry[0])] == [
        entry for entry in before if "/.tmp" not in str(entry[0])
    ]


@pytest.mark.parametrize("read", [github, gitlab])
def test_renew_workflow_signs_anew_with_the_release_key_alone(engineer, read):
    before = engineer.act("trust.show")
    environ, steps = read("renew")
    log = engineer({**environ, "RELEASE_KEY": engineer.keys.read_text()}, steps)
    assert "signed tiny, snapshot, timestamp" in log
    versions = [{role["role"]: role["version"] for role in shown["roles"]} for shown in (before, engineer.act("trust.show"))]
    assert versions[1]["snapshot"] > versions[0]["snapshot"]
    assert versions[1]["targets"] == versions[0]["targets"]


def test_every_job_of_the_examples_is_run_here():
    jobs = {job for file in (EXAMPLES / "github-actions").glob("*.yml") for job in yaml.safe_load(file.read_text())["jobs"]}
    gitlab_jobs = yaml.safe_load((EXAMPLES / "gitlab" / "gitlab-ci.yml").read_text()).keys() - {"stages", "default"}
    assert jobs == gitlab_jobs == {"plan", "publish", "renew"}
