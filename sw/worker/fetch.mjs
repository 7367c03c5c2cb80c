// Bytes from the network, believed only when size and digest are right: retries, deadlines, mirrors, a circuit breaker.

import { gathered, hashOf } from "./bytes.mjs";

// By this Accept, which needs no preflight, the worker knows the engine's own requests and lets them pass.
export const ACCEPT = "application/vnd.modelport,*/*";
const STALL_MS = 1e4;
// And one for each place that has the bytes.
const TRIES = 3;
// So many failures of the network one after another mean that there is none: more would only drain a battery.
const BREAK_AFTER = 5;

/** What failed, by name: http, network, stall, size, hash, quota, storage, manifest, paused. */
export function fault(kind, url, expected, found) {
  return Object.assign(Error(kind), { kind, url, expected, found });
}

/** Read `size` bytes at `start` of an address that has `whole` of them, at most `size` if `loose`. `signal` ends it. */
export async function transfer(url, { size, start = 0, whole = size, loose }, signal, heard, cache) {
  const stop = new AbortController();
  const end = () => stop.abort();
  const part = size < whole;
  const headers = { Accept: ACCEPT, ...(part && { Range: `bytes=${start}-${start + size - 1}` }) };
  let timer;
  let stalled;
  const alive = (bytes) => {
    clearTimeout(timer);
    timer = setTimeout(() => end((stalled = true)), STALL_MS);
    heard(bytes);
  };
  signal.addEventListener("abort", end);
  if (signal.aborted) end();
  try {
    alive(0);
    const answer = await fetch(url, { cache, headers, signal: stop.signal });
    if (!answer.ok) throw fault("http", url, 200, answer.status);
    // One byte more than there may be, to see it; of a server without ranges all before the part is passed over.
    const data = await gathered(answer.body, part ? size : size + 1, part && answer.status !== 206 ? start : 0, alive);
    if (data.length !== size && !(loose && data.length < size)) throw fault("size", url, size, data.length);
    return data;
  } catch (error) {
    if (signal.aborted) throw fault("paused", url);
    if (stalled) throw fault("stall", url);
    throw error.kind ? error : fault("network", url, 200, error.message);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
  }
}

/** Wait so many milliseconds. */
export const rest = (delay) => new Promise((done) => setTimeout(done, delay));

/** The address of a path below a base. */
export function address(path, base) {
  return new URL(encodeURI(path).replace(/[?#]/g, encodeURIComponent), base).href;
}

/** A line to a site and its mirrors: gives what brings a piece, verified, or throws the last fault; `heard` counts bytes. */
export function line(bases, signal) {
  let broken = 0;
  let brokenAt = 0;
  let base = 0;
  return async (piece, heard = () => {}) => {
    for (let attempt = 1, gone = 0; ; attempt++) {
      const begun = Date.now();
      const used = base;
      const url = address(piece.path, bases[used % bases.length]);
      let got = 0;
      try {
        // Old bytes will do if they are right ones; that saves the question whether they are old.
        const data = await transfer(url, piece, signal, (bytes) => heard(bytes, (got += bytes)), attempt > 1 ? "reload" : "force-cache");
        const found = await hashOf(data);
        // Of a pack only the first digits are known; what is in it is believed by its own digests.
        if (!found.startsWith(piece.sha256)) throw fault("hash", url, piece.sha256, found);
        broken = 0;
        return data;
      } catch (error) {
        heard(-got);
        // Requests that were under way together and failed together say it once.
        if (!/^(network|stall)/.test(error.kind)) broken = 0;
        else if (begun > brokenAt) {
          broken++;
          brokenAt = Date.now();
        }
        if (/^4(04|10)$/.test(error.found)) gone++;
        error.over = broken >= BREAK_AFTER;
        if (error.kind === "paused" || error.over || attempt >= TRIES + bases.length || gone > bases.length) throw error;
        if (used === base) base++;
        await rest(Math.random() * Math.min(3000, 25 * 4 ** attempt));
      }
    }
  };
}
