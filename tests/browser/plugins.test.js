// `incoming-js/uppy` and `incoming-js/filepond` with the real Uppy (Dashboard, Golden Retriever) and FilePond.
//
// How long a file takes through them and through the library alone, in turns, on a quiet machine (figures: docs/performance.md):
//   PLUGIN_SPEED_MB=1000 node --test --test-name-pattern='in turns' plugins.test.js
// `PLUGIN_SPEED_LINE` is the speed of the line, in MB/s; without it there is none between the browser and the server.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { Line, browser, expected, file, folder, open, test, until } from './harness.js';
import { site } from './site.js';
import { body_of } from './ui-site.js';

const MB = 1_000_000;
const HERE = import.meta.dirname;
const DIST = resolve(HERE, '../../incoming-js/dist');
const { resolve: found } = createRequire(import.meta.url);
const STYLES = { uppy: ['@uppy/core/css/style.min.css', '@uppy/dashboard/css/style.min.css'], filepond: ['filepond/dist/filepond.min.css'] };

/** A page of a project, bundled as projects do. */
async function bundle(name) {
  const { outputFiles } = await build({
    entryPoints: [join(HERE, `plugins/${name}-page.js`)], bundle: true, format: 'iife', write: false, target: 'es2022', nodePaths: [join(HERE, '../node_modules')],
    alias: { 'incoming-js/uppy': join(DIST, 'incoming-uppy.mjs'), 'incoming-js/filepond': join(DIST, 'incoming-filepond.mjs'), 'incoming-js': join(DIST, 'incoming.mjs') },
  });
  const styles = await Promise.all(STYLES[name].map((path) => readFile(found(path), 'utf8')));
  return [outputFiles[0].text, styles.join('\n')];
}

/** A web app with the page, and a line to the upload server. */
async function start(t, name, bytes_per_second) {
  const app = await site(t);
  const line = new Line(t, app.uploadPort, bytes_per_second);
  return { ...await serve(app, name, `http://localhost:${await line.open()}`), line, on: await browser(t), dir: await folder(t) };
}

/** The page with a plugin, at the web app. */
async function serve(app, name, server) {
  const [script, style] = await bundle(name);
  const tickets = [];
  const behave = { refuse: () => null };
  const send = (type, body) => (answer) => answer.writeHead(200, { 'Content-Type': type }).end(body);
  app.more.set('/page', send('text/html', `<!doctype html><html lang="en" data-server="${server}"><head><meta charset="utf-8"><title>plugins</title><link rel="stylesheet" href="/style.css"></head>
    <body><main></main><form><input type="file" name="papers" multiple></form><script src="/page.js"></script></body></html>`));
  app.more.set('/page.js', send('text/javascript', script));
  app.more.set('/style.css', send('text/css', style));
  app.more.set('/ticket', async (answer, request) => {
    const asked = JSON.parse(await body_of(request));
    tickets.push(asked);
    const refusal = behave.refuse(asked);
    if (refusal) return answer.writeHead(refusal.status, { 'Content-Type': 'application/json' }).end(JSON.stringify({ detail: refusal.detail }));
    return answer.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify({ id: await app.ticket() }));
  });
  return { app, tickets, behave, url: `${app.page}page` };
}

const whole = async (app, id, { sha256 }) => {
  assert.equal((await app.taken(id)).sha256, sha256);
  assert.equal(app.calls.get(id).length, 1);
};

// Uppy

const files_of = (page) => page.evaluate(() => uppy.getFiles().map(({ name, progress, isPaused, error }) => ({ name, ...progress, isPaused, error: error ?? null })));
const add = async (page, ...files) => (await page.waitForSelector('.uppy-Dashboard-input')).uploadFile(...files.map(({ path }) => path));
const seen = (page) => page.evaluate(() => window.seen);
const state = (page, what, check) => until(what, async () => check(await files_of(page)), async () => JSON.stringify([await files_of(page), await seen(page)], null, 1));
const label = (page, selector) => page.$eval(selector, (node) => node.getAttribute('aria-label') ?? node.textContent);

test('Uppy: three files by the Dashboard; paused and resumed by a click, it goes on with its ticket', async (t) => {
  const { app, line, tickets, on, dir, url } = await start(t, 'uppy', 4 * MB);
  const { page, console_errors } = await open(on, url);
  const files = [await file(dir, 'a.bin', 12 * MB), await file(dir, 'empty.bin', 0), await file(dir, 'c.bin', 2 * MB)];
  await add(page, ...files);
  await page.waitForSelector('.uppy-StatusBar-actionBtn--upload');
  await page.click('.uppy-StatusBar-actionBtn--upload');
  await state(page, 'a part is there, the others are done', ([a, b, c]) => a.bytesUploaded > MB && b.complete && c.complete);
  const item = '.uppy-Dashboard-Item:not(.is-complete) .uppy-Dashboard-Item-progressIndicator';
  assert.match(await label(page, item), /pause/i);
  await page.click(item);
  await state(page, 'it is paused', ([a]) => a.isPaused);
  await until('nothing is sent', async () => {
    const before = line.bytes;
    await new Promise((next) => setTimeout(next, 500));
    return line.bytes === before;
  });
  await page.click(item);
  await until('all are there', async () => (await seen(page)).some(([type]) => type === 'complete'));
  const events = await seen(page);
  assert.deepEqual(events.at(-1), ['complete', 3, 0]);
  for (const [type, name, id] of events.slice(0, 3)) {
    assert.equal(type, 'success');
    await whole(app, id, files.find((one) => one.name === name));
  }
  assert.deepEqual(tickets.map(({ name, size, meta, path }) => [name, size, meta, path]), files.map(({ name, bytes }) => [name, bytes, { name }, null]));
  assert.deepEqual(console_errors, []);
});

test('Uppy: removed and cancelled files are cancelled on the server, the upload settles', async (t) => {
  const { app, tickets, on, dir, url } = await start(t, 'uppy', 2 * MB);
  const { page } = await open(on, url);
  await add(page, await file(dir, 'a.bin', 20 * MB), await file(dir, 'b.bin', 20 * MB), await file(dir, 'c.bin', 20 * MB));
  await page.evaluate(() => {
    window.upload = uppy.upload().then((result) => (window.result = result));
  });
  await state(page, 'all are on their way', (all) => all.length === 3 && all.every(({ bytesUploaded }) => bytesUploaded > 0));
  await page.evaluate(() => uppy.pauseResume(uppy.getFiles()[1].id));
  await page.evaluate(() => uppy.removeFile(uppy.getFiles()[0].id));
  await until('one is cancelled', () => app.calls.size === 1);
  await page.evaluate(() => uppy.cancelAll());
  await until('the upload settles', () => page.evaluate(() => Boolean(window.result)));
  await until('the server knows of all', () => app.calls.size === 3);
  assert.ok([...app.calls.values()].every(([{ cancelled }]) => cancelled === 'yes'));
  assert.equal(tickets.length, 3);
});

test('Uppy: a refused ticket is shown, the retry button takes another one', async (t) => {
  const { app, tickets, behave, on, dir, url } = await start(t, 'uppy', 20 * MB);
  behave.refuse = () => ({ status: tickets.length === 1 ? 401 : 422, detail: 'no such letter' });
  const { page, console_errors } = await open(on, url);
  const one = await file(dir, 'a.bin', MB);
  await add(page, one);
  await page.waitForSelector('.uppy-StatusBar-actionBtn--upload');
  await page.click('.uppy-StatusBar-actionBtn--upload');
  await state(page, 'it has failed', ([a]) => a.error === 'no such letter');
  await page.waitForSelector('.uppy-StatusBar-actionBtn--retry');
  await page.click('.uppy-StatusBar-actionBtn--retry');
  await until('it has failed again', () => tickets.length === 2);
  behave.refuse = () => null;
  await state(page, 'it has failed again', ([a]) => a.error === 'no such letter');
  await expected(console_errors, /no such letter/);
  await page.click('.uppy-StatusBar-actionBtn--retry');
  const [, , id] = await until('it is there', async () => (await seen(page)).find(([type]) => type === 'success'));
  await whole(app, id, one);
});

test('Uppy: reloaded with Golden Retriever, an upload goes on with its ticket', async (t) => {
  const { app, line, tickets, on, dir, url } = await start(t, 'uppy', MB);
  const { page } = await open(on, `${url}?retrieve`);
  const one = await file(dir, 'kept.bin', 8 * MB);
  await add(page, one);
  await page.waitForSelector('.uppy-StatusBar-actionBtn--upload');
  await page.click('.uppy-StatusBar-actionBtn--upload');
  await state(page, 'a part is there', ([a]) => a?.bytesUploaded > 2 * MB);
  const before = line.bytes;
  await page.goto(`${url}?retrieve`, { waitUntil: 'load' });
  line.rate = 20 * MB;
  await state(page, 'it is brought back', (all) => all.length === 1);
  await page.waitForSelector('.uppy-StatusBar-actionBtn--upload');
  await page.click('.uppy-StatusBar-actionBtn--upload');
  const [, , id] = await until('it is there', async () => (await seen(page)).find(([type]) => type === 'success'), async () => JSON.stringify([await files_of(page), await seen(page)]));
  await whole(app, id, one);
  assert.equal(tickets.length, 1);
  assert.ok(line.bytes - before < 7.5 * MB, 'what the server had was not sent again');
});

// FilePond

const pond = (page) => page.evaluate(() => window.pond.getFiles().map(({ filename, status, serverId }) => ({ filename, status, serverId })));
const COMPLETE = 5;
const ERROR = 6;
const BUSY = 3;
const IDLE = 2;
const pond_is = (page, what, check) => until(what, async () => {
  const now = await pond(page);
  return check(now) && now;
}, async () => JSON.stringify(await pond(page)));
const drop_in = async (page, ...files) => (await page.waitForSelector('input.filepond--browser')).uploadFile(...files.map(({ path }) => path));

test('FilePond: files are uploaded, their ids are in the form', async (t) => {
  const { app, tickets, on, dir, url } = await start(t, 'filepond', 8 * MB);
  const { page, console_errors } = await open(on, url);
  const files = [await file(dir, 'a.bin', 4 * MB), await file(dir, 'empty.bin', 0)];
  await drop_in(page, ...files);
  const there = await pond_is(page, 'both are there', (all) => all.length === 2 && all.every(({ status }) => status === COMPLETE));
  for (const { filename, serverId } of there) await whole(app, serverId, files.find(({ name }) => name === filename));
  const ids = there.map(({ serverId }) => serverId).sort();
  await until('the ids are in the form', async () => {
    const posted = await page.evaluate(() => new FormData(document.querySelector('form')).getAll('papers'));
    return posted.sort().join() === ids.join();
  });
  assert.deepEqual(tickets.map(({ name, field }) => [name, field]).sort(), [['a.bin', 'papers'], ['empty.bin', 'papers']]);
  assert.deepEqual(console_errors, []);
});

test('FilePond: cancelled, refused and tried again, reloaded', async (t) => {
  const { app, line, tickets, behave, on, dir, url } = await start(t, 'filepond', 2 * MB);
  const { page } = await open(on, url);
  const one = await file(dir, 'a.bin', 12 * MB);
  await drop_in(page, one);
  await pond_is(page, 'it is on its way', ([a]) => a?.status === BUSY);
  await until('bytes are on their way', () => line.bytes > MB);
  await page.click('.filepond--action-abort-item-processing');
  await until('the server knows', () => [...app.calls.values()].some(([{ cancelled }]) => cancelled === 'yes'));
  behave.refuse = () => ({ status: 422, detail: 'no such letter' });
  await pond_is(page, 'it is off the list', (all) => all.length === 0);
  await drop_in(page, one);
  await pond_is(page, 'it has failed', ([a]) => a?.status === ERROR);
  behave.refuse = () => null;
  const bytes = line.bytes;
  await until('it is tried again', async () => {
    // The button comes with an animation, and is under another one before.
    await page.$eval('.filepond--action-retry-item-processing', (button) => button.click());
    return (await pond(page))[0].status === BUSY;
  });
  await until('a part is there', () => line.bytes - bytes > 5 * MB, async () => JSON.stringify([await pond(page), line.bytes - bytes, tickets]));
  const asked = tickets.length;
  await page.goto(url, { waitUntil: 'load' });
  line.rate = 20 * MB;
  await drop_in(page, one);
  const [{ serverId }] = await pond_is(page, 'it is there', ([a]) => a?.status === COMPLETE);
  await whole(app, serverId, one);
  assert.equal(tickets.length, asked, 'it went on with its ticket');
});

// Speed

const SPEED_MB = Number(process.env.PLUGIN_SPEED_MB ?? 0);
const LINE_MB = Number(process.env.PLUGIN_SPEED_LINE ?? 0);
const ROUNDS = Number(process.env.PLUGIN_SPEED_ROUNDS ?? 7);

/** Milliseconds from the start of an upload until the page says that it is finished, by the clock of the page. */
const TIMED = {
  library: (page, id) => page.evaluate(async (ticket) => {
    const began = performance.now();
    await new Promise((done, failed) => {
      const up = new incoming.Uploader(ticket, document.querySelector('#files').files[0]);
      up.onfinished = done;
      up.onerror = failed;
      up.start();
    });
    return performance.now() - began;
  }, id),
  uppy: (page) => page.evaluate(async () => {
    const began = performance.now();
    const { successful } = await window.uppy.upload();
    if (successful.length !== 1) throw new Error('it failed');
    return performance.now() - began;
  }),
  bare: (page) => TIMED.uppy(page),
  filepond: (page) => page.evaluate(async () => {
    const began = performance.now();
    await window.pond.processFiles();
    return performance.now() - began;
  }),
};

// `bare` is Uppy without its Dashboard: what the plugin costs without what Uppy paints.
test(`a file of ${SPEED_MB} MB by the library, by Uppy with and without its Dashboard, by FilePond, in turns`, async (t) => {
  const app = await site(t, { serve: ['--ack', 'written'] });
  const one = await file(await folder(t), 'one.bin', SPEED_MB * MB);
  app.hash = async () => one.sha256;
  const server = LINE_MB === 0 ? app.origin : `http://localhost:${await new Line(t, app.uploadPort, LINE_MB * MB).open()}`;
  app.library = `${server}/incoming/frontend/incoming.js`;
  const on = await browser(t, { own: true, options: { networkEnabled: false } });
  const times = { library: [], bare: [], uppy: [], filepond: [] };
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const [name, taken] of Object.entries(times)) {
      const { url } = name === 'library' ? { url: app.page } : await serve(app, name === 'bare' ? 'uppy' : name, server);
      const { page } = await open(on, name === 'bare' ? `${url}?bare` : url);
      if (name === 'filepond') await page.evaluate(() => window.pond.setOptions({ instantUpload: false, allowMinimumUploadDuration: false }));
      const input = await page.waitForSelector({ library: '#files', bare: 'input[name=papers]', uppy: '.uppy-Dashboard-input', filepond: '.filepond--browser' }[name]);
      await input.uploadFile(one.path);
      if (name === 'uppy') await state(page, 'it is in the list', (files) => files.length === 1);
      if (name === 'bare') await page.evaluate((data) => window.uppy.addFile({ name: 'one.bin', data: data.files[0] }), input);
      // FilePond takes a second to show a file; it starts an upload when its list rests, which is in the time that is measured.
      if (name === 'filepond') await until('it is in the list', () => page.evaluate((idle) => window.pond.getFiles()[0]?.status === idle, IDLE));
      const ms = await TIMED[name](page, name === 'library' && await app.ticket());
      // The first round is for caches.
      if (round > 0) taken.push(ms);
      await page.close();
    }
  }
  const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
  const least = (values) => Math.min(...values);
  for (const [name, taken] of Object.entries(times)) {
    const ratio = (of) => (of(taken) / of(times.library)).toFixed(3);
    t.diagnostic(`${name}: ${taken.map((ms) => Math.round(ms)).join(' ')} ms; median ${ratio(median)} and least ${ratio(least)} of the library alone`);
  }
}, { skip: Object.fromEntries(['chromium', 'firefox', 'webkit'].map((kind) => [kind, SPEED_MB === 0 && 'figures are for a quiet machine: PLUGIN_SPEED_MB=1000'])), timeout: 600_000 });
