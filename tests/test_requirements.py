"""Evidence: every demand has a test, a command, a figure, or says *missing*; and what is named exists."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
REQUIREMENTS = CHECKOUT / "docs" / "requirements.md"
CASES = CHECKOUT / "tests" / "faults" / "cases.toml"
# The classes of docs/faults.md that stand for what is built so far.
CLASSES = "PUQCHMNDBISEWVK"


@cache
def names_in(path):
    """Name the tests of a file: functions, and methods as Class::method."""
    file = CHECKOUT / path
    if not file.is_file():
        return frozenset()
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return frozenset(name for name in found if name.rpartition("::")[2].startswith("test_"))


def exists(test_id):
    path, _, name = test_id.partition("::")
    return re.sub(r"\[.*\]$", "", name) in names_in(path)


def rows():
    text = REQUIREMENTS.read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return [row for row in cells if not set("".join(row)) <= set("-: ") and row[1].lower() != "evidence"]


def test_requirements_are_rows_of_sentence_and_evidence():
    assert rows()
    assert [row for row in rows() if len(row) != 2 or not all(row)] == []


def test_every_requirement_has_evidence_of_a_known_kind():
    kinds = r"tests/\S+::test_\S+|cmd: \S|figure: \S|\*missing\*"
    assert [row[0] for row in rows() if not re.search(kinds, row[1].replace("`", ""))] == []


def test_no_requirement_names_a_test_that_does_not_exist():
    named = [test_id for row in rows() for test_id in re.findall(r"tests/[^\s,;`|]+::[^\s,;`|]+", row[1])]
    assert [test_id for test_id in named if not exists(test_id)] == []


def test_no_requirement_cites_a_file_that_does_not_exist():
    cited = [
        path for row in rows() for path in re.findall(r"(?:figure|cmd): `?((?:benchmarks|docs|examples|tests)/[\w./-]+)", row[1])
    ]
    assert [path for path in cited if not (CHECKOUT / path.rstrip(".")).exists()] == []


def fault_numbers():
    """Every number of docs/faults.md, such as P1, in its order."""
    text = (CHECKOUT / "docs" / "faults.md").read_text(encoding="utf-8")
    return re.findall(rf"^\| ([{CLASSES}][0-9]+) \|", text, re.MULTILINE)


@cache
def cases():
    return tomllib.loads(CASES.read_text(encoding="utf-8"))


def test_fault_page_has_every_class_and_no_number_twice():
    numbers = fault_numbers()
    assert {number[0] for number in numbers} == set(CLASSES)
    assert len(set(numbers)) == len(numbers)


def test_every_fault_has_tests_that_exist():
    named = {number: cases().get(number, {}).get("tests", []) for number in fault_numbers()}
    assert [number for number, tests in named.items() if not tests] == [], "no test in tests/faults/cases.toml"
    assert [f"{number}: {test_id}" for number, tests in named.items() for test_id in tests if not exists(test_id)] == []


def test_cases_name_no_unknown_fault():
    assert set(cases()) <= set(fault_numbers())


def test_a_test_id_that_does_not_exist_is_refused():
    assert exists("tests/test_requirements.py::test_a_test_id_that_does_not_exist_is_refused")
    assert not exists("tests/test_requirements.py::test_never_written")
    assert not exists("tests/test_no_such_file.py::test_a")
