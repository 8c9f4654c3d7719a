/**
 * A whole upload: lost bytes, dead connections, the handover, the end.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { calm, fake_page, fake_upload, status_of } from './fakes.js';

const one = { send_ahead: 1 };

const handing_over = { state: 'handing_over', received: [[0, 100]] };

test('a chunk of which nothing has moved is aborted with one that was lost, and sent again', () => {
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
  const { net, clock, uploader, begin, ack, reported } = fake_upload({ size: 10 });
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
  assert.equal(reported('finished'), 1);
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
  const { net, uploader, begin, reported } = fake_upload();
  begin(handing_over);
  net.next('GET').reply(200, status_of({ ...handing_over, state: 'failed', reason: 'app refused' }));
  assert.deepEqual([reported('error'), uploader.error_msg, uploader.finished], [1, 'app refused', false]);
});

test('handover goes on over lost connections', () => {
  const { net, clock, uploader, begin, reported } = fake_upload();
  begin(handing_over);
  net.next('GET').lose();
  assert.equal(uploader.connected, false);
  clock.advance(2000);
  net.next('GET').reply(200, status_of({ ...handing_over, state: 'finished' }));
  assert.equal(reported('finished'), 1);
});

test('answers overtaken by that of the completing chunk change nothing', () => {
  const { net, uploader, begin, reported } = fake_upload({ size: 40 });
  begin();
  const [a, b, c, d] = net.all('PUT');
  d.reply(200, status_of({ length: 40, state: 'handing_over', received: [[0, 40]] }));
  a.reply(200, status_of({ length: 40, received: [[0, 10]] }));
  b.lose();
  c.refuse(500, 'fault');
  assert.deepEqual([uploader.bytes_acked, uploader.connected, uploader.state_msg], [40, true, 'handing file to app']);
  net.next('GET').reply(200, status_of({ length: 40, state: 'finished' }));
  assert.equal(reported('finished'), 1);
});

for (const [what, die] of [['before its first byte', () => {}], ['between its bytes', (put) => put.send(3)], ['waiting for its answer', (put) => put.hand()]]) {
  test(`a chunk that stands still ${what} while later ones are acknowledged is sent again after seconds`, () => {
    const { net, clock, begin, ack } = fake_upload({ options: { send_ahead: 2 } });
    begin();
    const [dead, other] = net.all('PUT');
    die(dead);
    clock.advance(1_000);
    ack(other);
    assert.ok(net.open.includes(dead));
    clock.advance(2_000);
    // It began after the dead one's last sign of life.
    ack(net.all('PUT').find((put) => put !== dead));
    assert.ok(!net.open.includes(dead), 'given up');
    assert.ok(net.all('PUT').some((put) => put !== dead && put.range[0] === dead.range[0]), 'and sent again');
    assert.equal(net.aborted, 1);
  });
}

test('the last chunk stands still, and nothing more is acknowledged: it is sent again', async () => {
  const { net, clock, begin, ack } = fake_upload({ size: 30, options: { send_ahead: 2 } });
  begin();
  const [dead, other] = net.all('PUT');
  clock.advance(100);
  ack(other);
  clock.advance(100);
  ack(net.all('PUT').find((put) => put !== dead));
  clock.advance(2_800);
  dead.on_still();
  await calm();
  assert.ok(!net.open.includes(dead));
  assert.deepEqual(net.all('PUT').map((put) => put.range), [[0, 10]]);
});

test('a chunk whose bytes move is kept, however many others overtake it', () => {
  const { net, clock, begin, ack } = fake_upload({ size: 1000, options: { send_ahead: 2 } });
  begin();
  const [slow] = net.all('PUT');
  for (let i = 0; i < 50; i += 1) {
    clock.advance(2_000);
    slow.send(1 + i / 10);
    ack(net.all('PUT').find((put) => put !== slow));
  }
  assert.ok(net.open.includes(slow));
});

test('a chunk without any progress doubles the timeouts for all uploads to that server, until one reports progress', () => {
  const page = fake_page();
  const { net, clock, begin, ack } = fake_upload({ page, options: one });
  begin();
  const seen = [];
  for (let i = 0; i < 5; i += 1) {
    const put = net.next('PUT');
    seen.push(put.patience);
    put.lose('stall');
    clock.advance(60_000);
    net.next('GET').reply(200, status_of());
  }
  assert.deepEqual(seen, [1, 2, 4, 8, 8]);
  // Behind a service worker nothing is reported of a body but its end.
  net.next('PUT').hand();
  ack(net.next('PUT'));
  assert.equal(net.next('PUT').patience, 8);
  const other = fake_upload({ page, options: one, id: 'other' });
  other.begin();
  const put = net.all('PUT').find(({ url }) => url.endsWith('/other'));
  assert.equal(put.patience, 8);
  put.send(5);
  other.ack(put);
  assert.equal(net.all('PUT').find(({ url }) => url.endsWith('/other')).patience, 1);
});

test('a chunk that stalls after bytes had moved does not change the timeouts', () => {
  const { net, clock, begin } = fake_upload({ options: one });
  begin();
  net.next('PUT').send(5);
  net.next('PUT').lose('stall');
  clock.advance(60_000);
  net.next('GET').reply(200, status_of());
  assert.equal(net.next('PUT').patience, 1);
});
