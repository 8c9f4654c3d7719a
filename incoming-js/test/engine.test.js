/**
 * One upload from start to end, and everything that may come between.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fake_file, fake_upload, settled, status_of } from './fakes.js';

const handing_over = { state: 'handing_over', received: [[0, 100]] };

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

test('everything received already: nothing is sent, the handover is followed', () => {
  const { net, uploader, begin, told } = fake_upload();
  begin(handing_over);
  assert.equal(net.all('PUT').length, 0);
  assert.deepEqual([uploader.can_cancel, uploader.can_pause, uploader.frac_complete], [false, false, 1]);
  net.next('GET').reply(200, status_of({ ...handing_over, state: 'finished' }));
  assert.equal(told('finished'), 1);
});

test('an empty file completes with the first request', async () => {
  const { net, uploader, told } = fake_upload({ size: 0 });
  assert.equal(uploader.frac_complete, 1);
  uploader.start();
  await settled();
  net.next('POST').reply(200, status_of({ length: 0, state: 'handing_over' }));
  assert.equal(uploader.frac_complete, 1);
  net.next('GET').reply(200, status_of({ length: 0, state: 'finished' }));
  assert.equal(told('finished'), 1);
  assert.ok(!net.log.some((line) => line.startsWith('PUT')));
});

test('the file is complete but not handed over yet: looks again without hurry', async () => {
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

test('progress while bytes flow: sent and acknowledged apart', () => {
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

test('a lost chunk: reads the status before it sends again, keeps the prefix', () => {
  const { net, clock, uploader, begin } = fake_upload({ size: 20, options: { send_ahead: 1 } });
  begin();
  net.next('PUT').send(8);
  assert.equal(uploader.bytes_tx, 8);
  net.next('PUT').lose();
  assert.equal(uploader.connected, false);
  assert.equal(uploader.bytes_tx, 0);
  assert.match(uploader.state_msg, /lost connection, trying again in 2 s/);
  assert.equal(uploader.can_pause, true);
  assert.equal(net.open.length, 0);
  clock.advance(1600);
  assert.equal(net.open.length, 1);
  net.next('GET').reply(200, status_of({ length: 20, received: [[0, 7]] }));
  assert.equal(uploader.connected, true);
  assert.deepEqual(net.next('PUT').range, [7, 17]);
});

test('four chunks lost together are one failure', () => {
  const { net, clock, begin } = fake_upload();
  begin();
  for (const put of net.all('PUT')) put.send(1);
  for (const put of net.all('PUT')) put.lose();
  clock.advance(1500);
  net.next('GET').reply(200, status_of());
  assert.equal(net.all('PUT').length, 4);
});

test('a chunk of which nothing has moved is given up with one that was lost, and sent again', () => {
  for (const [why, left] of [['network', 1], ['stall', 3]]) {
    const { net, clock, begin } = fake_upload();
    begin();
    const [lost, moving, ...waiting] = net.all('PUT');
    const ranges = waiting.map((put) => put.range);
    lost.send(1);
    moving.send(1);
    lost.lose(why);
    assert.equal(net.all('PUT').length, left, why);
    clock.advance(1500);
    net.next('GET').reply(200, status_of());
    const again = net.all('PUT').map((put) => put.range);
    for (const range of ranges) assert.ok(again.some(([from, to]) => from === range[0] && to === range[1]), `${why}: ${again}`);
  }
});

test('a server that cannot be reached is tried for ever, with growing pauses', () => {
  const { net, clock, uploader, told } = fake_upload();
  uploader.start();
  const pauses = [];
  for (let i = 0; i < 12; i += 1) {
    net.next('POST').lose();
    let waited = 0;
    while (net.open.length === 0) {
      clock.advance(500);
      waited += 500;
    }
    pauses.push(waited);
  }
  assert.deepEqual(pauses, [1500, 3000, 6000, 12_000, 24_000, ...Array(7).fill(45_000)]);
  assert.equal(told('error'), 0);
  assert.equal(uploader.can_pause, false);
  assert.equal(uploader.can_cancel, true);
});

test('pauses do not shrink while only status requests succeed', () => {
  const { net, clock, begin } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  net.next('PUT').lose();
  clock.advance(1500);
  net.next('GET').reply(200, status_of());
  net.next('PUT').lose();
  clock.advance(1500);
  assert.equal(net.open.length, 0);
  clock.advance(1500);
  net.next('GET').reply(200, status_of());
});

test('coming online wakes a retry at once', () => {
  const { net, wake, uploader } = fake_upload();
  uploader.start();
  for (let i = 0; i < 6; i += 1) {
    net.next('POST').lose();
    wake();
  }
  assert.equal(net.all('POST').length, 1);
});

test('a stall is treated as a lost connection', () => {
  const { net, clock, uploader, begin } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  net.next('PUT').lose('stall');
  assert.match(uploader.state_msg, /stalled/);
  clock.advance(2000);
  net.next('GET').reply(200, status_of({ received: [[0, 3]] }));
  assert.deepEqual(net.next('PUT').range, [3, 13]);
});

test('offsets fall back after the server restarted', () => {
  const { net, clock, uploader, begin, ack } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  ack(net.next('PUT'));
  ack(net.next('PUT'));
  assert.equal(uploader.bytes_acked, 20);
  net.next('PUT').lose();
  clock.advance(2000);
  net.next('GET').reply(200, status_of({ received: [[0, 10]] }));
  assert.equal(uploader.bytes_acked, 10);
  assert.equal(uploader.bytes_tx, 10);
  assert.deepEqual(net.next('PUT').range, [10, 20]);
  assert.equal(uploader.chunks_acked_now, 0);
});

test('a chunk that is acknowledged but not kept does not make a tight loop', () => {
  const { net, clock, begin } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  net.next('PUT').reply(200, status_of());
  assert.equal(net.open.length, 0);
  clock.advance(2000);
  assert.equal(net.all('PUT').length, 1);
});

test('superseded: re-reads the status, backs off, skips what is covered', () => {
  const { net, clock, begin } = fake_upload();
  begin();
  for (const put of net.all('PUT')) put.refuse(409, 'superseded');
  assert.equal(net.open.length, 0);
  clock.advance(1500);
  net.next('GET').reply(200, status_of({ received: [[0, 65]] }));
  assert.deepEqual(net.all('PUT').map((put) => put.range), [[65, 75], [75, 85], [85, 95], [95, 100]]);
});

test('superseded three times in a row: looks on, and follows to the end', () => {
  const { net, clock, uploader, begin, told } = fake_upload();
  begin();
  for (let i = 0; i < 3; i += 1) {
    for (const put of net.all('PUT').slice(0, 4)) if (net.open.includes(put)) put.refuse(409, 'superseded', { upload: status_of({ received: [[0, 10]] }) });
    if (i === 2) break;
    clock.advance(4000);
    net.next('GET').reply(200, status_of({ received: [[0, 10]] }));
  }
  assert.equal(net.all('PUT').length, 0);
  assert.equal(uploader.can_pause, false);
  assert.equal(uploader.can_cancel, true);
  const puts = net.log.filter((line) => line.startsWith('PUT')).length;
  for (let bytes = 20; bytes < 100; bytes += 10) {
    const poll = net.next('GET');
    assert.match(poll.url, /\?wait=2&state=uploading$/);
    clock.advance(2000);
    poll.reply(200, status_of({ received: [[0, bytes]] }));
    assert.equal(uploader.bytes_acked, bytes);
  }
  net.next('GET').reply(200, status_of(handing_over));
  clock.advance(1000);
  net.next('GET').reply(200, status_of({ ...handing_over, state: 'finished' }));
  assert.equal(told('finished'), 1);
  assert.equal(net.log.filter((line) => line.startsWith('PUT')).length, puts);
});

test('superseded: own progress in between starts the count anew', () => {
  const { net, clock, begin, ack } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  for (let i = 0; i < 5; i += 1) {
    net.next('PUT').refuse(409, 'superseded');
    clock.advance(4000);
    net.next('GET').reply(200, status_of({ received: i ? [[0, i * 10]] : [] }));
    ack(net.next('PUT'));
  }
  assert.equal(net.all('PUT').length, 1);
});

test('the other uploader goes away: sending starts again', () => {
  const { net, clock, begin } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  for (let i = 0; i < 3; i += 1) {
    net.next('PUT').refuse(409, 'superseded');
    if (i === 2) break;
    clock.advance(4000);
    net.next('GET').reply(200, status_of());
  }
  for (let i = 0; i < 200 && net.all('PUT').length === 0; i += 1) {
    clock.advance(2000);
    if (net.all('GET').length) net.next('GET').reply(200, status_of());
  }
  assert.equal(net.all('PUT').length, 1);
});

for (const [http, code] of [[429, 'too-many'], [503, 'unavailable']]) {
  test(`${http}: waits as long as Retry-After says, also when woken`, () => {
    const { net, clock, uploader, begin, told, wake } = fake_upload({ options: { send_ahead: 1 } });
    begin();
    net.next('PUT').refuse(http, code, { upload: status_of() }, '20');
    assert.equal(uploader.connected, true);
    assert.match(uploader.state_msg, new RegExp(`told ${code}, trying again in 20 s`));
    wake();
    clock.advance(19_999);
    assert.equal(net.open.length, 0);
    clock.advance(1);
    assert.equal(net.all('PUT').length, 1);
    assert.equal(told('error'), 0);
  });
}

test('507 and 500 wait and go on', () => {
  const { net, clock, uploader, begin, ack } = fake_upload({ size: 20, options: { send_ahead: 1 } });
  begin();
  for (const [http, code] of [[507, 'no-space'], [507, 'no-space'], [500, 'fault']]) {
    net.next('PUT').refuse(http, code);
    assert.match(uploader.state_msg, new RegExp(code));
    clock.advance(60_000);
    net.next('GET').reply(200, status_of({ length: 20 }));
  }
  ack(net.next('PUT'));
  assert.equal(uploader.bytes_acked, 10);
});

test('502 from a proxy and a 200 that is no status are retried as not connected', () => {
  const { net, clock, uploader } = fake_upload();
  uploader.start();
  net.next('POST').reply(502, '<html>');
  assert.equal(uploader.connected, false);
  clock.advance(60_000);
  net.next('POST').reply(200, 'welcome to our hotel');
  clock.advance(60_000);
  assert.equal(net.all('POST').length, 1);
});

const MiB = 1024 * 1024;

test('413 for a chunk halves the size until it fits', () => {
  const { net, begin, uploader } = fake_upload({ size: 8 * MiB, options: { send_ahead: 1, chunk_size: 4 * MiB } });
  begin();
  net.next('PUT').refuse(413, 'too-large');
  assert.deepEqual(net.next('PUT').range, [0, 2 * MiB]);
  net.next('PUT').refuse(413, 'too-large', { upload: status_of({ length: 8 * MiB, max_chunk_size: 1000 }) });
  assert.deepEqual(net.next('PUT').range, [0, 1000]);
  assert.equal(uploader.error_code, null);
});

test('413 for the smallest chunk again and again, or for the file, is the end', () => {
  const { net, clock, begin, uploader, told } = fake_upload({ size: 8 * MiB, options: { send_ahead: 1, chunk_size: 1 * MiB } });
  begin();
  for (let i = 0; i < 2; i += 1) net.next('PUT').refuse(413, 'too-large');
  for (let i = 0; i < 7; i += 1) {
    assert.equal(told('error'), 0);
    assert.equal(net.next('PUT').range[1], MiB / 4);
    net.next('PUT').refuse(413, 'too-large');
    clock.advance(60_000);
    if (i < 6) net.next('GET').reply(200, status_of({ length: 8 * MiB }));
  }
  assert.equal(told('error'), 1);
  assert.equal(net.open.length, 0);

  const other = fake_upload();
  other.uploader.start();
  other.net.next('POST').refuse(413, 'too-large', { error_code: 11 });
  assert.deepEqual([other.told('error'), other.uploader.error_code, other.uploader.error_msg], [1, 11, 'told too-large']);
  void uploader;
});

test('max_chunk_size is obeyed over suggestion and option', () => {
  const { net, begin } = fake_upload({ options: { chunk_size: 50 } });
  begin({ max_chunk_size: 7 });
  assert.deepEqual(net.next('PUT').range, [0, 7]);
});

for (const [http, code] of [[404, 'unknown-upload'], [409, 'length-changed'], [400, 'bad-request'], [403, 'forbidden'], [416, 'range-invalid']]) {
  test(`${http} ${code} is the end`, async () => {
    const { net, clock, uploader, told, wakers } = fake_upload();
    uploader.start();
    net.next('POST').refuse(http, code, { error_code: 6 });
    assert.deepEqual([uploader.error_code, uploader.error_msg, told('error'), told('cancelled')], [6, `told ${code}`, 1, 0]);
    assert.deepEqual([uploader.can_cancel, uploader.can_pause, uploader.cancelled, uploader.finished], [false, false, false, false]);
    assert.match(uploader.state_msg, /upload failed: told/);
    await assert.rejects(uploader.done, { name: 'UploadError', code, error_code: 6 });
    clock.advance(1e6);
    assert.equal(net.open.length, 0);
    assert.equal(clock.timers, 0);
    assert.equal(wakers.size, 0);
  });
}

test('another length on the server is the end', () => {
  const { net, uploader, told } = fake_upload();
  uploader.start();
  net.next('POST').reply(200, status_of({ length: 99 }));
  assert.deepEqual([told('error'), uploader.error_code], [1, 6]);
});

test('410: cancelled by others, failed, finished', () => {
  const cases = [
    [{ upload: status_of({ state: 'cancelled', reason: 'upload timed out' }) }, 'cancelled'],
    [{ upload: status_of({ state: 'failed', reason: 'backend gone' }) }, 'error'],
    [{ upload: status_of({ state: 'finished' }) }, 'finished'],
  ];
  for (const [extra, event] of cases) {
    const { net, uploader, begin, diary } = fake_upload();
    begin();
    net.next('PUT').refuse(410, 'upload-over', extra);
    assert.deepEqual(diary.filter((other) => other !== 'progress'), [event]);
    assert.equal(net.open.length, 0);
    if (event === 'cancelled') assert.equal(uploader.cancel_msg, 'upload timed out');
    if (extra.upload?.state === 'failed') assert.deepEqual([uploader.error_code, uploader.error_msg], [8, 'backend gone']);
  }
});

test('handover: waits by long poll, shows the reason, ends with finished', () => {
  const { net, clock, uploader, begin, ack, told } = fake_upload({ size: 10 });
  begin();
  ack(net.next('PUT'), { state: 'handing_over' });
  assert.deepEqual([uploader.finished, uploader.frac_complete, uploader.state_msg], [false, 1, 'handing file to app']);
  for (let i = 0; i < 3; i += 1) {
    const poll = net.next('GET');
    assert.match(poll.url, /id1\?wait=25&state=handing_over$/);
    assert.ok(poll.answer_ms > 25_000);
    clock.advance(25_000);
    poll.reply(200, status_of({ length: 10, state: 'handing_over', reason: 'app does not answer' }));
  }
  assert.match(uploader.state_msg, /handing file to app: app does not answer/);
  net.next('GET').reply(200, status_of({ length: 10, state: 'finished' }));
  assert.equal(told('finished'), 1);
  assert.equal(net.open.length, 0);
});

test('handover: a server that answers at once is not polled in a tight loop', () => {
  const { net, clock, begin } = fake_upload();
  begin(handing_over);
  net.next('GET').reply(200, status_of(handing_over));
  assert.equal(net.open.length, 0);
  clock.advance(300);
  assert.equal(net.all('GET').length, 1);
});

test('handover that fails is an error', () => {
  const { net, uploader, begin, told } = fake_upload();
  begin(handing_over);
  net.next('GET').reply(200, status_of({ ...handing_over, state: 'failed', reason: 'app refused' }));
  assert.deepEqual([told('error'), uploader.error_msg, uploader.finished], [1, 'app refused', false]);
});

test('handover goes on over lost connections', () => {
  const { net, clock, uploader, begin, told } = fake_upload();
  begin(handing_over);
  net.next('GET').lose();
  assert.equal(uploader.connected, false);
  clock.advance(2000);
  net.next('GET').reply(200, status_of({ ...handing_over, state: 'finished' }));
  assert.equal(told('finished'), 1);
});

test('answers overtaken by that of the completing chunk change nothing', () => {
  const { net, uploader, begin, told } = fake_upload({ size: 40 });
  begin();
  const [a, b, c, d] = net.all('PUT');
  d.reply(200, status_of({ length: 40, state: 'handing_over', received: [[0, 40]] }));
  a.reply(200, status_of({ length: 40, received: [[0, 10]] }));
  b.lose();
  c.refuse(500, 'fault');
  assert.deepEqual([uploader.bytes_acked, uploader.connected, uploader.state_msg], [40, true, 'handing file to app']);
  net.next('GET').reply(200, status_of({ length: 40, state: 'finished' }));
  assert.equal(told('finished'), 1);
});

for (const [what, end] of [
  ['an error of the network', (put) => put.lose()],
  ['bytes that stand still', (put) => put.on_still()],
  ['bytes that stood still for too long', (put) => put.lose('stall')],
  ['a server that waited in vain', (put) => put.refuse(408, 'http-408')],
  ['a proxy that got less than was announced', (put) => put.reply(400, '<html>nginx</html>')],
  ['a proxy that lost its server over it', (put) => put.reply(502, '')],
]) {
  test(`a file that cannot be read for half a minute is the end, and is named: by ${what}`, async () => {
    const { net, clock, uploader, begin, told } = fake_upload({ file: fake_file(100, { readable: false }) });
    begin();
    for (let look = 1; look <= 4; look += 1) {
      assert.equal(told('error'), 0);
      end(net.next('PUT'));
      await settled();
      if (look === 4) break;
      assert.equal(uploader.state_msg, 'the file cannot be read, trying again in 10 s');
      assert.equal(net.open.length, 0, 'nothing is sent meanwhile');
      clock.advance(10_000);
      net.next('GET').reply(200, status_of());
    }
    assert.equal(told('error'), 1);
    assert.match(uploader.error_msg, /FILE_CHANGED/);
    await assert.rejects(uploader.done, { code: 'FILE_CHANGED', error_code: 100 });
    clock.advance(1e6);
    assert.equal(net.open.length, 0);
  });
}

test('a file that can be read is not blamed for the network, nor one whose chunk the browser has given up', async () => {
  for (const [why, readable] of [['network', true], ['stall', true], ['abort', false]]) {
    const { net, uploader, begin, told } = fake_upload({ file: fake_file(100, { readable }) });
    begin();
    net.next('PUT').lose(why);
    await settled();
    assert.equal(told('error'), 0);
    assert.equal(uploader.error_code, null);
  }
});
