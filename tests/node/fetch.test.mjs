import assert from "node:assert/strict";
import { afterEach, mock, test } from "node:test";

import { hashOf } from "../../sw/worker/bytes.mjs";
import { address, line, transfer } from "../../sw/worker/fetch.mjs";

const bytes = new TextEncoder().encode("bytes");
const piece = { path: "a b?.js", size: bytes.length, sha256: await hashOf(bytes) };
const good = () => new Response(bytes);
const dead = () => Promise.reject(new TypeError("no network"));
const signal = new AbortController().signal;
let asked;

function answering(...answers) {
  asked = [];
  mock.method(Math, "random", () => 0);
  mock.method(globalThis, "fetch", async (url, init) => {
    asked.push([url, init]);
    return answers[Math.min(asked.length, answers.length) - 1]();
  });
}

afterEach(() => mock.restoreAll());

test("an address keeps what stands in a name", () => {
  assert.equal(address("a b?#%.js", "https://h/x/"), "https://h/x/a%20b%3F%23%25.js");
  assert.equal(address("é/@+.js", "https://h/x/"), "https://h/x/%C3%A9/@+.js");
});

test("right bytes are given at once, by the way of the cache", async () => {
  answering(good);
  assert.deepEqual(await line(["https://h/"], signal)(piece), bytes);
  assert.deepEqual(asked.map(([url, { cache }]) => [url, cache]), [["https://h/a%20b%3F.js", "force-cache"]]);
});

test("wrong bytes are asked for again, past the cache", async () => {
  answering(() => new Response("bytez"), good);
  assert.deepEqual(await line(["https://h/"], signal)(piece), bytes);
  assert.deepEqual(asked.map(([, { cache }]) => cache), ["force-cache", "reload"]);
});

test("four times is enough, and the fault names what was promised", async () => {
  answering(() => new Response("bytez"));
  await assert.rejects(line(["https://h/"], signal)(piece), ({ kind, url, expected, found }) => {
    assert.deepEqual([kind, url, expected], ["hash", "https://h/a%20b%3F.js", piece.sha256]);
    return found !== expected;
  });
  assert.equal(asked.length, 4);
});

test("what is gone twice is gone", async () => {
  answering(() => new Response("", { status: 404 }));
  await assert.rejects(line(["https://h/"], signal)(piece), { kind: "http", found: 404 });
  assert.equal(asked.length, 2);
});

test("a mirror is next, and stays when it helps", async () => {
  answering(() => new Response("", { status: 503 }), good, good);
  const bring = line(["https://h/", "https://m/"], signal);
  await bring(piece);
  await bring(piece);
  assert.deepEqual(asked.map(([url]) => new URL(url).host), ["h", "m", "m"]);
});

test("failures that were under way together count once, so a mirror is tried before the line breaks", async () => {
  answering(dead, dead, dead, dead, dead, dead, good);
  const bring = line(["https://h/", "https://m/"], signal);
  const all = await Promise.all(Array.from({ length: 6 }, () => bring(piece)));
  assert.equal(all.length, 6);
});

test("a dead network breaks the line, and then nothing is tried twice", async () => {
  answering(dead);
  const bring = line(["https://h/"], signal);
  await assert.rejects(bring(piece), { kind: "network" });
  await assert.rejects(bring(piece), { kind: "network", over: true });
  const before = asked.length;
  await assert.rejects(bring(piece), { over: true });
  assert.equal(asked.length, before + 1);
});

test("progress that came to nothing is taken back", async () => {
  answering(() => new Response("bytez"), good);
  let heard = 0;
  await line(["https://h/"], signal)(piece, (count) => (heard += count));
  assert.equal(heard, bytes.length);
});

test("a part is asked for as a range, and cut out of the whole where a host has no ranges", async () => {
  const part = { size: 2, start: 1, whole: 5 };
  answering(() => new Response("yt", { status: 206 }), good);
  assert.deepEqual(await transfer("https://h/", part, signal, () => {}), bytes.subarray(1, 3));
  assert.equal(asked[0][1].headers.Range, "bytes=1-2");
  assert.deepEqual(await transfer("https://h/", part, signal, () => {}), bytes.subarray(1, 3));
});

test("a body that is longer or shorter than it may be is refused", async () => {
  answering(() => new Response("bytes and more"), () => new Response("by"));
  await assert.rejects(transfer("https://h/", { size: 5 }, signal, () => {}), { kind: "size" });
  await assert.rejects(transfer("https://h/", { size: 5 }, signal, () => {}), { kind: "size", found: 2 });
  assert.deepEqual(await transfer("https://h/", { size: 5, loose: true }, signal, () => {}), bytes.subarray(0, 2));
});

test("a stop ends it by name, before it began as well", async () => {
  const stopped = AbortSignal.abort();
  answering(() => Promise.reject(new DOMException("aborted", "AbortError")));
  await assert.rejects(line(["https://h/"], stopped)(piece), { kind: "paused" });
});

test("an answer that hangs is a stall", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  mock.method(globalThis, "fetch", (url, init) => new Promise((_, fail) => init.signal.addEventListener("abort", () => fail(new Error()))));
  const waited = transfer("https://h/", { size: 5 }, signal, () => {});
  mock.timers.tick(10_000);
  await assert.rejects(waited, { kind: "stall" });
  mock.timers.reset();
});
