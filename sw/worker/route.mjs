// Which file answers a request: pure decisions over a manifest (docs/web-format.md §3).

/** Prepare a manifest for questions: its files by path. */
export function indexed(manifest) {
  const files = new Map();
  for (const [path, size, sha256, type, group, more] of manifest.files)
    files.set(path, { path, size, sha256, type: manifest.types[type], group, parts: more.parts });
  return { manifest, files };
}

/** The file that a path stands for, with clean URLs where the release has them. */
export function found({ manifest, files }, path) {
  const clean = manifest.navigate.clean_urls;
  return (
    files.get(path) ??
    (path === "" || path.endsWith("/") ? files.get(path + "index.html") : undefined) ??
    (clean ? (files.get(path + ".html") ?? files.get(path.replace(/\/$/, "") + ".html")) : undefined)
  );
}

/** The page that answers a navigation to a path with no file, if the release has one for it. */
export function fallback({ manifest, files }, path) {
  const { fallback: page, allow, deny } = manifest.navigate;
  const some = (patterns) => patterns.some((pattern) => new RegExp(pattern).test(path));
  return page && !some(deny) && (!allow.length || some(allow)) ? files.get(page) : undefined;
}

/** Whether every query parameter is one that the release ignores. */
export function ignorable({ manifest }, search) {
  return [...new URLSearchParams(search).keys()].every((key) =>
    manifest.navigate.ignore.some((name) => (name.endsWith("*") ? key.startsWith(name.slice(0, -1)) : key === name)),
  );
}

/** Read a Range header (RFC 9110 §14.1.2): [start, end), null for what is to be ignored, false for what cannot be met. */
export function range(header, size) {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? "");
  if (!match || match[1] + match[2] === "") return null;
  const [first, last] = [match[1], match[2]].map((text) => (text === "" ? NaN : Number(text)));
  if (last < first) return null;
  const start = Number.isNaN(first) ? Math.max(0, size - last) : first;
  const end = Number.isNaN(first) || Number.isNaN(last) ? size : Math.min(size, last + 1);
  return start < end ? [start, end] : false;
}
