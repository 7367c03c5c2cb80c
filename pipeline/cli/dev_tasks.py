"""The tasks of those who work on modelport itself.

Takes flags, runs the checks of CONTRIBUTING.md in a checkout. These tasks need what
``pip install -e .[dev]`` installs.

next: ``namespace``
"""

from __future__ import annotations

from functools import partial

from pipeline.cli.answer import Answer
from pipeline.cli.commands import Run, command

dev_command = partial(command, group="dev")
# The order of cost: what fails in a second is asked first.
CHECKS = (
    ("format", ("ruff", "format", "--check")),
    ("lint", ("ruff", "check")),
    ("worker", ("oxlint", "--deny-warnings", "sw/worker", "tests/node")),
    ("floors", ("lint-imports",)),
    ("types", ("mypy",)),
)


@dev_command(help={})
def check(run: Run) -> Answer:
    """Check format, lint, import floors and types, in about half a minute.

    Example: invoke dev.check
    Exit codes: 0 all is well, 3 a check found something (its words stand above).
    """
    return _run_all(run, CHECKS)


@dev_command(help={})
def ci(run: Run) -> Answer:
    """Run all that CI runs: dev.check, then every test, two at a time. No skip, no expected failure.

    Example: invoke dev.ci
    Exit codes: 0 all is well, 3 a check or a test failed (its words stand above).
    """
    return _run_all(run, (*CHECKS, ("tests", ("pytest", "--numprocesses=2", "--dist=worksteal", "--no-skips"))))


@dev_command(help={"check": "Write nothing; fail if a page is stale. Default: off."})
def docs(run: Run, *, check: bool = False) -> Answer:
    """Write docs/reference anew from the code: commands, settings, events, exit codes, JSON Schemas.

    Example: invoke dev.docs
    Exit codes: 0 done, 3 with --check: a page is stale (named).
    """
    from pipeline.cli.checkout import root
    from pipeline.cli.reference import write_reference

    changed = write_reference(root(), dry=check or run.dry)
    if check and changed:
        from pipeline.errors import VerifyFailed

        raise VerifyFailed(f"stale: {', '.join(changed)}", hint="Run invoke dev.docs and commit what it writes.")
    return Answer({"changed": changed}, "\n".join([f"wrote {name}" for name in changed] or ["docs/reference is up to date"]))


@dev_command(help={"only": "Name of one benchmark, such as startup; repeat it for more. Default: all of benchmarks/."})
def bench(run: Run, *, only: tuple[str, ...] = ()) -> Answer:
    """Measure beside the peers, one benchmark after the other, and write benchmarks/RESULTS.md with its plots anew.

    Peers are found here or installed by pip and npm into benchmarks/.peers; those that are not there are named as not measured.
    It takes an hour, 50 GB of disk for its inputs, and a machine that does nothing else.

    Example: invoke dev.bench --only startup
    Exit codes: 0 every target was reached, 2 no such benchmark, 3 one was missed or failed (named).
    """
    from pipeline.cli.checkout import RESULTS, benchmarks, root, run_checks

    scripts = benchmarks(root(), only) | {"results": str(RESULTS)}
    # Where the environment keeps no bytecode, each measured command would compile our modules anew.
    compiled = ("bytecode", ("python", "-m", "compileall", "-q", "pipeline", "bundles", "sw"))
    checks = [compiled, *((name, ("python", script)) for name, script in scripts.items())]
    seconds = run_checks(root(), checks, run.listen, dry=run.dry)
    return Answer({"seconds": seconds}, "\n".join(f"{name}: {spent:.0f} s" for name, spent in seconds.items()))


def _run_all(run: Run, checks: tuple[tuple[str, tuple[str, ...]], ...]) -> Answer:
    from pipeline.cli.checkout import root, run_checks

    seconds = run_checks(root(), checks, run.listen, dry=run.dry)
    return Answer({"seconds": seconds}, "\n".join(f"{name}: passed in {spent:.1f} s" for name, spent in seconds.items()))


WALK = (check, ci, docs, bench)
