// Answers from the store: whole files, ranges, repairs. Nothing leaves here that the manifest does not vouch for.

import { Line } from "./fetch.mjs";
import { pieces } from "./plan.mjs";
import { range } from "./route.mjs";

const ISOLATED = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};

/** Answer `request` with a file; `bring(piece)` gives the verified bytes of a piece that is not stored. */
export async function answered(store, request, file, bring, isolate) {
  const { size, type, sha256: digest } = file;
  const headers = new Headers({
    "Content-Type": type,
    "Accept-Ranges": "bytes",
    "X-Content-Type-Options": "nosniff",
    ETag: `"${digest}"`,
    ...(isolate ? ISOLATED : {}),
  });
  const unlike = request.headers.get("If-Range");
  const asked = unlike && unlike !== `"${digest}"` ? null : range(request.headers.get("Range"), size);
  if (asked === false) {
    headers.set("Content-Range", `bytes */${size}`);
    return new Response(null, { status: 416, headers });
  }
  const [start, end] = asked ?? [0, size];
  headers.set("Content-Length", end - start);
  if (asked) headers.set("Content-Range", `bytes ${start}-${end - 1}/${size}`);
  const status = asked ? 206 : 200;
  if (request.method === "HEAD") return new Response(null, { status, headers });
  const needed = pieces(file).filter((piece) => piece.start < end && piece.start + piece.size > start);
  const cut = async (piece) => {
    const data = await stored(store, piece, bring);
    return data.slice(Math.max(0, start - piece.start), Math.min(piece.size, end - piece.start));
  };
  // The first piece before the head: what cannot be had is an error, not a body that breaks off.
  const first = needed.length ? await cut(needed.shift()) : new Blob();
  if (!needed.length) return new Response(first, { status, headers });
  const blobs = (async function* () {
    yield first;
    for (const piece of needed) yield cut(piece);
  })();
  const body = new ReadableStream({
    async pull(controller) {
      const { done, value } = await blobs.next();
      if (done) controller.close();
      else controller.enqueue(new Uint8Array(await value.arrayBuffer()));
    },
  });
  return new Response(body, { status, headers });
}

async function stored(store, piece, bring) {
  const kept = await store.get(piece.name);
  if (kept) return kept.blob();
  const data = await bring(piece);
  // A browser that took it once may take it again: serving does not wait for storing.
  store.put(piece.name, data).catch(() => {});
  return new Blob([data]);
}

/** Fetch a piece of a release that its browser lost. */
export function repairing(scope, mirrors) {
  const line = new Line([scope, ...mirrors], new AbortController().signal);
  return ({ path, name, start, size, whole }) => line.bytes(path, { size, start, whole, hash: name });
}
