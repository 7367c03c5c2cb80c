// What is kept in the browser: bytes under their SHA-256, and the few records that say which version is which.

import { Fault } from "./fetch.mjs";

/** The store of one scope. Everything in `cas` was verified before it was put there. */
export class Store {
  constructor(scope) {
    Object.assign(this, { scope, names: { cas: `modelport-cas:${scope}`, meta: `modelport-meta:${scope}` } });
  }

  #key(name) {
    return new URL(`__modelport/${name}`, this.scope).href;
  }

  async #cache(which) {
    return caches.open(this.names[which]);
  }

  /** The stored bytes of a digest as a Response, or undefined. */
  async get(name) {
    return (await this.#cache("cas")).match(this.#key(name));
  }

  /** Keep verified bytes. Throws a Fault of kind quota where there is no room. */
  async put(name, data) {
    try {
      await (await this.#cache("cas")).put(this.#key(name), new Response(data));
    } catch (error) {
      throw error.name === "QuotaExceededError" ? new Fault("quota", name, data.byteLength, "no room") : error;
    }
  }

  /** The digests that are there. */
  async held() {
    const keys = await (await this.#cache("cas")).keys();
    return new Set(keys.map(({ url }) => url.slice(url.lastIndexOf("/") + 1)));
  }

  /** Remove everything but `wanted`. */
  async sweep(wanted) {
    const cas = await this.#cache("cas");
    for (const name of await this.held()) if (!wanted.has(name)) await cas.delete(this.#key(name));
  }

  /** Read a record, undefined if there is none. */
  async record(name) {
    return (await (await this.#cache("meta")).match(this.#key(name)))?.json();
  }

  /** Write a record: one put, so it is the old one or the new one. */
  async write(name, value) {
    await (await this.#cache("meta")).put(this.#key(name), Response.json(value));
  }

  /** Remove a record. */
  async forget(name) {
    await (await this.#cache("meta")).delete(this.#key(name));
  }

  /** Remove everything of this scope. */
  async clear() {
    await Promise.all(Object.values(this.names).map((name) => caches.delete(name)));
  }
}
