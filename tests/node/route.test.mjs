import assert from "node:assert/strict";
import { test } from "node:test";

import { fallback, found, ignorable, indexed, moved, range } from "../../sw/worker/route.mjs";

const file = (path, more = {}) => [path, 10, `digest of ${path}`, 0, "app", more];
const release = (paths, navigate = {}) =>
  indexed({
    types: ["text/html"],
    files: paths.map((path) => file(path)),
    navigate: { fallback: "", allow: [], deny: [], clean_urls: true, ignore: ["utm_*", "ref"], ...navigate },
  });
const site = release(["index.html", "about.html", "docs/index.html", "a.js"]);

test("a range is read as RFC 9110 has it", () => {
  for (const [header, size, wanted] of [
    ["bytes=0-9", 100, [0, 10]],
    ["bytes=90-", 100, [90, 100]],
    ["bytes=-10", 100, [90, 100]],
    ["bytes=-1000", 100, [0, 100]],
    ["bytes=95-1000", 100, [95, 100]],
    ["bytes=0-0", 1, [0, 1]],
    ["bytes=100-", 100, false],
    ["bytes=-0", 100, false],
    ["bytes=0-", 0, false],
    ["bytes=5-4", 100, null],
    ["bytes=-", 100, null],
    ["bytes=0-1,3-4", 100, null],
    ["items=0-1", 100, null],
    ["bytes=a-b", 100, null],
    ["", 100, null],
    [null, 100, null],
  ])
    assert.deepEqual(range(header, size), wanted, String(header));
});

test("a path leads to its file, its folder's index or its clean address", () => {
  const path = (asked, of = site) => [...of.files].find(([, one]) => one === found(of, asked))?.[0];
  assert.equal(path(""), "index.html");
  assert.equal(path("docs/"), "docs/index.html");
  assert.equal(path("about"), "about.html");
  assert.equal(path("a.js"), "a.js");
  assert.equal(path("docs"), undefined);
  assert.equal(path("about/"), undefined);
  assert.equal(path("about", release(["about.html"], { clean_urls: false })), undefined);
  assert.equal(path("__proto__"), undefined);
});

test("an address with a slash too many or too few leads on", () => {
  assert.equal(moved(site, "docs"), "docs/");
  assert.equal(moved(site, "about/"), "about");
  assert.equal(moved(site, "nothing"), undefined);
  assert.equal(moved(site, "/"), undefined);
});

test("the fallback answers what is allowed and not denied", () => {
  const with_ = (navigate) => release(["index.html"], { fallback: "index.html", ...navigate });
  const answers = (path, navigate) => fallback(with_(navigate), path) !== undefined;
  assert.equal(answers("users/7", {}), true);
  assert.equal(answers("users/7", { allow: ["^users/"] }), true);
  assert.equal(answers("other", { allow: ["^users/"] }), false);
  assert.equal(answers("users/api", { allow: ["^users/"], deny: ["api$"] }), false);
  assert.equal(answers("users/7", { fallback: "" }), false);
  assert.equal(answers("users/7", { fallback: "missing.html" }), false);
});

test("a query is ignored only if each of its parameters is", () => {
  for (const [search, wanted] of [
    ["", true],
    ["?utm_source=a&ref=b", true],
    ["?utm_source=a&page=2", false],
    ["?refs=1", false],
    ["?ref", true],
  ])
    assert.equal(ignorable(site, search), wanted, search);
});

test("a large file lies in pieces that make it up", () => {
  const { files } = indexed({ types: ["x"], files: [["big", 25, "whole", 0, "app", { parts: [10, ["a", "b", "c"]], source: "b" }]] });
  const { pieces, hashed } = files.get("big");
  assert.deepEqual(
    pieces.map(({ sha256, start, size, whole }) => [sha256, start, size, whole]),
    [
      ["a", 0, 10, 25],
      ["b", 10, 10, 25],
      ["c", 20, 5, 25],
    ],
  );
  assert.equal(hashed, "b");
});
