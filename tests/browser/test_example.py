"""The page of examples/web-model as a person sees it, with a stand-in for the runtime that is not ours to ship."""

import shutil
from pathlib import Path

import pytest

from sw.manifest import WebModel
from tests.browser_world import build, noise, publish_model
from tests.servers.web_host import corrupt

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "web-model" / "site"
# Says "speech" for whatever is loud, after it read all of the model.
RUNTIME = """export const env = { wasm: {} };
export class Tensor { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } }
export const InferenceSession = {
  create: async (url) => {
    const answer = await fetch(url);
    if ((await answer.arrayBuffer()).byteLength !== 3000000) throw new Error("not the model");
    const run = async ({ input, state }) => ({ output: { data: [Math.max(...input.data) > 0.2 ? 0.9 : 0.1] }, stateN: state });
    return { run };
  },
};
"""


@pytest.fixture
def demo(tmp_path, host):
    site = {path.name: path.read_bytes() for path in EXAMPLE.iterdir()}
    site |= {
        "ort/ort.wasm.min.mjs": RUNTIME.encode(),
        "ort/ort-wasm-simd-threaded.mjs": b"//",
        "ort/ort-wasm-simd-threaded.wasm": b"w",
    }
    shutil.rmtree(host.root)
    model = publish_model(tmp_path / "tree", "silero-vad-v6.2.3", {"silero_vad.onnx": noise(3_000_000)})
    model = WebModel(release="silero-vad-v6.2.3", tree="./", manifest=model.manifest, sha256=model.sha256, size=model.size)

    def deploy(version):
        build(tmp_path / "public", site | {"robots.txt": version.encode()}, version, models={"vad": model})

    deploy("1.0.0")
    shutil.copytree(tmp_path / "tree", tmp_path / "public", dirs_exist_ok=True)
    return deploy


def says(page, place, words):
    page.wait_for_function("([id, words]) => document.getElementById(id).textContent.includes(words)", arg=[place, words])


def test_page_shows_what_a_person_wants_to_know(page, context, host, demo):
    page.goto(host.url)
    says(page, "version", "1.0.0")
    says(page, "network", "there")
    says(page, "model", "not here yet")
    assert page.is_hidden("#reload")
    page.click("#download")
    page.wait_for_function("document.querySelector('#model').textContent === 'here'")
    assert page.is_hidden("#download")
    context.set_offline(offline=True)
    page.reload()
    says(page, "network", "none")
    page.wait_for_function("document.querySelector('#model').textContent === 'here'")
    page.click("#hum")
    says(page, "answer", "Somebody is speaking (100 %")


def test_page_offers_a_new_version_and_shows_it_when_asked(page, host, demo):
    page.goto(host.url)
    says(page, "version", "1.0.0")
    demo("1.1.0")
    page.reload()
    page.wait_for_selector("#reload:visible")
    page.click("#reload")
    says(page, "version", "1.1.0")


def test_trouble_is_told_on_a_narrow_screen_and_done_with_by_another_try(page, host, demo):
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(host.url)
    says(page, "version", "1.0.0")
    host.rule("parts/*", corrupt)
    page.click("#download")
    says(page, "trouble", "hash")
    page.wait_for_selector("#download:visible")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.is_hidden("#progress")
    assert page.is_hidden("#stop")
    host.rules.clear()
    page.click("#download")
    says(page, "model", "here")
    page.wait_for_function("document.querySelector('#model').textContent === 'here'")
    assert page.text_content("#trouble") == ""
