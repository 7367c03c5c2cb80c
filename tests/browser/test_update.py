"""From one version to the next: what it costs, which tab sees which, and what a browser keeps."""

import re

import pytest

from tests.browser_world import again, age, assets, build, controlled, noise, opened, outcome, served, sizes, text, until
from tests.servers.web_host import corrupt, cut, hang, login, status, truncate


@pytest.fixture
def installed(page, host):
    """Version 1.0.0, served by the worker."""
    controlled(page, host.url)
    return page


def test_tab_keeps_its_version_until_it_navigates(installed, context, host, public):
    build(public, assets("2.0.0"), "2.0.0")
    assert again(installed)[0] == "ready"
    other = context.new_page()
    opened(other, host.url)
    assert other.title() == "2.0.0"
    assert [page.evaluate("lazy()") for page in (installed, other)] == ["lazy 1.0.0", "lazy 2.0.0"]
    assert [page.evaluate("inWorker()") for page in (installed, other)] == ["lazy 1.0.0", "lazy 2.0.0"]
    assert [text(page, "/data.json")[1] for page in (installed, other)] == ['{"version":"1.0.0"}\n', '{"version":"2.0.0"}\n']
    # Old files that a host dropped, and no network at all: the old tab has what it needs.
    context.set_offline(offline=True)
    assert text(installed, "/robots.txt")[1] == "# 1.0.0\n"
    installed.reload()
    assert installed.title() == "2.0.0"
    assert installed.evaluate("lazy()") == "lazy 2.0.0"


def test_worker_of_an_old_tab_is_of_its_version(installed, context, host, public):
    lazy = served(public, "lazy.js")
    build(public, assets("2.0.0"), "2.0.0")
    assert again(installed)[0] == "ready"
    (public / lazy).unlink()
    context.set_offline(offline=True)
    assert installed.evaluate("inWorker()") == "lazy 1.0.0"
    # A worker out of a blob is nobody's for a browser: hashed names are its page's, others are those of what is shown.
    said = installed.evaluate(
        """(lazy) => new Promise((done) => {
          const code = `Promise.all(["/data.json", "/${lazy}"].map((path) => fetch("${location.origin}" + path).then((a) => a.text())))
            .then(postMessage)`;
          new Worker(URL.createObjectURL(new Blob([code]))).onmessage = ({ data }) => done(data);
        })""",
        lazy,
    )
    assert said == ['{"version":"2.0.0"}\n', 'export const part = "lazy 1.0.0";\n']


def test_frame_in_an_old_tab_is_of_one_version(installed, context, host, public):
    build(public, assets("2.0.0"), "2.0.0")
    assert again(installed)[0] == "ready"
    context.set_offline(offline=True)
    said = installed.evaluate(
        """() => new Promise((done) => {
          const frame = document.createElement("iframe");
          frame.onload = async () => {
            const inside = frame.contentWindow;
            const data = await (await inside.fetch("/data.json")).json();
            done([frame.contentDocument.title, inside.document.querySelector("#said").textContent, await inside.lazy(), data.version]);
          };
          frame.src = "/";
          document.body.append(frame);
        })"""
    )
    # A page in a frame is a page that opens: it is of the version that is shown, and so is all that it asks for.
    assert said == ["2.0.0", "2.0.0", "lazy 2.0.0", "2.0.0"]
    assert installed.evaluate("lazy()") == "lazy 1.0.0"


def test_unchanged_files_cost_nothing(installed, host, public):
    many = {f"{number}.bin": noise(300_000, number) for number in range(5)}
    build(public, assets("1.1.0", many), "1.1.0")
    assert again(installed)[0] == "ready"
    build(public, assets("1.1.0", many | {"3.bin": noise(300_000, 99)}), "1.2.0")
    host.forget()
    assert again(installed)[0] == "ready"
    assert [path for path in host.paths() if path.endswith(".bin")] == [served(public, "3.bin")]
    assert host.cost < 300_000 + 2048


def test_small_edit_of_a_large_script_travels_as_a_patch(installed, host, public):
    lines = [f'export const n{number} = "{noise(12, number).hex()}";' for number in range(8000)]
    build(public, assets("1.1.0", {"big.js": "\n".join(lines).encode()}), "1.1.0")
    assert again(installed)[0] == "ready"
    lines[4000:4040] = [f"export const m{number} = {number};" for number in range(40)]
    build(public, assets("1.1.0", {"big.js": "\n".join(lines).encode()}), "1.2.0")
    host.forget()
    assert again(installed)[0] == "ready"
    assert served(public, "big.js") not in host.paths()
    assert host.cost < 8000
    assert text(installed, served(public, "big.js"))[1] == "\n".join(lines)


@pytest.mark.parametrize("lie", [corrupt, truncate, login, status(404)])
def test_patch_that_lies_is_replaced_by_the_file(installed, host, public, lie):
    big = b"".join(b"let a%d = %d;\n" % (number, number * number) for number in range(5000))
    build(public, assets("1.1.0", {"big.js": big}), "1.1.0")
    assert again(installed)[0] == "ready"
    build(public, assets("1.1.0", {"big.js": big + b"let end;\n"}), "1.2.0")
    host.rule("patches/*", lie)
    # As the worker counts, before the page makes it presentable.
    raw = "({ data }) => data.type === 'progress' && counted.push([data.done, data.total])"
    installed.evaluate(f"window.counted = []; void (new BroadcastChannel(`modelport:${{client.scope}}`).onmessage = {raw})")
    assert again(installed)[0] == "ready"
    done, whole = installed.evaluate("counted.at(-1)")
    assert done == whole >= len(big)
    assert served(public, "big.js") in host.paths()
    assert text(installed, served(public, "big.js"))[1].encode() == big + b"let end;\n"
    told = installed.evaluate("log.filter(([type]) => type === 'progress').map(([, { done, total }]) => [done, total])")
    assert told
    assert all(done <= total for done, total in told)


@pytest.mark.parametrize("lie", [corrupt, login, cut, status(404)])
def test_failed_update_leaves_the_version_until_then(installed, context, host, public, lie):
    build(public, assets("2.0.0", {"a.bin": noise(300_000)}), "2.0.0")
    host.rule("a.*.bin", lie)
    assert again(installed)[0] == "failed"
    context.set_offline(offline=True)
    installed.reload()
    assert (installed.title(), installed.evaluate("lazy()")) == ("1.0.0", "lazy 1.0.0")


def test_deployment_in_the_middle_of_an_install_ends_with_the_new_version(page, host, public, tmp_path):
    build(tmp_path / "one", assets("1.0.0", {f"{n}.bin": noise(300_000, n) for n in range(8)}), "1.0.0")
    build(tmp_path / "two", assets("2.0.0", {f"{n}.bin": noise(300_000, 50 + n) for n in range(8)}), "2.0.0")
    host.root = tmp_path / "one"

    def deploys(talk):
        host.root = tmp_path / "two"
        return False

    host.rule("7.*.bin", deploys, times=1)
    assert opened(page, host.url)[0] == "ready"
    assert page.evaluate("client.status()")["version"] == "2.0.0"
    page.reload()
    outcome(page)
    assert (page.title(), page.evaluate("lazy()")) == ("2.0.0", "lazy 2.0.0")


def test_old_versions_go_once_nobody_uses_them(installed, host, public):
    for version in ("2.0.0", "3.0.0", "4.0.0"):
        build(public, assets(version, {"a.bin": noise(300_000, ord(version[0]))}), version)
        assert again(installed)[0] == "ready"
        installed.reload()
        outcome(installed)
    # The notes of tabs that are closed hold for a moment, for one that is just opening.
    age(installed)
    installed.reload()
    outcome(installed)
    until(
        installed,
        """async () => {
          const bytes = await caches.open((await caches.keys()).find((name) => name.startsWith("modelport:")));
          const all = await Promise.all((await bytes.keys()).map(async (key) => (await (await bytes.match(key))?.blob())?.size));
          return all.filter((size) => size === 300000).length < 3;
        }""",
    )
    # The one that is shown, and the one before it.
    assert sizes(installed).count(300_000) == 2


def test_old_version_stays_for_as_long_as_a_tab_shows_it(installed, context, host, public):
    other = context.new_page()
    for version in ("2.0.0", "3.0.0", "4.0.0"):
        build(public, assets(version), version)
        opened(other, host.url)
        again(other)
    context.set_offline(offline=True)
    assert installed.evaluate("lazy()") == "lazy 1.0.0"
    assert text(installed, "/data.json")[1] == '{"version":"1.0.0"}\n'


def test_content_release_leaves_the_worker_alone(public):
    before = (public / "sw.js").read_bytes()
    build(public, assets("2.0.0"), "2.0.0")
    assert (public / "sw.js").read_bytes() == before


def test_kill_switch_removes_the_worker_and_all_it_stored(installed, context, host, public):
    (public / "release.json").write_text('{"format":"modelport-web","kill":true}\n')
    assert again(installed)[0] == "killed"
    until(installed, "navigator.serviceWorker.getRegistrations().then((all) => !all.length)")
    # What the worker still had to do may have made a cache anew, and found that it is to go.
    until(installed, "caches.keys().then((all) => !all.length)")


def test_manifest_for_a_later_engine_is_left_alone(installed, host, public):
    text_ = (public / "release.json").read_text()
    (public / "release.json").write_text(text_.replace('"engine":2', '"engine":3'))
    assert again(installed)[0] == "engine"
    installed.reload()
    assert installed.title() == "1.0.0"


def test_hung_update_does_not_hold_the_page_up(installed, host, public):
    build(public, assets("2.0.0", {"a.bin": noise(300_000)}), "2.0.0")
    host.rule("a.*.bin", hang)
    installed.evaluate("client.update()")
    host.wait_for("a.*.bin")
    installed.reload()
    assert installed.title() == "1.0.0"


def test_single_file_needs_neither_pointer_nor_manifest(page, context, host, public):
    build(public, assets("1.1.0"), "1.1.0", single_file=True)
    host.rule("release.json", status(404))
    host.rule("manifest.*", status(404))
    controlled(page, host.url)
    build(public, assets("1.2.0"), "1.2.0", single_file=True)
    # The page's worker is the script as it is now.
    page.reload()
    outcome(page)
    until(page, "client.status().then(({ version }) => version === '1.2.0')")
    context.set_offline(offline=True)
    page.reload()
    assert (page.title(), page.evaluate("lazy()")) == ("1.2.0", "lazy 1.2.0")


def test_new_engine_reads_what_the_old_one_could_not(installed, host, public):
    build(public, assets("2.0.0"), "2.0.0")
    pointer = (public / "release.json").read_text().replace('"engine":2', '"engine":3')
    (public / "release.json").write_text(pointer)
    worker = (public / "sw.js").read_text()
    later = re.sub(r"(engine>)(\w+)\)", r"\g<1>3)", worker)
    assert later != worker
    (public / "sw.js").write_text(later)
    installed.evaluate("log.length = 0, client.update()")
    outcome(installed, "ready")
    installed.reload()
    assert installed.title() == "2.0.0"
