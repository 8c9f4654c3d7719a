/**
 * Which bytes are sent next, and which requests are made.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { merged, size_of, union } from '../src/ranges.js';
import { next_chunk } from '../src/scheduler.js';
import { fake_upload, settled, status_of, table } from './fakes.js';

const handing_over = { state: 'handing_over', received: [[0, 100]] };

const plan = (received, in_flight, length, chunk_bytes, send_ahead, align) =>
  next_chunk({ received, in_flight, length, chunk_bytes, send_ahead, align });
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
  // Ends where a part of the server does, where it reaches one.
  [[], [], 100, 20, 4, 8, [0, 16]],
  [[[0, 6]], [], 100, 4, 4, 8, [6, 8]],
  [[[0, 9]], [], 100, 4, 4, 8, [9, 13]],
  [[], [], 20, 30, 4, 8, [0, 20]],
  [[[0, 9], [12, 20]], [], 20, 4, 4, 8, [9, 12]],
  [[], [], 100, 20, 4, undefined, [0, 20]],
  [[], [], 100, 20, 4, NaN, [0, 20]],
  [[], [], 100, 20, 4, -8, [0, 16]],
  [[], [], 100, 20, 4, 0, [0, 20]],
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

test('a whole upload: one request to begin, n overlapped chunks, none to finish', async () => {
  const { net, uploader, begin, ack, diary } = fake_upload({ size: 35 });
  assert.equal(uploader.state_msg, 'not yet started');
  assert.equal(uploader.can_cancel, true);
  uploader.start();
  assert.equal(uploader.connected, false);
  const post = net.next('POST');
  assert.equal(post.url, 'https://up.example/incoming/frontend/uploads/id1');
  assert.deepEqual(JSON.parse(post.body), { name: 'film.mp4', length: 35, type: 'video/mp4', last_modified: 7 });
  post.reply(200, status_of({ length: 35, state: 'new' }));
  assert.equal(uploader.connected, true);
  assert.equal(uploader.can_pause, true);
  const puts = net.all('PUT');
  assert.deepEqual(puts.map((put) => put.headers['Content-Range']), ['bytes 0-9/35', 'bytes 10-19/35', 'bytes 20-29/35', 'bytes 30-34/35']);
  assert.deepEqual(puts.map((put) => put.body.range), [[0, 10], [10, 20], [20, 30], [30, 35]]);
  for (const put of puts) {
    put.hand();
    ack(put, net.all('PUT').length === 1 ? { state: 'finished' } : {});
  }
  assert.equal(uploader.finished, true);
  assert.equal(uploader.frac_complete, 1);
  assert.equal(uploader.bytes_tx, 35);
  assert.equal(uploader.chunks_acked_now, 4);
  assert.equal(uploader.state_msg, 'all done');
  assert.deepEqual(net.log, ['POST id1', 'PUT id1', 'PUT id1', 'PUT id1', 'PUT id1']);
  assert.equal(diary.at(-1), 'finished');
  assert.equal(diary.filter((event) => event === 'finished').length, 1);
  assert.equal(await uploader.done, uploader);
  void begin;
});

test('resume sends only what is missing, out-of-order ranges included', () => {
  const { net, uploader, begin } = fake_upload({ size: 60 });
  begin({ received: [[0, 20], [30, 45]] });
  assert.deepEqual(net.all('PUT').map((put) => put.range), [[20, 30], [45, 55], [55, 60]]);
  assert.equal(uploader.bytes_acked, 35);
  assert.equal(uploader.bytes_tx, 35);
});

test('everything received already: nothing is sent, the handover is awaited', () => {
  const { net, uploader, begin, reported } = fake_upload();
  begin(handing_over);
  assert.equal(net.all('PUT').length, 0);
  assert.deepEqual([uploader.can_cancel, uploader.can_pause, uploader.frac_complete], [false, false, 1]);
  net.next('GET').reply(200, status_of({ ...handing_over, state: 'finished' }));
  assert.equal(reported('finished'), 1);
});

test('an empty file completes with the first request', async () => {
  const { net, uploader, reported } = fake_upload({ size: 0 });
  assert.equal(uploader.frac_complete, 1);
  uploader.start();
  await settled();
  net.next('POST').reply(200, status_of({ length: 0, state: 'handing_over' }));
  assert.equal(uploader.frac_complete, 1);
  net.next('GET').reply(200, status_of({ length: 0, state: 'finished' }));
  assert.equal(reported('finished'), 1);
  assert.ok(!net.log.some((line) => line.startsWith('PUT')));
});

test('the file is complete but not handed over yet: the status is read again later', async () => {
  const { net, clock, uploader } = fake_upload({ size: 0 });
  uploader.start();
  await settled();
  net.next('POST').reply(200, status_of({ length: 0, state: 'uploading' }));
  for (let i = 0; i < 20; i += 1) {
    clock.advance(5000);
    net.next('GET').reply(200, status_of({ length: 0 }));
    assert.equal(net.open.length, 0);
  }
});

test('progress while bytes flow: sent and acknowledged are separate', () => {
  const { net, uploader, begin, ack } = fake_upload();
  begin();
  const [first, second] = net.all('PUT');
  first.send(4);
  second.send(10);
  assert.deepEqual([uploader.bytes_tx, uploader.bytes_acked, uploader.bytes_ahead], [14, 0, 14]);
  assert.deepEqual([uploader.chunks_tx_now, uploader.chunks_acked_now, uploader.chunks_ahead], [4, 0, 4]);
  ack(second);
  assert.deepEqual([uploader.bytes_tx, uploader.bytes_acked, uploader.bytes_ahead], [14, 10, 4]);
  assert.deepEqual([uploader.chunks_tx_now, uploader.chunks_acked_now, uploader.chunks_ahead], [5, 1, 4]);
  assert.equal(uploader.frac_complete, 0.1);
});

test('bytes acknowledged by another chunk\'s answer are not counted twice', () => {
  const { net, uploader, begin } = fake_upload();
  begin();
  const [first, second] = net.all('PUT');
  first.hand();
  second.hand();
  second.reply(200, status_of({ received: [[0, 20]] }));
  assert.deepEqual([uploader.bytes_tx, uploader.bytes_acked], [20, 20]);
  first.reply(200, status_of({ received: [[0, 10]] }));
  assert.deepEqual([uploader.bytes_tx, uploader.bytes_acked], [20, 20]);
});

test('what a server suggests is clamped: chunks, how many at once, pauses', () => {
  const { net, clock, begin, uploader } = fake_upload({ size: 2 ** 40, options: {} });
  begin({ chunk_size: 2 ** 50, send_ahead: 2 ** 40 });
  for (let i = 0; i < 40; i += 1) {
    for (const put of net.all('PUT')) {
      assert.ok(put.range[1] - put.range[0] <= 2 ** 30);
      put.reply(200, status_of({ length: 2 ** 40, received: [put.range], chunk_size: 2 ** 50, send_ahead: 2 ** 40 }));
    }
    assert.ok(net.all('PUT').length <= 4);
    clock.advance(20);
  }
  net.next('PUT').refuse(503, 'unavailable', {}, '999999999');
  assert.equal(uploader.retry_in_s, 3600);
});

test('a page cannot have more chunks in flight than connections', () => {
  const { net, begin } = fake_upload({ size: 2 ** 40, options: { send_ahead: 2 ** 50, chunk_size: 1 } });
  begin();
  assert.equal(net.all('PUT').length, 4);
});
