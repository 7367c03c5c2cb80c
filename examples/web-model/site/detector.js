// Silero VAD: 512 new samples at 16 kHz, 64 of those before, a state that is handed on; gives how likely speech is.

import * as ort from "./ort/ort.wasm.min.mjs";

const [FRESH, CONTEXT, RATE] = [512, 64, 16_000n];
// The runtime's own files have names that follow from their bytes, as all others have.
ort.env.wasm.wasmPaths = {
  mjs: new URL("./ort/ort-wasm-simd-threaded.mjs", import.meta.url).href,
  wasm: new URL("./ort/ort-wasm-simd-threaded.wasm", import.meta.url).href,
};
ort.env.wasm.numThreads = 1;
let session;

/** How likely each 32 ms of the samples are speech; the model comes from `url`, which the service worker answers. */
export async function speech(url, samples) {
  session ??= ort.InferenceSession.create(url);
  const detector = await session;
  const sr = new ort.Tensor("int64", BigInt64Array.of(RATE), []);
  let state = new ort.Tensor("float32", new Float32Array(2 * 128), [2, 1, 128]);
  const likely = [];
  for (let at = 0; at + FRESH <= samples.length; at += FRESH) {
    const heard = new Float32Array(CONTEXT + FRESH);
    heard.set(samples.subarray(Math.max(0, at - CONTEXT), at + FRESH), at ? 0 : CONTEXT);
    const given = await detector.run({ input: new ort.Tensor("float32", heard, [1, heard.length]), state, sr });
    likely.push(given.output.data[0]);
    state = given.stateN;
  }
  return likely;
}
