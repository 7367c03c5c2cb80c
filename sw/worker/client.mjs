// The page's side: registers the worker, lets a worker of its own do the downloads, and passes on what happens.

/** Start; gives a `Modelport`. Options: `worker` (where sw.js is), `auto: false` to download nothing by itself. */
export async function start({ worker = new URL("sw.js", import.meta.url).href, auto = true } = {}) {
  if (!navigator.serviceWorker) throw new Error("this browser, or this insecure address, has no service workers");
  const registration = await navigator.serviceWorker.register(worker, { updateViaCache: "none" });
  const client = new Modelport(worker, registration);
  if (auto && !navigator.connection?.saveData) client.update();
  else if (auto) client.update({ optional: false });
  document.addEventListener("visibilitychange", () => auto && !document.hidden && client.update());
  return client;
}

/** Events, each with a `detail`: checking, progress, fault, current, ready, failed, killed, engine, model. */
export class Modelport extends EventTarget {
  #loader;
  #channel;

  constructor(worker, registration) {
    super();
    Object.assign(this, { worker, registration, scope: registration.scope });
    this.#channel = new BroadcastChannel(`modelport:${this.scope}`);
    this.#channel.onmessage = ({ data: { type, ...detail } }) => this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** Hear an event; gives the function that stops hearing it. */
  on(type, heard) {
    const listener = ({ detail }) => heard(detail);
    this.addEventListener(type, listener);
    return () => this.removeEventListener(type, listener);
  }

  /** Look for a new version and bring it. */
  update(options = {}) {
    this.#send({ command: "update", ...options });
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
  verify() {
    this.#send({ command: "verify" });
  }

  /** What is there: {version, sha256, left, installing, paused, usage, quota}. */
  async status() {
    const meta = await caches.open(`modelport-meta:${this.scope}`);
    const record = async (name) => (await meta.match(new URL(`__modelport/${name}`, this.scope)))?.json();
    const [current, installing, paused] = await Promise.all(["current", "installing", "paused"].map(record));
    const { usage, quota } = (await navigator.storage?.estimate?.()) ?? {};
    return { ...current, installing: installing?.sha256, paused: Boolean(paused), usage, quota };
  }

  /** A model of this release: `url(path)`, `download({signal, onprogress})`, `remove()`. */
  model(id) {
    return {
      url: (path) => new URL(`models/${id}/${path}`, this.scope).href,
      remove: () => this.#send({ command: "model", id, remove: true }),
      download: ({ signal, onprogress } = {}) =>
        new Promise((done, fail) => {
          const ends = [
            this.on("model", (detail) => {
              if (detail.id !== id) return;
              onprogress?.(detail);
              if (detail.ready) finish(() => done(detail));
            }),
            this.on("failed", (detail) => finish(() => fail(Object.assign(new Error(detail.message), detail)))),
          ];
          const finish = (last) => (ends.forEach((end) => end()), last());
          signal?.addEventListener("abort", () => (this.pause(), finish(() => fail(signal.reason))));
          this.#send({ command: "model", id });
        }),
    };
  }

  #send(message) {
    // The same script as the service worker: there a browser lets three requests run at once, here six.
    this.#loader ??= new Worker(this.worker);
    this.#loader.postMessage(message);
  }
}
