// What is still to be fetched for a version, and by which way: pure.

/** All pieces of a release. */
export const piecesOf = ({ files }) => [...files.values()].flatMap(({ pieces }) => pieces);

/** Divide what is missing into jobs: patches from what is there, packs that are mostly wanted, single pieces. */
export function planned({ manifest, files }, held) {
  const list = [...files.values()];
  const wanted = new Map();
  for (const { group, pieces } of list)
    for (const piece of pieces)
      if (!held.has(piece.sha256) && !wanted.get(piece.sha256)?.required)
        wanted.set(piece.sha256, { piece, size: piece.size, required: manifest.groups[group].required });
  const jobs = [];
  for (const patch of manifest.patches) {
    const job = held.has(patch.from) && wanted.get(patch.to);
    if (job) {
      jobs.push({ ...job, patch, size: patch.size });
      wanted.delete(patch.to);
    }
  }
  for (const pack of manifest.packs) {
    const inside = pack.files.map((number) => list[number].pieces[0]);
    const jobsInside = [...new Set(inside.map(({ sha256 }) => wanted.get(sha256)))].filter(Boolean);
    if (2 * jobsInside.reduce((sum, { size }) => sum + size, 0) >= pack.size) {
      // Without the pack, which saves requests and is never needed, each comes for itself.
      const required = jobsInside.some((job) => job.required);
      jobs.push({ piece: pack, size: pack.size, required, inside, instead: jobsInside });
      for (const { piece } of jobsInside) wanted.delete(piece.sha256);
    }
  }
  return [...jobs, ...wanted.values()].sort((one, other) => other.required - one.required);
}
