import assert from "node:assert/strict";
import { test } from "node:test";

import { piecesOf, planned } from "../../sw/worker/plan.mjs";
import { indexed } from "../../sw/worker/route.mjs";

const release = (files, packed) =>
  indexed({ types: ["x"], groups: { app: { required: true }, later: { required: false } }, files, packed });
const file = (name, size = 10, group = "app", digest = name, more = {}) => [name, size, digest, 0, group, more];
const told = (jobs) => jobs.map(({ piece, origin, size }) => [piece.path, origin, size]);

test("what is there is not fetched, and what two files share comes once", () => {
  const jobs = planned(release([file("a"), file("b"), file("c", 10, "app", "b")]), new Set(["a"]));
  assert.deepEqual(told(jobs), [["b", undefined, 10]]);
});

test("what is required comes first", () => {
  const jobs = planned(release([file("late", 10, "later"), file("soon")]), new Set());
  assert.deepEqual(
    jobs.map(({ piece, required }) => [piece.path, required]),
    [
      ["soon", true],
      ["late", false],
    ],
  );
});

test("bytes that a required file shares with an optional one are required", () => {
  for (const order of [["later", "app"], ["app", "later"]]) {
    const jobs = planned(release(order.map((group, number) => file(`${number}`, 10, group, "same"))), new Set());
    assert.deepEqual(jobs.map(({ required }) => required), [true]);
  }
});

test("a pack is fetched if half of it is wanted, and says what it spares", () => {
  const packed = [["digits", 3]];
  const files = [file("a"), file("b"), file("c")];
  const [job, ...rest] = planned(release(files, packed), new Set(["a"]));
  assert.equal(rest.length, 0);
  assert.deepEqual([job.piece, job.size], [{ path: "packs/pack.digits.bin", sha256: "digits", size: 30 }, 30]);
  assert.deepEqual(told(job.instead), [["b", undefined, 10], ["c", undefined, 10]]);
  assert.deepEqual(job.inside.map(({ sha256 }) => sha256), ["a", "b", "c"]);
  assert.deepEqual(told(planned(release(files, packed), new Set(["a", "b"]))), [["c", undefined, 10]]);
});

test("each pack has the files after those of the pack before it, and what is left comes for itself", () => {
  const jobs = planned(release(["a", "b", "c", "d", "e"].map((name) => file(name)), [["one", 2], ["two", 2]]), new Set());
  assert.deepEqual(
    jobs.map(({ piece, inside = [] }) => [piece.path, ...inside.map(({ sha256 }) => sha256)]),
    [["packs/pack.one.bin", "a", "b"], ["packs/pack.two.bin", "c", "d"], ["e"]],
  );
});

test("a manifest without packs has each file for itself", () => {
  assert.deepEqual(told(planned(release([file("a")]), new Set())), [["a", undefined, 10]]);
});

test("a patch is used if what it begins with is there", () => {
  const files = [file("x", 10, "app", "new", { patch: ["old", 3] })];
  assert.deepEqual(told(planned(release(files), new Set(["other", "old and more digits"]))), [["x", "old and more digits", 3]]);
  assert.deepEqual(told(planned(release(files), new Set(["other"]))), [["x", undefined, 10]]);
});

test("what a patch leads to is no reason to fetch a pack", () => {
  const files = [file("a"), file("b", 20, "app", "b", { patch: ["old", 3] })];
  assert.deepEqual(told(planned(release(files, [["digits", 2]]), new Set(["a", "old"]))), [["b", "old", 3]]);
});

test("all pieces of a release are its files and their parts", () => {
  const big = ["big", 15, "whole", 0, "app", { parts: [10, ["p", "q"]] }];
  assert.deepEqual(piecesOf(release([file("a"), big])).map(({ sha256 }) => sha256), ["a", "p", "q"]);
});

test("what is of no group is not fetched, but for bytes that another file needs", () => {
  const files = [file("a"), file("b", 10, "asked"), file("c", 10, "asked", "a")];
  assert.deepEqual(told(planned(release(files), new Set())), [["a", undefined, 10]]);
});
