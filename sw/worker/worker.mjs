// The engine: a service worker that answers from the store, and, started as a page's own worker, the one that fills it.

import { ACCEPT, address, fault, line, rest } from "./fetch.mjs";
import { download, update } from "./install.mjs";
import { piecesOf } from "./plan.mjs";
import { fallback, found, ignorable, moved } from "./route.mjs";
import { answered } from "./serve.mjs";
import { clear, current, forget, held, place, record, records, scope, write } from "./store.mjs";
import { model, never, sweep, version } from "./versions.mjs";

const serving = self.registration;
const NETWORK_MS = 24e4;
const GRACE_MS = 3e3;
const OPENING_MS = 1e4;
const channel = new BroadcastChannel(place);
const tell = (type, detail) => channel.postMessage({ type, ...detail });
const failed = (error, id) => tell("failed", { kind: "internal", found: error.message, ...error, id });
// Which version each client opened with, and keeps until it navigates; null for one that came from the network.
const bound = new Map();
let stop = new AbortController();

function going() {
  if (stop.signal.aborted) stop = new AbortController();
  return stop.signal;
}

/** One at a time, whoever runs it: a page's worker waits for its turn, the service worker not for long. */
async function turn(work) {
  const patience = serving && AbortSignal.timeout(GRACE_MS);
  const locked = async () => {
    const signal = going();
    // A browser ends a service worker after five minutes; what is there by then stays.
    const timer = serving && setTimeout(() => stop.abort(), NETWORK_MS);
    try {
      await work(signal);
    } catch (error) {
      // What a version got stays for the next try, but not where there is no room for both.
      // A store that can do nothing at all is not to hide why.
      if (/^(quota|storage)/.test(error.kind)) await forget("installing").then(() => sweep(true)).catch(() => {});
      failed(error);
    }
    clearTimeout(timer);
  };
  // Whoever has the turn does the same.
  return navigator.locks.request(place, { signal: patience }, locked).catch(() => {});
}

function refresh({ asked = Date.now(), ...options }) {
  return turn(async (signal) => {
    // Somebody else looked while this one waited.
    if ((await record("paused")) || (!options.verify && (await record("checked")) >= asked)) return;
    tell("checking");
    const state = await update(tell, signal, options).finally(() => write("checked", Date.now()).catch(() => {}));
    if (state === "killed") {
      await serving?.unregister();
      await clear();
    }
    if (state === "ready") await sweep();
    tell(state, await current());
    if (state === "engine") await serving?.update();
  });
}

/** Look for a new version, and forget which version clients had that are gone; what only they needed goes too. */
async function later(asked) {
  await rest(GRACE_MS);
  const open = new Set((await clients.matchAll({ type: "all", includeUncontrolled: true })).map(({ id }) => `client/${id}`));
  const gone = (await records("client/")).filter(([name, { at }]) => !open.has(name) && at < asked - OPENING_MS);
  for (const [name] of gone) await forget(name);
  if (gone.length) await turn(() => sweep());
  await refresh({ asked });
}

async function bind(client, now) {
  bound.set(client, now);
  if (now) await write(`client/${client}`, { at: Date.now(), version: now });
}

/** What answers a request for what the release may have. */
async function respond(event, path, search) {
  const { request, clientId, resultingClientId } = event;
  const opens = request.mode === "navigate";
  // Without a store there are no versions, but for a page that has one from it.
  const now = await current().catch(() => bound.get(clientId));
  if (!now) return fetch(request);
  if (!opens && !bound.has(clientId)) bound.set(clientId, (await record(`client/${clientId}`))?.version ?? null);
  // A worker is of the version of the page that started it.
  let mine = opens ? now : bound.get(clientId);
  const network = async () => {
    const answer = await fetch(request);
    if (opens) mine = null;
    return answer;
  };
  try {
    const release = await version(mine ?? now);
    const { manifest } = release;
    const [, id, inside] = /^models\/([^/]+)\/(.+)$/.exec(path) ?? [];
    if (manifest.models[id]) {
      const { files, bring } = await model(release, id);
      const file = files.get(inside);
      return file ? await answered(request, file, bring, manifest.isolate) : new Response(null, { status: 404 });
    }
    let file = found(release, path);
    if (opens && !file) {
      const other = moved(release, path);
      if (other) return Response.redirect(address(other, scope) + search);
      file = fallback(release, path);
    }
    // A hashed name is good in every version: a page may ask for what only its own version had.
    for (const other of file ? [] : [now, now.before]) file ??= other && (await version(other)).files.get(path);
    if (!file) return await network();
    const serve = () => answered(request, file, line([scope, ...manifest.mirrors], never), manifest.isolate);
    // Parameters that nobody ignores ask for something else, but of a hashed name there is nothing else.
    return file.hashed || (mine && ignorable(release, search)) ? await serve() : await network().catch(serve);
  } catch (error) {
    tell("fault", error);
    // A page may come as on a first visit, to heal what is lost; anything else must be what it is taken for.
    return opens ? await network() : new Response(null, { status: 504, statusText: error.message });
  } finally {
    if (resultingClientId) event.waitUntil(bind(resultingClientId, mine));
  }
}

/** Bring all of a model, or remove it. */
async function fill({ id, remove }) {
  const release = await version(await current());
  if (!release.manifest.models[id]) throw fault("manifest", id);
  const signal = going();
  const { files, bring, sha256 } = await model(release, id, signal);
  if (remove) {
    await forget(`model/${sha256}`);
    await forget(`ready/${sha256}`);
    return turn(() => sweep());
  }
  // Another tab may be bringing it: what that one stored is not brought again.
  return navigator.locks.request(place + sha256, async () => {
    const have = await held();
    const pieces = piecesOf({ files }).filter(({ sha256: name }) => !have.has(name) && have.add(name));
    const jobs = pieces.map((piece) => ({ piece, size: piece.size, required: true }));
    const [first] = await download(jobs, bring, signal, tell, "model", { id });
    if (first) throw first.fault;
    await write(`ready/${sha256}`, true);
    tell("model", { id, ready: true });
  });
}

const commands = {
  update: refresh,
  model: (options) => fill(options).catch((error) => failed(error, options.id)),
  async pause() {
    await write("paused", true);
    stop.abort();
    tell("paused");
  },
  async resume() {
    await forget("paused");
    await refresh({});
  },
};

channel.onmessage = ({ data }) => data.type === "paused" && stop.abort();
addEventListener("message", (event) => {
  const { command, ...options } = event.data;
  const work = commands[command]?.(options);
  if (serving) event.waitUntil(work);
});

if (serving) {
  // The engine has no versions of its own to keep apart: any of them serves what the store holds.
  skipWaiting();
  addEventListener("activate", (event) => event.waitUntil(clients.claim()));
  addEventListener("fetch", (event) => {
    const { method, url, headers, mode } = event.request;
    if (headers.get("Accept") === ACCEPT || !url.startsWith(scope) || !/^(GET|HEAD)$/.test(method)) return;
    let path;
    try {
      path = decodeURIComponent(url.slice(scope.length).replace(/[?#].*/, ""));
    } catch {
      // No text, so no name of a file either.
      return;
    }
    event.respondWith(respond(event, path, new URL(url).search));
    // A page that brings its own worker has looked by then; this is for pages without one.
    if (mode === "navigate") event.waitUntil(later(Date.now()));
  });
}
