// A web app written for the 2014 system: its backend calls under /incoming/0.1/, its handover
// handler, its page with the documented properties, flags and callbacks, on an origin of its own.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, rename } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Server, browser, file, folder, freePort, open, test, until } from './harness.js';

const PAGE = (hostname) => `<!doctype html>
<script src="http://${hostname}/incoming/0.1/frontend/incoming.js"></script>
<input type="file" id="input_file" onchange="upload_file(this.files[0])">
<input type="checkbox" id="input_pause" disabled>
<script>
  window.onload = function () { incoming.set_server_hostname("${hostname}"); };
  window.seen = { progress: 0, finished: 0, cancelled: 0, error: 0, fractions: [], flags: [] };
  function upload_file(f) {
    var xhr = new XMLHttpRequest();
    xhr.open('get', '/api/frontend/request_upload?filename=' + encodeURIComponent(f.name));
    xhr.onload = function () {
      var uploader = incoming.Uploader(xhr.responseText, f);
      uploader.onprogress = function (u) {
        window.seen.progress += 1;
        window.seen.fractions.push(u.frac_complete);
        window.seen.flags.push([u.connected, u.finished, u.paused, u.can_pause, u.cancelling, u.cancelled, u.can_cancel]);
        document.getElementById('input_pause').disabled = !u.can_pause;
      };
      uploader.onfinished = function () { window.seen.finished += 1; };
      uploader.oncancelled = function () { window.seen.cancelled += 1; };
      uploader.onerror = function () { window.seen.error += 1; };
      window.uploader = uploader;
      window.returned = uploader.start() === uploader;
    };
    xhr.send(null);
  }
</script>`;

/** The little web app: pages, tickets by query string, handover with a secret, wait and finish. */
async function webApp(t, dir, incomingPort) {
  const base = `http://127.0.0.1:${incomingPort}/incoming/0.1/backend`;
  const state = { files: [], cancels: [], calls: [], answers: [] };
  const secret = 'a secret & more';
  await mkdir(join(dir, 'uploads'));
  const server = createServer(async (request, answer) => {
    const url = new URL(request.url, 'http://app');
    if (url.pathname === '/') {
      answer.setHeader('content-type', 'text/html');
      return answer.end(PAGE(`localhost:${incomingPort}`));
    }
    if (url.pathname === '/api/frontend/request_upload') {
      const params = new URLSearchParams({
        destType: 'file',
        signalFinishURL: `http://127.0.0.1:${server.address().port}/api/backend/upload_finished`,
        removeFileWhenFinished: 'false',
        backendSecret: secret,
      });
      const ticket = await fetch(`${base}/new_upload?${params}`, { method: 'POST' });
      answer.setHeader('content-type', 'text/plain');
      return answer.end(await ticket.text());
    }
    if (url.pathname !== '/api/backend/upload_finished') return answer.writeHead(404).end();
    let body = '';
    for await (const part of request) body += part;
    const form = new URLSearchParams(body);
    state.calls.push(Object.fromEntries(form));
    if (form.get('backendSecret') !== secret) return answer.writeHead(403).end();
    if (form.get('cancelled') === 'yes') {
      state.cancels.push(form.get('cancelReason'));
      return answer.end('');
    }
    const to = join(dir, 'uploads', form.get('filenameFromBrowser'));
    answer.end('wait');
    await rename(form.get('filename'), to);
    state.files.push(to);
    const params = new URLSearchParams({ id: form.get('id'), backendSecret: secret });
    const reply = await fetch(`${base}/finish_upload?${params}`, { method: 'POST' });
    state.answers.push(await reply.text());
    return undefined;
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => server.close());
  t.after(() => server.closeAllConnections());
  return { state, port: server.address().port };
}

async function sha256(path) {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/** One process that serves both surfaces on one socket, as in 2014. */
async function oldLayout(t) {
  const dir = await folder(t);
  const port = await freePort();
  const address = `127.0.0.1:${port}`;
  const args = ['serve', '--listen', address, '--backend-listen', address, '--storage-dir', join(dir, 'data')];
  const server = new Server(t, args, `http://${address}/incoming/frontend/incoming.js`);
  await server.start();
  const app = await webApp(t, dir, port);
  const on = await browser(t);
  const { page, console_errors } = await open(on, `http://127.0.0.1:${app.port}/`);
  return { dir, app, page, console_errors };
}

test('an upload with the documented callbacks, handed over with wait and finish_upload', async (t) => {
  const { dir, app, page, console_errors } = await oldLayout(t);
  const one = await file(dir, 'old film.bin', 25_000_000);
  await (await page.$('#input_file')).uploadFile(one.path);
  await until('it is finished', () => page.evaluate(() => window.seen.finished > 0));
  const seen = await page.evaluate(() => window.seen);
  assert.equal(seen.finished, 1);
  assert.equal(seen.error + seen.cancelled, 0);
  assert.ok(seen.progress > 2);
  assert.equal(seen.fractions.at(-1), 1);
  assert.ok(seen.fractions.every((value, at) => at === 0 || value >= seen.fractions[at - 1]), 'it never goes back');
  const last = await page.evaluate(() => {
    const u = window.uploader;
    return [
      window.returned, u.filename, u.bytes_total, u.bytes_tx, u.bytes_acked, u.bytes_ahead, u.chunks_ahead, u.finished,
      u.paused, u.can_pause, u.cancelled, u.can_cancel, typeof u.state_msg, u.error_code, u.cancel_msg,
    ];
  });
  const total = one.bytes;
  assert.deepEqual(last.slice(0, 12), [true, one.name, total, total, total, 0, 0, true, false, false, false, false]);
  assert.equal(last[12], 'string');
  await until('the backend is done', () => app.state.answers.length > 0);
  assert.deepEqual(app.state.answers, ['ok']);
  assert.equal(await sha256(app.state.files[0]), one.sha256);
  const [call] = app.state.calls;
  assert.equal(call.filenameFromBrowser, one.name);
  assert.equal(call.cancelled, 'no');
  assert.equal(call.cancelReason, '');
  assert.equal(app.state.calls.length, 1);
  assert.deepEqual(console_errors, []);
});

test('pause by checkbox, resume, cancel; the backend learns the reason', async (t) => {
  const { dir, app, page, console_errors } = await oldLayout(t);
  const one = await file(dir, 'unwanted.bin', 200_000_000);
  await (await page.$('#input_file')).uploadFile(one.path);
  await until('it can be paused', () => page.evaluate(() => window.uploader?.can_pause && window.uploader.bytes_acked > 0));
  const paused = await page.evaluate(() => {
    window.uploader.pause('pause');
    return [window.uploader.paused, window.uploader.can_cancel];
  });
  assert.deepEqual(paused, [true, false]);
  await page.evaluate(() => window.uploader.pause('toggle'));
  await until('it can be cancelled', () => page.evaluate(() => {
    if (!window.uploader.connected || !window.uploader.can_cancel) return false;
    window.uploader.cancel('user cancelled manually');
    return true;
  }));
  await until('it is cancelled', () => page.evaluate(() => window.seen.cancelled > 0));
  assert.equal(await page.evaluate(() => window.uploader.cancel_msg), 'user cancelled manually');
  await until('the backend knows', () => app.state.cancels.length > 0);
  assert.deepEqual(app.state.cancels, ['user cancelled manually']);
  assert.deepEqual(app.state.files, []);
  assert.deepEqual(console_errors, []);
});
