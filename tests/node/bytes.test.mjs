import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { gathered, gunzip, hashOf, patched } from "../../sw/worker/bytes.mjs";

const stream = (...blocks) =>
  new ReadableStream({
    start(controller) {
      for (const block of blocks) controller.enqueue(Uint8Array.from(block));
      controller.close();
    },
  });
const silent = () => {};
const old = Uint8Array.from([1, 2, 3, 4, 5]);

test("a digest is lower-case hex of 64 digits", async () => {
  assert.equal(await hashOf(new Uint8Array()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
});

test("a stream is read past what is to be skipped, and not past what is wanted", async () => {
  for (const [most, skip, wanted] of [
    [10, 0, [1, 2, 3, 4, 5, 6]],
    [4, 0, [1, 2, 3, 4]],
    [2, 3, [4, 5]],
    [9, 5, [6]],
    [9, 9, []],
    [0, 0, []],
  ])
    assert.deepEqual([...(await gathered(stream([1, 2], [3], [4, 5, 6]), most, skip, silent))], wanted);
});

test("gzip is unpacked no further than it may go", async () => {
  const bomb = gzipSync(Buffer.alloc(10_000_000));
  assert.equal((await gunzip(bomb, 100)).length, 100);
  assert.equal((await gunzip(gzipSync(Buffer.from("abc")), 100)).length, 3);
  await assert.rejects(gunzip(Buffer.from("no gzip"), 100));
});

test("a patch copies and inserts", () => {
  assert.deepEqual([...patched(old, Uint8Array.from([1, 1, 3, 0, 2, 9, 8, 1, 0, 1]), 6)], [2, 3, 4, 9, 8, 1]);
  const long = new Uint8Array(300).fill(7);
  assert.deepEqual([...patched(long, Uint8Array.from([1, 0xac, 1, 0x80, 1].slice(0, 1).concat([0, 0xac, 2])), 300)], [...long]);
});

test("a patch that would give anything else is refused", () => {
  for (const [name, operations, size] of [
    ["copies past the old end", [1, 3, 4], 4],
    ["copies from beyond", [1, 200, 1, 1], 1],
    ["inserts more than it has", [0, 5, 1], 5],
    ["gives too much", [1, 0, 5], 4],
    ["gives too little", [1, 0, 2], 4],
    ["breaks off in a number", [1, 0x80], 1],
    ["has a number without an end", [1, ...Array(40).fill(0xff)], 1],
    ["does what is not known", [2, 0, 1], 1],
    ["is empty", [], 1],
  ])
    assert.throws(() => patched(old, Uint8Array.from(operations), size), RangeError, name);
});
