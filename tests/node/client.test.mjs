import assert from "node:assert/strict";
import { test } from "node:test";

// A page as far as the client needs one: what it sends to its worker, and which timers it sets.
function page({ match = async () => undefined } = {}) {
  const sent = [];
  const timers = new Map();
  const channels = [];
  const define = (name, value) => Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  const realSet = setTimeout;
  define("navigator", {
    serviceWorker: { controller: {}, register: async () => Object.assign(new EventTarget(), { scope: "http://x/", active: {} }) },
  });
  define("document", Object.assign(new EventTarget(), { baseURI: "http://x/", hidden: false }));
  define("addEventListener", () => {});
  define("caches", { match, open: async () => ({ keys: async () => [] }) });
  define("Worker", class {
    postMessage = (message) => sent.push(message);
    terminate() {}
  });
  define("BroadcastChannel", class {
    constructor() {
      channels.push(this);
    }
  });
  let number = 0;
  define("setTimeout", (work, ms = 0) => (ms < 1000 ? realSet(work, ms) : (timers.set(++number, work), number)));
  define("clearTimeout", (id) => timers.delete(id));
  const settled = () => new Promise((done) => realSet(done, 5));
  return { sent, timers, settled, hear: (data) => channels.forEach((channel) => channel.onmessage({ data })) };
}

const { start } = await import("../../sw/worker/client.mjs");

test("however many failures a page hears of, it tries again once", async () => {
  const { sent, timers, settled, hear } = page();
  await start({ worker: "http://x/sw.js" });
  await settled();
  for (let heard = 0; heard < 20; heard++) hear({ type: "failed", kind: "network", url: "http://x/release.json" });
  assert.equal(timers.size, 1);
  const before = sent.length;
  const [[id, work]] = timers;
  timers.delete(id);
  work();
  assert.equal(sent.length, before + 1);
  hear({ type: "failed", kind: "network", url: "http://x/release.json" });
  assert.equal(timers.size, 1);
});

test("what trying again cannot mend is not tried again", async () => {
  const { timers, settled, hear } = page();
  await start({ worker: "http://x/sw.js" });
  await settled();
  for (const kind of ["quota", "storage", "paused"]) hear({ type: "failed", kind });
  hear({ type: "failed", kind: "network", id: "vad" });
  assert.equal(timers.size, 0);
});

test("a download where nothing can be stored ends with the browser's own words", async () => {
  const { settled } = page({
    match: async () => {
      throw new Error("storage is not allowed here");
    },
  });
  const client = await start({ worker: "http://x/sw.js" });
  await settled();
  const ended = client.model("vad").download();
  await assert.rejects(ended, /storage is not allowed here/);
});
