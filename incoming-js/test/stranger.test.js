/**
 * Answers that make no sense, or that something in the server's place gives: nothing ends, nothing is sent without a
 * pause, no connection stays taken.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { browser_locks, claim_by_channel } from '../src/tabs.js';
import { browser_store } from '../src/resume.js';
import { FakeStore, fake_page, fake_upload, settled, status_of } from './fakes.js';

for (const [what, body] of [
  ['a list', { state: ['uploading'], received: [] }],
  ['nothing that can be a text', { state: { toString: 1, valueOf: 1 }, received: [] }],
]) {
  test(`a state that is ${what} is no status: asked again after pauses that grow`, () => {
    const { net, clock, uploader } = fake_upload();
    uploader.start();
    for (let tries = 1; tries < 6; tries += 1) {
      assert.equal(net.log.length, tries);
      net.next('POST').reply(200, body);
      assert.equal(net.open.length, 0);
      clock.advance(500);
      assert.equal(net.open.length, 0);
      clock.advance(60_000);
    }
    net.next('POST').reply(200, status_of());
    assert.equal(net.all('PUT').length, 4);
  });
}

test('an answer the library stumbles over is none, and its connection is given back', (t) => {
  const complaint = t.mock.method(console, 'error', () => {});
  const { net, clock, uploader, begin } = fake_upload();
  begin();
  for (const put of net.all('PUT')) put.send(1);
  // A header that is no text: what reads it throws.
  for (const put of net.all('PUT')) put.reply(503, '', 7);
  assert.equal(complaint.mock.callCount(), 4);
  assert.match(uploader.state_msg, /trying again/);
  assert.equal(net.open.length, 0);
  clock.advance(60_000);
  net.next('GET').reply(200, status_of());
  assert.ok(net.all('PUT').length > 0);
});

for (const http of [400, 404, 405, 407, 410, 412, 421]) {
  test(`a proxy's own ${http} ends nothing and forgets nothing`, async () => {
    const store = new FakeStore();
    const { net, clock, uploader, begin } = fake_upload({ page: fake_page({ store }), options: { send_ahead: 1 } });
    begin();
    net.next('PUT').reply(http, '<html>nginx</html>');
    assert.deepEqual([uploader.error_code, uploader.connected, net.open.length], [null, false, 0]);
    clock.advance(60_000);
    net.next('GET').reply(http, '<html>nginx</html>');
    clock.advance(60_000);
    net.next('GET').reply(200, status_of());
    assert.equal(net.all('PUT').length, 1);
    for (let i = 0; i < 12; i += 1) await settled();
    assert.equal(store.entries.size, 1);
  });
}

test("a proxy's 404 to a cancel: cancelled here, and the server is told until it knows", () => {
  const { net, clock, uploader, begin } = fake_upload();
  begin();
  uploader.cancel('x');
  net.next('DELETE').reply(404, '<html>');
  assert.deepEqual([uploader.cancelled, uploader.error_code], [true, 0]);
  net.next('DELETE').reply(404, '<html>');
  assert.equal(uploader.error_code, 0);
  clock.advance(60_000);
  net.next('DELETE').refuse(404, 'unknown-upload');
  assert.equal(uploader.error_code, null);
  clock.advance(600_000);
  assert.equal(net.open.length, 0);
});

test('a server that has everything and then nothing, again and again: the pauses grow', () => {
  const { net, clock, uploader } = fake_upload({ size: 10 });
  uploader.start();
  net.next('POST').reply(200, status_of({ length: 10 }));
  const pauses = [];
  for (let round = 0; round < 5; round += 1) {
    net.next('PUT').reply(200, status_of({ length: 10, state: 'handing_over', received: [[0, 10]] }));
    net.next('GET').reply(200, status_of({ length: 10 }));
    let ms = 0;
    for (; net.all('PUT').length === 0 && ms < 100_000; ms += 250) clock.advance(250);
    pauses.push(ms);
  }
  assert.ok(pauses.every((ms, at) => ms >= 1000 && (at === 0 || ms > pauses[at - 1])), String(pauses));
});

test('ranges beyond the file are not believed', () => {
  const { net, uploader, begin } = fake_upload();
  begin({ received: [[0, 10], [20, 1000]] });
  assert.equal(uploader.bytes_acked, 10);
  assert.deepEqual(net.next('PUT').range, [10, 20]);
});

test('a database that never answers is given up', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  globalThis.indexedDB = { open: () => ({}) };
  t.after(() => delete globalThis.indexedDB);
  const page = fake_page({ store: browser_store() });
  const found = page.incoming.recall(new File(['x'], 'film.mp4'));
  const all = page.incoming.unfinished();
  const { net, uploader } = fake_upload({ page });
  uploader.start();
  assert.equal(net.all('POST').length, 1);
  t.mock.timers.tick(5000);
  assert.deepEqual([await found, await all], [null, []]);
});

test('locks that never answer are taken for none', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { locks: { query: () => new Promise(() => {}) } } });
  t.after(() => (before ? Object.defineProperty(globalThis, 'navigator', before) : delete globalThis.navigator));
  const held = browser_locks.held();
  t.mock.timers.tick(5000);
  assert.deepEqual(await held, []);
});

test('an entry that is garbage hides no good one', async () => {
  const store = new FakeStore();
  const good = { upload_id: 'b', hostname: 'https://up.example', name: 'film.mp4', size: 1, last_modified: 7, mark: 0, bytes_acked: 0, when: 1_000_000 };
  for (const entry of [{ upload_id: 'a' }, good, { ...good, upload_id: 'c', hostname: 7 }, { ...good, upload_id: 'd', when: 'x' }]) await store.put(entry);
  const found = await fake_page({ store }).incoming.unfinished();
  assert.deepEqual([found.map(({ upload_id }) => upload_id), store.entries.size], [['b'], 1]);
});

test('words of others on the channel do no harm', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const channel = { postMessage: () => {}, close: () => {} };
  const end = claim_by_channel(channel, 0.5, () => {});
  for (const data of ['ask', null, 7, undefined]) channel.onmessage({ data });
  end();
});
