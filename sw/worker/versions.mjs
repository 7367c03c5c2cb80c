// Versions and the models in them: read back from the store, and kept for as long as somebody uses them.

import { fault, line } from "./fetch.mjs";
import { piecesOf } from "./plan.mjs";
import { indexed } from "./route.mjs";
import { current, get, held, put, record, records, retain, scope, write } from "./store.mjs";

export const never = new AbortController().signal;
const known = new Map();

/** The bytes under a digest: stored, or brought and stored. */
export async function kept(piece, bring) {
  const blob = await (await get(piece.sha256))?.blob();
  if (blob && blob.size === piece.size) return blob;
  const data = await bring(piece);
  // A browser that took it once may take it again: nobody waits for that.
  put(piece.sha256, data).catch(() => {});
  return new Blob([data]);
}

const parsed = async (piece, bring, made) => {
  const name = piece.sha256;
  if (!known.has(name)) known.set(name, made(JSON.parse(await (await kept(piece, bring)).text())));
  return known.get(name);
};

/** A version, from the record that names it. Throws a fault if its manifest is lost and cannot be had. */
export function version({ sha256, size }) {
  return parsed({ path: `manifest.${sha256.slice(0, 16)}.json`, sha256, size }, line([scope], never), indexed);
}

/** The files of a model as a modelport manifest has them: each the concatenation of whole parts. */
export function modelFiles({ files, parts }) {
  return new Map(
    files.map(({ path, size: whole, sha256: digest, chunks }) => {
      let start = 0;
      // A part that comes twice is begun twice.
      const begun = chunks.filter(([, offset]) => !offset);
      const pieces = begun.map(([number]) => {
        const { blake3, sha256, size } = parts[number];
        start += size;
        return { path: `parts/${blake3.slice(0, 2)}/${blake3}`, sha256, start: start - size, size };
      });
      if (start !== whole) throw fault("profile", path, whole, start);
      return [path, { size: whole, sha256: digest, type: "application/octet-stream", pieces }];
    }),
  );
}

/** A model of a version: its files by path, and what brings a piece of one. Noted, so that no sweep takes its parts. */
export async function model({ manifest: { models } }, id, signal = never) {
  const { tree, manifest: path, sha256, size } = models[id];
  const bring = line([new URL(tree.replace(/\/?$/, "/"), scope).href], signal);
  const files = await parsed({ path, sha256, size }, bring, modelFiles);
  if (!(await get(`model/${sha256}`))) await write(`model/${sha256}`, { id, names: piecesOf({ files }).map((piece) => piece.sha256) });
  return { files, bring, sha256 };
}

/** Remove what no version that is kept needs; `tight` keeps only what is shown or open. */
export async function sweep(tight) {
  const now = await current();
  const users = (await records("client/")).map(([, value]) => value.version);
  const installing = await record("installing");
  const wanted = new Set();
  const models = await records("model/");
  for (const one of [now, installing, !tight && now?.before, ...users]) {
    if (!one || wanted.has(one.sha256) || !(await get(one.sha256))) continue;
    wanted.add(one.sha256);
    const release = await version(one);
    for (const piece of piecesOf(release)) wanted.add(piece.sha256);
    for (const [key, { id, names }] of models) {
      // Until a model's new version is there, the parts of the old one save its download.
      const shown = release.manifest.models[id]?.sha256;
      const digest = key.slice(6);
      if (digest === shown || (shown && !(await get(`ready/${shown}`))))
        for (const name of [digest, ...names]) wanted.add(name);
    }
  }
  await retain(wanted);
  return held();
}
