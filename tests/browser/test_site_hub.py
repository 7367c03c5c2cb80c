"""transformers.js in a page of another origin, its ``env.remoteHost`` a site: installed, or a caching mirror."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from bundles.installing import install_bundle
from pipeline.events import ignore
from tests.caching_world import run_mirror, run_upstream
from tests.fetch_world import make_tree
from tests.install_world import order_for
from tests.media_world import pack
from tests.runtime_world import ORT, TRANSFORMERS, transformers_model
from tests.servers.web_host import run_web_host
from tests.site_world import serving

PAGE = """<!doctype html><title>hub</title><link rel="icon" href="data:,"><script type="module">
import { AutoModel, AutoTokenizer, Tensor, env } from "./transformers.min.js";
Object.assign(env, { allowLocalModels: false, useBrowserCache: false, useWasmCache: false });
env.backends.onnx.wasm.wasmPaths = { mjs: new URL("./ort-wasm-simd-threaded.jsep.mjs", import.meta.url).href,
  wasm: new URL("./ort-wasm-simd-threaded.jsep.wasm", import.meta.url).href };
window.ask = async (host, revision) => {
  env.remoteHost = host;
  const options = { revision };
  const { input_ids } = await (await AutoTokenizer.from_pretrained("acme/vad", options))("hello world");
  const model = await AutoModel.from_pretrained("acme/vad", { ...options, dtype: "fp32", device: "wasm" });
  const { output } = await model({ input: new Tensor("float32", new Float32Array(576), [1, 576]),
    sr: new Tensor("int64", [16000n], []), state: new Tensor("float32", new Float32Array(256), [2, 1, 128]) });
  return [Array.from(input_ids.data).map(Number), output.data[0]];
};
window.loaded = true;
</script>
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    tree = make_tree(folder / "tree")
    for name, data in {**transformers_model(), "model.yaml": b"aliases: [acme/vad]\n"}.items():
        path = folder / "vad" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    tree.publish("vad-v1.0.0", folder / "vad", channel="stable")
    return tree


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "index.html").write_text(PAGE)
    taken = [TRANSFORMERS / "transformers.min.js", *(ORT / f"ort-wasm-simd-threaded.jsep.{ending}" for ending in ("mjs", "wasm"))]
    for path in taken:
        (folder / path.name).write_bytes(path.read_bytes())
    with run_web_host(folder) as host:
        yield host


@pytest.mark.parametrize("kind", ["installed", "mirror"])
def test_model_and_tokenizer_come_from_the_site_and_from_nowhere_else(page, tree, elsewhere, tmp_path, kind):
    origin = elsewhere.url.rstrip("/")
    with ExitStack() as stack:
        if kind == "installed":
            pack(tree, "vad-v1.0.0").write(tmp_path / "media")
            install_bundle(order_for((tmp_path / "media",), tmp_path / "site", tree.site.fingerprint), ignore)
            site = stack.enter_context(serving(tmp_path / "site", "--allow-origin", origin))
        else:
            upstream = stack.enter_context(run_upstream(tree.store))
            site = stack.enter_context(run_mirror(tree, upstream.url, tmp_path / "site", "--allow-origin", origin))
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{origin}/")
        page.wait_for_function("window.loaded")
        for revision in ("main", "1.0.0"):
            tokens, speech = page.evaluate("([host, revision]) => ask(host, revision)", [f"{site.url}/", revision])
            assert tokens == [101, 7592, 2088, 102]
            assert 0 < speech < 0.2
        hosts = {url.split("/")[2] for url in asked if url.startswith("http")}
        assert hosts == {origin.split("/")[2], site.url.split("/")[2]}
        assert any("/acme/vad/resolve/main/onnx/model.onnx" in url for url in asked)


def test_page_of_an_origin_that_was_not_allowed_reads_nothing(page, tree, elsewhere, tmp_path):
    with (
        run_upstream(tree.store) as upstream,
        run_mirror(tree, upstream.url, tmp_path / "site", "--allow-origin", "https://app.example") as site,
    ):
        page.goto(elsewhere.url)
        page.wait_for_function("window.loaded")
        with pytest.raises(Exception, match="fetch"):
            page.evaluate("([host, revision]) => ask(host, revision)", [f"{site.url}/", "main"])
