/**
 * Requests as they are made: the headers of the page, digests, requests that fail to start.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { content_digest } from '../src/file.js';
import { fake_file, fake_page, fake_upload, settled, status_of } from './fakes.js';

const one = { send_ahead: 1 };

test('headers: asked for before every request, the cancel included, and sent along', async () => {
  let asked = 0;
  const headers = async () => ({ Authorization: `Bearer ${(asked += 1)}` });
  const { net, uploader } = fake_upload({ size: 20, options: { ...one, headers } });
  uploader.start();
  assert.equal(net.open.length, 0);
  await settled();
  const post = net.next('POST');
  assert.deepEqual(post.headers, { authorization: 'Bearer 1', 'Content-Type': 'application/json' });
  post.reply(200, status_of({ length: 20 }));
  await settled();
  assert.equal(net.next('PUT').headers.authorization, 'Bearer 2');
  assert.equal(net.next('PUT').headers['Content-Range'], 'bytes 0-9/20');
  uploader.cancel('x');
  assert.equal(net.all('PUT').length, 0);
  await settled();
  assert.equal(net.next('DELETE').headers.authorization, 'Bearer 3');
});

test('headers: a plain object, a function that is not async, nothing; the library\'s own names win', async () => {
  const given = [
    { 'X-A': '1', 'content-type': 'text/html' },
    () => ({ 'X-A': '1', 'CONTENT-TYPE': 'x' }),
    [['X-A', '1']],
    new Headers({ 'X-A': '1' }),
  ];
  for (const headers of given) {
    const { net, uploader } = fake_upload({ options: { headers } });
    uploader.start();
    await settled();
    assert.deepEqual(net.next('POST').headers, { 'x-a': '1', 'Content-Type': 'application/json' });
  }
  const { net, uploader } = fake_upload({ options: { headers: () => undefined } });
  uploader.start();
  await settled();
  assert.deepEqual(net.next('POST').headers, { 'Content-Type': 'application/json' });
});

for (const [http, extra] of [[401, { code: 'forbidden', error_code: 3 }], [401, null], [403, null]]) {
  test(`${http} ${extra ? 'of the server' : 'of a proxy'}: sending pauses, the page is asked again, nothing is forgotten`, async () => {
    let token = 'old';
    const { net, clock, uploader, reported } = fake_upload({ options: { ...one, headers: () => ({ Authorization: token }) } });
    uploader.start();
    await settled();
    net.next('POST').reply(200, status_of());
    await settled();
    const pauses = [];
    for (let i = 0; i < 4; i += 1) {
      net.next(i === 0 ? 'PUT' : 'GET').reply(http, extra ?? '<h1>log in</h1>');
      assert.match(uploader.state_msg, /trying again in/);
      let waited = 0;
      while (net.open.length === 0) {
        clock.advance(500);
        waited += 500;
        await settled();
      }
      pauses.push(waited);
    }
    assert.deepEqual(pauses, [1500, 3000, 6000, 12_000]);
    token = 'new';
    net.next('GET').reply(http, '');
    clock.advance(60_000);
    await settled();
    assert.equal(net.next('GET').headers.authorization, 'new');
    net.next('GET').reply(200, status_of({ received: [[0, 4]] }));
    await settled();
    assert.deepEqual(net.next('PUT').range, [4, 14]);
    assert.deepEqual([reported('error'), uploader.error_code, uploader.bytes_acked], [0, null, 4]);
  });
}

test('headers that fail, in whatever way, are retried like a lost connection and shown', async () => {
  const fails = [
    () => Promise.reject(new Error('token service is down')),
    () => { throw new Error('no token'); },
    () => Promise.reject('just text'),
  ];
  let calls = 0;
  const headers = () => (calls < fails.length ? fails[calls++]() : { 'X-A': '1' });
  const { net, clock, uploader, reported } = fake_upload({ options: { headers } });
  uploader.start();
  for (const text of [/^headers: token service is down, trying again in 2 s/, /^headers: no token/, /^headers: just text/]) {
    await settled();
    assert.match(uploader.state_msg, text);
    assert.equal(uploader.connected, false);
    assert.equal(net.open.length, 0);
    clock.advance(60_000);
  }
  await settled();
  net.next('POST').reply(200, status_of());
  assert.equal(uploader.connected, true);
  assert.equal(reported('error'), 0);
});

test('headers that never come are given up after a minute, and may come too late', async () => {
  let late;
  let asked = 0;
  const headers = () => ((asked += 1) === 1 ? new Promise((resolve) => (late = resolve)) : {});
  const { net, clock, uploader } = fake_upload({ options: { headers } });
  uploader.start();
  await settled();
  clock.advance(60_000);
  assert.match(uploader.state_msg, /^headers: no answer, trying again/);
  late({ 'X-A': 'late' });
  await settled();
  assert.equal(net.open.length, 0);
  clock.advance(2000);
  await settled();
  assert.deepEqual(net.next('POST').headers, { 'Content-Type': 'application/json' });
});

test('invalid headers are shown, not thrown', async () => {
  for (const [headers, text] of [[{ 'b a d': '1' }, /^headers: .*"b a d".*, trying again/], [{ 'X-Bad': '1' }, /^headers: not for here, trying/]]) {
    const page = fake_page();
    const { send } = page.net;
    page.net.send = (request, on_end) => {
      if (request.headers['x-bad']) throw new SyntaxError('not for here');
      return send(request, on_end);
    };
    const { uploader, clock } = fake_upload({ page, options: { headers } });
    uploader.start();
    await settled();
    assert.match(uploader.state_msg, text);
    clock.advance(16);
    assert.equal(clock.timers, 1, 'the retry, and nothing else');
  }
});

test('pausing while the page prepares its headers: nothing is sent', async () => {
  let answer;
  const headers = () => new Promise((resolve) => (answer = resolve));
  const { net, clock, uploader } = fake_upload({ options: { ...one, headers } });
  uploader.start();
  await settled();
  answer({});
  await settled();
  net.next('POST').reply(200, status_of());
  await settled();
  uploader.pause('pause');
  answer({});
  await settled();
  assert.deepEqual([net.open.length, clock.timers, uploader.state_msg], [0, 0, 'paused']);
});

test('the cancel request of an upload cancelled offline asks for headers too, also after a 401', async () => {
  let asked = 0;
  const { net, clock, uploader } = fake_upload({ options: { headers: () => ({ 'X-N': String((asked += 1)) }) } });
  uploader.cancel('x');
  await settled();
  assert.equal(uploader.cancelled, true);
  net.next('DELETE').reply(401, '');
  clock.advance(2000);
  await settled();
  assert.equal(net.next('DELETE').headers['x-n'], '2');
  net.next('DELETE').reply(200, status_of({ state: 'cancelled' }));
  assert.equal(clock.timers, 0);
});

const sha256 = (bytes) => `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`;

/** A file of real bytes, which counts what is read of it. */
function real_file(bytes) {
  const read = [];
  const slice = (from, to) => {
    const piece = new Blob([bytes.slice(from, to)]);
    const { arrayBuffer } = piece;
    piece.arrayBuffer = () => (read.push([from, to]), arrayBuffer.call(piece));
    return piece;
  };
  return { file: fake_file(bytes.length, { slice }), read };
}

async function until(look) {
  for (let i = 0; i < 200 && !look(); i += 1) await new Promise((next) => setTimeout(next, 5));
  assert.ok(look());
}

test('digest: each chunk says its SHA-256, and only the chunk is read', async () => {
  const bytes = Uint8Array.from({ length: 25 }, (_, i) => i);
  const { file, read } = real_file(bytes);
  const { net, uploader } = fake_upload({ file, options: { ...one, digest: true } });
  uploader.start();
  await settled();
  assert.equal(net.next('POST').headers['Content-Digest'], undefined);
  net.next('POST').reply(200, status_of({ length: 25 }));
  await until(() => net.open.length > 0);
  assert.equal(net.next('PUT').headers['Content-Digest'], sha256(bytes.slice(0, 10)));
  assert.deepEqual(read, [[0, 10]]);
  assert.equal(net.next('PUT').body.size, 10);
});

test('digest: a mismatch is retried', async () => {
  const { file } = real_file(new Uint8Array(20));
  const { net, clock, uploader, reported } = fake_upload({ file, options: { ...one, digest: true } });
  uploader.start();
  await settled();
  net.next('POST').reply(200, status_of({ length: 20 }));
  await until(() => net.open.length > 0);
  net.next('PUT').refuse(400, 'digest-mismatch', { upload: status_of({ length: 20 }) });
  assert.match(uploader.state_msg, /digest-mismatch, trying again in 2 s/);
  clock.advance(2000);
  await until(() => net.open.length > 0);
  assert.deepEqual(net.next('PUT').range, [0, 10]);
  assert.equal(reported('error'), 0);
});

test('digest: off, nothing is read, and requests are sent at once', () => {
  const { file, read } = real_file(new Uint8Array(20));
  const { net, begin } = fake_upload({ size: 20, file, options: one });
  begin();
  assert.deepEqual([read, net.next('PUT').headers], [[], { 'Content-Range': 'bytes 0-9/20' }]);
});

test('digest: none over 16 MiB, where the browser cannot, or where the file cannot be read', async (t) => {
  const readable = { size: 3, arrayBuffer: async () => new ArrayBuffer(3) };
  assert.equal(await content_digest(readable), sha256(new Uint8Array(3)));
  const large = (size) => ({ size, arrayBuffer: () => ((was_read = true), readable.arrayBuffer()) });
  let was_read = false;
  assert.equal(await content_digest(large(16 * 1024 * 1024 + 1)), null);
  assert.equal(was_read, false);
  assert.notEqual(await content_digest(large(16 * 1024 * 1024)), null);
  assert.equal(await content_digest({ size: 3, arrayBuffer: () => Promise.reject(new Error('gone')) }), null);
  assert.equal(await content_digest(undefined), null);
  const here = Object.getOwnPropertyDescriptor(globalThis, 'crypto');
  t.after(() => Object.defineProperty(globalThis, 'crypto', here));
  Object.defineProperty(globalThis, 'crypto', { value: {}, configurable: true });
  assert.equal(await content_digest(readable), null);
});

test('digest: a file that changed is named as such', async () => {
  const { net, uploader } = fake_upload({ file: fake_file(100, { readable: false }), options: { ...one, digest: true } });
  uploader.start();
  await settled();
  net.next('POST').reply(200, status_of());
  await until(() => net.open.length > 0);
  assert.equal(net.next('PUT').headers['Content-Digest'], undefined);
  net.next('PUT').lose();
  await settled();
  assert.match(uploader.state_msg, /^the file cannot be read/);
});

test('an answer that breaks the library counts as lost, and its connection is released', (t) => {
  const complaint = t.mock.method(console, 'error', () => {});
  const { net, clock, uploader, begin } = fake_upload();
  begin();
  for (const put of net.all('PUT')) put.send(1);
  // a header that is not a text: reading it throws.
  for (const put of net.all('PUT')) put.reply(503, '', 7);
  assert.equal(complaint.mock.callCount(), 4);
  assert.match(uploader.state_msg, /trying again/);
  assert.equal(net.open.length, 0);
  clock.advance(60_000);
  net.next('GET').reply(200, status_of());
  assert.ok(net.all('PUT').length > 0);
});

test('a request that the browser refuses to make counts as lost, and its connection is released', () => {
  const page = fake_page();
  const { send } = page.net;
  let broken = true;
  page.net.send = (request, on_end) => {
    if (broken && request.method === 'PUT') throw new DOMException('blocked', 'SecurityError');
    return send(request, on_end);
  };
  const { net, clock, uploader, begin, reported } = fake_upload({ page });
  begin();
  clock.advance(0);
  assert.match(uploader.state_msg, /^lost connection/);
  broken = false;
  clock.advance(60_000);
  net.next('GET').reply(200, status_of());
  assert.equal(net.all('PUT').length, 4);
  assert.equal(reported('error'), 0);
});
