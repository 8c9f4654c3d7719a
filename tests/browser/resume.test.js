// Uploads that are found again: after a reload, in another tab, with a file that is the same or is not.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFile, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { Line, browser, demo, file, folder, open, test as in_each, until } from './harness.js';

const MB = 1_000_000;

/** These set aside the demo's policy and break tabs by means that only Chromium's protocol has; demo.test.js and
 *  troubles.test.js resume in Firefox too. */
const test = (name, body) => in_each(name, body, { skip: { firefox: 'driven by means that only Chromium has' } });

/** A demo behind a line, and a browser. */
async function setting(t, bytesPerSecond, flags = []) {
  const app = await demo(t);
  const line = new Line(t, app.http, bytesPerSecond);
  const port = await line.open();
  const on = await browser(t, flags);
  return { app, line, on, url: `http://localhost:${app.http}/`, hostname: `http://localhost:${port}`, dir: await folder(t) };
}

/** A page with the library and an input of its own; what it requested and what unhandled errors it had. */
async function visit({ on, url }) {
  const { page, complaints } = await open(on, 'about:blank');
  await page.setBypassCSP(true);
  const requests = [];
  page.on('request', (request) => {
    if (request.url().includes('/uploads/')) requests.push(request);
  });
  await page.goto(url, { waitUntil: 'load' });
  await furnish(page);
  return { page, complaints, requests };
}

async function furnish(page) {
  await page.evaluate(() => {
    document.body.append(Object.assign(document.createElement('input'), { type: 'file', id: 'own' }));
    window.outcome = null;
    window.watch = (up) => {
      window.up = up;
      up.done.then(() => (window.outcome = 'finished'), (error) => (window.outcome = error.code ?? error.name));
      return up;
    };
  });
}

const choose = async (page, one) => (await page.$('#own')).uploadFile(one.path);

async function ticket({ app }, { name, bytes }) {
  const body = JSON.stringify({ name, size: bytes });
  const answer = await fetch(`http://localhost:${app.http}/api/tickets`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
  return (await answer.json()).id;
}

const start = (page, id, hostname, more = {}) => page.evaluate((upload_id, options) => {
  window.watch(new incoming.Uploader(upload_id, document.getElementById('own').files[0], options)).start();
}, id, { hostname, ...more });

const recall = (page) => page.evaluate(() => incoming.recall(document.getElementById('own').files[0]).then((found) => found && { ...found }));
const unfinished = (page) => page.evaluate(async () => (await incoming.unfinished()).map((one) => ({ ...one, resume: Boolean(one.resume) })));
const acked = (page, bytes) => until(`${bytes} bytes are acknowledged`, () => page.evaluate((least) => window.up.bytes_acked >= least, bytes));
const outcome = (page) => until('the upload has an outcome', () => page.evaluate(() => window.outcome));
const state = (page, words) => until(words, () => page.evaluate((wanted) => window.up.state_msg.includes(wanted), words));
const of = (requests, method, end = '') => requests.filter((one) => one.method() === method && one.url().endsWith(end));

const arrived = ({ app }, { name, sha256 }) => until(`the web app has ${name}`, async () => {
  const answer = await fetch(`http://localhost:${app.http}/api/files`);
  return (await answer.text()).includes(sha256);
});

test('reloaded: recall finds the upload, pieces are compared, and only the rest is sent', async (t) => {
  const here = await setting(t, 4 * MB);
  const { page, complaints, requests } = await visit(here);
  const one = await file(here.dir, 'reloaded.bin', 40 * MB);
  await choose(page, one);
  assert.equal(await recall(page), null);
  const id = await ticket(here, one);
  await start(page, id, here.hostname);
  await acked(page, 12 * MB);
  await page.reload({ waitUntil: 'load' });
  const visited = requests.length;
  await furnish(page);
  const [entry] = await unfinished(page);
  assert.deepEqual([entry.upload_id, entry.hostname, entry.name, entry.size, entry.active, entry.resume], [id, here.hostname, one.name, one.bytes, false, false]);
  await choose(page, one);
  assert.equal((await recall(page)).upload_id, id);
  const before = here.line.bytes;
  await start(page, id, here.hostname);
  assert.equal(await outcome(page), 'finished');
  await arrived(here, one);
  // Before it goes on over the bytes of the earlier visit, and before the last bytes.
  const verified = of(requests, 'POST', '/verify');
  assert.equal(verified.length, 2);
  assert.ok(requests.indexOf(verified[0]) < requests.indexOf(of(requests.slice(visited), 'PUT')[0]), 'compared before anything is sent');
  assert.ok(here.line.bytes - before < 30 * MB, `${here.line.bytes - before} bytes were sent`);
  await until('it is forgotten', async () => (await unfinished(page)).length === 0);
  assert.equal(await recall(page), null);
  assert.deepEqual(complaints, []);
});

test('the tab crashes: the upload is still known', async (t) => {
  const here = await setting(t, 4 * MB);
  const first = await visit(here);
  const one = await file(here.dir, 'crashed.bin', 30 * MB);
  await choose(first.page, one);
  const id = await ticket(here, one);
  await start(first.page, id, here.hostname);
  await acked(first.page, 8 * MB);
  const session = await first.page.createCDPSession();
  const crashed = new Promise((done) => first.page.once('error', done));
  // Never answered.
  session.send('Page.crash').catch(() => {});
  await crashed;
  const second = await visit(here);
  await choose(second.page, one);
  assert.equal((await recall(second.page)).upload_id, id);
  await start(second.page, id, here.hostname);
  assert.equal(await outcome(second.page), 'finished');
  await arrived(here, one);
  assert.deepEqual(second.complaints, []);
});

test('another content under the same name, size, time and ends: FILE_CHANGED, nothing is mixed, a new ticket works', async (t) => {
  const here = await setting(t, 4 * MB);
  const { page, complaints, requests } = await visit(here);
  const one = await file(here.dir, 'swapped.bin', 30 * MB);
  // Whole seconds can be set again as they were.
  const then = new Date(1_700_000_000_000);
  await utimes(one.path, then, then);
  await choose(page, one);
  const id = await ticket(here, one);
  await start(page, id, here.hostname);
  await acked(page, 8 * MB);
  await page.reload({ waitUntil: 'load' });
  await furnish(page);
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
  await start(page, await ticket(here, one), here.hostname);
  assert.equal(await outcome(page), 'finished');
  await arrived(here, { name: one.name, sha256: createHash('sha256').update(content).digest('hex') });
  assert.deepEqual(complaints, []);
});

test('changed on disk while it is uploaded: FILE_CHANGED', async (t) => {
  const here = await setting(t, 4 * MB);
  const { page, complaints } = await visit(here);
  const one = await file(here.dir, 'edited.bin', 30 * MB);
  await choose(page, one);
  await start(page, await ticket(here, one), here.hostname);
  await acked(page, 4 * MB);
  await writeFile(one.path, randomBytes(30 * MB));
  assert.equal(await outcome(page), 'FILE_CHANGED');
  assert.deepEqual(complaints, []);
});

/** Two tabs with the same ticket: the second waits, and takes over when the first is closed. */
async function two_tabs(here) {
  const first = await visit(here);
  const one = await file(here.dir, 'twice.bin', 40 * MB);
  await choose(first.page, one);
  const id = await ticket(here, one);
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
  await arrived(here, one);
  assert.deepEqual([...first.complaints, ...second.complaints], []);
  return { found, second };
}

test('two tabs: one sends, the other looks on and takes over', async (t) => {
  const { found, second } = await two_tabs(await setting(t, 4 * MB));
  assert.equal(found.active, true);
  // Before it goes on over the bytes of the other tab, and before the last bytes.
  assert.equal(of(second.requests, 'POST', '/verify').length, 2);
});

test('two tabs where there are neither Web Locks nor SHA-256: the same, without the comparison', async (t) => {
  const here = await setting(t, 4 * MB, ['--host-resolver-rules=MAP upload.test 127.0.0.1']);
  const page_server = createServer((_, answer) => {
    answer.setHeader('Content-Type', 'text/html');
    answer.end(`<!doctype html><link rel="icon" href="data:,"><script src="http://localhost:${here.app.http}/incoming/frontend/incoming.js"></script>`);
  });
  await new Promise((done) => page_server.listen(0, '127.0.0.1', done));
  t.after(() => page_server.close());
  // Any other name than localhost over plain HTTP is no secure context.
  here.url = `http://upload.test:${page_server.address().port}/`;
  const { page } = await visit(here);
  assert.deepEqual(await page.evaluate(() => [isSecureContext, typeof navigator.locks, typeof crypto.subtle]), [false, 'undefined', 'undefined']);
  const { found, second } = await two_tabs(here);
  assert.equal(found.active, false);
  assert.equal(of(second.requests, 'POST', '/verify').length, 0);
});

test('a file handle: one call goes on after a reload, nothing is chosen again', async (t) => {
  const here = await setting(t, 4 * MB);
  const { page, complaints, requests } = await visit(here);
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
  const id = await ticket(here, { name: 'own.bin', bytes });
  await page.evaluate(async (upload_id, hostname) => {
    window.watch(incoming.Uploader(upload_id, await window.handle.getFile(), { hostname, handle: window.handle })).start();
  }, id, here.hostname);
  await acked(page, 6 * MB);
  await page.reload({ waitUntil: 'load' });
  await furnish(page);
  assert.equal((await unfinished(page))[0].resume, true);
  await page.evaluate(async () => window.watch(await (await incoming.unfinished())[0].resume()));
  assert.equal(await outcome(page), 'finished');
  await arrived(here, { name: 'own.bin', sha256 });
  assert.equal(of(requests, 'POST', '/verify').length, 2);
  assert.deepEqual(complaints, []);
});

test('IndexedDB, locks and channels are broken: uploads go on without', async (t) => {
  const here = await setting(t, 1000 * MB);
  const { page, complaints } = await visit(here);
  await page.evaluateOnNewDocument(() => {
    const no = () => {
      throw new DOMException('denied', 'SecurityError');
    };
    for (const [of, name] of [[window, 'indexedDB'], [Navigator.prototype, 'locks']]) Object.defineProperty(of, name, { get: no });
    window.BroadcastChannel = no;
  });
  await page.reload({ waitUntil: 'load' });
  await furnish(page);
  const one = await file(here.dir, 'denied.bin', 5 * MB);
  await choose(page, one);
  await start(page, await ticket(here, one), here.hostname);
  assert.equal(await outcome(page), 'finished');
  assert.deepEqual([await recall(page), await unfinished(page)], [null, []]);
  await arrived(here, one);
  assert.deepEqual(complaints, []);
});
