/**
 * Requests and answers of the server, and texts that are made fit to be sent.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { meaning_of, read_outcome, read_status, retry_after_ms, sendable, upload_url } from '../src/protocol.js';
import { fake_file, fake_upload, status_of, table } from './fakes.js';
import { KiB } from './large-file.js';

const at = Date.parse('2025-01-01T00:00:00Z');
table('retry-after', retry_after_ms, [
  [null, at, null],
  ['', at, null],
  ['5', at, 5000],
  ['0', at, 1000],
  ['Wed, 01 Jan 2025 00:00:30 GMT', at, 30_000],
  ['Wed, 01 Jan 2020 00:00:30 GMT', at, 1000],
  ['soon', at, null],
  ['99999999', at, 3_600_000],
]);

table('meaning_of', (http, code = 'x') => meaning_of({ http, code, from_server: code !== 'x' }), [
  [400, 'bad-request', 'wrong'],
  [400, 'digest-mismatch', 'retry'],
  [401, 'retry'],
  [401, 'forbidden', 'retry'],
  [403, 'retry'],
  [403, 'forbidden', 'wrong'],
  [404, 'unknown-upload', 'absent'],
  [400, 'retry'],
  [404, 'retry'],
  [405, 'retry'],
  [405, 'method-not-allowed', 'wrong'],
  [407, 'retry'],
  [410, 'retry'],
  [412, 'retry'],
  [421, 'retry'],
  [413, 'too_large'],
  [408, 'retry'],
  [409, 'length-changed', 'wrong'],
  [409, 'superseded', 'superseded'],
  [410, 'upload-over', 'ended'],
  [412, 'wrong-state', 'too_late'],
  [413, 'too-large', 'too_large'],
  [416, 'range-invalid', 'wrong'],
  [429, 'too-many', 'retry'],
  [500, 'fault', 'retry'],
  [502, 'retry'],
  [503, 'unavailable', 'retry'],
  [507, 'no-space', 'retry'],
  [200, 'retry'],
]);

table('no status', read_status, [
  [null, null],
  ['x', null],
  [[], null],
  [{ state: 'odd', received: [] }, null],
  [{ state: 'new' }, null],
  [{ state: ['uploading'], received: [] }, null],
  [{ state: { toString: 1, valueOf: 1 }, received: [] }, null],
  [{ state: 'new', received: [[1]] }, null],
  [{ state: 'new', received: [[-1, 4]] }, null],
  [{ state: 'new', received: [['0', 4]] }, null],
]);

test('a status without suggestions gets the defaults', () => {
  const status = read_status({ state: 'new', received: [], chunk_size: 0, send_ahead: -1, max_chunk_size: 'x' });
  assert.deepEqual([status.chunk_size, status.send_ahead, status.max_chunk_size], [8 * 1024 * KiB, 4, null]);
  assert.deepEqual([status.length, status.reason], [null, null]);
});

test('a 200 that is not a status is a refusal, but not from the server', () => {
  const { kind, refusal } = read_outcome({ kind: 'answer', status: 200, body: '<html>log in</html>', retry_after: null }, at);
  assert.equal(kind, 'refused');
  assert.equal(refusal.from_server, false);
  assert.equal(refusal.code, 'http-200');
});

test('a problem is read whole', () => {
  const body = JSON.stringify({ code: 'too-many', error_code: 13, title: 't', detail: 'd', upload: status_of() });
  const { refusal } = read_outcome({ kind: 'answer', status: 429, body, retry_after: '3' }, at);
  assert.deepEqual({ ...refusal, status: refusal.status.state }, {
    http: 429, code: 'too-many', error_code: 13, message: 'd', retry_after_ms: 3000, status: 'uploading', from_server: true,
  });
});

table('upload url', upload_url, [['https://a', 'x/../y z', 'https://a/incoming/frontend/uploads/x%2F..%2Fy%20z']]);

for (const [what, value, expected] of [
  ['plain', 'no & more?', 'no & more?'],
  ['half of an emoji at the end', 'Sorry \u{1F600}'.slice(0, 7), 'Sorry \ufffd'],
  ['half of an emoji at the start', '\u{1F600}!'.slice(1), '\ufffd!'],
  ['a whole emoji', '\u{1F600}', '\u{1F600}'],
  ['an emoji that the cut halves', 'x'.repeat(19) + '\u{1F600}', 'x'.repeat(19) + '\ufffd'],
  ['too long', 'x'.repeat(40_000), 'x'.repeat(20)],
  ['a number', 7, '7'],
  ['nothing', undefined, ''],
  ['null', null, ''],
  ['a symbol', Symbol('why'), 'Symbol(why)'],
  ['without a text', { toString() { throw new Error('no'); } }, ''],
  ['without a prototype', Object.create(null), ''],
]) test(`text that is ${what} is made sendable`, () => assert.equal(sendable(value, 20), expected));

for (const [what, reason, reported] of [
  ['with half of an emoji', 'Sorry \u{1F600}'.slice(0, 7), 'Sorry \ufffd'],
  ['of 40,000 characters', '\u4e2d'.repeat(40_000), '\u4e2d'.repeat(500)],
  ['that has no text', Object.create(null), ''],
]) {
  test(`a reason ${what} cancels: asked, offline, before the start, by a signal`, () => {
    const control = new AbortController();
    for (const [where, options, act] of [
      ['asked', {}, ({ begin, uploader }) => (begin(), uploader.cancel(reason))],
      ['offline', {}, ({ begin, net, uploader }) => (begin(), net.next('PUT').lose(), uploader.cancel(reason))],
      ['before the start', {}, ({ uploader }) => uploader.cancel(reason)],
      ['by a signal', { signal: control.signal }, ({ begin }) => (begin(), control.abort(reason))],
    ]) {
      const page = fake_upload({ options });
      act(page);
      const { url } = page.net.next('DELETE');
      assert.equal(new URL(url).searchParams.get('reason') ?? '', reported, where);
      // A request line of more than 8 KiB does not pass every proxy.
      assert.ok(url.length < 6_000, `${where}: ${url.length}`);
      assert.equal(page.net.all('PUT').length, 0);
      page.net.next('DELETE').reply(200, status_of({ state: 'cancelled', reason: reported }));
      assert.deepEqual([page.uploader.cancelled, page.uploader.cancel_msg], [true, reported], where);
    }
  });
}

test('names and types are made sendable as well: servers refuse JSON with lone surrogates', () => {
  const file = fake_file(10, { name: `\ud800${'x'.repeat(5_000)}`, type: 'y'.repeat(100_000) });
  const { net, uploader } = fake_upload({ file });
  uploader.start();
  const { body } = net.next('POST');
  assert.ok(body.length < 4_000, String(body.length));
  assert.doesNotMatch(body, /\\ud8/);
  assert.match(JSON.parse(body).name, /^\ufffdx+$/);
});
