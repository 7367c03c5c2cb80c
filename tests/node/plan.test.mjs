import assert from "node:assert/strict";
import { test } from "node:test";

import { piecesOf, planned } from "../../sw/worker/plan.mjs";
import { indexed } from "../../sw/worker/route.mjs";

const release = (files, { packs = [], patches = [] } = {}) =>
  indexed({ types: ["x"], groups: { app: { required: true }, later: { required: false } }, files, packs, patches });
const file = (name, size = 10, group = "app", digest = name) => [name, size, digest, 0, group, {}];
const told = (jobs) => jobs.map(({ piece, patch, size }) => [piece.path, patch?.path, size]);

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
  const packs = [{ path: "pack", sha256: "pack", size: 30, files: [0, 1, 2] }];
  const files = [file("a"), file("b"), file("c")];
  const [job, ...rest] = planned(release(files, { packs }), new Set(["a"]));
  assert.equal(rest.length, 0);
  assert.deepEqual([job.piece.path, job.size], ["pack", 30]);
  assert.deepEqual(told(job.instead), [["b", undefined, 10], ["c", undefined, 10]]);
  assert.deepEqual(job.inside.map(({ sha256 }) => sha256), ["a", "b", "c"]);
  assert.deepEqual(told(planned(release(files, { packs }), new Set(["a", "b"]))), [["c", undefined, 10]]);
});

test("a patch is used if what it begins with is there", () => {
  const patches = [{ from: "old", to: "new", path: "patch", size: 3 }];
  const files = [file("x", 10, "app", "new")];
  assert.deepEqual(told(planned(release(files, { patches }), new Set(["old"]))), [["x", "patch", 3]]);
  assert.deepEqual(told(planned(release(files, { patches }), new Set())), [["x", undefined, 10]]);
});

test("what a patch leads to is no reason to fetch a pack", () => {
  const patches = [
    { from: "elsewhere", to: "b", path: "other", size: 3 },
    { from: "old", to: "b", path: "patch", size: 3 },
  ];
  const packs = [{ path: "pack", sha256: "pack", size: 30, files: [0, 1] }];
  const jobs = planned(release([file("a"), file("b", 20)], { packs, patches }), new Set(["a", "old"]));
  assert.deepEqual(told(jobs), [["b", "patch", 3]]);
});

test("all pieces of a release are its files and their parts", () => {
  const big = ["big", 15, "whole", 0, "app", { parts: [10, ["p", "q"]] }];
  assert.deepEqual(piecesOf(release([file("a"), big])).map(({ sha256 }) => sha256), ["a", "p", "q"]);
});
