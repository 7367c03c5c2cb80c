// Bytes from the network, believed only when size and digest are right: retries, deadlines, mirrors, a circuit breaker.

import { sha256 } from "./bytes.mjs";

/** What failed, by name: http, network, stall, size, hash, quota, manifest, paused. */
export class Fault extends Error {
  constructor(kind, url, expected, found) {
    super(`${kind}: ${url}: expected ${expected}, found ${found}`);
    Object.assign(this, { kind, url, expected, found });
  }
}

// By this Accept, which needs no preflight, the worker knows the engine's own requests and lets them pass.
export const ACCEPT = "application/vnd.modelport";
const STALL_MS = 10_000;
const TRIES = 4;
// So many failures of the network in a row mean that there is none: more would only drain a battery.
const BREAK_AFTER = 5;

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** A line to a site and its mirrors. `signal` ends it. */
export class Line {
  constructor(bases, signal, heard = () => {}) {
    Object.assign(this, { bases, signal, heard, failed: 0, received: 0 });
  }

  /** Fetch `size` bytes at `start` of `path` (all of it if `whole` says so), with digest `hash`. */
  async bytes(path, { size, start = 0, whole = size, hash }) {
    let last;
    for (let attempt = 0, gone = 0; attempt < Math.max(TRIES, this.bases.length); attempt++) {
      if (this.failed >= BREAK_AFTER) throw new Fault("network", path, "an answer", "none for a while");
      if (attempt) await wait(Math.random() * Math.min(3000, 100 * 4 ** attempt));
      const url = new URL(path, this.bases[attempt % this.bases.length]).href;
      try {
        const data = await this.once(url, { size, start, whole, cache: attempt ? "reload" : "default" });
        const found = await sha256(data);
        if (found !== hash) throw new Fault("hash", url, hash, found);
        this.failed = 0;
        return data;
      } catch (error) {
        if (this.signal.aborted) throw new Fault("paused", path, "to go on", "a stop");
        last = error instanceof Fault ? error : new Fault("network", url, "an answer", error.message);
        this.failed = last.kind === "network" || last.kind === "stall" ? this.failed + 1 : 0;
        if (last.status === 404 || last.status === 410) gone++;
        if (gone === 2 && this.bases.length < 2) break;
      }
    }
    throw last;
  }

  /** One request; the body is read no further than it may be long. */
  async once(url, { size, start, whole, cache }) {
    const stop = new AbortController();
    const ended = () => stop.abort();
    this.signal.addEventListener("abort", ended);
    let stalled = false;
    let timer;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort((stalled = true)), STALL_MS);
    };
    try {
      alive();
      const headers = { Accept: ACCEPT };
      const part = size !== whole;
      if (part) headers.Range = `bytes=${start}-${start + size - 1}`;
      const answer = await fetch(url, { headers, cache, signal: stop.signal, credentials: "same-origin" });
      if (!answer.ok) throw Object.assign(new Fault("http", url, 200, answer.status), { status: answer.status });
      // A server without ranges sends all of it: what stands before the part is passed over.
      let skip = part && answer.status !== 206 ? start : 0;
      const reader = answer.body.getReader();
      const data = new Uint8Array(size);
      let at = 0;
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        alive();
        const block = value.subarray(Math.min(skip, value.length));
        skip -= value.length - block.length;
        if (at + block.length > size) {
          if (!part) throw new Fault("size", url, size, "more");
          data.set(block.subarray(0, size - at), at);
          this.heard(size - at);
          at = size;
          reader.cancel().catch(() => {});
          break;
        }
        data.set(block, at);
        at += block.length;
        this.received += block.length;
        this.heard(block.length);
      }
      if (at !== size) throw new Fault("size", url, size, at);
      return data;
    } catch (error) {
      throw stalled ? new Fault("stall", url, "bytes", `none for ${STALL_MS / 1000} s`) : error;
    } finally {
      clearTimeout(timer);
      this.signal.removeEventListener("abort", ended);
    }
  }
}
