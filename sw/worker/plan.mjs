// What is still to be fetched for a version, and by which way: pure.

/** The pieces of a file: itself, or its parts. Each has a name in the store, where it starts, and its size. */
export function pieces({ path, size, sha256, parts, list }) {
  if (list) return list;
  if (!parts) return [{ path, name: sha256, start: 0, size, whole: size }];
  const [step, names] = parts;
  return names.map((name, number) => ({
    path,
    name,
    start: number * step,
    size: Math.min(step, size - number * step),
    whole: size,
  }));
}

/** Divide what is missing into jobs: packs that are mostly wanted, patches from what is there, single pieces. */
export function planned({ manifest, files }, has) {
  const list = [...files.values()];
  const wanted = new Map();
  for (const file of list)
    for (const piece of pieces(file)) if (!has(piece.name) && !wanted.has(piece.name)) wanted.set(piece.name, { ...piece, file });
  const jobs = [];
  for (const pack of manifest.packs) {
    const inside = pack.files.map((number) => list[number]);
    const missing = inside.filter(({ sha256 }) => wanted.has(sha256));
    if (missing.length > 1 && 2 * missing.reduce((sum, { size }) => sum + size, 0) >= pack.size) {
      jobs.push({ pack, inside, size: pack.size, group: "app" });
      for (const { sha256 } of missing) wanted.delete(sha256);
    }
  }
  const ways = new Map(manifest.patches.map((patch) => [patch.to, patch]));
  for (const piece of wanted.values()) {
    const patch = ways.get(piece.name);
    const use = patch && has(patch.from);
    jobs.push({ piece, patch: use ? patch : undefined, size: use ? patch.size : piece.size, group: piece.file.group });
  }
  const required = ({ group }) => (manifest.groups[group]?.required ? 0 : 1);
  return jobs.sort((one, other) => required(one) - required(other));
}

/** The names that a version keeps alive. */
export function named({ files }) {
  return [...files.values()].flatMap((file) => pieces(file).map(({ name }) => name));
}
