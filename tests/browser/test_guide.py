"""The guide to web applications: its commands typed as they are printed, and its page seen as a person sees it."""

from tests.guide_world import machine
from tests.guides import Reader


def test_web_application(tmp_path, context, page):
    reader = Reader({"desk": machine(tmp_path, "desk")})

    def says(place, words):
        page.wait_for_function("([id, words]) => document.getElementById(id)?.textContent.includes(words)", arg=[place, words])

    def sees(version):
        says("title", version)
        says("model", "3000000 bytes, every one verified")

    def opened():
        page.goto(f"http://localhost:{reader.port('8000')}/web/shop/")
        sees("1.0.0")

    def updated(before, after):
        page.reload()
        sees(before)
        page.wait_for_selector("#update:visible")
        page.click("#update")
        sees(after)

    def without_network():
        context.set_offline(offline=True)
        page.reload()
        sees("1.0.0")

    reader.may_happen("the page is opened", opened)
    reader.may_happen("the page offers the update, and it is taken", lambda: updated("1.0.0", "1.1.0"))
    reader.may_happen("the page goes back", lambda: updated("1.1.0", "1.0.0"))
    reader.may_happen("the page is opened without a network", without_network)
    reader.follow("web-application.md")
