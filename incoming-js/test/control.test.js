/**
 * Start, pause and cancel.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fake_upload, status_of } from './fakes.js';

test('pause aborts what runs, keeps what is acknowledged; unpause re-reads the status', () => {
  const { net, uploader, begin, ack } = fake_upload();
  begin();
  ack(net.next('PUT'));
  assert.equal(uploader.pause('pause'), uploader);
  assert.deepEqual([uploader.paused, uploader.can_pause, uploader.can_cancel, uploader.connected], [true, true, false, false]);
  assert.deepEqual([uploader.bytes_tx, uploader.bytes_acked, uploader.chunks_ahead], [10, 10, 0]);
  assert.equal(net.open.length, 0);
  assert.equal(uploader.cancel('no'), uploader);
  assert.equal(uploader.cancelled, false);
  uploader.pause('pause');
  uploader.pause('unpause');
  assert.equal(uploader.paused, false);
  net.next('GET').reply(200, status_of({ received: [[0, 13]] }));
  assert.deepEqual(net.next('PUT').range, [13, 23]);
  uploader.pause('toggle');
  assert.equal(uploader.paused, true);
  uploader.pause('toggle');
  assert.equal(uploader.paused, false);
});

test('pausing is possible only while chunks are transferred', () => {
  const { net, uploader, begin } = fake_upload({ size: 20 });
  uploader.pause('pause');
  assert.equal(uploader.paused, false);
  begin();
  const [first, second] = net.all('PUT');
  first.hand();
  assert.deepEqual([uploader.can_pause, uploader.can_cancel], [true, true]);
  second.send(10);
  assert.deepEqual([uploader.can_pause, uploader.can_cancel], [true, true]);
  second.hand();
  assert.deepEqual([uploader.can_pause, uploader.can_cancel], [false, false]);
  uploader.pause('pause');
  uploader.cancel('late');
  assert.deepEqual([uploader.paused, uploader.cancelling, net.all('PUT').length], [false, false, 2]);
  second.lose();
  assert.deepEqual([uploader.can_pause, uploader.can_cancel], [true, true]);
});

test('pausing while a retry waits stops the retry', () => {
  const { net, clock, uploader, begin } = fake_upload();
  begin();
  net.next('PUT').lose();
  uploader.pause('pause');
  clock.advance(1e6);
  assert.equal(net.open.length, 0);
  assert.equal(uploader.state_msg, 'paused');
});

test('an unknown argument of pause is reported in the console and does nothing else', (t) => {
  const complaint = t.mock.method(console, 'error', () => {});
  const { uploader, begin } = fake_upload();
  begin();
  assert.equal(uploader.pause('stop'), uploader);
  assert.equal(uploader.paused, false);
  assert.equal(complaint.mock.callCount(), 1);
});

test('start twice is harmless, and so is start without this', () => {
  const { net, uploader } = fake_upload();
  const { start } = uploader;
  assert.equal(start(), uploader);
  assert.equal(uploader.start(), uploader);
  assert.equal(net.open.length, 1);
});

test('cancel online: the server confirms', async () => {
  const { net, uploader, begin, diary } = fake_upload();
  begin();
  assert.equal(uploader.cancel('no & more?'), uploader);
  assert.deepEqual([uploader.cancelling, uploader.cancelled, uploader.can_cancel, uploader.can_pause], [true, false, false, false]);
  assert.equal(net.all('PUT').length, 0);
  const request = net.next('DELETE');
  assert.match(request.url, /\/id1\?reason=no%20%26%20more%3F$/);
  request.reply(200, status_of({ state: 'cancelled', reason: 'no & more?' }));
  assert.deepEqual([uploader.cancelling, uploader.cancelled, uploader.cancel_msg], [false, true, 'no & more?']);
  assert.equal(uploader.state_msg, 'cancelled: no & more?');
  assert.deepEqual([diary.at(-1), diary.includes('error')], ['cancelled', false]);
  await assert.rejects(uploader.done, { name: 'AbortError' });
  assert.equal(net.open.length, 0);
});

test('cancel too late: the upload goes on to its end', () => {
  const { net, uploader, begin, reported } = fake_upload();
  begin();
  uploader.cancel('x');
  net.next('DELETE').refuse(412, 'wrong-state', { upload: status_of({ state: 'handing_over', received: [[0, 100]] }) });
  assert.deepEqual([uploader.cancelling, uploader.cancelled, uploader.cancel_msg], [false, false, null]);
  net.next('GET').reply(200, status_of({ state: 'finished', received: [[0, 100]] }));
  assert.deepEqual([reported('finished'), reported('cancelled')], [1, 0]);
});

test('cancel: absent or ended on the server', () => {
  const cases = [
    [404, 'unknown-upload', {}, 'cancelled'],
    [410, 'upload-over', {}, 'cancelled'],
    [410, 'upload-over', { upload: status_of({ state: 'cancelled', reason: 'other' }) }, 'cancelled'],
    [410, 'upload-over', { upload: status_of({ state: 'finished' }) }, 'finished'],
  ];
  for (const [http, code, extra, event] of cases) {
    const { net, uploader, begin, diary } = fake_upload();
    begin();
    uploader.cancel('x');
    net.next('DELETE').refuse(http, code, extra);
    assert.deepEqual(diary.filter((other) => other !== 'progress'), [event]);
  }
});

test('cancel: an overloaded server is asked again', () => {
  const { net, clock, uploader, begin } = fake_upload();
  begin();
  uploader.cancel('x');
  net.next('DELETE').refuse(503, 'unavailable', {}, '3');
  assert.equal(uploader.cancelling, true);
  clock.advance(3000);
  net.next('DELETE').reply(200, status_of({ state: 'cancelled' }));
  assert.equal(uploader.cancelled, true);
});

test('cancel offline: cancelled here, the server is reported when it can be', async () => {
  const { net, clock, uploader, begin, diary, wake } = fake_upload();
  begin();
  for (const put of net.all('PUT')) put.send(1);
  for (const put of net.all('PUT')) put.lose();
  uploader.cancel('x');
  assert.deepEqual([uploader.cancelled, uploader.cancelling, uploader.error_code], [true, false, 0]);
  assert.equal(uploader.error_msg, "upload is cancelled, but the backend doesn't know it yet");
  assert.deepEqual(diary.slice(-3), ['progress', 'error', 'cancelled']);
  await assert.rejects(uploader.done, { name: 'AbortError' });
  net.next('DELETE').lose();
  clock.advance(1500);
  net.next('DELETE').lose();
  wake();
  net.next('DELETE').refuse(404, 'unknown-upload');
  clock.advance(1e6);
  wake();
  assert.equal(net.open.length, 0);
});

test('cancel before start: cancelled here, and the server is reported', () => {
  const { net, uploader, reported } = fake_upload();
  uploader.cancel('x');
  assert.deepEqual([uploader.cancelled, reported('cancelled'), reported('error')], [true, 1, 1]);
  net.next('DELETE').reply(200, status_of({ state: 'cancelled' }));
  uploader.start();
  assert.equal(net.open.length, 0);
});

test('the connection breaks while cancelling: cancelled here', () => {
  const { net, uploader, begin } = fake_upload();
  begin();
  uploader.cancel('x');
  net.next('DELETE').lose();
  assert.deepEqual([uploader.cancelled, uploader.cancelling, uploader.error_code], [true, false, 0]);
  assert.equal(net.all('DELETE').length, 1);
});

test('paused: the status is read until some of the aborted chunks has arrived, and shown', () => {
  const { net, clock, uploader, begin } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  net.next('PUT').send(6);
  uploader.pause('pause');
  assert.deepEqual([uploader.bytes_acked, net.open.length], [0, 0]);
  // The server may be busy, or part of the chunk still in some buffer on the way.
  for (const ms of [700, 1400]) {
    clock.advance(ms - 1);
    assert.equal(net.open.length, 0);
    clock.advance(1);
    net.next('GET').reply(200, status_of());
  }
  clock.advance(2800);
  net.next('GET').reply(200, status_of({ received: [[0, 5]] }));
  assert.deepEqual([uploader.bytes_acked, uploader.bytes_tx, uploader.paused, uploader.connected, uploader.state_msg], [5, 5, true, false, 'paused']);
  clock.advance(1e6);
  assert.equal(net.open.length, 0);
  uploader.pause('unpause');
  net.next('GET').reply(200, status_of({ received: [[0, 5]] }));
  assert.deepEqual(net.next('PUT').range, [5, 15]);
});

test('paused: status requests that fail, or are overtaken by resuming, change nothing', () => {
  const { net, clock, uploader, begin, reported } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  for (const fail of [(call) => call.lose(), (call) => call.refuse(404, 'unknown-upload'), (call) => call.refuse(503, 'unavailable')]) {
    net.next('PUT').send(6);
    uploader.pause('pause');
    for (let polls = 0; polls < 4; polls += 1) {
      clock.advance(6000);
      fail(net.next('GET'));
    }
    clock.advance(1e6);
    assert.deepEqual([net.open.length, uploader.paused, reported('error'), uploader.state_msg], [0, true, 0, 'paused']);
    uploader.pause('unpause');
    net.next('GET').reply(200, status_of());
  }
  net.next('PUT').send(6);
  uploader.pause('pause');
  uploader.pause('unpause');
  assert.equal(net.all('GET').length, 1);
  clock.advance(1000);
  assert.equal(net.all('GET').length, 1);
});

test('paused: the status shows that the upload has ended', () => {
  for (const [state, event] of [['cancelled', 'cancelled'], ['failed', 'error'], ['finished', 'finished']]) {
    const { net, clock, uploader, begin, reported } = fake_upload({ options: { send_ahead: 1 } });
    begin();
    net.next('PUT').send(6);
    uploader.pause('pause');
    clock.advance(1000);
    net.next('GET').reply(200, status_of({ state }));
    assert.deepEqual([reported(event), uploader.paused], [1, false]);
  }
});

test('cancelled offline: the error is cleared when the backend knows', () => {
  const { net, clock, uploader, begin, reported } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  net.next('PUT').lose();
  uploader.cancel('x');
  assert.equal(uploader.error_code, 0);
  net.next('DELETE').lose();
  clock.advance(2000);
  const before = reported('progress');
  net.next('DELETE').reply(200, status_of({ state: 'cancelled' }));
  assert.deepEqual([uploader.error_code, uploader.error_msg, uploader.cancelled, uploader.state_msg], [null, null, true, 'cancelled: x']);
  assert.equal(reported('progress'), before + 1);
  assert.deepEqual([reported('error'), reported('cancelled')], [1, 1]);
});

test("a proxy's 404 to a cancel: cancelled here, and the server is reported until it knows", () => {
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
