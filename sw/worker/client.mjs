// The page's side: registers the worker, lets a worker of its own do the downloads, and passes on what happens.

const RETRY_MS = 30_000;
const LOOK_MS = 1000;
const POINTER_BYTES = 300;

/** Start; gives a `Modelport`. Options: `worker` (where sw.js is). */
export async function start({ worker = new URL("sw.js", import.meta.url).href } = {}) {
  if (!navigator.serviceWorker) throw new Error("this browser, or this insecure address, has no service workers");
  // Where the page is may change.
  worker = new URL(worker, document.baseURI).href;
  // The same script as the service worker: there a browser lets three requests run at once, here six.
  const loader = new Worker(worker);
  // The scope that a worker has by itself.
  const scope = new URL("./", worker).href;
  const channel = new BroadcastChannel(`modelport:${scope}`);
  const early = [];
  channel.onmessage = (event) => early.push(event);
  // A browser takes its time to register: the download begins without it.
  pointed(scope).then((seen) => loader.postMessage({ ...wish(), seen }));
  const registration = await navigator.serviceWorker.register(worker, { updateViaCache: "none" }).catch((error) => {
    loader.terminate();
    throw error;
  });
  const client = new Modelport(worker, loader, registration, channel, early);
  const look = () => document.hidden || client.update();
  document.addEventListener("visibilitychange", look);
  addEventListener("online", look);
  // Every tab hears of every failure: each tries again once, however many it heard of.
  let retry;
  client.on("failed", ({ kind, id }) => {
    if (id || /quota|storage|paused/.test(kind)) return;
    clearTimeout(retry);
    retry = setTimeout(look, RETRY_MS);
  });
  return client;
}

/** Events, each with a `detail`: checking, update, progress, fault, current, ready, failed, paused, killed, engine, model. */
export class Modelport extends EventTarget {
  #worker;
  #loader;
  #begun = {};
  #busy = false;

  constructor(worker, loader, registration, channel, early) {
    super();
    Object.assign(this, { registration, scope: registration.scope });
    this.#worker = worker;
    this.#loader = loader;
    const heard = ({ data: { type, ...detail } }) => {
      this.#busy = /^(checking|update|progress)$/.test(type) || (this.#busy && type === "fault");
      if ("total" in detail) this.#measure(type, detail);
      if ("kind" in detail && !detail.message) detail.message = told(detail);
      // The page's own worker has no registration: what is to happen to it happens here.
      if (type === "killed") registration.unregister();
      if (type === "engine") registration.update();
      this.dispatchEvent(new CustomEvent(type, { detail }));
    };
    // Who waits for `start` hears all of it, from the beginning.
    setTimeout(() => {
      early.forEach(heard);
      channel.onmessage = heard;
    });
    // An engine that took the place of another may read what that one, which the page has, could not.
    const first = !registration.active;
    registration.addEventListener("updatefound", () => {
      const next = registration.installing;
      next.addEventListener("statechange", () => first || next.state !== "activated" || next.postMessage(wish()));
    });
    // Where the last page goes in the middle of a download, the service worker goes on with it.
    addEventListener("pagehide", () => this.#busy && registration.active?.postMessage(wish()));
  }

  /** Hear an event; gives the function that stops hearing it. */
  on(type, heard) {
    const listener = ({ detail }) => heard(detail);
    this.addEventListener(type, listener);
    return () => this.removeEventListener(type, listener);
  }

  /** Look for a new version and bring it; without what is optional where the browser is to save data. */
  update(options = {}) {
    this.#send({ ...wish(), ...options });
  }

  /** Stop downloading, in every tab, until `resume`. */
  pause() {
    this.#send({ command: "pause" });
  }

  /** Go on where it stopped. */
  resume() {
    this.#send({ command: "resume" });
  }

  /** Hash everything that is stored, and bring again what is not right. */
  async verify() {
    const store = await caches.open(`modelport:${this.scope}`);
    for (const key of await store.keys()) {
      // Records of models end in a digest as well, but are not what it is of.
      const digest = /__modelport\/([0-9a-f]{64})$/.exec(key.url)?.[1];
      const data = digest && (await (await store.match(key))?.arrayBuffer());
      if (data && (await hashOf(data)) !== digest) await store.delete(key);
    }
    this.update({ verify: true });
  }

  /** What is there: {version, sha256, left, installing, paused, usage, quota}; sizes in bytes. */
  async status() {
    const names = ["current/0", "current/1", "installing", "paused"];
    const [one, other, installing, paused] = await Promise.all(names.map((name) => this.#record(name)));
    const { usage, quota } = (await navigator.storage?.estimate?.()) ?? {};
    const { version, sha256, left } = (one?.turn > (other?.turn ?? 0) ? one : other) ?? {};
    return { version, sha256, left, installing: installing?.sha256, paused: Boolean(paused), usage, quota };
  }

  /** A model of this release: `url(path)`, `here()`, `download({signal, onprogress})`, `remove()`. */
  model(id) {
    return {
      here: async () => {
        const { sha256 } = await this.status();
        const digest = (sha256 && (await this.#record(sha256)))?.models[id]?.sha256;
        const { names } = (digest && (await this.#record(`model/${digest}`))) ?? {};
        if (!names) return false;
        // What the browser took since it was downloaded is not here.
        const keys = await (await caches.open(`modelport:${this.scope}`)).keys();
        const held = new Set(keys.map(({ url }) => url.split("/").at(-1)));
        return [digest, ...names].every((name) => held.has(name));
      },
      url: (path) => new URL(`models/${id}/${path}`, this.scope).href,
      remove: () => this.#send({ command: "model", id, remove: true }),
      download: async ({ signal, onprogress } = {}) => {
        signal?.throwIfAborted();
        // Many bytes that were fetched on purpose are worth asking to keep.
        await navigator.storage?.persist?.();
        signal?.throwIfAborted();
        await this.#first(signal);
        return new Promise((done, fail) => {
          // A worker of its own, which ends with it: what else the page downloads goes on.
          const loader = new Worker(this.#worker);
          const stop = () => end(() => fail(signal.reason));
          const offs = [
            this.on("model", (detail) => {
              if (detail.id !== id) return;
              if (detail.ready) end(() => done(detail));
              else onprogress?.(detail);
            }),
            this.on("failed", (detail) => detail.id === id && end(() => fail(Object.assign(new Error(detail.message), detail)))),
            () => signal?.removeEventListener("abort", stop),
            () => loader.terminate(),
          ];
          const end = (last) => {
            for (const off of offs) off();
            last();
          };
          signal?.addEventListener("abort", stop);
          loader.onerror = () => end(() => fail(new Error(`${this.#worker} cannot be had, or is no script`)));
          loader.postMessage({ command: "model", id });
        });
      },
    };
  }

  /** Wait for the first version, which says what its models are. */
  #first(signal) {
    return new Promise((done, fail) => {
      const stop = () => end(() => fail(signal.reason));
      const offs = [
        this.on("ready", () => end(done)),
        this.on("failed", (detail) => end(() => fail(Object.assign(new Error(detail.message), detail)))),
        () => signal?.removeEventListener("abort", stop),
      ];
      const end = (last) => {
        for (const off of offs) off();
        last();
      };
      signal?.addEventListener("abort", stop);
      const seen = ({ sha256 }) => (sha256 ? end(done) : this.#busy || this.update());
      // A browser that lets a page store nothing says so here.
      this.status().then(seen, (error) => end(() => fail(error)));
    });
  }

  async #record(name) {
    const cacheName = `modelport:${this.scope}`;
    return (await caches.match(new URL(`__modelport/${name}`, this.scope), { cacheName }))?.json();
  }

  #measure(type, detail) {
    // What came for nothing, such as a patch that led nowhere, is no progress.
    const { total, id = type } = detail;
    const done = (detail.done = Math.min(detail.done, total));
    const now = performance.now();
    // Another total is another download.
    if (this.#begun[id]?.total !== total || this.#begun[id].done > done) this.#begun[id] = { total, done, now };
    const { done: before, now: then } = this.#begun[id];
    // Bytes a second, and seconds that are left.
    detail.rate = now > then ? (1000 * (done - before)) / (now - then) : 0;
    detail.eta = detail.rate ? (total - done) / detail.rate : null;
    this.#begun[id].done = Math.min(before, done);
  }

  #send(message) {
    this.#loader.postMessage(message);
  }
}

/** The bytes of the pointer, which on a first visit need not wait for the worker's script; undefined if that asks better. */
async function pointed(scope) {
  if (navigator.serviceWorker.controller) return;
  try {
    const answer = await fetch(`${scope}release.json`, { cache: "no-cache", signal: AbortSignal.timeout(LOOK_MS) });
    const data = await answer.arrayBuffer();
    if (answer.ok && data.byteLength <= POINTER_BYTES) return data;
  } catch {
    // The worker says what is wrong, if anything is.
  }
}

/** What a page asks for by itself. */
const wish = () => ({ command: "update", optional: !navigator.connection?.saveData });

async function hashOf(data) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const SAID = {
  manifest: "this is not of a release; a login page may have taken its place",
  paused: "stopped",
  profile: "the model is no release of profile web",
  stall: "no bytes for 10 s",
};

function told({ kind, url = "the worker", expected, found }) {
  return `${kind}: ${url}: ${SAID[kind] ?? `expected ${expected}, found ${found}`}`;
}
