// The engine: a service worker that answers from the store, and, started as a page's own worker, the one that fills it.

import { ACCEPT } from "./fetch.mjs";
import { sweep, update } from "./install.mjs";
import { modelPath, openModel } from "./models.mjs";
import { fallback, found, ignorable, indexed } from "./route.mjs";
import { answered, repairing } from "./serve.mjs";
import { Store } from "./store.mjs";

const scope = self.registration?.scope ?? new URL("./", self.location).href;
const store = new Store(scope);
const channel = new BroadcastChannel(`modelport:${scope}`);
const tell = (type, detail = {}) => channel.postMessage({ type, ...detail });
let stop = new AbortController();
let cached;

/** The manifest of a version that is whole, indexed; undefined if it is not stored. */
async function version(digest) {
  if (!digest) return undefined;
  cached ??= new Map();
  if (!cached.has(digest)) {
    const answer = await store.get(digest);
    if (!answer) return undefined;
    cached.set(digest, indexed(await answer.json()));
  }
  return cached.get(digest);
}

/** One update at a time, whoever runs it: a page's worker, or this one when no page is open. */
async function refresh(options = {}) {
  return navigator.locks.request(`modelport:${scope}`, { ifAvailable: true }, async (lock) => {
    if (!lock || (await store.record("paused"))) return "waiting";
    stop = new AbortController();
    tell("checking");
    let state;
    try {
      state = await update(store, { signal: stop.signal, tell, ...options });
      if (state === "killed") await leave();
      if (state === "engine") await self.registration?.update();
      if (state === "ready" || options.verify) await clean();
      tell(state, { current: await store.record("current") });
    } catch (fault) {
      // What this version got stays for the next try, but not where there is no room for both.
      if (fault.kind === "quota") {
        await store.forget("installing");
        await clean();
      }
      tell("failed", { ...fault, message: fault.message });
      state = "failed";
    }
    return state;
  });
}

async function clean() {
  const current = await store.record("current");
  const bound = (await store.record("clients")) ?? {};
  await sweep(store, [...new Set([current?.sha256, current?.before, ...Object.values(bound)])]);
}

async function leave() {
  await store.clear();
  await self.registration?.unregister();
}

/** Which version a client got when it opened: it keeps it until it navigates. */
async function bind(client, digest) {
  const alive = new Set((await self.clients.matchAll({ type: "all", includeUncontrolled: true })).map(({ id }) => id));
  const bound = (await store.record("clients")) ?? {};
  const kept = Object.entries(bound).filter(([id]) => alive.has(id));
  await store.write("clients", { ...Object.fromEntries(kept), [client]: digest });
}

async function respond(event) {
  const { request } = event;
  const url = new URL(request.url);
  const path = decodeURIComponent(url.pathname).slice(new URL(scope).pathname.length);
  const current = await store.record("current");
  const digest = request.mode === "navigate" ? current?.sha256 : await bound(event.clientId, current);
  const release = await version(digest);
  if (!release) return fetch(request);
  const { manifest } = release;
  const model = modelPath(path);
  if (model && manifest.models[model.id]) return modelled(request, manifest, model);
  let file = found(release, path);
  if (request.mode === "navigate") {
    event.waitUntil(bind(event.resultingClientId, digest));
    if (!file || !ignorable(release, url.search)) {
      const page = file ?? fallback(release, path);
      if (!page || url.search) return fetch(request).catch((error) => (page ? serve(request, page, manifest) : Promise.reject(error)));
      file = page;
    }
  }
  // A hashed name is good in every version: a page may ask for what only its own version had.
  for (const other of file ? [] : [current?.sha256, current?.before]) file ??= (await version(other))?.files.get(path);
  return file ? serve(request, file, manifest) : fetch(request);
}

async function bound(client, current) {
  const all = (await store.record("clients")) ?? {};
  return all[client] ?? current?.sha256;
}

async function serve(request, file, manifest) {
  try {
    return await answered(store, request, file, repairing(scope, manifest.mirrors), manifest.isolate);
  } catch (fault) {
    tell("fault", { ...fault, message: fault.message });
    return new Response(`${fault.message}\n`, { status: 504, statusText: "Not verified" });
  }
}

async function modelled(request, manifest, { id, file: path }) {
  try {
    const { files, bring } = await openModel(store, manifest.models[id], stop.signal);
    const file = files.get(path);
    if (!file) return new Response(`${id} has no file ${path}\n`, { status: 404 });
    return await answered(store, request, file, bring, manifest.isolate);
  } catch (fault) {
    tell("fault", { ...fault, message: fault.message });
    return new Response(`${fault.message}\n`, { status: 504, statusText: "Not verified" });
  }
}

const commands = {
  update: (options) => refresh(options),
  pause: async () => (await store.write("paused", true), stop.abort()),
  resume: async () => (await store.forget("paused"), refresh()),
  verify: () => refresh({ verify: true }),
  async model({ id, remove }) {
    const current = await version((await store.record("current"))?.sha256);
    const model = current?.manifest.models[id];
    if (!model) return tell("failed", { kind: "manifest", message: `there is no model ${id}` });
    if (remove) return (await store.forget(`model/${model.sha256}`), clean());
    const { names, files, bring } = await openModel(store, model, stop.signal);
    const held = await store.held();
    const pieces = [...files.values()].flatMap(({ list }) => list);
    const total = pieces.reduce((sum, { size }) => sum + size, 0);
    let done = 0;
    for (const piece of pieces) {
      if (!held.has(piece.name)) await store.put(piece.name, await bring(piece));
      tell("model", { id, done: (done += piece.size), total });
    }
    return tell("model", { id, done, total, ready: true, parts: names.length });
  },
};

self.addEventListener("message", (event) => {
  const { command, ...options } = event.data ?? {};
  const work = commands[command]?.(options)?.catch((fault) => tell("failed", { ...fault, message: fault.message }));
  event.waitUntil?.(work);
});

if (self.registration) {
  self.addEventListener("install", (event) => event.waitUntil(self.skipWaiting()));
  self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
  self.addEventListener("fetch", (event) => {
    const { request } = event;
    const own = request.headers.get("Accept") === ACCEPT || !request.url.startsWith(scope);
    if (own || !["GET", "HEAD"].includes(request.method)) return;
    event.respondWith(respond(event));
    // A page that brings its own worker takes the lock at once; this is for pages without one.
    if (request.mode === "navigate") event.waitUntil(new Promise((done) => setTimeout(done, 3000)).then(() => refresh()));
  });
}
