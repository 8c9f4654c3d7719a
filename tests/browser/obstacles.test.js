// What stands in the way of uploads in the field: files that are none, proxies that reload, tabs that freeze, links to
// downloads, service workers, pages that start thousands of uploads at once. Each is the report of somebody whose upload
// stood still, ended for good or said "all done" over nothing.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { appendFile, copyFile, mkdir, truncate, unlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Line, browser, file, folder, freePort, kind_of, open, test, until } from './harness.js';
import { begin, certificate, ended, look, put_in, seen, site } from './site.js';

const MB = 1_000_000;
const NGINX = '/usr/sbin/nginx';

/** A web app, a browser and a page whose uploads go over a line. */
async function over(t, bytesPerSecond, more) {
  const app = await site(t);
  const line = new Line(t, app.uploadPort, bytesPerSecond, more);
  app.library = `http://localhost:${await line.open()}/incoming/frontend/incoming.js`;
  const on = await browser(t);
  const { page } = await open(on, app.page);
  return { app, line, on, page, dir: await folder(t) };
}

async function finished(page, app, id, one, name = 'up') {
  const last = await ended(page, name);
  assert.equal(last.outcome, 'finished');
  assert.deepEqual(last.wrong, []);
  assert.equal((await app.taken(id)).sha256, one.sha256);
  return last;
}

const at_percent = (page, percent, name = 'up') => seen(page, `${percent}% of ${name}`, (now) => now.frac_complete >= percent / 100, name);

/** nginx before a server, as docs/operations/proxies has it; speaks HTTP/2 to browsers. */
class Nginx {
  constructor(t, dir) {
    this.dir = dir;
    t.after(() => this.stop());
  }

  async start(port, upstream) {
    const [, cert, , key] = await certificate(this.dir);
    this.conf = join(this.dir, 'nginx.conf');
    const own = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((of) => `${of}_temp_path ${this.dir}/${of};`).join(' ');
    await writeFile(this.conf, `
      worker_processes 1; daemon off; pid ${this.dir}/pid; error_log ${this.dir}/error.log;
      events { worker_connections 256; }
      http {
        ${own} access_log ${this.dir}/access.log;
        upstream incoming { server 127.0.0.1:${upstream}; keepalive 32; keepalive_timeout 60s; }
        server {
          listen 127.0.0.1:${port} ssl http2;
          ssl_certificate ${cert}; ssl_certificate_key ${key};
          http2_body_preread_size 1m;
          location / {
            proxy_pass http://incoming; proxy_http_version 1.1;
            proxy_set_header Connection ""; proxy_set_header Host $http_host;
            client_max_body_size 0; proxy_request_buffering off; client_body_buffer_size 1m; proxy_buffering off;
            client_body_timeout 300s; proxy_send_timeout 300s; proxy_read_timeout 300s; send_timeout 300s;
          }
        }
      }`);
    this.child = spawn(NGINX, ['-p', this.dir, '-c', this.conf, '-e', `${this.dir}/error.log`], { stdio: 'ignore' });
    this.ended = new Promise((done) => this.child.once('exit', done));
  }

  /** New workers take over; the old ones end their connections in order. */
  reload() {
    this.child.kill('SIGHUP');
  }

  async stop() {
    this.child?.kill('SIGTERM');
    await this.ended;
  }
}

/** A page whose uploads go through nginx over HTTP/2, from it to the server over a line. */
async function behind_nginx(t, bytesPerSecond) {
  if (!existsSync(NGINX)) return void t.skip('nginx is not installed');
  const app = await site(t);
  const line = new Line(t, app.uploadPort, bytesPerSecond, { together: true });
  const nginx = new Nginx(t, await folder(t));
  const port = await freePort();
  await nginx.start(port, await line.open());
  app.library = `https://localhost:${port}/incoming/frontend/incoming.js`;
  const on = await browser(t);
  const { page, complaints } = await open(on, app.page);
  return { app, line, nginx, page, complaints, dir: await folder(t) };
}

/** Does something to a file while it is sent through nginx: the page is told, unless the browser had all of it. */
async function told_through_nginx(t, change) {
  const on = await behind_nginx(t, 4 * MB);
  if (!on) return;
  const { app, line, page, complaints, dir } = on;
  const one = await file(dir, 'changing.bin', 24 * MB);
  await utimes(one.path, 1_700_000_000, 1_700_000_000);
  await put_in(page, one);
  const id = await app.ticket();
  await begin(page, id, { options: { chunk_size: MB, send_ahead: 2 } });
  await at_percent(page, 25);
  line.hold();
  await change(one);
  line.go();
  const last = await ended(page);
  t.diagnostic(`${last.outcome}: ${last.said.join('; ')}`);
  // nginx answers for a body that ended too early, in Firefox, in its own words.
  for (let at = complaints.length; at--; ) if (/Status code: 400/.test(complaints[at])) complaints.splice(at, 1);
  if (last.finished) return assert.equal((await app.taken(id)).sha256, one.sha256);
  assert.match(last.outcome, /^UploadError FILE_CHANGED 100 /);
  assert.equal(app.calls.get(id), undefined);
}

test('through nginx over HTTP/2: the file is removed while it is sent', (t) => told_through_nginx(t, (one) => unlink(one.path)));

test('through nginx over HTTP/2: the file is cut while it is sent', (t) => told_through_nginx(t, (one) => truncate(one.path, 9 * MB)));

test('nginx is reloaded again and again: no chunk stands still for long', async (t) => {
  const on = await behind_nginx(t, 3 * MB);
  if (!on) return;
  const { app, nginx, page, dir } = on;
  const one = await file(dir, 'reload.bin', 30 * MB);
  await put_in(page, one);
  const id = await app.ticket();
  await begin(page, id);
  for (const percent of [15, 35, 55, 75]) {
    await at_percent(page, percent);
    nginx.reload();
  }
  const began = performance.now();
  await finished(page, app, id, one);
  const ms = Math.round(performance.now() - began);
  t.diagnostic(`${ms} ms from the last reload`);
  assert.ok(ms < 30_000, `${ms} ms`);
});

test('a connection goes dead without a word: its chunk is sent again within seconds', async (t) => {
  const { app, line, page, dir } = await over(t, 2 * MB);
  const one = await file(dir, 'dead.bin', 24 * MB);
  await put_in(page, one);
  const id = await app.ticket();
  await begin(page, id, { options: { chunk_size: MB, send_ahead: 3 } });
  await at_percent(page, 20);
  const began = performance.now();
  line.strangle();
  await finished(page, app, id, one);
  const ms = Math.round(performance.now() - began);
  t.diagnostic(`${ms} ms until the end`);
  assert.ok(ms < 28_000, `${ms} ms`);
});

test('a link to a download is clicked while a file is sent: it goes on within seconds', async (t) => {
  const { app, page, dir } = await over(t, 4 * MB);
  app.more.set('/report', (answer) => {
    answer.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Disposition': 'attachment; filename="report.bin"' });
    answer.end('report');
  });
  const one = await file(dir, 'while-clicking.bin', 24 * MB);
  await put_in(page, one);
  const id = await app.ticket();
  await page.evaluate(() => document.body.insertAdjacentHTML('beforeend', '<a id="report" href="/report">report</a>'));
  await begin(page, id);
  await at_percent(page, 20);
  const before = (await look(page)).bytes_acked;
  const began = performance.now();
  await page.click('#report');
  await seen(page, 'it goes on', (now) => now.bytes_acked >= before + 6 * MB);
  const ms = Math.round(performance.now() - began);
  t.diagnostic(`6 MB more after ${ms} ms`);
  assert.ok(ms < 20_000, `${ms} ms`);
  await finished(page, app, id, one);
});

test('what has no bytes is read before it is bound: an empty file arrives, one that is gone or has grown does not', async (t) => {
  const { app, page, dir } = await over(t, 4 * MB);
  const files = ['empty', 'gone', 'grown'].map((name) => ({ name, path: join(dir, name) }));
  for (const { path } of files) await writeFile(path, '');
  await put_in(page, ...files);
  // Chromium looks at a file when a page asks for its size.
  await page.evaluate(() => [...document.getElementById('files').files].map((one) => one.size));
  await unlink(files[1].path);
  await appendFile(files[2].path, 'more');
  const ids = [];
  for (const [index, { name }] of files.entries()) {
    ids.push(await app.ticket());
    await begin(page, ids[index], { index, name });
  }
  assert.equal((await ended(page, 'empty')).outcome, 'finished');
  assert.equal((await app.taken(ids[0])).bytes, 0);
  for (const name of ['gone', 'grown']) assert.match((await ended(page, name)).outcome, /FILE_CHANGED/, name);
  for (const id of ids.slice(1)) assert.equal(app.calls.get(id), undefined);
});

test('a folder that was dropped is no empty file', async (t) => {
  const { app, page, dir } = await over(t, 4 * MB);
  const path = join(dir, 'a folder');
  await mkdir(path);
  const id = await app.ticket();
  const client = await page.createCDPSession();
  await page.evaluate((ticket) => {
    document.body.style.height = '500px';
    document.body.addEventListener('dragover', (event) => event.preventDefault());
    document.body.addEventListener('drop', (event) => {
      event.preventDefault();
      const [folder] = event.dataTransfer.files;
      // What a folder is said to have differs among systems: none, here; 4096 bytes on other ones.
      window.folder = { name: folder.name, size: folder.size };
      window.watch('up', incoming.Uploader(ticket, folder.size === 0 ? folder : Object.defineProperty(folder, 'size', { value: 0 }))).up.start();
    });
  }, id);
  const data = { items: [], files: [path], dragOperationsMask: 1 };
  for (const type of ['dragEnter', 'dragOver', 'drop']) await client.send('Input.dispatchDragEvent', { type, x: 50, y: 50, data });
  const last = await ended(page);
  t.diagnostic(`${JSON.stringify(await page.evaluate(() => window.folder))}: ${last.outcome}`);
  assert.match(last.outcome, /FILE_CHANGED/);
  assert.equal(app.calls.get(id), undefined);
}, { skip: { firefox: 'nothing can be dropped over BiDi' } });

test('a tab that holds the turn is frozen: another one takes over, and nothing is mixed when the first thaws', async (t) => {
  const { app, on, page, dir } = await over(t, 2 * MB);
  const one = await file(dir, 'frozen.bin', 12 * MB);
  const { page: other } = await open(on, 'about:blank');
  // Minutes are waited for by a clock that the test moves on.
  await other.evaluateOnNewDocument(() => {
    const { now } = performance;
    window.later = 0;
    performance.now = () => now.call(performance) + window.later;
  });
  await other.goto(app.page, { waitUntil: 'load' });
  for (const tab of [page, other]) await put_in(tab, one);
  const id = await app.ticket();
  await begin(page, id, { options: { chunk_size: MB } });
  await at_percent(page, 10);
  const client = await page.createCDPSession();
  await client.send('Page.setWebLifecycleState', { state: 'frozen' });
  await begin(other, id);
  await seen(other, 'the other looks on', (now) => /another tab/.test(now.state_msg));
  // Chunks that were on their way may still arrive.
  let acked = -1;
  await until('nothing arrives any more', async () => {
    const before = acked;
    acked = (await look(other)).bytes_acked;
    await new Promise((next) => setTimeout(next, 1500));
    return acked === before;
  });
  await other.evaluate(() => (window.later = 6 * 60_000));
  await seen(other, 'the other sends', (now) => now.bytes_acked > acked);
  await client.send('Page.setWebLifecycleState', { state: 'active' });
  for (const tab of [page, other]) assert.equal((await ended(tab)).outcome, 'finished');
  const call = await app.taken(id);
  assert.deepEqual([call.sha256, app.calls.get(id).length], [one.sha256, 1]);
}, { skip: { firefox: 'no tab can be frozen over BiDi' } });

test('behind a service worker, on a slow line, with digests: chunks get through', async (t) => {
  const { app, page, dir } = await over(t, 20_000, { together: true });
  app.more.set('/worker.js', (answer) => {
    answer.writeHead(200, { 'Content-Type': 'text/javascript' });
    answer.end('addEventListener("install", () => skipWaiting()); addEventListener("activate", (event) => event.waitUntil(clients.claim())); addEventListener("fetch", (event) => event.respondWith(fetch(event.request)));');
  });
  const one = await file(dir, 'worker.bin', 300_000);
  // Patience is measured by timers, which run thirty times as fast here: two seconds for the first sign of life.
  await page.evaluateOnNewDocument(() => {
    const { setTimeout } = window;
    window.setTimeout = (fn, ms, ...more) => setTimeout(fn, ms / 30, ...more);
  });
  await page.evaluate(async () => {
    await navigator.serviceWorker.register('/worker.js');
    await navigator.serviceWorker.ready;
  });
  await page.reload({ waitUntil: 'load' });
  await until('the worker has the page', () => page.evaluate(() => Boolean(navigator.serviceWorker.controller)));
  await put_in(page, one);
  const id = await app.ticket();
  const began = performance.now();
  await begin(page, id, { options: { digest: true } });
  const last = await finished(page, app, id, one);
  t.diagnostic(`${Math.round(performance.now() - began)} ms: ${last.said.join('; ')}`);
});

test('2,500 uploaders are started at once: the page stays alive, and chunks go out before all are bound', async (t) => {
  const { app, page } = await over(t, 50 * MB);
  const ids = await Promise.all(Array.from({ length: 60 }, () => app.ticket()));
  const seen_of = await page.evaluate(async (tickets) => {
    const sent = [];
    const { open } = XMLHttpRequest.prototype;
    XMLHttpRequest.prototype.open = function (method, url) {
      sent.push(method);
      return open.call(this, method, url);
    };
    // Most never get their turn here: what counts is the page.
    const all = Array.from({ length: 2500 }, (_, i) => incoming.Uploader(tickets[i] ?? `none-${i}`, new File(['some bytes'], `f${i}`)));
    const before = performance.now();
    let [longest, last] = [0, before];
    for (const up of all) up.start();
    const started = performance.now() - before;
    while (!tickets.every((_, i) => all[i].finished)) {
      await new Promise((next) => setTimeout(next));
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }
    const first = sent.indexOf('PUT');
    const bound = sent.slice(0, sent.lastIndexOf('PUT')).filter((method) => method === 'POST').length;
    for (const up of all) up.cancel('enough');
    return { started: Math.round(started), longest: Math.round(longest), first, bound };
  }, ids);
  t.diagnostic(JSON.stringify(seen_of));
  assert.ok(seen_of.started < 2_000, `${seen_of.started} ms to start them`);
  assert.ok(seen_of.first < 30, `${seen_of.first} requests before the first chunk`);
  assert.ok(seen_of.bound < 200, `${seen_of.bound} bound before the last chunk`);
});

test('the same bytes are found again under another name and time', async (t) => {
  const { app, line, page, dir } = await over(t, 4 * MB);
  const one = await file(dir, 'IMG_0001.bin', 8 * MB);
  await put_in(page, one);
  const id = await app.ticket();
  await begin(page, id);
  await at_percent(page, 20);
  line.cut();
  const copy = { ...one, path: join(dir, 'image:4711.bin') };
  await copyFile(one.path, copy.path);
  await page.reload({ waitUntil: 'load' }).catch(() => {});
  line.mend();
  await page.goto(app.page, { waitUntil: 'load' });
  await put_in(page, copy);
  const found = await page.evaluate(() => incoming.recall(document.getElementById('files').files[0]).then((entry) => entry && { ...entry }));
  assert.deepEqual([found?.upload_id, found?.name], [id, 'IMG_0001.bin']);
  await begin(page, found.upload_id);
  await finished(page, app, id, one);
});

test('a clock that is set by days and years for a moment erases nothing that is remembered, and moves no pause', async (t) => {
  const { app, line, page, dir } = await over(t, 4 * MB);
  const one = await file(dir, 'clock.bin', 8 * MB);
  await put_in(page, one);
  const id = await app.ticket();
  await begin(page, id);
  await at_percent(page, 20);
  line.cut();
  await seen(page, 'it waits', (now) => /again in/.test(now.state_msg));
  const found = await page.evaluate(async () => {
    const { now } = Date;
    const DAY_MS = 24 * 3_600_000;
    const out = [];
    for (const days of [8, -8, 365, -20_000, 0]) {
      Date.now = () => now() + days * DAY_MS;
      const all = await incoming.unfinished();
      out.push([days, all.length, window.uploads.up.up.retry_in_s <= 60]);
    }
    Date.now = now;
    return out;
  });
  assert.deepEqual(found, [8, -8, 365, -20_000, 0].map((days) => [days, 1, true]));
  line.mend();
  await page.evaluate(() => window.uploads.up.up.start());
  await finished(page, app, id, one);
});

for (const [what, reason, told] of [
  ['half of an emoji', 'Sorry \u{1F600}'.slice(0, 7), 'Sorry \ufffd'],
  ['40,000 characters', '\u4e2d'.repeat(40_000), '\u4e2d'.repeat(500)],
]) {
  test(`a reason for cancelling with ${what} gets through nginx and to the web app`, async (t) => {
    const on = await behind_nginx(t, 2 * MB);
    if (!on) return;
    const { app, page, dir } = on;
    const one = await file(dir, 'cancelled.bin', 8 * MB);
    await put_in(page, one);
    const id = await app.ticket();
    await begin(page, id);
    await at_percent(page, 10);
    await page.evaluate((text) => window.uploads.up.up.cancel(text), reason);
    const last = await ended(page);
    assert.deepEqual([last.outcome.split(' ')[0], last.cancelled, last.error_code], ['AbortError', true, null]);
    assert.equal((await app.cancelled(id)).cancelReason, told);
  });
}
