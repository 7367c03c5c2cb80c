"""``--no-skips``: a run in which a test was skipped, or was expected to fail, has failed.

CI gives this flag, so that nothing can drop out of the suite because a server or a browser is missing.
"""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="Fail the run if any test was skipped or expected to fail.")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    found = left_out(session.config)
    if found and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    for test in left_out(config):
        terminalreporter.write_line(f"LEFT OUT {test} (--no-skips)", red=True)


def left_out(config: pytest.Config) -> list[str]:
    """Name the tests of this run that did not run, or were expected to fail."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not config.getoption("--no-skips") or reporter is None:
        return []
    return [report.nodeid for kind in ("skipped", "xfailed", "xpassed") for report in reporter.stats.get(kind, [])]
