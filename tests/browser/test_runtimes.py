"""Real runtimes with a real model, without a network: out of the one store, and by no second copy."""

from __future__ import annotations

import pytest

from sw.manifest import WebModel
from tests.browser_world import build, controlled, publish_model
from tests.desk import Desk
from tests.runtime_world import EXAMPLE, example_files, silero, transformers_files, transformers_model
from tests.servers.web_host import run_web_host

# What Silero VAD says of 36 ms of silence, whoever runs it.
SILENCE = 0.00167
BY_EXAMPLE = """async () => {
  const module = performance.getEntriesByType("resource").find(({ name }) => name.includes("detector")).name;
  return (await import(module)).speech("models/vad/silero_vad.onnx", new Float32Array(512));
}"""


@pytest.fixture
def speaking(tmp_path):
    """The store that a person has who did what examples/web-model/README.md says."""
    desk = Desk(tmp_path / "desk", tmp_path / "home")
    model = desk.folder / "models" / "silero-vad-v6.2.3" / "silero_vad.onnx"
    files = {model: silero(), desk.folder / "modelport.yaml": (EXAMPLE / "modelport.yaml").read_bytes()}
    files |= {desk.folder / "dist" / name: data for name, data in example_files().items()}
    for path, data in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for words in (
        "publish --model silero-vad-v6.2.3 --profile web --channel stable",
        "web.build --assets dist/ --to public/ --name speaking --version 1.0.0",
        "publish --kind web --source public/ --model speaking-v1.0.0 --channel stable",
    ):
        assert words in (EXAMPLE / "README.md").read_text()
        assert desk.run(*words.split()).code == 0
    with run_web_host(desk.folder / ".modelport" / "store") as host:
        yield host


def test_example_detects_voices_by_onnxruntime_without_a_network(page, context, speaking):
    page.goto(speaking.url + "web/speaking/")
    page.wait_for_function("document.querySelector('#version').textContent === '1.0.0'")
    page.click("#download")
    page.wait_for_function("document.querySelector('#model').textContent === 'here'")
    context.set_offline(offline=True)
    speaking.forget()
    page.reload()
    page.wait_for_function("document.querySelector('#model').textContent === 'here'")
    page.click("#hum")
    page.wait_for_function("document.querySelector('#answer').textContent.includes('speaking')", timeout=60_000)
    assert page.text_content("#answer").startswith("Nobody is speaking (")
    assert page.text_content("#trouble") == ""
    assert page.evaluate(BY_EXAMPLE) == [pytest.approx(SILENCE, rel=0.01)]
    # The worker's own look for a newer version may still have been on its way.
    assert [path for path in speaking.paths() if path != "web/speaking/release.json"] == []
    assert page.evaluate("caches.keys()") == [f"modelport:{speaking.url}web/speaking/"]


def test_transformers_js_runs_without_a_network_and_without_a_cache_of_its_own(page, context, public, host, tmp_path):
    (tmp_path / "tree").mkdir()
    with run_web_host(tmp_path / "tree") as tree:
        tree.cors = True
        told = publish_model(tree.root, "vad-v6.2.3", transformers_model())
        told = WebModel(release=told.release, tree=tree.url, manifest=told.manifest, sha256=told.sha256, size=told.size)
        build(public, transformers_files(), models={"vad": told})
        controlled(page, host.url)
        assert page.evaluate("client.model('vad').download().then(() => true)")
        context.set_offline(offline=True)
        host.forget()
        tree.forget()
        page.reload()
        page.wait_for_function("window.byTransformers")
        tokens, likely = page.evaluate("byTransformers()")
        assert tokens == [101, 7592, 2088, 102]
        assert likely == pytest.approx(SILENCE, rel=0.01)
        # As above.
        assert [path for path in host.paths() if path != "release.json"] + tree.paths() == []
        assert page.evaluate("caches.keys()") == [f"modelport:{host.url}"]
