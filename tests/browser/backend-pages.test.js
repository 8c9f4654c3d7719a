// Web pages against the backend API on loopback, in real browsers: a page on another port and one on another host name try
// everything that a page may send without being asked for permission, and a page whose name was pointed at the server reads
// as its own origin. Nothing may change on the server, and nothing be read from it.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { INSECURE_HOST } from './browsers.js';
import { Server, browser, folder, freePort, test, until } from './harness.js';

const FILTER = 'info,incoming=debug';

/** An upload server as it stands after installation by hand, and what its backend API says to a program. */
async function serve(t, backend) {
  const [dir, listen] = [await folder(t), await freePort()];
  const args = ['serve', '--listen', `127.0.0.1:${listen}`, '--backend-listen', `127.0.0.1:${backend}`,
    '--storage-dir', join(dir, 'data'), '--min-free-space', '0', '--log', FILTER, '--log-format', 'json'];
  const server = new Server(t, args, `http://127.0.0.1:${backend}/healthz`);
  await server.start();
  const ask = (path, more) => fetch(`http://127.0.0.1:${backend}/incoming/backend/${path}`, more);
  return {
    /** The requests of this route that were answered so. */
    answered: (route, status) => server.log.split('\n').filter((line) => {
      if (!line.startsWith('{')) return false;
      const entry = JSON.parse(line);
      return entry.message === 'request' && entry.route === route && entry.status === status;
    }).length,
    ticket: async () => (await ask('new_upload', { method: 'POST', body: new URLSearchParams({ signalFinishURL: 'http://127.0.0.1:9/' }) })).status,
    uploads: async () => (await (await ask('uploads')).json()).uploads.length,
    filter: async () => (await ask('log')).text(),
  };
}

/** A page of another site, at this port. */
async function page_at(t, port) {
  const web = createServer((request, answer) => answer.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><title>evil</title><body>'));
  await new Promise((done) => web.listen(port, '127.0.0.1', done));
  const close = () => new Promise((done) => (web.closeAllConnections(), web.close(done)));
  t.after(() => web.listening && close());
  return close;
}

/** What a page sends to `base` without being asked for permission, each thing once; and what it could read. */
const attack = async (base) => {
  const call = `${base}/incoming/backend/new_upload`;
  const form = 'signalFinishURL=http%3A%2F%2Fevil.example%2F';
  const read = [];
  const loaded = (node, attribute, url) => new Promise((done) => {
    node.onload = () => done(true);
    node.onerror = () => done(false);
    node[attribute] = url;
    document.body.append(node);
  });
  const posted = (policy) => new Promise((done) => {
    const frame = document.createElement('iframe');
    frame.name = `frame${Math.random()}`;
    document.body.append(frame);
    const sent = document.createElement('form');
    Object.assign(sent, { method: 'POST', action: call, target: frame.name });
    if (policy) sent.setAttribute('rel', policy);
    sent.innerHTML = '<input name="signalFinishURL" value="http://evil.example/"><input name="idleTimeout" value="24h">';
    document.body.append(sent);
    frame.onload = done;
    sent.submit();
  });
  await posted();
  await posted('noreferrer'); // Origin: null
  const simple = { method: 'POST', mode: 'no-cors' };
  for (const [url, options] of [
    [call, { ...simple, headers: { 'Content-Type': 'application/x-www-form-urlencoded' }, body: form }],
    [call, { ...simple, headers: { 'Content-Type': 'text/plain' }, body: JSON.stringify({ signalFinishURL: 'http://evil.example/' }) }],
    [`${call}?${form}`, { ...simple, referrerPolicy: 'no-referrer' }],
    [`${base}/incoming/0.1/backend/new_upload?${form}`, simple],
    [`${base}/incoming/backend/log?filter=off`, simple],
    [`${base}/incoming/backend/uploads`, { mode: 'cors' }],
    [call, { method: 'POST', mode: 'cors', body: new URLSearchParams(form) }],
    [call, { method: 'POST', mode: 'cors', headers: { 'Content-Type': 'application/json' }, body: '{}' }], // a preflight
  ]) {
    const answer = await fetch(url, options).catch(() => null);
    if (answer && answer.type !== 'opaque') read.push(`${options.mode} ${url}: ${answer.status} ${await answer.text()}`);
  }
  navigator.sendBeacon(call, new URLSearchParams(form));
  if (await loaded(document.createElement('img'), 'src', `${base}/incoming/backend/uploads`)) read.push('an image');
  if (await loaded(document.createElement('script'), 'src', `${base}/metrics`)) read.push('a script');
  return read;
};

test('pages of other origins change nothing and read nothing', async (t) => {
  const [backend, port] = [await freePort(), await freePort()];
  const server = await serve(t, backend);
  await page_at(t, port);
  const context = await browser(t);
  let rounds = 0;
  for (const origin of [`http://localhost:${port}`, `http://127.0.0.1:${port}`, `http://${INSECURE_HOST}:${port}`]) {
    for (const base of [`http://127.0.0.1:${backend}`, `http://localhost:${backend}`]) {
      const page = await context.newPage();
      await page.goto(origin);
      assert.deepEqual(await page.evaluate(attack, base), [], `${origin} reads from ${base}`);
      rounds += 1;
      // All came, and all were refused: two forms, five fetches, a beacon.
      await until('the requests have come', () => server.answered('new_upload', 403) >= rounds * 8);
      await page.close();
    }
  }
  assert.ok(server.answered('log', 403) >= rounds && server.answered('uploads', 403) >= rounds, 'not all came');
  assert.equal(server.answered('new_upload', 200), 0);
  assert.equal(await server.uploads(), 0);
  assert.equal(await server.filter(), FILTER);
  // A program other than a browser: Node says `Sec-Fetch-Mode: cors`.
  assert.equal(await server.ticket(), 200);
  assert.equal(await server.uploads(), 1);
});

test('DNS rebinding: a page whose name is pointed at the server reads nothing', async (t) => {
  const port = await freePort();
  const close = await page_at(t, port);
  const page = await (await browser(t)).newPage();
  await page.goto(`http://${INSECURE_HOST}:${port}/`);
  // From now on the name and the port of the page are those of the server.
  await close();
  const server = await serve(t, port);
  const seen = await page.evaluate(async () => {
    const seen = [];
    for (const [path, options] of [
      ['/incoming/backend/uploads', {}],
      ['/metrics', {}],
      ['/incoming/backend/new_upload', { method: 'POST', body: new URLSearchParams({ signalFinishURL: 'http://evil.example/' }) }],
      ['/incoming/backend/log?filter=off', { method: 'POST' }],
    ]) {
      const answer = await fetch(path, options);
      seen.push([answer.status, /backend_hosts/.test(await answer.text())]);
    }
    return seen;
  });
  assert.deepEqual(seen, [[403, true], [403, true], [403, true], [403, true]]);
  assert.equal(await server.uploads(), 0);
  assert.equal(await server.filter(), FILTER);
});
