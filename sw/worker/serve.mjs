// Answers from the store: whole files, ranges, repairs. Nothing leaves here that the manifest does not vouch for.

import { range } from "./route.mjs";
import { kept } from "./versions.mjs";

/** Answer `request` with a file; `bring(piece)` gives the verified bytes of a piece that is not stored. */
export async function answered(request, { size, type, sha256, pieces }, bring, isolate) {
  const tag = `"${sha256}"`;
  const span = (request.headers.get("If-Range") ?? tag) === tag ? range(request.headers.get("Range"), size) : null;
  const [start, end] = span || [0, size];
  const headers = {
    "Content-Type": type,
    "Accept-Ranges": "bytes",
    "X-Content-Type-Options": "nosniff",
    ETag: tag,
    ...(isolate && {
      "Cross-Origin-Opener-Policy": "same-origin",
      "Cross-Origin-Embedder-Policy": "require-corp",
      "Cross-Origin-Resource-Policy": "same-origin",
    }),
    ...(span !== null && { "Content-Range": `bytes ${span ? `${start}-${end - 1}` : "*"}/${size}` }),
  };
  if (span === false) return new Response(null, { status: 416, headers });
  const init = { status: span ? 206 : 200, headers: { ...headers, "Content-Length": end - start } };
  if (request.method === "HEAD") return new Response(null, init);
  const needed = pieces.filter((piece) => piece.start < end && piece.start + piece.size > start);
  const cut = async (piece) =>
    (await kept(piece, bring)).slice(Math.max(0, start - piece.start), Math.min(piece.size, end - piece.start));
  // The first piece before the head: what cannot be had is an error, not a body that breaks off.
  let next = needed[0] && (await cut(needed[0]));
  if (needed.length < 2) return new Response(next, init);
  let number = 0;
  const body = new ReadableStream({
    async pull(controller) {
      controller.enqueue(new Uint8Array(await (next ?? (await cut(needed[number]))).arrayBuffer()));
      next = undefined;
      if (++number === needed.length) controller.close();
    },
  });
  return new Response(body, init);
}
