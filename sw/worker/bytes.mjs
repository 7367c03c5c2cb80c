// Bytes: digests, and the patches of docs/web-format.md §4. Pure, but for the platform's own hash and gunzip.

/** Lower-case hex SHA-256 of a buffer. */
export async function sha256(data) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Unpack gzip, no further than `most` bytes. */
export async function gunzip(data, most) {
  const reader = new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip")).getReader();
  const blocks = [];
  for (let size = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return joined(blocks, size);
    size += value.length;
    if (size > most) {
      reader.cancel();
      throw new RangeError("unpacks to more than it may");
    }
    blocks.push(value);
  }
}

/** One Uint8Array of several. */
export function joined(blocks, size) {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const block of blocks) {
    whole.set(block, at);
    at += block.length;
  }
  return whole;
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
      if (!(byte < 256 && value <= Number.MAX_SAFE_INTEGER)) throw new RangeError("no number");
      if (byte < 128) return value;
    }
  };
  while (at < operations.length) {
    const kind = operations[at++];
    const from = kind === 1 ? number() : 0;
    const length = number();
    const piece = kind ? old.subarray(from, from + length) : operations.subarray(at, at + length);
    if (kind > 1 || piece.length !== length || end + length > size) throw new RangeError("no patch");
    made.set(piece, end);
    end += length;
    if (!kind) at += length;
  }
  if (end !== size) throw new RangeError("too short a patch");
  return made;
}
