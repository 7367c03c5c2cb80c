// What is still to be fetched for a version, and by which way: pure.

/** All pieces of a release. */
export const piecesOf = ({ files }) => [...files.values()].flatMap(({ pieces }) => pieces);

/** The bytes that jobs, or pieces, have together. */
export const total = (all) => all.reduce((sum, { size }) => sum + size, 0);

/** Divide what is missing into jobs: patches from what is there, packs that are mostly wanted, single pieces. */
export function planned({ manifest, files }, held) {
  const all = piecesOf({ files });
  const wanted = new Map();
  for (const { group, pieces, way = [] } of files.values()) {
    // What is of none of the groups comes when it is asked for.
    if (!manifest.groups[group]) continue;
    const [digits, most] = way;
    const origin = digits && [...held].find((name) => name.startsWith(digits));
    for (const piece of pieces)
      if (!held.has(piece.sha256) && !wanted.get(piece.sha256)?.required)
        wanted.set(piece.sha256, { piece, origin, size: origin ? most : piece.size, required: manifest.groups[group].required });
  }
  const jobs = [];
  for (const [sha256, count] of manifest.packed ?? []) {
    const inside = all.splice(0, count);
    const size = total(inside);
    const instead = [...new Set(inside.map((piece) => wanted.get(piece.sha256)))].filter((job) => job && !job.origin);
    if (2 * total(instead) >= size) {
      // Without the pack, which saves requests and is never needed, each comes for itself.
      const piece = { path: `packs/pack.${sha256}.bin`, sha256, size };
      jobs.push({ piece, size, required: instead.some((job) => job.required), inside, instead });
      for (const { piece } of instead) wanted.delete(piece.sha256);
    }
  }
  return [...jobs, ...wanted.values()].sort((one, other) => other.required - one.required);
}
