"""One Chromium for all tests of the worker; each test has a profile and a host of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, BrowserType, Page, sync_playwright

from tests.browser_world import CHROMIUM, assets, build
from tests.servers.web_host import WebHost, run_web_host


@pytest.fixture(scope="session")
def chromium() -> Iterator[BrowserType]:
    with sync_playwright() as playwright:
        yield playwright.chromium


@pytest.fixture(scope="session")
def browser(chromium: BrowserType) -> Iterator[Browser]:
    browser = chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    yield browser
    browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """The first version of the application, built."""
    build(tmp_path / "public", assets())
    return tmp_path / "public"


@pytest.fixture
def host(public: Path) -> Iterator[WebHost]:
    with run_web_host(public) as host:
        yield host
