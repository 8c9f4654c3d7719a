// The browser library as a page of its own uses it: from another origin, with headers, digests, a
// signal, over lines of different speed.

import assert from 'node:assert/strict';
import { Line, browser, file, folder, kind_of, open, test, until } from './harness.js';
import { site } from './site.js';

const MB = 1_000_000;
/** Of the file that shows how much of a line is used: the more, the less its beginning weighs. */
const LINE_MB = Number(process.env.LINE_MB ?? 100);

/** A web app, its upload server behind a line, and what went over the line seen by the browser. */
async function cross_origin(t, bytesPerSecond, more) {
  const app = await site(t);
  const line = new Line(t, app.uploadPort, bytesPerSecond, more);
  const hostname = `http://localhost:${await line.open()}`;
  const { page, console_errors } = await open(await browser(t), app.page);
  const requests = [];
  page.on('request', (request) => {
    if (request.url().includes('/uploads/')) requests.push(request);
  });
  await page.evaluate(() => {
    window.seen = { rates: [], left: [], asked: 0, outcome: null };
    window.control = new AbortController();
  });
  return { app, line, page, console_errors, requests, hostname, dir: await folder(t) };
}

/** Starts an upload in the page as `window.up`, with what `options` gives there. Gives its id. */
async function start({ app, page, hostname }, one, options = () => ({}), ticket_options = {}) {
  await (await page.$('#files')).uploadFile(one.path);
  const id = await app.ticket({ length: String(one.bytes), ...ticket_options });
  await page.evaluate(async (ticket, to, more) => {
    const { Uploader } = await import('/incoming/frontend/incoming.mjs');
    const up = new Uploader(ticket, document.getElementById('files').files[0], { hostname: to, ...more });
    up.addEventListener('progress', () => {
      if (up.bytes_per_s !== null) window.seen.rates.push(up.bytes_per_s);
      if (up.eta_s !== null) window.seen.left.push(up.eta_s);
      if (up.frac_complete === 1) window.seen.acknowledged ??= performance.now();
    });
    up.done.then(() => ((window.seen.finished = performance.now()), (window.seen.outcome = 'finished')), (error) => (window.seen.outcome = String(error?.name ?? error)));
    window.up = up;
    window.seen.began = performance.now();
    up.start();
  }, id, hostname, await page.evaluateHandle(options));
  return id;
}

const outcome = (page) => until('the upload has an outcome', () => page.evaluate(() => window.seen.outcome));

const arrived = async (app, id, one) => assert.equal((await app.taken(id)).sha256, one.sha256);

const chunks = (requests) => requests.filter((request) => request.method() === 'PUT').map((request) => {
  const [, from, last] = /bytes (\d+)-(\d+)\//.exec(request.headers()['content-range']);
  return { bytes: Number(last) + 1 - Number(from), digest: request.headers()['content-digest'], token: request.headers()['x-token'] };
});

test('from another origin, with a token asked for each time and a digest with every chunk', async (t) => {
  const on = await cross_origin(t, 8 * MB);
  const { app, page, console_errors, requests, dir } = on;
  const one = await file(dir, 'signed.bin', 30 * MB);
  const id = await start(on, one, () => ({
    digest: true,
    headers: async () => ({ 'X-Token': String((window.seen.asked += 1)) }),
  }));
  assert.equal(await outcome(page), 'finished');
  await arrived(app, id, one);
  const sent = chunks(requests);
  assert.ok(sent.every(({ digest }) => /^sha-256=:[\w+/]{43}=:$/.test(digest)), JSON.stringify(sent));
  assert.ok(sent.every(({ token }) => Number(token) > 0));
  assert.equal(new Set(sent.map(({ token }) => token)).size, sent.length);
  assert.deepEqual(console_errors, []);
});

test('a ticket that wants the digest of the file gets one with every chunk', async (t) => {
  const on = await cross_origin(t, 1000 * MB);
  const { app, page, requests, dir } = on;
  const one = await file(dir, 'wanted.bin', 12 * MB);
  const id = await start(on, one, () => ({}), { digest: 'sha-256' });
  assert.equal(await outcome(page), 'finished');
  const sent = chunks(requests);
  assert.ok(sent.length > 2 && sent.every(({ digest }) => digest), JSON.stringify(sent));
  const { digest } = await app.taken(id);
  assert.ok([one.sha256, Buffer.from(one.sha256, 'hex').toString('base64')].some((form) => digest.includes(form)), digest);
});

test('chunks grow on a fast line and stay small on a slow one; the rate shown is that of the line', async (t) => {
  const fast = await cross_origin(t, 1000 * MB);
  const large = await file(fast.dir, 'fast.bin', 150 * MB);
  await start(fast, large);
  assert.equal(await outcome(fast.page), 'finished');
  const sizes = chunks(fast.requests).map(({ bytes }) => bytes);
  assert.equal(sizes[0], 512 * 1024);
  assert.ok(Math.max(...sizes) >= 4 * 1024 * 1024, sizes.join());

  const slow = await cross_origin(t, 0.3 * MB);
  const small = await file(slow.dir, 'slow.bin', 4 * MB);
  const id = await start(slow, small);
  assert.equal(await outcome(slow.page), 'finished');
  await arrived(slow.app, id, small);
  const little = chunks(slow.requests).map(({ bytes }) => bytes);
  assert.ok(Math.max(...little) <= 1024 * 1024, little.join());
  const { rates, left } = await slow.page.evaluate(() => window.seen);
  t.diagnostic(`fast ${sizes.join()}; slow ${little.join()}; last rate ${rates.at(-1)}, first time left ${left[0]} s`);
  // Each connection gets that rate, and there are up to four.
  assert.ok(rates.at(-1) > 0.1 * MB && rates.at(-1) < 1.4 * MB, rates.join());
  assert.deepEqual([...fast.console_errors, ...slow.console_errors], []);
}, { alone: ['chromium', 'firefox'] });

test('a signal cancels, also on the server', async (t) => {
  const on = await cross_origin(t, 2 * MB);
  const { page, console_errors, requests, dir } = on;
  const one = await file(dir, 'aborted.bin', 30 * MB);
  await start(on, one, () => ({ signal: window.control.signal }));
  await until('it is on its way', () => page.evaluate(() => window.up.bytes_acked > 0));
  await page.evaluate(() => window.control.abort(new DOMException('changed my mind', 'AbortError')));
  assert.equal(await outcome(page), 'AbortError');
  assert.deepEqual(await page.evaluate(() => [window.up.cancelled, window.up.cancel_msg, window.up.error_code]), [true, 'changed my mind', null]);
  const url = requests.find((request) => request.method() === 'PUT').url();
  await until('the server knows', async () => (await (await fetch(url)).json()).state === 'cancelled');
  assert.deepEqual(console_errors, []);
});

test('a gateway that hides its refusals of large chunks does not stop an upload', async (t) => {
  const on = await cross_origin(t, 1000 * MB);
  const { app, page, console_errors, requests, dir } = on;
  // As a proxy does that refuses for size: no answer the page may read.
  await page.setRequestInterception(true);
  const large = (request) => request.method() === 'PUT' && chunks([request])[0].bytes > 1024 * 1024;
  page.on('request', (request) => (large(request) ? request.abort('failed') : request.continue()));
  const one = await file(dir, 'gated.bin', 20 * MB);
  const id = await start(on, one);
  assert.equal(await outcome(page), 'finished');
  await arrived(app, id, one);
  assert.ok(chunks(requests).slice(-5).every(({ bytes }) => bytes <= 1024 * 1024));
  assert.deepEqual(console_errors, []);
});

test('100 Mbit/s with a round trip of 100 ms is used', async (t) => {
  const on = await cross_origin(t, 12.5 * MB, { delayMs: 50, together: true });
  const { app, page, console_errors, requests, dir } = on;
  const one = await file(dir, 'far.bin', LINE_MB * MB);
  const id = await start(on, one);
  assert.equal(await outcome(page), 'finished');
  // Until the last byte is acknowledged; what the web app does with the file afterwards says nothing of the line.
  const { began, acknowledged, finished } = await page.evaluate(() => window.seen);
  const seconds = (acknowledged - began) / 1000;
  const share = one.bytes / seconds / (12.5 * MB);
  t.diagnostic(`${kind_of(t)}: ${LINE_MB} MB, ${(share * 100).toFixed(1)}% of the line, ${seconds.toFixed(1)} s (and ${((finished - acknowledged) / 1000).toFixed(1)} s until the web app had read and taken it), chunks ${chunks(requests).map(({ bytes }) => bytes).join()}`);
  await arrived(app, id, one);
  // Machines that run tests are busy with other things; what a line allows is judged in the library's own units.
  assert.ok(share > 0.5, String(share));
  assert.deepEqual(console_errors, []);
}, { alone: ['chromium', 'firefox'] });

test('1 Mbit/s that breaks every 5 s: each time it gets on', async (t) => {
  const on = await cross_origin(t, 0.125 * MB, { delayMs: 25, together: true });
  const { app, line, page, console_errors, requests, dir } = on;
  const one = await file(dir, 'bad line.bin', 1.5 * MB);
  const id = await start(on, one);
  const held = [];
  let broken = Promise.resolve();
  const breaks = setInterval(() => (broken = break_it()), 5000);
  async function break_it() {
    line.cut();
    // What arrived is counted when the server has noticed the break.
    await new Promise((next) => setTimeout(next, 500));
    const put = requests.find((request) => request.method() === 'PUT');
    const direct = put.url().replace(on.hostname, app.origin);
    held.push((await (await fetch(direct)).json()).received.reduce((sum, [from, to]) => sum + to - from, 0));
    line.restore();
  }
  try {
    assert.equal(await outcome(page), 'finished');
  } finally {
    clearInterval(breaks);
    await broken;
  }
  await arrived(app, id, one);
  t.diagnostic(`held at the breaks: ${held.join()}`);
  assert.ok(held.length >= 2 && held.every((bytes, at) => bytes > (held[at - 1] ?? 0)), held.join());
  assert.deepEqual(console_errors, []);
});
