"""The report as people see it: on a phone and on a wide screen, by day and by night."""

import pytest

from tests.browser_world import noise
from tests.desk import Desk


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    desk = Desk(folder / "desk", folder / "home")
    for version in ("1.0.0", "1.1.0"):
        place = desk.folder / "models" / f"bert-v{version}"
        place.mkdir(parents=True)
        for number in range(40):
            (place / f"{'a-rather-long-name-of-a-file-' * 3}{number}.bin").write_bytes(
                noise(9_000 + number, number + len(version))
            )
        (place / "changed.bin").write_bytes(noise(400_000, int(version[2])))
        assert desk.run("publish", "--model", f"bert-v{version}", "--channel", "stable").code == 0
    assert desk.run("report", "--model", "bert-v1.1.0").code == 0
    return desk.folder / "bert-v1.1.0.html"


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_and_can_be_read(browser, report, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(report.as_uri())
    assert page.title() == "bert-v1.1.0"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (asked, said) == ([report.as_uri()], [])
    # Text and what it stands on, by the formula of WCAG 2.2 for contrast: 4.5 is what small text needs.
    ratios = page.evaluate(
        """() => {
          const light = (colour) => {
            const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const card = getComputedStyle(document.querySelector("section")).backgroundColor;
          return [...document.querySelectorAll("dt, dd, small, td, th, h2, em, pre")].map((element) => {
            const [a, b] = [light(getComputedStyle(element).color), light(card)];
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          });
        }"""
    )
    assert min(ratios) >= 4.5
    # The bar of what changed is drawn in two colours at most, and the largest file comes first.
    assert page.locator(".file b").first.inner_text().endswith("changed.bin")
    assert page.locator(".file").count() == 24
    page.close()
