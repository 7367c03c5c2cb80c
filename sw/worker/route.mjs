// Which file answers a request: pure decisions over a manifest (docs/web-format.md §3).

/** Prepare a manifest for questions: its files by path, each with the pieces that it is stored in. */
export function indexed(manifest) {
  const files = new Map();
  for (const [name, whole, digest, type, group, { parts: [step, digests] = [whole, [digest]], patch, source }] of manifest.files) {
    const path = name.replace(":", digest.slice(0, 16));
    const pieces = digests.map((sha256, number) => {
      const start = number * step;
      return { path, sha256, start, size: Math.min(step, whole - start), whole };
    });
    files.set(path, { size: whole, sha256: digest, type: manifest.types[type], group, pieces, way: patch, hashed: source ?? name !== path });
  }
  return { manifest, files };
}

/** The file that a path stands for, with clean URLs where the release has them. */
export function found({ manifest, files }, path) {
  const page = /(^|\/)$/.test(path) ? `${path}index.html` : manifest.navigate.clean_urls && `${path}.html`;
  return files.get(path) ?? files.get(page);
}

/** Where a page moved that is asked for with a slash too many or too few: from there its relative references hold. */
export function moved(release, path) {
  const other = path.endsWith("/") ? path.slice(0, -1) : `${path}/`;
  return other && found(release, other) ? other : undefined;
}

/** The page that answers a navigation to a path with no file, if the release has one for it. */
export function fallback({ manifest, files }, path) {
  const { fallback: page, allow, deny } = manifest.navigate;
  const some = (patterns) => patterns.some((pattern) => new RegExp(pattern).test(path));
  return !page || some(deny) || (allow.length && !some(allow)) ? undefined : files.get(page);
}

/** Whether every query parameter is one that the release ignores. */
export function ignorable({ manifest }, search) {
  return [...new URLSearchParams(search).keys()].every((key) =>
    manifest.navigate.ignore.some((name) => (name.endsWith("*") ? key.startsWith(name.slice(0, -1)) : key === name)),
  );
}

/** Read a Range header (RFC 9110 §14.1.2): [start, end), null for what is to be ignored, false for what cannot be met. */
export function range(header, size) {
  const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(header) ?? [];
  if (!(first || last) || (first && last && +last < +first)) return null;
  const start = first ? +first : Math.max(0, size - last);
  const end = first && last ? Math.min(size, +last + 1) : size;
  return start < end ? [start, end] : false;
}
