"""A first visit: what is fetched, what is believed, and what works without a network afterwards."""

import pytest

from tests.servers.web_host import corrupt, cut, login, reset, status, truncate
from tests.web_world import again, assets, build, controlled, noise, opened, served, stored, text


def test_application_opens_without_a_network(page, context, host):
    controlled(page, host.url)
    context.set_offline(offline=True)
    page.reload()
    assert page.title() == "1.0.0"
    assert page.text_content("#said") == "1.0.0"
    assert page.evaluate("lazy()") == "lazy 1.0.0"
    assert page.evaluate("inWorker()") == "lazy 1.0.0"
