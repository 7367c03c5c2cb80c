"""Real runtimes with a real model in a real Chromium without a network: onnxruntime-web and transformers.js on Silero VAD.

    python benchmarks/web_runtimes.py

It needs Debian's chromium, and the runtimes and the model
that the README's second line installs; nothing of them is in the product. The tokenizer is that of the sample model.

Targets: the model downloads by part, runs from the store after a reload without a network, and no second cache appears.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from figures import Job
from playwright.sync_api import sync_playwright

from sw.manifest import WebModel
from tests.browser_world import CHROMIUM, build, controlled, publish_model
from tests.runtime_world import ORT, transformers_files, transformers_model
from tests.servers.web_host import run_web_host

MOST_LIKELY = 0.1
TOKENS = [101, 7592, 2088, 102]
BY_ORT = """import * as ort from "./ort.wasm.min.mjs";
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { mjs: new URL("./ort-wasm-simd-threaded.mjs", import.meta.url).href,
  wasm: new URL("./ort-wasm-simd-threaded.wasm", import.meta.url).href };
const tensor = (type, data, dims) => new ort.Tensor(type, data, dims);
window.byOrt = async () => {
  const session = await ort.InferenceSession.create("/models/vad/onnx/model.onnx");
  const given = { input: tensor("float32", new Float32Array(576), [1, 576]), sr: tensor("int64", [16000n], []),
    state: tensor("float32", new Float32Array(256), [2, 1, 128]) };
  return (await session.run(given)).output.data[0];
};
"""


def main() -> int:
    """Measure and print."""
    model = transformers_model()
    job = Job(
        "web_runtimes",
        "Runtimes in a browser",
        f"Silero VAD, {sum(map(len, model.values())) / 1e6:.1f} MB, out of the store after a reload without a network; the input is silence.",
    )
    if not ORT.is_dir():
        job.lacks("onnxruntime-web and transformers.js", "npm ci --prefix tests/runtimes brings them")
        return job.finish()
    folder = Path(tempfile.mkdtemp(prefix="modelport-bench-"))
    try:
        run(folder, site(), model, job)
        return job.finish()
    finally:
        shutil.rmtree(folder)


def site() -> dict[str, bytes]:
    """An application with both runtimes inside."""
    taken = [ORT / name for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")]
    found = transformers_files() | {"ort.js": BY_ORT.encode()} | {path.name: path.read_bytes() for path in taken}
    return found | {"index.html": found["index.html"].replace(b"<p id", b'<script type="module" src="ort.js"></script><p id')}


def run(folder: Path, application: dict[str, bytes], model: dict[str, bytes], job: Job) -> None:
    (folder / "tree").mkdir()
    with run_web_host(folder / "tree") as tree:
        tree.cors = True
        told = publish_model(folder / "tree", "vad-v1.0.0", model)
        told = WebModel(release=told.release, tree=tree.url, manifest=told.manifest, sha256=told.sha256, size=told.size)
        build(folder / "public", application, models={"vad": told})
        with run_web_host(folder / "public") as host, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            context = browser.new_context()
            page = context.new_page()
            controlled(page, host.url)
            page.evaluate("client.model('vad').download().then(() => true)")
            context.set_offline(offline=True)
            page.reload()
            page.wait_for_function("window.byOrt && window.byTransformers")
            started_s = time.perf_counter()
            likely = page.evaluate("byOrt()")
            job.amount("onnxruntime-web: first answer", time.perf_counter() - started_s, "s")
            job.amount("onnxruntime-web: how likely silence is speech", likely, "", most=MOST_LIKELY)
            started_s = time.perf_counter()
            tokens, by_transformers = page.evaluate("byTransformers()")
            job.amount("transformers.js: first answer", time.perf_counter() - started_s, "s")
            job.amount("transformers.js: how likely silence is speech", by_transformers, "", most=MOST_LIKELY)
            job.amount("caches in the browser", len(page.evaluate("caches.keys()")), "in all", most=1)
            browser.close()
    if tokens != TOKENS:
        raise SystemExit(f"transformers.js read {tokens}, not {TOKENS}")


if __name__ == "__main__":
    sys.exit(main())
