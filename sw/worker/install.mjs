// The walk of an update: pointer → manifest → what is missing → one record that switches.

import { gunzip, patched, sha256 } from "./bytes.mjs";
import { ACCEPT, Fault, Line } from "./fetch.mjs";
import { named, planned } from "./plan.mjs";
import { indexed } from "./route.mjs";

export const ENGINE = 1;
const POINTER_BYTES = 300;
const AT_ONCE = 6;
// Beside the bytes themselves a browser keeps books.
const SLACK = 1.1;

/** Look for a new version and bring it. Gives the state that it ends in; `tell(type, detail)` reports on the way. */
export async function update(store, { signal, tell, optional = true, verify = false }) {
  const site = new Line([store.scope], signal);
  const current = await store.record("current");
  const pointer = await point(store.scope, signal);
  if (pointer.kill) return "killed";
  if (pointer.engine > ENGINE) return "engine";
  if (current?.sha256 === pointer.sha256 && !current.left && !verify) return "current";
  const data = await manifestOf(store, site, pointer, current);
  const version = indexed(JSON.parse(new TextDecoder().decode(data)));
  await store.put(pointer.sha256, data);
  await store.write("installing", { sha256: pointer.sha256 });
  const held = verify ? await checked(store) : await store.held();
  const jobs = planned(version, (name) => held.has(name));
  const groups = version.manifest.groups;
  const left = await download(store, version, jobs, { signal, tell, optional });
  const missing = left.filter(({ group }) => groups[group]?.required);
  if (missing.length) throw missing[0].fault;
  const before = current && current.sha256 !== pointer.sha256 ? current.sha256 : current?.before;
  // The commit: from here on new tabs get the new version, and get it whole.
  await store.write("current", { sha256: pointer.sha256, version: pointer.version, before, left: left.length });
  await store.forget("installing");
  return current?.sha256 === pointer.sha256 ? "current" : "ready";
}

async function point(scope, signal) {
  const url = new URL("release.json", scope).href;
  const answer = await fetch(url, { cache: "no-cache", signal, headers: { Accept: ACCEPT } }).catch((error) => {
    throw new Fault("network", url, "an answer", error.message);
  });
  if (!answer.ok) throw new Fault("http", url, 200, answer.status);
  const text = await answer.text();
  try {
    if (text.length > POINTER_BYTES) throw new RangeError("too long");
    const pointer = JSON.parse(text);
    const whole = /^[0-9a-f]{64}$/.test(pointer.sha256) && pointer.size >= 0 && typeof pointer.manifest === "string";
    if (pointer.format !== "modelport-web" || !(pointer.kill || whole)) throw new RangeError("not of this format");
    return pointer;
  } catch (error) {
    // A login page, most likely.
    throw new Fault("manifest", url, "a release", error.message);
  }
}

async function manifestOf(store, site, pointer, current) {
  const kept = await store.get(pointer.sha256);
  if (kept) return new Uint8Array(await kept.arrayBuffer());
  const digits = (text) => text.slice(0, 16);
  if (current && pointer.from?.includes(digits(current.sha256))) {
    const old = await store.get(current.sha256);
    const path = `patches/${digits(current.sha256)}.${digits(pointer.sha256)}.gz`;
    const data = old && (await viaPatch(site, path, pointer.size, old, pointer).catch(() => undefined));
    if (data) return data;
  }
  return site.bytes(pointer.manifest, { size: pointer.size, hash: pointer.sha256 });
}

/** Fetch a patch of at most `most` bytes and apply it; throws unless the result has the digest. */
async function viaPatch(line, path, most, old, { size, sha256: hash }) {
  const answer = await fetch(new URL(path, line.bases[0]), { signal: line.signal, headers: { Accept: ACCEPT } });
  if (!answer.ok) throw new Fault("http", path, 200, answer.status);
  const packed = await answer.arrayBuffer();
  if (packed.byteLength > most) throw new Fault("size", path, most, packed.byteLength);
  line.heard(packed.byteLength);
  const data = patched(new Uint8Array(await old.arrayBuffer()), await gunzip(packed, 22 * size + 64), size);
  const found = await sha256(data);
  if (found !== hash) throw new Fault("hash", path, hash, found);
  return data;
}

/** Do the jobs, several at once. Gives those that failed, each with its fault. */
async function download(store, version, jobs, { signal, tell, optional }) {
  const { manifest } = version;
  const todo = jobs.filter(({ group }) => optional || manifest.groups[group]?.required);
  const total = todo.reduce((sum, { size }) => sum + size, 0);
  await room(todo.reduce((sum, { pack, piece }) => sum + (pack?.size ?? piece.size), 0));
  const started = Date.now();
  let done = 0;
  let files = 0;
  const heard = (bytes) => {
    done += bytes;
    const seconds = (Date.now() - started) / 1000;
    const rate = seconds ? done / seconds : 0;
    tell("progress", { done, total, files, of: todo.length, rate, eta: rate ? Math.max(0, total - done) / rate : null });
  };
  const line = new Line([store.scope, ...manifest.mirrors], signal, heard);
  const left = [];
  const queue = [...todo];
  const work = async () => {
    for (let job; (job = queue.shift()) && !signal.aborted; ) {
      try {
        await (job.pack ? unpack(store, line, job) : bring(store, line, job));
        files++;
      } catch (error) {
        const fault = error instanceof Fault ? error : new Fault("network", job.piece?.path ?? job.pack.path, "bytes", error.message);
        left.push({ ...job, fault });
        tell("fault", { ...fault, message: fault.message, group: job.group });
        // Without room, or without a network, the rest would only fail as well.
        if (fault.kind === "quota") throw fault;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (signal.aborted) throw new Fault("paused", store.scope, "to go on", "a stop");
  return left;
}

async function room(needed) {
  const { quota, usage } = (await navigator.storage?.estimate?.()) ?? {};
  if (quota && needed * SLACK > quota - usage)
    throw Object.assign(new Fault("quota", "storage", needed, quota - usage), { needed, available: quota - usage });
}

async function bring(store, line, { piece, patch }) {
  const { path, name, start, size, whole } = piece;
  if (patch) {
    const old = await store.get(patch.from);
    const data = old && (await viaPatch(line, patch.path, patch.size, old, { size, sha256: name }).catch(() => undefined));
    if (data) return store.put(name, data);
  }
  return store.put(name, await line.bytes(path, { size, start, whole, hash: name }));
}

async function unpack(store, line, { pack, inside }) {
  let data;
  try {
    data = await line.bytes(pack.path, { size: pack.size, hash: pack.sha256 });
  } catch (error) {
    if (["paused", "network"].includes(error.kind)) throw error;
    // A pack saves requests and is never needed.
    for (const file of inside) await bring(store, line, { piece: { ...file, name: file.sha256, start: 0, whole: file.size } });
    return;
  }
  let at = 0;
  for (const { sha256: name, size, path } of inside) {
    const bytes = data.subarray(at, (at += size));
    const found = await sha256(bytes);
    if (found !== name) throw new Fault("hash", path, name, found);
    await store.put(name, bytes);
  }
}

/** Hash everything that is stored; what is wrong is removed. */
async function checked(store) {
  const held = await store.held();
  const bad = new Set();
  for (const name of held) {
    const data = await (await store.get(name))?.arrayBuffer();
    if (!data || (await sha256(data)) !== name) bad.add(name);
  }
  const good = new Set([...held].filter((name) => !bad.has(name)));
  if (bad.size) await store.sweep(good);
  return good;
}

/** Remove what no version that is kept needs. `kept` are digests of manifests. */
export async function sweep(store, kept) {
  const wanted = new Set();
  const installing = await store.record("installing");
  for (const digest of [...kept, installing?.sha256].filter(Boolean)) {
    const answer = await store.get(digest);
    if (!answer) continue;
    wanted.add(digest);
    const version = indexed(await answer.json());
    for (const name of named(version)) wanted.add(name);
    for (const { sha256: model } of Object.values(version.manifest.models)) {
      const record = await store.record(`model/${model}`);
      for (const name of [model, ...(record?.names ?? [])]) wanted.add(name);
    }
  }
  await store.sweep(wanted);
}

