// Resuming: after a reload, in another tab, in a browser that was killed and started again, with the same file or another
// one.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFile, utimes, writeFile } from 'node:fs/promises';
import { INSECURE_HOST } from './browsers.js';
import { Line, browser, file, folder, open, test, until } from './harness.js';
import { site } from './site.js';

const MB = 1_000_000;

/** A web app, an upload server behind a line, and a browser. */
async function upload_site(t, bytesPerSecond, { host = 'localhost', ...more } = {}) {
  const app = await site(t);
  const line = new Line(t, app.uploadPort, bytesPerSecond);
  const hostname = `http://${host}:${await line.open()}`;
  app.library = `${hostname}/incoming/frontend/incoming.js`;
  return { app, line, hostname, on: await browser(t, more), url: app.page.replace('localhost', host), dir: await folder(t) };
}

/** A page with the library and an input; what it requested and what unhandled errors it had. */
async function visit({ on, url }) {
  const { page, console_errors } = await open(on, 'about:blank');
  const requests = [];
  page.on('request', (request) => {
    if (request.url().includes('/uploads/')) requests.push(request);
  });
  await page.goto(url, { waitUntil: 'load' });
  await define_helpers(page);
  return { page, console_errors, requests };
}

async function define_helpers(page) {
  await page.evaluate(() => {
    window.outcome = null;
    window.follow = (up) => {
      window.up = up;
      up.done.then(() => (window.outcome = 'finished'), (error) => (window.outcome = error.code ?? error.name));
      return up;
    };
  });
}

const choose = async (page, one) => (await page.$('#files')).uploadFile(one.path);

const start = (page, id, hostname, more = {}) => page.evaluate((upload_id, options) => {
  window.follow(new incoming.Uploader(upload_id, document.getElementById('files').files[0], options)).start();
}, id, { hostname, ...more });

const recall = (page) => page.evaluate(() => incoming.recall(document.getElementById('files').files[0]).then((found) => found && { ...found }));
const unfinished = (page) => page.evaluate(async () => (await incoming.unfinished()).map((one) => ({ ...one, resume: Boolean(one.resume) })));
const acked = (page, bytes) => until(`${bytes} bytes are acknowledged`, () => page.evaluate((least) => window.up.bytes_acked >= least, bytes));
const outcome = (page) => until('the upload has an outcome', () => page.evaluate(() => window.outcome));
const state = (page, words) => until(words, () => page.evaluate((wanted) => window.up.state_msg.includes(wanted), words));
const of = (requests, method, end = '') => requests.filter((one) => one.method() === method && one.url().endsWith(end));

const arrived = async ({ app }, id, sha256) => assert.equal((await app.taken(id)).sha256, sha256);

test('reloaded: recall finds the upload, pieces are compared, and only the rest is sent', async (t) => {
  const here = await upload_site(t, 4 * MB);
  const { page, console_errors, requests } = await visit(here);
  const one = await file(here.dir, 'reloaded.bin', 40 * MB);
  await choose(page, one);
  assert.equal(await recall(page), null);
  const id = await here.app.ticket();
  await start(page, id, here.hostname);
  await acked(page, 12 * MB);
  await page.reload({ waitUntil: 'load' });
  const visited = requests.length;
  await define_helpers(page);
  const [entry] = await unfinished(page);
  assert.deepEqual([entry.upload_id, entry.hostname, entry.name, entry.size, entry.active, entry.resume], [id, here.hostname, one.name, one.bytes, false, false]);
  const sent = await rest_of({ page, requests }, here, one, id);
  // Before it goes on over the bytes of the earlier visit, and before the last bytes.
  const verified = of(requests, 'POST', '/verify');
  assert.equal(verified.length, 2);
  assert.ok(requests.indexOf(verified[0]) < requests.indexOf(of(requests.slice(visited), 'PUT')[0]), 'compared before anything is sent');
  assert.ok(sent < 30 * MB, `${sent} bytes were sent`);
  await until('it is forgotten', async () => (await unfinished(page)).length === 0);
  assert.equal(await recall(page), null);
  assert.deepEqual(console_errors, []);
});

/** A page that finds the upload of the file sends the rest of it; how many bytes its chunks had. The bytes of
 *  the line are not counted: its buffers may still hold megabytes of the earlier visit. */
async function rest_of({ page, requests }, here, one, id) {
  await choose(page, one);
  assert.equal((await recall(page)).upload_id, id);
  const before = requests.length;
  await start(page, id, here.hostname);
  assert.equal(await outcome(page), 'finished');
  await arrived(here, id, one.sha256);
  return of(requests.slice(before), 'PUT').map((request) => /bytes (\d+)-(\d+)/.exec(request.headers()['content-range']))
    .reduce((sum, [, from, last]) => sum + Number(last) + 1 - Number(from), 0);
}

/** What a later visit does: finds the upload of the file and sends the rest of it. */
async function go_on(here, one, id) {
  const { page, console_errors, requests } = await visit(here);
  assert.deepEqual((await unfinished(page)).map(({ upload_id, name, active }) => [upload_id, name, active]), [[id, one.name, false]]);
  const sent = await rest_of({ page, requests }, here, one, id);
  assert.ok(sent < one.bytes - 4 * MB, `${sent} bytes were sent`);
  await until('it is forgotten', async () => (await unfinished(page)).length === 0);
  assert.deepEqual(console_errors, []);
}

/** A visit that has sent some of a file. */
async function first_visit(here) {
  const { page } = await visit(here);
  const one = await file(here.dir, 'left.bin', 24 * MB);
  await choose(page, one);
  const id = await here.app.ticket();
  await start(page, id, here.hostname);
  await acked(page, 6 * MB);
  return { page, one, id };
}

test('the tab is closed: another one goes on', async (t) => {
  const here = await upload_site(t, 4 * MB);
  const { page, one, id } = await first_visit(here);
  await page.close();
  await go_on(here, one, id);
});

test('the tab crashes: another one goes on', async (t) => {
  const here = await upload_site(t, 4 * MB);
  const { page, one, id } = await first_visit(here);
  const session = await page.createCDPSession();
  const crashed = new Promise((done) => page.once('error', done));
  // Never answered.
  session.send('Page.crash').catch(() => {});
  await crashed;
  await go_on(here, one, id);
}, { skip: { firefox: 'WebDriver BiDi has no means to crash a tab; the whole browser is killed instead, below' } });

test('the browser is killed and started again: it goes on', async (t) => {
  const profile = await folder(t);
  const here = await upload_site(t, 4 * MB, { own: true, profile });
  const { one, id } = await first_visit(here);
  const { on } = here;
  const ended = new Promise((done) => on.process().once('exit', done));
  on.process().kill('SIGKILL');
  await ended;
  await go_on({ ...here, on: await browser(t, { own: true, profile }) }, one, id);
});

test('forget: one by its id, all of them; the server is not told', async (t) => {
  const here = await upload_site(t, 4 * MB);
  const { page, one, id } = await first_visit(here);
  await page.close();
  const { page: later } = await visit(here);
  await choose(later, one);
  assert.equal((await recall(later)).upload_id, id);
  await later.evaluate(() => incoming.forget('another'));
  assert.equal((await unfinished(later)).length, 1);
  await later.evaluate((upload_id) => incoming.forget(upload_id), id);
  assert.deepEqual([await recall(later), await unfinished(later)], [null, []]);
  assert.equal((await here.app.status(id)).state, 'uploading');
});

test('another content under the same name, size, time and ends: FILE_CHANGED, nothing is mixed, a new ticket works', async (t) => {
  const here = await upload_site(t, 4 * MB);
  const { page, console_errors, requests } = await visit(here);
  const one = await file(here.dir, 'swapped.bin', 30 * MB);
  // Whole seconds can be set again as they were.
  const then = new Date(1_700_000_000_000);
  await utimes(one.path, then, then);
  await choose(page, one);
  const id = await here.app.ticket();
  await start(page, id, here.hostname);
  await acked(page, 8 * MB);
  await page.reload({ waitUntil: 'load' });
  await define_helpers(page);
  const content = await readFile(one.path);
  randomBytes(28 * MB).copy(content, MB);
  await writeFile(one.path, content);
  await utimes(one.path, then, then);
  await choose(page, one);
  assert.equal((await recall(page)).upload_id, id);
  const puts = of(requests, 'PUT').length;
  await start(page, id, here.hostname);
  assert.equal(await outcome(page), 'FILE_CHANGED');
  assert.equal(await page.evaluate(() => window.up.error_code), 100);
  assert.equal(of(requests, 'PUT').length, puts);
  await until('it is forgotten', async () => (await unfinished(page)).length === 0);
  await page.evaluate(() => (window.outcome = null));
  const other = await here.app.ticket();
  await start(page, other, here.hostname);
  assert.equal(await outcome(page), 'finished');
  await arrived(here, other, createHash('sha256').update(content).digest('hex'));
  assert.equal(here.app.calls.get(id), undefined, 'nothing mixed is handed over');
  assert.deepEqual(console_errors, []);
});

/** Two tabs with the same ticket: the second waits, and takes over when the first is closed. */
async function two_tabs(here) {
  const first = await visit(here);
  const one = await file(here.dir, 'twice.bin', 40 * MB);
  await choose(first.page, one);
  const id = await here.app.ticket();
  await start(first.page, id, here.hostname);
  await acked(first.page, 2 * MB);
  const second = await visit(here);
  await choose(second.page, one);
  const found = await recall(second.page);
  assert.equal(found.upload_id, id);
  await start(second.page, id, here.hostname);
  await state(second.page, 'another tab is sending this file');
  await acked(second.page, 6 * MB);
  assert.equal(of(second.requests, 'PUT').length, 0);
  await first.page.close();
  assert.equal(await outcome(second.page), 'finished');
  assert.ok(of(second.requests, 'PUT').length > 0);
  await arrived(here, id, one.sha256);
  assert.deepEqual([...first.console_errors, ...second.console_errors], []);
  return { found, second };
}

test('two tabs: one sends, the other observes and takes over', async (t) => {
  const { found, second } = await two_tabs(await upload_site(t, 4 * MB));
  assert.equal(found.active, true);
  // Before it goes on over the bytes of the other tab, and before the last bytes.
  assert.equal(of(second.requests, 'POST', '/verify').length, 2);
});

test('two tabs where there are neither Web Locks nor SHA-256: the same, without the comparison', async (t) => {
  const here = await upload_site(t, 4 * MB, { host: INSECURE_HOST });
  const { page } = await visit(here);
  assert.deepEqual(await page.evaluate(() => [isSecureContext, typeof navigator.locks, typeof crypto.subtle]), [false, 'undefined', 'undefined']);
  const { found, second } = await two_tabs(here);
  assert.equal(found.active, false);
  assert.equal(of(second.requests, 'POST', '/verify').length, 0);
});

test('a file handle: one call goes on after a reload, nothing is chosen again', async (t) => {
  const here = await upload_site(t, 4 * MB);
  const { page, console_errors, requests } = await visit(here);
  const bytes = 24 * MB;
  const sha256 = await page.evaluate(async (size) => {
    const root = await navigator.storage.getDirectory();
    const handle = await root.getFileHandle('own.bin', { create: true });
    const content = new Uint8Array(size);
    for (let at = 0; at < size; at += 65_536) crypto.getRandomValues(content.subarray(at, Math.min(size, at + 65_536)));
    const writing = await handle.createWritable();
    await writing.write(content);
    await writing.close();
    window.handle = handle;
    return [...new Uint8Array(await crypto.subtle.digest('SHA-256', content))].map((one) => one.toString(16).padStart(2, '0')).join('');
  }, bytes);
  const id = await here.app.ticket();
  await page.evaluate(async (upload_id, hostname) => {
    window.follow(incoming.Uploader(upload_id, await window.handle.getFile(), { hostname, handle: window.handle })).start();
  }, id, here.hostname);
  await acked(page, 6 * MB);
  await page.reload({ waitUntil: 'load' });
  await define_helpers(page);
  assert.equal((await unfinished(page))[0].resume, true);
  await page.evaluate(async () => window.follow(await (await incoming.unfinished())[0].resume()));
  assert.equal(await outcome(page), 'finished');
  await arrived(here, id, sha256);
  assert.equal(of(requests, 'POST', '/verify').length, 2);
  assert.deepEqual(console_errors, []);
});

test('IndexedDB, locks and channels are broken: uploads go on without', async (t) => {
  const here = await upload_site(t, 1000 * MB);
  const { page, console_errors } = await visit(here);
  await page.evaluateOnNewDocument(() => {
    const no = () => {
      throw new DOMException('denied', 'SecurityError');
    };
    for (const [of, name] of [[window, 'indexedDB'], [Navigator.prototype, 'locks']]) Object.defineProperty(of, name, { get: no });
    window.BroadcastChannel = no;
  });
  await page.reload({ waitUntil: 'load' });
  await define_helpers(page);
  const one = await file(here.dir, 'denied.bin', 5 * MB);
  await choose(page, one);
  const id = await here.app.ticket();
  await start(page, id, here.hostname);
  assert.equal(await outcome(page), 'finished');
  assert.deepEqual([await recall(page), await unfinished(page)], [null, []]);
  await arrived(here, id, one.sha256);
  assert.deepEqual(console_errors, []);
});
