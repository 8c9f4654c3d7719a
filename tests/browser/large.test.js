// A file larger than any memory it may take: while it is sent, the browser's processes stay as they are.
// The file is sparse, with marks in it, so that it costs no disk; what arrives does.
//
// 1 GB by default. The whole of it, 5 GB, from this folder (10 GB of disk must be free):
//   LARGE_GB=5 node --test large.test.js
//
// The same with 30 files of 1 GB in `<incoming-upload>`, some minutes (6 GB of disk must be free):
//   LARGE_FILES=30 node --test --test-name-pattern='in the element' large.test.js

import assert from 'node:assert/strict';
import { open as open_file, readFile, readdir, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { browser, folder, open, test } from './harness.js';
import { choose, forms, look, visit } from './ui-site.js';
import { choose_files, sha256, site, snapshot, start_upload, wait_until } from './site.js';

const GB = 1_000_000_000;
const MIB = 1024 * 1024;
const BYTES = Math.round(Number(process.env.LARGE_GB ?? 1) * GB);
const FILES = Number(process.env.LARGE_FILES ?? 0);

/** What the processes from `pid` down have in memory, in bytes. Memory that they share is counted once. */
async function memory(pid) {
  const parents = new Map();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => null);
    if (stat) parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
  }
  const family = new Set([pid]);
  for (let before = 0; before < family.size;) {
    before = family.size;
    for (const [child, parent] of parents) if (family.has(parent)) family.add(child);
  }
  let bytes = 0;
  for (const one of family) {
    const rollup = await readFile(`/proc/${one}/smaps_rollup`, 'utf8').catch(() => '');
    bytes += 1024 * Number(/^Pss:\s+(\d+) kB/m.exec(rollup)?.[1] ?? 0);
  }
  return bytes;
}

/** A file that is mostly holes: a mark each 100 MB, and at the end. */
async function sparse(dir, bytes, name = 'large.bin') {
  const path = join(dir, name);
  const to = await open_file(path, 'wx');
  await to.truncate(bytes);
  for (let at = 0; at < bytes; at += 100_000_000) await to.write(`mark at ${at}\n`, at);
  await to.write('the end', bytes - 7);
  await to.close();
  return { path, name, bytes };
}

test(`a file of ${BYTES / GB} GB in flat memory`, async (t) => {
  const { bavail, bsize } = await statfs(tmpdir());
  if (bavail * bsize < BYTES + 2 * GB) return t.skip(`${BYTES / GB} GB and 2 more are not free in ${tmpdir()}`);
  const app = await site(t, { serve: ['--ack', 'written'] });
  // A driver that watches the network keeps copies: in Firefox, of every body, in memory.
  const on = await browser(t, { own: true, options: { networkEnabled: false } });
  const { page } = await open(on, app.page);
  const { pid } = on.process();
  const one = await sparse(await folder(t), BYTES);
  await choose_files(page, one);
  const id = await app.ticket();
  // A first one, so that what the browser needs for any upload is there.
  const small = await sparse(await folder(t), 50_000_000);
  await choose_files(page, small);
  await start_upload(page, await app.ticket(), { name: 'small' });
  await wait_until(page, 'the first is finished', (now) => now.finished, 'small');
  await choose_files(page, one);

  const before = await memory(pid);
  const began = performance.now();
  await start_upload(page, id);
  const samples = [];
  for (;;) {
    const [{ frac_complete: part, error_msg }, bytes] = [await snapshot(page), await memory(pid)];
    assert.equal(error_msg, null);
    samples.push({ part, bytes });
    if (part === 1) break;
  }
  const seconds = (performance.now() - began) / 1000;
  await wait_until(page, 'the web app has it', (now) => now.finished);
  const [call] = app.calls.get(id);
  assert.deepEqual([call.bytes, call.sha256], [BYTES, await sha256(one.path)]);
  await rm(one.path);

  const most = (from, to) => Math.max(...samples.filter(({ part }) => part > from && part <= to).map(({ bytes }) => bytes), 0);
  const [early, late] = [most(0, 0.5), most(0.5, 1)];
  const mib = (bytes) => Math.round(bytes / MIB);
  t.diagnostic(`${seconds.toFixed(1)} s; ${samples.length} looks: ${mib(before)} MiB before, ${mib(early)} at most in the first half, ${mib(late)} in the second`);
  assert.ok(samples.length >= 4, 'too few looks to say anything');
  // Chunks of 16 MiB, four at once, are what a browser may hold; the file is many times that.
  assert.ok(Math.max(early, late) - before < 256 * MIB, `${mib(before)} MiB grew to ${mib(Math.max(early, late))}`);
  assert.ok(late - early < 64 * MIB, `${mib(early)} MiB in the first half, ${mib(late)} in the second`);
  return undefined;
});

/** The marks of such a file, read from where they are: a hash of 1 GB takes seconds, in which more files come than go. */
async function marks(path) {
  const from = await open_file(path);
  const read = [];
  for (let at = 0; at < BYTES; at += 100_000_000) read.push((await from.read(Buffer.alloc(20), 0, 20, at)).buffer);
  read.push((await from.read(Buffer.alloc(7), 0, 7, BYTES - 7)).buffer);
  await from.close();
  return read.join('');
}

test(`${FILES} files of ${BYTES / GB} GB in the element in flat memory`, async (t) => {
  const { bavail, bsize } = await statfs(tmpdir());
  if (bavail * bsize < 6 * BYTES) return t.skip(`${6 * BYTES / GB} GB are not free in ${tmpdir()}`);
  // The server removes what the web app has taken.
  const here = await forms(t, { serve: ['--ack', 'written'], driver: { own: true, options: { networkEnabled: false } } });
  here.app.hash = (path) => marks(path);
  const { page } = await visit(here);
  const { pid } = here.on.process();
  const files = [];
  for (let n = 0; n < FILES; n += 1) files.push(await sparse(here.dir, BYTES, `large ${n}.bin`));
  const wanted = await marks(files[0].path);
  await choose(page, await sparse(here.dir, 50_000_000));
  const state = (name) => look(page).then(({ entries }) => entries.filter(({ state: one }) => one === name).length);
  while (await state('finished') < 1);
  const samples = [];
  const before = await memory(pid);
  const began = performance.now();
  await choose(page, ...files);
  for (;;) {
    const [done, failed, bytes] = [await state('finished') - 1, await state('failed'), await memory(pid)];
    assert.equal(failed, 0);
    samples.push({ done, bytes });
    if (done === FILES) break;
  }
  const seconds = (performance.now() - began) / 1000;
  const calls = [...here.app.calls.values()].flat().filter(({ bytes }) => bytes === BYTES);
  assert.deepEqual([calls.length, new Set(calls.map((call) => call.sha256))], [FILES, new Set([wanted])]);
  const most = (from, to) => Math.max(...samples.filter(({ done }) => done >= from && done < to).map(({ bytes }) => bytes), 0);
  const [early, late] = [most(0, FILES / 2), most(FILES / 2, FILES)];
  const mib = (bytes) => Math.round(bytes / MIB);
  t.diagnostic(`${seconds.toFixed(0)} s, ${Math.round(FILES * BYTES / 1e6 / seconds)} MB/s; ${samples.length} looks: ${mib(before)} MiB before, ${mib(early)} at most in the first half, ${mib(late)} in the second`);
  assert.ok(Math.max(early, late) - before < 384 * MIB, `${mib(before)} MiB grew to ${mib(Math.max(early, late))}`);
  assert.ok(late - early < 64 * MIB, `${mib(early)} MiB in the first half, ${mib(late)} in the second`);
  return undefined;
}, { skip: FILES > 0 ? {} : { chromium: 'LARGE_FILES is not set', firefox: 'LARGE_FILES is not set', webkit: 'LARGE_FILES is not set' }, timeout: 1_800_000 });
