import { start } from "./sw-client.js";
import { speech } from "./detector.js";

const $ = (id) => document.getElementById(id);
const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
const MODEL = "vad";

async function show(client) {
  const { version, left, installing, paused, usage } = await client.status();
  $("version").textContent = version ? `${version}${left ? ", without its extras" : ""}` : "being stored";
  if (installing) $("version").textContent += paused ? " (paused)" : " (a new version is coming)";
  $("network").textContent = navigator.onLine ? "there" : "none; what you see comes from this device";
  $("stored").textContent = size(usage ?? 0);
  const here = await client.model(MODEL).here();
  $("model").textContent = here ? "here" : "not here yet";
  $("download").hidden = here;
}

function showProgress({ done, total, rate, eta }) {
  $("progress").hidden = done >= total;
  $("progress").value = total ? done / total : 1;
  $("stored").textContent = `${size(done)} of ${size(total)}, ${size(rate)}/s${eta ? `, ${Math.ceil(eta)} s left` : ""}`;
}

async function bring(client) {
  const stop = new AbortController();
  $("stop").onclick = () => stop.abort();
  [$("stop").hidden, $("download").hidden] = [false, true];
  $("trouble").textContent = "";
  try {
    await client.model(MODEL).download({ signal: stop.signal, onprogress: showProgress });
  } catch (error) {
    $("trouble").textContent = error.name === "AbortError" ? "Stopped. What came stays; Download goes on from there." : error.message;
  }
  [$("stop").hidden, $("progress").hidden] = [true, true];
  await show(client);
}

async function judge(client, samples) {
  $("answer").textContent = "listening …";
  const begun = performance.now();
  const likely = await speech(client.model(MODEL).url("silero_vad.onnx"), samples);
  const points = likely.map((value, number) => `${(100 * number) / Math.max(1, likely.length - 1)},${20 - 20 * value}`);
  $("chart").innerHTML = `<polyline points="${points.join(" ")}" fill="none" stroke="currentColor" vector-effect="non-scaling-stroke" />`;
  const share = likely.filter((value) => value > 0.5).length / likely.length;
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  $("answer").textContent = `${share > 0.1 ? "Somebody is speaking" : "Nobody is speaking"} (${Math.round(100 * share)} % of the time; judged in ${seconds} s)`;
}

/** One second of a note of 220 Hz at 16 kHz. */
const hum = () => Float32Array.from({ length: 16_000 }, (_, number) => Math.sin((2 * Math.PI * 220 * number) / 16_000) / 4);

async function decoded(file) {
  const audio = new OfflineAudioContext(1, 1, 16_000);
  return (await audio.decodeAudioData(await file.arrayBuffer())).getChannelData(0);
}

async function begin() {
  const client = await start();
  const refresh = () => show(client);
  for (const type of ["update", "current", "ready", "failed", "paused"]) client.on(type, refresh);
  for (const type of ["online", "offline"]) addEventListener(type, refresh);
  client.on("progress", showProgress);
  client.on("failed", ({ kind, message }) => {
    $("progress").hidden = true;
    $("trouble").textContent = navigator.onLine || kind === "quota" ? message : "";
  });
  client.on("ready", ({ before }) => ($("reload").hidden = !before));
  $("reload").onclick = () => location.reload();
  $("download").onclick = () => bring(client);
  $("file").onchange = async ({ target }) => target.files[0] && judge(client, await decoded(target.files[0]));
  $("hum").onclick = () => judge(client, hum());
  await refresh();
}

begin().catch((error) => ($("trouble").textContent = error.message));
