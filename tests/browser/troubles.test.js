// What happens to uploads in real life: two tabs, two browsers, files that change, servers that die, networks
// that go, lines that are slow and lossy. Each time the file arrives whole and right, or the page is told.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { appendFile, open as open_file, truncate, unlink, utimes } from 'node:fs/promises';
import { INSECURE_HOST } from './browsers.js';
import { Line, browser, file, folder, kind_of, open, test, until } from './harness.js';
import { begin, ended, look, put_in, seen, site } from './site.js';

const MB = 1_000_000;

/** A web app, a browser, a page whose uploads go over a line. */
async function over(t, bytesPerSecond, { host = 'localhost', serve, ...more } = {}) {
  const app = await site(t, { serve });
  const line = new Line(t, app.uploadPort, bytesPerSecond, more);
  app.library = `http://${host}:${await line.open()}/incoming/frontend/incoming.js`;
  const on = await browser(t);
  const url = app.page.replace('localhost', host);
  const { page, complaints } = await open(on, url);
  return { app, line, on, url, page, complaints, dir: await folder(t) };
}

async function finished(page, app, id, one, name = 'up') {
  const last = await ended(page, name);
  assert.equal(last.outcome, 'finished');
  assert.deepEqual([last.wrong, last.endings], [[], ['finished']]);
  const call = await app.taken(id);
  assert.deepEqual([call.sha256, app.calls.get(id).length], [one.sha256, 1]);
  return last;
}

const at_percent = (page, percent, name = 'up') =>
  seen(page, `${percent}% of ${name}`, (now) => now.frac_complete >= percent / 100 && now.can_cancel, name);

const lost = (page, name = 'up') =>
  seen(page, `${name} has noticed`, (now) => !now.connected && /again in/.test(now.state_msg), name);

test('the server is killed and started again: what was acknowledged stays so', async (t) => {
  const { app, page, dir } = await over(t, 4 * MB);
  const files = [await file(dir, 'survivor-1.bin', 16 * MB), await file(dir, 'survivor-2.bin', 12 * MB)];
  await put_in(page, ...files);
  const ids = [await app.ticket(), await app.ticket()];
  for (const [index, id] of ids.entries()) await begin(page, id, { index, name: files[index].name });
  for (const one of files) await at_percent(page, 15, one.name);
  await app.server.kill('SIGKILL');
  await lost(page, files[0].name);
  const acked = await Promise.all(files.map(async (one) => (await look(page, one.name)).bytes_acked));
  await app.server.start();
  for (const [index, id] of ids.entries()) assert.ok((await app.status(id)).received.reduce((sum, [from, to]) => sum + to - from, 0) >= acked[index]);
  // `wrong` would tell of acknowledged bytes that became fewer.
  for (const [index, id] of ids.entries()) await finished(page, app, id, files[index], files[index].name);
});

test('the network is cut: it goes on by itself', async (t) => {
  const { app, line, page, dir } = await over(t, 4 * MB);
  const one = await file(dir, 'cut.bin', 16 * MB);
  await put_in(page, one);
  const id = await app.ticket();
  await begin(page, id);
  await at_percent(page, 20);
  line.cut();
  await lost(page);
  line.mend();
  await finished(page, app, id, one);
});

test('the browser is offline: it wakes when it is online', async (t) => {
  const { app, page, dir } = await over(t, 4 * MB);
  const one = await file(dir, 'offline.bin', 16 * MB);
  await put_in(page, one);
  const id = await app.ticket();
  await begin(page, id);
  await at_percent(page, 20);
  try {
    await page.setOfflineMode(true);
  } catch (error) {
    return t.skip(`${kind_of(t)} cannot emulate being offline: ${error.message}`);
  }
  if (await page.evaluate(() => navigator.onLine)) return t.skip(`${kind_of(t)} says that it is online while it is emulated not to be`);
  // What is on its way may end first; then nothing gets through, try after try, and the pauses grow.
  await seen(page, 'pauses have grown', (now) => !now.connected && Number(/again in (\d+) s/.exec(now.state_msg)?.[1]) >= 5);
  const woken = performance.now();
  await page.setOfflineMode(false);
  // What was sent ahead may have been nearly all.
  await seen(page, 'it is on its way again', (now) => now.connected || now.finished);
  t.diagnostic(`on its way ${Math.round(performance.now() - woken)} ms after the network came back`);
  await finished(page, app, id, one);
  return undefined;
});

/** The same ticket and file in two pages, of one browser or of two that know nothing of each other. */
async function two_tabs(t, host, two_browsers = false) {
  const { app, line, on, url, page, dir } = await over(t, 3 * MB, { host });
  const one = await file(dir, 'twice.bin', 16 * MB);
  const id = await app.ticket();
  const { page: other } = await open(two_browsers ? await browser(t) : on, url);
  for (const tab of [page, other]) await put_in(tab, one);
  const secure = await page.evaluate(() => isSecureContext);
  // What was on its way is lost when another one takes over; of a file this small that is to be little.
  const options = two_browsers ? { chunk_size: MB / 4 } : {};
  await begin(page, id, { options });
  await at_percent(page, 10);
  await begin(other, id, { options });
  for (const tab of [page, other]) {
    const last = await ended(tab);
    assert.deepEqual([last.outcome, last.endings, last.wrong], ['finished', ['finished'], []]);
  }
  const call = await app.taken(id);
  assert.deepEqual([call.sha256, app.calls.get(id).length], [one.sha256, 1]);
  t.diagnostic(`${(line.bytes / one.bytes).toFixed(2)} times the file went over the line`);
  // Two that fought to the end would each have sent all of it.
  assert.ok(line.bytes < 2 * one.bytes, `${line.bytes} bytes sent for ${one.bytes}`);
  const said = [...(await look(page)).said, ...(await look(other)).said];
  assert.ok(said.some((text) => /another (uploader|tab)/.test(text)), said.join('; '));
  return secure;
}

test('two tabs send the same upload: both see it finished', async (t) => {
  assert.equal(await two_tabs(t, 'localhost'), true);
});

test('two tabs of an insecure page, where there are no locks: both see it finished', async (t) => {
  assert.equal(await two_tabs(t, INSECURE_HOST), false);
});

test('two browsers send the same upload: the superseded one looks on', async (t) => {
  await two_tabs(t, 'localhost', true);
});

/** Whole seconds, which every file system and browser keeps. */
const LONG_AGO = 1_700_000_000;

/** Changes on disk what an upload is reading, when a quarter is acknowledged and the line stands still: the rest is read
 *  after the change but for what the browser has read ahead. */
async function changed(t, change) {
  const { app, line, page, dir } = await over(t, 8 * MB);
  const one = await file(dir, 'changing.bin', 24 * MB);
  await utimes(one.path, LONG_AGO, LONG_AGO);
  await put_in(page, one);
  const id = await app.ticket();
  await begin(page, id, { options: { chunk_size: MB, send_ahead: 2 } });
  await at_percent(page, 25);
  line.hold();
  await change(one);
  line.go();
  const last = await ended(page);
  assert.deepEqual(last.wrong, []);
  const took = () => app.calls.get(id)?.length ?? 0;
  return { last, one, taken: last.finished && (await app.taken(id)).sha256, took };
}

/** The page is told, and the web app gets nothing. */
function is_told({ last, took }) {
  assert.match(last.outcome, /^UploadError FILE_CHANGED 100 /);
  assert.deepEqual([last.endings, last.finished, last.error_code], [['error'], false, 100]);
  assert.equal(took(), 0, 'a mixed file was handed over');
}

/** That, or what arrives is the file as it was: some browsers go on reading a file that was removed, or the part that did not
 *  change. */
function is_told_or_whole(t, seen) {
  if (!seen.last.finished) return is_told(seen);
  assert.equal(seen.taken, seen.one.sha256, 'a mixed file was handed over');
  return t.diagnostic('it arrived as it was when it was chosen');
}

async function write_over({ path, bytes }) {
  const other = await open_file(path, 'r+');
  await other.write(randomBytes(bytes), 0, bytes, 0);
  await other.close();
}

test('the file grows while it is sent', async (t) => is_told_or_whole(t, await changed(t, (one) => appendFile(one.path, 'more'))));

test('the file is cut short while it is sent', async (t) => is_told(await changed(t, (one) => truncate(one.path, 1000))));

test('the file is removed while it is sent', async (t) => is_told_or_whole(t, await changed(t, (one) => unlink(one.path))));

test('the file is written over while it is sent', async (t) => is_told(await changed(t, write_over)));

test('the file is written over while it is sent, and nothing but its bytes tells', async (t) => is_told(await changed(t, async (one) => {
  await write_over(one);
  await utimes(one.path, LONG_AGO, LONG_AGO);
})));

test('a slow line with losses: resets, stalls and delays', async (t) => {
  // The same numbers in each run: a linear congruence (Numerical Recipes).
  let state = 2014;
  const chance = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const done = { reset: 0, stalled: 0 };
  const faults = (bytes) => {
    // One reset in 1.5 MB and one stall in 300 kB, on the average.
    const die = chance();
    if (die < bytes / (1.5 * MB)) return (done.reset += 1) && 'reset';
    return die < bytes / (0.25 * MB) && (done.stalled += 1) ? 50 + 250 * chance() : undefined;
  };
  const { app, page, complaints, dir } = await over(t, 1.5 * MB, { delayMs: 30, together: true, faults });
  const one = await file(dir, 'lossy.bin', 8 * MB);
  await put_in(page, one);
  const id = await app.ticket();
  await begin(page, id);
  const last = await finished(page, app, id, one);
  t.diagnostic(`${done.reset} resets, ${done.stalled} stalls, progress told ${last.progress} times`);
  // Firefox, when an answer is reset and it repeats the request by itself, counts the header of both; no answer of the
  // server has two. The request fails there as one that was reset does.
  const twice = complaints.filter((one) => /Reason: Multiple CORS header/.test(one));
  assert.ok(kind_of(t) === 'firefox' || twice.length === 0, twice.join());
  for (const one of twice) complaints.splice(complaints.indexOf(one), 1);
  assert.ok(done.reset >= 2 && done.stalled >= 4, JSON.stringify(done));
});

test('an answer that never comes back does not hold the upload up', async (t) => {
  const { app, line, page, dir } = await over(t, 4 * MB);
  const one = await file(dir, 'unanswered.bin', 8 * MB);
  let let_go;
  const held = new Promise((free) => (let_go = free));
  app.handover = () => held.then(() => 'done');
  await put_in(page, one);
  const id = await app.ticket();
  await begin(page, id);
  await seen(page, 'all is sent', (now) => now.frac_complete === 1);
  // The long poll breaks; what it would have said is asked again.
  line.cut();
  await until('the file is with the web app', () => app.calls.get(id));
  line.mend();
  let_go();
  await finished(page, app, id, one);
});
