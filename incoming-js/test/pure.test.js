/**
 * The pure parts: ranges, plan, sizes, retry timing, replies, origins, server_ranges.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { origin_of, script_origin } from '../src/library.js';
import { next_chunk } from '../src/scheduler.js';
import { ServerRanges, merged, missing, size_of, union } from '../src/ranges.js';
import { meaning_of, read_outcome, read_status, retry_after_ms, upload_url } from '../src/protocol.js';
import { backoff_ms, poll_pause_ms } from '../src/timers.js';
import { Contention } from '../src/tabs.js';
import { ceiling_after_refusal } from '../src/pace.js';
import { status_of } from './fakes.js';

/** Runs one check per row: arguments, then what is expected. */
function table(name, check, rows) {
  for (const [index, row] of rows.entries()) {
    const expected = row[row.length - 1];
    test(`${name} ${index}`, () => assert.deepEqual(check(...row.slice(0, -1)), expected));
  }
}

table('merged', merged, [
  [[], []],
  [[[5, 9], [0, 5]], [[0, 9]]],
  [[[0, 10], [2, 3], [20, 30]], [[0, 10], [20, 30]]],
  [[[4, 4]], []],
]);

test('merged leaves its argument alone', () => {
  const given = [[5, 9], [0, 6]];
  merged(given);
  assert.deepEqual(given, [[5, 9], [0, 6]]);
});

table('missing', missing, [
  [[], 0, 10, [[0, 10]]],
  [[[0, 10]], 0, 10, []],
  [[[2, 4], [6, 8]], 0, 10, [[0, 2], [4, 6], [8, 10]]],
  [[[2, 4], [6, 8]], 3, 7, [[4, 6]]],
  [[[0, 5]], 0, 0, []],
]);

test('union and size', () => assert.equal(size_of(union([[0, 4]], [[2, 6], [8, 9]])), 7));

const plan = (received, in_flight, length, chunk_bytes, send_ahead) =>
  next_chunk({ received, in_flight, length, chunk_bytes, send_ahead });
table('plan', plan, [
  [[], [], 25, 10, 4, [0, 10]],
  [[], [[0, 10], [10, 20]], 25, 10, 4, [20, 25]],
  [[[0, 15]], [[15, 25]], 40, 10, 4, [25, 35]],
  [[[10, 20], [30, 40]], [[0, 10]], 45, 100, 9, [20, 30]],
  [[[0, 10]], [], 10, 10, 4, undefined],
  [[], [[0, 10], [10, 20]], 100, 10, 2, undefined],
  [[], [[0, 10], [10, 20], [20, 30]], 100, 10, 2, undefined],
  [[], [], 0, 10, 4, undefined],
  [[], [], 100, 10, 1e12, [0, 10]],
]);

test('plan covers any file exactly once', () => {
  for (const chunk of [1, 3, 7, 64]) {
    let received = [[5, 9], [20, 21]];
    const sent = [];
    for (let next; (next = plan(received, [], 50, chunk, 3)); received = union(received, [next])) sent.push(next);
    assert.deepEqual(received, [[0, 50]]);
    assert.equal(size_of(merged(sent)), 45);
    assert.equal(sent.reduce((sum, [from, to]) => sum + to - from, 0), 45);
  }
});

const KiB = 1024;
table('ceiling', ceiling_after_refusal, [
  [8192 * KiB, null, 4096 * KiB],
  [300 * KiB, null, 256 * KiB],
  [256 * KiB, null, null],
  [100 * KiB, null, null],
  [8192 * KiB, 1000 * KiB, 1000 * KiB],
  [100 * KiB, 10 * KiB, 10 * KiB],
  [1024 * KiB, 2048 * KiB, 512 * KiB],
]);

table('backoff', backoff_ms, [
  [1, 0, 1000],
  [1, 1, 2000],
  [2, 0, 2000],
  [3, 0.5, 6000],
  [6, 0, 30_000],
  [7, 1, 60_000],
  [5000, 1, 60_000],
]);

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

test('short looks begin quick, grow slow, and are rarer the more share the connection', () => {
  assert.equal(poll_pause_ms(0, 1), 200);
  assert.equal(poll_pause_ms(50, 2), 5000);
  assert.equal(poll_pause_ms(0, 40), 2000);
});

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

test('a 200 that is no status is a refusal by a stranger', () => {
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

table('origin', origin_of, [
  ['up.example', 'https:', 'https://up.example'],
  ['up.example:4000', 'http:', 'http://up.example:4000'],
  ['up.example', 'file:', 'https://up.example'],
  ['https://up.example:8443', 'http:', 'https://up.example:8443'],
  ['http://up.example/', 'https:', 'http://up.example'],
  ['//up.example', 'http:', 'http://up.example'],
  [' [::1]:4000 ', 'http:', 'http://[::1]:4000'],
]);

for (const text of ['not a host', '', '  ', 'https://', 'up.example/path', 'https://up.example/?a', 'up.example#a', 'user:word@up.example',
  'javascript:alert(1)', 'up.example:port', '\ud800.example', undefined, null, 7, {}, Symbol('x'), { toString() { throw new Error('no'); } }]) {
  test(`no origin, and refused with its text: ${JSON.stringify(text)}`, () => {
    const expected = typeof text === 'string' && text !== '\ud800.example' ? `: "${text}"` : 'hostname';
    assert.throws(() => origin_of(text, 'https:'), (error) => error instanceof TypeError && error.message.includes(expected));
  });
}

table('script origin', script_origin, [
  ['https://up.example:1/incoming/frontend/incoming.js', 'https://up.example:1'],
  ['blob:https://up.example/1', null],
  ['file:///x.js', null],
  [null, null],
  ['', null],
]);

table('upload url', upload_url, [['https://a', 'x/../y z', 'https://a/incoming/frontend/uploads/x%2F..%2Fy%20z']]);

test('server ranges: answers that overtake each other lose nothing', () => {
  const server_ranges = new ServerRanges();
  const early = server_ranges.version;
  const late = server_ranges.version;
  server_ranges.learn([[0, 20]], late, early);
  server_ranges.learn([[0, 10]], early, Infinity);
  assert.deepEqual(server_ranges.received, [[0, 20]]);
});

test('server ranges: an answer to a request begun later may take back', () => {
  const server_ranges = new ServerRanges();
  server_ranges.learn([[0, 20]], server_ranges.version, Infinity);
  server_ranges.learn([[0, 10]], server_ranges.version, Infinity);
  assert.deepEqual(server_ranges.received, [[0, 10]]);
});

test('contention: gives way three times, and sees when the other is gone', () => {
  const contention = new Contention();
  assert.deepEqual([contention.lost_range(), contention.lost_range()], [false, false]);
  contention.reset();
  assert.deepEqual([contention.lost_range(), contention.lost_range(), contention.lost_range()], [false, false, true]);
  contention.observe(0);
  assert.equal(contention.is_stale(5, 400_000), false);
  assert.equal(contention.is_stale(6, 600_000), false);
  assert.equal(contention.is_stale(6, 800_000), false);
  assert.equal(contention.is_stale(6, 900_001), true);
  assert.equal(contention.is_stale(6, 900_002), false, 'not at every look from now on');
  assert.equal(contention.lost_range(), true);
});
