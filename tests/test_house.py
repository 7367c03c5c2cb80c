"""The house rules that no linter knows: names, sizes, floors, pages, and what the docs promise."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from invoke.program import Program

from pipeline import errors
from pipeline.cli.namespace import GROUPS, build_namespace, walk_order
from pipeline.cli.reference import FAMILIES, error_classes, reference_pages
from pipeline.sample import INSTALL

CHECKOUT = Path(__file__).resolve().parents[1]
PRODUCT = sorted(
    file
    for package in ("pipeline", "bundles", "sw")
    for file in (CHECKOUT / package).rglob("*")
    if file.suffix in {".py", ".js", ".mjs"}
)
PYTHON = [file for file in PRODUCT if file.suffix == ".py"]
FORBIDDEN = re.compile(r"(?:^|_)(?:utils?|helpers?|managers?|handlers?|common|misc)(?:_|$)")
# "Base" in front is our word for a release whose parts are reused.
FORBIDDEN_CLASS = re.compile(r"(?:Util|Helper|Manager|Handler|Common)s?$|\wBase$")
# Never seen by a person: caught where it is named, to begin a step anew.
SIGNALS = {"RootMoved": "trust.commit", "PastTheEnd": "stores.oss", "NotLoaded": "bundles.site.mirrored"}


def name_of(file):
    return str(file.relative_to(CHECKOUT))


@cache
def tree_of(file):
    return ast.parse(file.read_text(encoding="utf-8"))


def test_modules_are_short():
    assert [name_of(file) for file in PRODUCT if len(file.read_text(encoding="utf-8").splitlines()) > 400] == []


def test_modules_have_plain_names():
    found = [name_of(file) for file in PYTHON if FORBIDDEN.search(file.stem)]
    for file in PYTHON:
        classes = [node.name for node in ast.walk(tree_of(file)) if isinstance(node, ast.ClassDef)]
        found += [f"{name_of(file)}: {name}" for name in classes if FORBIDDEN_CLASS.search(name)]
        top = [node.name for node in tree_of(file).body if isinstance(node, ast.FunctionDef)]
        found += [f"{name_of(file)}: {name}" for name in top if name == file.stem]
    assert found == []


def test_modules_say_what_they_are_and_what_comes_next():
    paths = [file.relative_to(CHECKOUT).with_suffix("").parts for file in PYTHON]
    # By its whole name, or by any end of it.
    known = {".".join(parts[start:]).removesuffix(".__init__") for parts in paths for start in range(len(parts))}
    words = {file: ast.get_docstring(tree_of(file)) or "" for file in PYTHON}
    assert [name_of(file) for file in PYTHON if not words[file]] == []
    following = r"^next: ``(?:pipeline\.)?([a-z_0-9.]+?)/?``"
    assert [
        f"{name_of(file)}: {name}"
        for file in PYTHON
        for name in re.findall(following, words[file], re.MULTILINE)
        if name not in known
    ] == []


def test_what_comes_next_never_leads_in_a_circle():
    dotted = {".".join(file.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__"): file for file in PYTHON}
    following = {}
    for name, file in dotted.items():
        said = re.search(r"^next: ``([a-z_0-9.]+?)/?``", ast.get_docstring(tree_of(file)) or "", re.MULTILINE)
        package = name if file.stem == "__init__" else name.rpartition(".")[0]
        # What it may mean, the nearest first.
        meant = [f"{package}.{said[1]}", f"pipeline.{said[1]}", said[1]] if said else []
        following[name] = next((one for one in meant if one in dotted), None)
    for start in dotted:
        walked = [start]
        while (after := following[walked[-1]]) is not None:
            assert after not in walked, f"{' → '.join(walked)} → {after}"
            walked.append(after)


def test_exceptions_to_a_rule_have_their_reason_on_the_line():
    found = []
    for file in PYTHON:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            mark = re.search(r"#\s*(?:noqa|type:\s*ignore).*", line)
            bare = mark and not re.search(r"(?:noqa: [A-Z0-9, ]+|type: ignore\[[a-z, -]+\])\W+\w+\W+\w+", mark[0])
            if bare or re.search(r"except (?:Exception|BaseException)?\s*:", line):
                found.append(f"{name_of(file)}:{number}: {line}")
    assert found == []


def test_every_ignored_lint_rule_has_its_reason():
    text = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    lint = text[text.index("[tool.ruff.lint]") : text.index("[tool.ruff.lint.isort]")]
    rules = [line for line in lint.splitlines() if re.match(r'\s*"[A-Z]+[0-9]*",', line)]
    assert rules
    assert [line for line in rules if not re.search(r"# \S+ \S+|# As ", line)] == []


def test_tour_names_every_part_of_the_pipeline():
    tour = (CHECKOUT / "pipeline" / "__init__.py").read_text(encoding="utf-8")
    parts = {
        file.stem if file.is_file() else file.name for file in (CHECKOUT / "pipeline").iterdir() if not file.name.startswith("_")
    }
    assert [part for part in sorted(parts) if not re.search(rf"``(?:[a-z_/]*,\s)?{part}/?``|\b{part}\b", tour)] == []


# Pages are written by the one, and the other's text is a file of a release, whose bytes guides and digests know.
OF_THE_CHECKOUT = {"dev_tasks", "reference", "sample"}


def words_said(file):
    """All text of a module but its docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare
    ]


@pytest.mark.parametrize("file", [file for file in PYTHON if file.stem not in OF_THE_CHECKOUT], ids=name_of)
def test_no_message_names_a_page_that_an_installed_program_lacks(file):
    assert [text for text in words_said(file) if re.search(r"\bdocs/\w", text)] == []


# What the guide of things that go wrong types, to be told the nearest flag.
MISTYPED = {"publish --modle"}


@pytest.fixture(scope="module")
def flags_of():
    """The flags that each task takes, and those that invoke takes before or after it."""
    namespace = build_namespace()
    core = {name for argument in Program().core_args() for name in argument.names}
    return {name: {*core, *(f for a in namespace[name].get_arguments() for f in a.names)} for name in walk_order()}


def flags_in(text, flags_of):
    """Commands in a text whose task has no such flag."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for task, rest in re.findall(r"\b(?:invoke|modelport) ([a-z]+(?:\.[a-z]+)?)((?: +[^\s`;|&>()]+)*)", joined):
        for flag in re.findall(r"(?<=\s)--([a-z][a-z-]*)", rest) if task in flags_of else ():
            if flag.replace("-", "_") not in {name.replace("-", "_").strip("_") for name in flags_of[task]}:
                yield f"{task} --{flag}"


def test_flag_that_a_task_lacks_is_found(flags_of):
    told = "run invoke --help publish, then: invoke publish --modle x --from y; invoke cache.clean --report json"
    assert list(flags_in(told, flags_of)) == ["publish --modle", "publish --from"]


@pytest.mark.parametrize("file", PYTHON, ids=name_of)
def test_every_command_that_is_told_takes_the_flags_that_it_is_told_with(file, flags_of):
    docs = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)]
    examples = [line for doc in docs for line in doc.splitlines() if line.startswith("Example:")]
    assert [wrong for text in [*words_said(file), *examples] for wrong in flags_in(text, flags_of)] == []


# --- import floors: each contract is kept (dev.check), and each refuses ------------------------------

PLANTED = {
    "floors": ("pipeline/errors.py", "import pipeline.wire"),
    "adapters": ("pipeline/cli/release_tasks.py", "import pipeline.stores.memory"),
    "vendors": ("pipeline/connect.py", "import boto3"),
    "signatures": ("pipeline/settings.py", "import tuf"),
    "pure": ("pipeline/manifest.py", "import os"),
    "front-desk": ("pipeline/retry.py", "import rich"),
    "neighbours": ("bundles/__init__.py", "import sw"),
    "alone": ("bundles/installer/faults.py", "import pipeline.errors"),
    "guests": ("sw/__init__.py", "import pipeline.connect"),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Copy the product and plant one illegal import for each contract."""
    copy = tmp_path_factory.mktemp("planted")
    for package in ("pipeline", "bundles", "sw"):
        shutil.copytree(CHECKOUT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    shutil.copy(CHECKOUT / "pyproject.toml", copy)
    for file, line in PLANTED.values():
        with (copy / file).open("a", encoding="utf-8") as text:
            text.write(f"\n{line}\n")
    return copy


def test_every_import_contract_has_a_planted_violation():
    config = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {contract["id"] for contract in config["tool"]["importlinter"]["contracts"]} == set(PLANTED)


@pytest.mark.parametrize("contract", PLANTED)
def test_import_contract_refuses(planted, contract):
    program = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run(
        [program, "--contract", contract], cwd=planted, capture_output=True, text=True, timeout=120, check=False
    )
    file, line = PLANTED[contract]
    importer = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert found.returncode == 1
    assert re.search(rf"{re.escape(importer)} -> {re.escape(line.split()[1])}", found.stdout), found.stdout


def test_a_module_without_a_floor_is_refused(planted):
    stray = planted / "pipeline" / "stray.py"
    stray.write_text('"""A module that nobody gave a floor."""\n', encoding="utf-8")
    try:
        program = Path(sys.executable).with_name("lint-imports")
        found = subprocess.run(
            [program, "--contract", "floors"], cwd=planted, capture_output=True, text=True, timeout=120, check=False
        )
    finally:
        stray.unlink()
    assert found.returncode == 1
    assert "stray" in found.stdout


# --- errors and exit codes ------------------------------------------------------------------------


def test_exit_codes_are_the_contract():
    assert set(FAMILIES) == set(error_classes()) == {1, 2, 3, 4, 5, 6, 7, 8, 130}
    assert [kind.__name__ for kind in error_classes()[1]] == ["ModelportError"]


def test_error_tree_draws_every_class():
    drawn = errors.__doc__ or ""
    for kinds in error_classes().values():
        for kind in kinds:
            assert re.search(rf"\b{kind.__name__}\b", drawn), kind
            assert kind.__doc__


def test_error_classes_outside_the_tree_belong_to_it():
    known = {kind.__name__ for kinds in error_classes().values() for kind in kinds} | SIGNALS.keys() | {"ModelportError"}
    foreign = {"Exception", "BaseException", "RuntimeError", "OSError", "KeyError", "TypeError"}
    classes = [(file, node) for file in PYTHON for node in ast.walk(tree_of(file)) if isinstance(node, ast.ClassDef)]
    raised = [(file, node.name) for file, node in classes if {ast.unparse(parent) for parent in node.bases} & foreign]
    assert raised
    assert [f"{name_of(file)}: {name}" for file, name in raised if name not in known and not name.startswith("_")] == []


# --- pages ----------------------------------------------------------------------------------------


def test_reference_pages_are_up_to_date():
    pages = reference_pages(CHECKOUT)
    assert pages
    stale = [
        name for name, text in pages.items() if not (CHECKOUT / name).is_file() or (CHECKOUT / name).read_text("utf-8") != text
    ]
    assert stale == [], "run: invoke dev.docs"


def test_every_task_says_what_it_does_with_an_example_and_its_exit_codes():
    for group, tasks in GROUPS.items():
        for task in tasks:
            name = f"{group}.{task.name}" if group else task.name
            words = task.__doc__ or ""
            assert re.search(rf"Example: invoke {re.escape(name)}\b", words), name
            assert re.search(r"Exit codes: 0 ", words), name
            assert all(task.help.values()), name


PAGES = sorted(
    [
        *CHECKOUT.glob("*.md"),
        *(page for page in (CHECKOUT / "docs").rglob("*.md") if page.parent.name != "reference"),
        *(page for page in (CHECKOUT / "examples").rglob("*") if page.is_file()),
    ]
)


def code_in(page):
    """What a page shows as code: fences and spans of a text, all lines of anything else."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".md":
        return re.sub(r"^\s*#.*", "", text, flags=re.MULTILINE)
    fences = re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE)
    return "\n".join([*fences, *re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))])


def test_pages_mention_only_tasks_and_flags_that_exist(flags_of):
    known = set(walk_order())
    called = re.compile(r"(?:^|[\s/])(?:invoke|modelport) (?:--dry )?([a-z]+(?:\.[a-z]+)*)\b", re.MULTILINE)
    named = [(page, name) for page in PAGES for name in called.findall(code_in(page))]
    assert named
    assert [f"{name_of(page)}: {name}" for page, name in named if name not in known] == []
    flags = [(page, flag) for page in PAGES for flag in flags_in(code_in(page), flags_of)]
    assert [f"{name_of(page)}: {flag}" for page, flag in flags if flag not in MISTYPED] == []


def test_links_of_pages_lead_somewhere():
    links = []
    for page in PAGES:
        if page.suffix == ".md":
            text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
            links += [(page, target) for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text) if "://" not in target]
    assert links
    assert [f"{name_of(page)}: {target}" for page, target in links if not (page.parent / target).exists()] == []


def test_readme_has_exactly_two_set_up_lines():
    blocks = re.findall(r"```sh\n(.*?)```", (CHECKOUT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    assert [len(block.splitlines()) for block in blocks] == [1, 1]


def test_ci_runs_the_second_set_up_line():
    second = re.findall(r"```sh\n(.*?)```", (CHECKOUT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1].strip()
    assert second in (CHECKOUT / ".ci" / "run").read_text(encoding="utf-8")


def test_sample_names_the_command_of_the_readme():
    assert f".venv/bin/{INSTALL} " in (CHECKOUT / "README.md").read_text(encoding="utf-8")


def test_contributing_names_files_that_are_there():
    text = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = [name for name in re.findall(r"`([^`\s]+)`", text) if "/" in name and not name.startswith("<")]
    assert named
    assert [name for name in named if not list(CHECKOUT.glob(name.rstrip("/")))] == []


def test_needed_pages_are_there():
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "LICENSE",
        "docs/vocabulary.md",
        "docs/format.md",
        "docs/adr/README.md",
    ):
        assert (CHECKOUT / name).is_file(), name


def test_decision_records_are_numbered_once_and_titled_by_their_number():
    records = sorted((CHECKOUT / "docs" / "adr").glob("[0-9]*.md"))
    assert len({file.name[:4] for file in records}) == len(records)
    assert [file.name for file in records if not re.match(rf"# {file.name[:4]}:? \S", file.read_text(encoding="utf-8"))] == []
