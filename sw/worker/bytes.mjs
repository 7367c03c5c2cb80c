// Bytes: digests, streams that end where they should, and the patches of docs/web-format.md §4.

/** Lower-case hex SHA-256 of a buffer. */
export async function hashOf(data) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Read a stream past its first `skip` bytes, and no further than `most` after them; `heard` is told of each block's size. */
export async function gathered(stream, most, skip, heard) {
  const reader = stream.getReader();
  const data = new Uint8Array(most);
  let at = 0;
  while (at < most) {
    const { done, value } = await reader.read();
    if (done) break;
    heard(value.length);
    const block = value.subarray(skip, skip + most - at);
    skip = Math.max(0, skip - value.length);
    data.set(block, at);
    at += block.length;
  }
  // What follows is not wanted, and whether it can still be stopped is nobody's concern.
  reader.cancel().catch(() => {});
  return data.subarray(0, at);
}

/** Unpack gzip, no further than `most` bytes. */
export function gunzip(data, most) {
  return gathered(new Response(data).body.pipeThrough(new DecompressionStream("gzip")), most, 0, () => {});
}

/** Apply unpacked patch operations to `old`; `size` is what must come out. Throws if anything else would. */
export function patched(old, operations, size) {
  const made = new Uint8Array(size);
  let at = 0;
  let end = 0;
  const number = () => {
    for (let value = 0, scale = 1; ; scale *= 128) {
      const byte = operations[at++];
      value += (byte & 127) * scale;
      // Past the end of the operations there are no numbers either.
      if (!(value < 2 ** 53)) throw RangeError();
      if (byte < 128) return value;
    }
  };
  while (at < operations.length) {
    const kind = operations[at++];
    const start = kind ? number() : 0;
    const length = number();
    const piece = kind ? old.subarray(start, start + length) : operations.subarray(at, (at += length));
    if (kind > 1 || piece.length !== length || end + length > size) throw RangeError();
    made.set(piece, end);
    end += length;
  }
  if (end !== size) throw RangeError();
  return made;
}
