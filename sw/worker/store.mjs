// What is kept in the browser: bytes under their SHA-256, and the few records that say which version is which.

import { fault } from "./fetch.mjs";

export const scope = self.registration?.scope ?? new URL("./", self.location).href;
// Of the cache, of the lock, and of the channel to the pages.
export const place = `modelport:${scope}`;
const prefix = `${scope}__modelport/`;
// What ends in one is bytes, or a record of the model whose manifest has it.
export const DIGEST = /[0-9a-f]{64}$/;

async function on(action, ...rest) {
  try {
    return await (await caches.open(place))[action](...rest);
  } catch (error) {
    throw fault(error.name === "QuotaExceededError" ? "quota" : "storage", scope, "room", error.message);
  }
}

/** What is under a digest or the name of a record, as a Response, or undefined. Makes no cache where there is none. */
export const get = (name) => caches.match(prefix + name, { cacheName: place });

/** Keep verified bytes, or the text of a record. */
export const put = (name, data) => on("put", prefix + name, new Response(data));

/** Remove bytes or a record. */
export const forget = (name) => on("delete", prefix + name);

/** The names that are there: digests and records. */
export const held = async () => new Set((await on("keys")).map(({ url }) => url.slice(prefix.length)));

/** Remove all bytes but the `wanted`, and what is recorded of models that are not among them. */
export async function retain(wanted) {
  for (const name of await held()) if (DIGEST.test(name) && !wanted.has(name.slice(-64))) await forget(name);
}

/** Read a record, undefined if there is none. */
export const record = async (name) => (await get(name))?.json();

/** Write a record. */
export const write = (name, value) => put(name, JSON.stringify(value));

/** All records whose names begin so: [name, value]. */
export async function records(start) {
  const names = [...(await held())].filter((name) => name.startsWith(start));
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
export const clear = () => caches.delete(place);
