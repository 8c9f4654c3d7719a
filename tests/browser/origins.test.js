// Page and upload server on two origins: what the browser lets through and what the server must say for
// it, on refusals too; a page with a strict Content-Security-Policy; HTTPS with HTTP/2.

import assert from 'node:assert/strict';
import { Line, browser, file, folder, open, test, until } from './harness.js';
import { choose_files, finished, site, start_upload, wait_end, wait_until } from './site.js';

const MB = 1_000_000;

test('one preflight for each kind of request, not one for each chunk; only the named origin', async (t) => {
  const app = await site(t, { serve: (it) => ['--cors-origins', `http://localhost:${it.port}`] });
  const line = new Line(t, app.uploadPort, 1000 * MB);
  app.library = `http://localhost:${await line.open()}/incoming/frontend/incoming.js`;
  const { page } = await open(await browser(t), app.page);
  const one = await file(await folder(t), 'preflights.bin', 20 * MB);
  await choose_files(page, one);
  const id = await app.ticket();
  await start_upload(page, id, { options: { chunk_size: 1 * MB } });
  await finished(page, app, id, one);
  t.diagnostic(`${line.preflights} preflights for a POST and 20 chunks`);
  assert.ok(line.preflights >= 1, 'the page is on another origin');
  // As many chunks as go out at the start may each ask, before the first answer is there to be remembered.
  assert.ok(line.preflights <= 6, String(line.preflights));
});

test('answers and refusals can be read from another origin', async (t) => {
  const app = await site(t, { serve: ['--max-chunk-size', '1MiB'] });
  const { page } = await open(await browser(t), app.page);
  const ids = [await app.ticket(), await app.ticket({ maxBytes: '10' })];
  const answers = await page.evaluate(async (base, [id, small]) => {
    const length = (bytes) => ({ method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ name: 'x', length: bytes }) });
    const put = (range, body, more = {}) => ({ method: 'PUT', headers: { 'Content-Range': `bytes ${range}`, ...more }, body });
    const large = new Uint8Array(2 * 1024 * 1024);
    const asked = [
      [id, length(3_000_000)], [id, {}], [id, length(3_000_001)],
      [id, put('0-2/3000000', 'abc', { 'Content-Digest': `sha-256=:${btoa('x'.repeat(32))}:` })],
      [id, put('0-2/2999999', 'abc')], [id, put('5-2/3000000', 'abc')], [id, put(`0-${large.length - 1}/3000000`, large)],
      [small, length(11)], ['0b0e2c3a-0000-4000-8000-000000000000', {}],
      [id, { method: 'DELETE' }], [id, put('0-2/3000000', 'abc')],
    ];
    const seen = [];
    for (const [upload, request] of asked) {
      const answer = await fetch(`${base}/incoming/frontend/uploads/${upload}`, request);
      const { code, error_code, state } = await answer.json();
      seen.push([answer.status, code ?? state, error_code ?? Number(answer.headers.get('Upload-Length'))]);
    }
    return seen;
  }, app.origin, ids);
  assert.deepEqual(answers, [
    [200, 'uploading', 3_000_000], [200, 'uploading', 3_000_000], [409, 'length-changed', 6], [400, 'digest-mismatch', 2], [409, 'length-changed', 6],
    [400, 'bad-request', 1], [413, 'too-large', 11], [413, 'too-large', 11], [404, 'unknown-upload', 4],
    [200, 'cancelled', 3_000_000], [410, 'upload-over', 8],
  ]);
});

test('the library reports what a retry cannot fix', async (t) => {
  const app = await site(t);
  const { page } = await open(await browser(t), app.page);
  const one = await file(await folder(t), 'refused.bin', 3 * MB);
  await choose_files(page, one);
  const unknown = '0b0e2c3a-0000-4000-8000-000000000000';
  const other = await app.ticket({ length: '7' });
  const small = await app.ticket({ maxBytes: String(1 * MB) });
  const over = await app.ticket();
  await app.backend('cancel_upload', { id: over });
  for (const [id, code, number] of [[unknown, 'unknown-upload', 4], [other, 'length-changed', 6], [small, 'too-large', 11]]) {
    await start_upload(page, id, { name: code });
    const last = await wait_end(page, code);
    assert.match(last.outcome, new RegExp(`^UploadError ${code} ${number} .`));
    assert.deepEqual([last.endings, last.error_code, last.finished, last.can_cancel, last.wrong], [['error'], number, false, false, []]);
    assert.ok(last.error_msg);
  }
  await start_upload(page, over, { name: 'over' });
  const last = await wait_end(page, 'over');
  assert.deepEqual([last.endings, last.cancelled], [['cancelled'], true]);
});

test('a page with a strict Content-Security-Policy', async (t) => {
  const app = await site(t);
  app.csp = `default-src 'none'; script-src 'self'; connect-src ${app.origin}; img-src 'self'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'`;
  app.library = '/incoming/frontend/incoming.js';
  const { page, console_errors } = await open(await browser(t), app.page);
  const violations = () => page.evaluate(() => window.violations);
  await page.evaluate((origin) => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => window.violations.push(event.violatedDirective));
    incoming.set_server_hostname(origin);
  }, app.origin);
  const one = await file(await folder(t), 'strict.bin', 20 * MB);
  await choose_files(page, one);
  const id = await app.ticket();
  await start_upload(page, id, { options: { digest: true } });
  await finished(page, app, id, one);
  assert.deepEqual(await violations(), []);
  assert.deepEqual(console_errors, []);
  // The policy is in force, or nothing was shown.
  await page.evaluate(() => fetch('/elsewhere').catch(() => {}));
  await until('the policy is in force', async () => (await violations()).length > 0);
  assert.deepEqual(await violations(), ['connect-src']);
  console_errors.length = 0;
});

test('HTTPS: all of it with HTTP/2', async (t) => {
  const app = await site(t, { tls: true });
  const line = new Line(t, app.uploadPort, 1000 * MB);
  const port = await line.open();
  app.library = `https://localhost:${port}/incoming/frontend/incoming.js`;
  const { page } = await open(await browser(t), app.page);
  const files = [await file(await folder(t), 'h2.bin', 30 * MB), await file(await folder(t), 'h2 too.bin', 10 * MB)];
  await choose_files(page, ...files);
  const ids = [await app.ticket(), await app.ticket()];
  // A whole origin, in both ways to say it.
  await page.evaluate((origin) => incoming.set_server_hostname(origin), `https://localhost:${port}`);
  await start_upload(page, ids[0], { name: 'first', index: 0 });
  await start_upload(page, ids[1], { name: 'second', index: 1, options: { hostname: `https://localhost:${port}` } });
  await finished(page, app, ids[0], files[0], 'first');
  await finished(page, app, ids[1], files[1], 'second');
  // Those that were answered: a long poll that the library ended, when the other upload began to wait as well, has no protocol.
  const protocols = await page.evaluate(() => performance.getEntriesByType('resource')
    .filter((entry) => entry.name.includes('/uploads/') && entry.responseStatus !== 0).map((entry) => entry.nextHopProtocol));
  assert.ok(protocols.length > 4, protocols.join());
  assert.deepEqual(new Set(protocols), new Set(['h2']));
  // Browsers open some connections before the first has said that it speaks HTTP/2: how many is their affair. What is sent
  // goes over one of them.
  const most = Math.max(...line.carried) / line.bytes;
  t.diagnostic(`${protocols.length} requests; of ${line.carried.length} connections one carried ${(100 * most).toFixed(1)}% of the bytes`);
  assert.ok(most > 0.9, line.carried.join());
});

test('the progress shown over HTTP/2 follows what is sent', async (t) => {
  const app = await site(t, { tls: true });
  const line = new Line(t, app.uploadPort, 5 * MB);
  app.library = `https://localhost:${await line.open()}/incoming/frontend/incoming.js`;
  const { page } = await open(await browser(t), app.page);
  const one = await file(await folder(t), 'h2 slow.bin', 12 * MB);
  await choose_files(page, one);
  const id = await app.ticket();
  await start_upload(page, id);
  const ahead = await wait_until(page, 'bytes are sent ahead', (now) => now.bytes_ahead > 0 && now.bytes_acked > 0);
  assert.ok(ahead.bytes_tx < one.bytes);
  await finished(page, app, id, one);
});
