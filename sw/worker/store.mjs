// What is kept in the browser: bytes under their SHA-256, and the few records that say which version is which.

import { fault } from "./fetch.mjs";

export const scope = self.registration?.scope ?? new URL("./", self.location).href;
const BYTES = "bytes";
const RECORDS = "records";
const key = (name) => `${scope}__modelport/${name}`;
const cacheName = (which) => `modelport-${which}:${scope}`;
const on = async (which, action, ...rest) => {
  try {
    return await (await caches.open(cacheName(which)))[action](...rest);
  } catch (error) {
    throw fault(error.name === "QuotaExceededError" ? "quota" : "storage", scope, "room", error.message);
  }
};
// Reading makes no cache where there is none.
const read = (which, name) => caches.match(key(name), { cacheName: cacheName(which) });
const keysOf = async (which) => (await on(which, "keys")).map(({ url }) => url.slice(key("").length));

/** The stored bytes of a digest as a Response, or undefined. */
export const get = (name) => read(BYTES, name);

/** Keep verified bytes. */
export const put = (name, data) => on(BYTES, "put", key(name), new Response(data));

/** The digests that are there. */
export const held = async () => new Set(await keysOf(BYTES));

/** Remove all bytes but the `wanted`. */
export async function retain(wanted) {
  for (const name of await held()) if (!wanted.has(name)) await on(BYTES, "delete", key(name));
}

/** Read a record, undefined if there is none. */
export const record = async (name) => (await read(RECORDS, name))?.json();

/** Write a record. */
export const write = (name, value) => on(RECORDS, "put", key(name), new Response(JSON.stringify(value)));

/** Remove a record. */
export const forget = (name) => on(RECORDS, "delete", key(name));

/** All records whose names begin so: [name, value]. */
export async function records(prefix) {
  const names = (await keysOf(RECORDS)).filter((name) => name.startsWith(prefix));
  return Promise.all(names.map(async (name) => [name, await record(name)]));
}

/** The version that is whole and shown. */
export async function current() {
  const [one, other] = [await record("current/0"), await record("current/1")];
  return one?.turn > (other?.turn ?? 0) ? one : other;
}

/** Switch: one write under a name that the version until now does not have, so a crash leaves either of them. */
export async function commit(value) {
  const turn = ((await current())?.turn ?? 0) + 1;
  return write(`current/${turn % 2}`, { ...value, turn });
}

/** Remove everything of this scope. */
export const clear = () => Promise.all([RECORDS, BYTES].map((which) => caches.delete(cacheName(which))));
