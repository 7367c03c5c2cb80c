// Model files as wholes: a release of profile web, its parts fetched when they are asked for (docs/web-format.md §6).

import { Fault, Line } from "./fetch.mjs";

const TYPES = { json: "application/json", txt: "text/plain; charset=utf-8", wasm: "application/wasm" };

/** Divide `models/<id>/<path>`; null for any other path. */
export function modelPath(path) {
  const match = /^models\/([^/]+)\/(.+)$/.exec(path);
  return match && { id: match[1], file: match[2] };
}

/** The files of a model as a modelport manifest has them: each the concatenation of whole parts. */
export function modelFiles(manifest) {
  const files = new Map();
  for (const { path, size, sha256, chunks } of manifest.files) {
    const numbers = [...new Set(chunks.map(([part]) => part))];
    const parts = numbers.map((number) => manifest.parts[number]);
    if (parts.reduce((sum, part) => sum + part.size, 0) !== size || chunks.some(([, , , , , encoding]) => encoding !== "raw"))
      throw new Fault("manifest", path, "whole parts", "a release of another profile");
    let start = 0;
    const list = parts.map((part) => ({
      path: `parts/${part.blake3.slice(0, 2)}/${part.blake3}`,
      name: part.sha256,
      start: (start += part.size) - part.size,
      size: part.size,
      whole: part.size,
    }));
    const type = TYPES[path.slice(path.lastIndexOf(".") + 1)] ?? "application/octet-stream";
    files.set(path, { path, size, sha256, type, list });
  }
  return files;
}

/** Read a model's manifest, from the store or its tree; its parts are noted so that no sweep takes them. */
export async function openModel(store, model, signal) {
  const line = new Line([model.tree.replace(/\/?$/, "/")], signal);
  const kept = await store.get(model.sha256);
  const data = kept ? await kept.arrayBuffer() : await line.bytes(model.manifest, { size: model.size, hash: model.sha256 });
  if (!kept) await store.put(model.sha256, data);
  const files = modelFiles(JSON.parse(new TextDecoder().decode(data)));
  const names = [...files.values()].flatMap(({ list }) => list.map(({ name }) => name));
  if (!kept) await store.write(`model/${model.sha256}`, { release: model.release, names });
  const bring = (piece) => line.bytes(piece.path, { size: piece.size, hash: piece.name });
  return { files, names, bring, line };
}
