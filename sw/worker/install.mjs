// The walk of an update: pointer → manifest → what is missing → one record that switches.

import { gunzip, hashOf, patched } from "./bytes.mjs";
import { address, fault, line, transfer } from "./fetch.mjs";
import { planned, total } from "./plan.mjs";
import { DIGEST, commit, current, forget, get, held, put, scope, write } from "./store.mjs";
import { sweep, version } from "./versions.mjs";

const ENGINE = 2;
const POINTER_BYTES = 300;
const AT_ONCE = 6;
const TELL_MS = 100;
// Beside the bytes themselves a browser keeps books.
const SLACK = 1.1;

/** Look for a new version and bring it. Gives the state that it ends in; `tell(type, detail)` reports on the way. */
export async function update(tell, signal, { optional = true, verify, seen }, last) {
  const pointer = await pointed(signal, seen);
  if (pointer.kill) return "killed";
  if (pointer.engine > ENGINE) return "engine";
  const { sha256, size, version: number } = pointer;
  const now = await current();
  const same = now?.sha256 === sha256;
  if (same && !now.left && !verify) return "current";
  try {
    if (!(await get(sha256))) await put(sha256, pointer.text ?? (await manifest(pointer, now, signal)));
    await write("installing", { sha256, size });
    const release = await version({ sha256, size });
    const jobs = planned(release, await held());
    if (!same) tell("update", { version: number, jobs: jobs.length, size: total(jobs) });
    const todo = jobs.filter(({ required }) => optional || required);
    const failed = await download(todo, line([scope, ...release.manifest.mirrors], signal), signal, tell);
    const missing = failed.find(({ required }) => required);
    if (missing) throw missing.fault;
    // The commit: from here on new tabs get the new version, and get it whole.
    const before = same ? now.before : now && { sha256: now.sha256, size: now.size };
    const left = jobs.length - todo.length + failed.length;
    await commit({ sha256, size, version: number, before, left });
    await forget("installing");
    return same ? "current" : "ready";
  } catch (error) {
    // What is missing may be missing because it was deployed anew in the meantime.
    if (sha256 !== last && /^(http|hash|size)/.test(error.kind) && (await pointed(signal)).sha256 !== sha256)
      return update(tell, signal, { optional }, sha256);
    throw error;
  }
}

async function pointed(signal, seen) {
  // A worker that is all in one file has its manifest inside.
  if (self.modelport) return self.modelport;
  const url = `${scope}release.json`;
  // A page on its first visit asks for it while its worker is on the way.
  const data = seen ?? (await transfer(url, { size: POINTER_BYTES, loose: true }, signal, () => {}, "no-cache"));
  try {
    const pointer = JSON.parse(new TextDecoder().decode(data));
    if (pointer.format === "modelport-web" && (pointer.kill || DIGEST.test(pointer.sha256))) return pointer;
  } catch {
    // A login page, most likely.
  }
  throw fault("manifest", url);
}

function manifest({ manifest: path, sha256, size, from }, now, signal) {
  const known = from?.includes(now?.sha256.slice(0, 16));
  return brought({ piece: { path, sha256, size }, origin: known && now.sha256, size }, line([scope], signal), signal, () => {});
}

/** The bytes of a job: by a patch of at most `size` bytes, if its `origin` is there and it leads to them. */
async function brought(job, bring, signal, heard) {
  const { piece, origin, size } = job;
  if (origin) {
    let got = 0;
    try {
      const old = await (await get(origin)).arrayBuffer();
      const path = `patches/${origin.slice(0, 16)}.${piece.sha256.slice(0, 16)}.gz`;
      const packed = await transfer(address(path, scope), { size, loose: true }, signal, (bytes) => heard(bytes, (got += bytes)));
      const data = patched(new Uint8Array(old), await gunzip(packed, 2 * piece.size + 99), piece.size);
      if ((await hashOf(data)) === piece.sha256) return data;
    } catch {
      // The whole file says better what is wrong, if anything is.
    }
    heard(-got, (job.size = piece.size));
  }
  return bring(piece, heard);
}

/** Do the jobs, several at once. Gives those that failed, each with its fault. */
export async function download(jobs, bring, signal, tell, type = "progress", detail = {}) {
  const failed = [];
  const short = await lacking(jobs);
  if (short) {
    // What is optional waits for room of its own.
    failed.push(...jobs.filter(({ required }) => !required));
    jobs = jobs.filter(({ required }) => required);
    if (await lacking(jobs)) throw short;
    tell("fault", short);
  }
  const queue = [...jobs];
  let [done, here, files, told] = [0, 0, 0, 0];
  const heard = (bytes) => {
    const now = Date.now();
    done += bytes;
    if (bytes && now - told < TELL_MS) return;
    told = now;
    tell(type, { ...detail, done, total: total(jobs), files, of: jobs.length });
  };
  const lost = async (job, error) => {
    const full = /^(quota|storage)/.test(error.kind);
    if (full) Object.assign(error, { url: job.piece.path, expected: total(jobs) - here, found: await free() });
    // Without room, or without a network, the rest would only fail as well.
    const over = full || error.over || signal.aborted;
    if (job.instead && !over) queue.push(...job.instead);
    else {
      failed.push(...[job, ...(over ? queue.splice(0) : [])].map((one) => ({ ...one, fault: error })));
      tell("fault", error);
    }
  };
  const keep = async (job, data) => {
    try {
      await store(job, data);
      files++;
      here += job.size;
    } catch (error) {
      await lost(job, error);
    }
  };
  const work = async () => {
    let storing;
    // What could not be stored may have left something else to do.
    for (let job; (job = queue.shift() ?? (await storing, queue.shift())); ) {
      const data = await brought(job, bring, signal, heard).catch((error) => lost(job, error));
      // A request waits for the one before it to be answered, but not to be stored.
      await storing;
      storing = data && keep(job, data);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  heard(0);
  return failed;
}

/** Keep what a job brought: a piece, or the files of a pack, each believed by its own digest. */
async function store({ piece, inside = [piece] }, data) {
  let at = 0;
  for (const { sha256, size, path } of inside) {
    const bytes = data.subarray(at, (at += size));
    const found = inside[0] === piece ? sha256 : await hashOf(bytes);
    if (found !== sha256) throw fault("hash", path, sha256, found);
    await put(sha256, bytes).catch(async () => {
      await sweep(true);
      await put(sha256, bytes);
    });
  }
}

async function free() {
  // Not every browser tells; then a put that fails does.
  const { quota = Infinity, usage = 0 } = (await navigator.storage.estimate?.()) ?? {};
  return quota - usage;
}

/** What room is missing for jobs, as a fault; undefined if there is enough. */
async function lacking(jobs) {
  const needed = Math.ceil(total(jobs) * SLACK);
  if (needed > (await free())) await sweep(true);
  const available = await free();
  if (needed > available) return fault("quota", scope, needed, available);
}
