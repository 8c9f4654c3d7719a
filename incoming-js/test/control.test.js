/**
 * Pausing, cancelling, and what the page is told.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fake_file, fake_page, fake_upload, settled, status_of } from './fakes.js';

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

test('an unknown word for pause is complained about, no more', (t) => {
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

test('cancel too late: the upload is followed to its end', () => {
  const { net, uploader, begin, told } = fake_upload();
  begin();
  uploader.cancel('x');
  net.next('DELETE').refuse(412, 'wrong-state', { upload: status_of({ state: 'handing_over', received: [[0, 100]] }) });
  assert.deepEqual([uploader.cancelling, uploader.cancelled, uploader.cancel_msg], [false, false, null]);
  net.next('GET').reply(200, status_of({ state: 'finished', received: [[0, 100]] }));
  assert.deepEqual([told('finished'), told('cancelled')], [1, 0]);
});

test('cancel: gone or over on the server', () => {
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

test('cancel offline: cancelled here, the server is told when it can be', async () => {
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

test('cancel before start: cancelled here, and the server is told', () => {
  const { net, uploader, told } = fake_upload();
  uploader.cancel('x');
  assert.deepEqual([uploader.cancelled, told('cancelled'), told('error')], [true, 1, 1]);
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

test('onprogress comes at most every 16 ms while bytes flow, and never skips the last', () => {
  const { net, clock, begin, told, uploader } = fake_upload({ size: 1000, options: { chunk_size: 1000 } });
  begin();
  clock.advance(100);
  const before = told('progress');
  for (let bytes = 1; bytes <= 500; bytes += 1) {
    net.next('PUT').send(bytes);
    clock.advance(1);
  }
  const calls = told('progress') - before;
  assert.ok(calls >= 28 && calls <= 33, String(calls));
  clock.advance(16);
  let seen;
  uploader.onprogress = () => (seen = uploader.bytes_tx);
  net.next('PUT').send(600);
  net.next('PUT').send(601);
  clock.advance(16);
  assert.equal(seen, 601);
});

test('a flag change is told at once, and nothing is told twice', () => {
  const { net, uploader, begin, told } = fake_upload();
  begin();
  net.next('PUT').send(1);
  net.next('PUT').send(2);
  const before = told('progress');
  uploader.pause('pause');
  assert.equal(told('progress'), before + 1);
  uploader.pause('pause');
  assert.equal(told('progress'), before + 1);
});

test('callbacks that throw do not break the upload', async (t) => {
  const reported = t.mock.method(console, 'error', () => {});
  const { net, uploader, begin, ack } = fake_upload({ size: 20 });
  for (const name of ['onprogress', 'onfinished']) {
    uploader[name] = () => {
      throw new Error(name);
    };
  }
  begin();
  ack(net.next('PUT'));
  ack(net.next('PUT'), { state: 'finished' });
  assert.equal(uploader.finished, true);
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(reported.mock.callCount() >= 2);
});

test('callbacks may be null and may call back in', () => {
  const { net, uploader, begin, told } = fake_upload();
  uploader.onfinished = null;
  uploader.onprogress = () => {
    if (uploader.bytes_acked > 0) uploader.cancel('enough');
  };
  begin({ received: [[0, 10]] });
  net.next('DELETE').reply(200, status_of({ state: 'cancelled' }));
  assert.equal(told('cancelled'), 1);
});

test('events, with and without new, own keys', async () => {
  const { incoming, net } = fake_page();
  const file = fake_file(0);
  const a = incoming.Uploader('a', file);
  const b = new incoming.Uploader('b', file);
  assert.ok(a instanceof incoming.Uploader && b instanceof incoming.Uploader);
  const seen = [];
  for (const event of ['progress', 'finished']) a.addEventListener(event, ({ type, target }) => seen.push([type, target === a]));
  a.start();
  await settled();
  net.next('POST').reply(200, status_of({ length: 0, state: 'finished' }));
  assert.deepEqual(seen.at(-1), ['finished', true]);
  assert.ok(seen.some(([type]) => type === 'progress'));
  for (const key of ['filename', 'bytes_total', 'bytes_tx', 'bytes_acked', 'bytes_ahead', 'frac_complete', 'chunks_tx_now',
    'chunks_acked_now', 'chunks_ahead', 'state_msg', 'cancel_msg', 'error_code', 'error_msg', 'connected', 'finished', 'paused',
    'can_pause', 'cancelling', 'cancelled', 'can_cancel', 'onprogress', 'onfinished', 'oncancelled', 'onerror', 'start', 'pause', 'cancel']) {
    assert.ok(Object.hasOwn(b, key), key);
  }
});

test('the hostname may be set until the start', () => {
  const page = fake_page();
  const { uploader, net } = fake_upload({ page });
  page.incoming.set_server_hostname('http://other.example:81/');
  uploader.start();
  assert.equal(net.next('POST').url, 'http://other.example:81/incoming/frontend/uploads/id1');
  const own = fake_upload({ page, options: { hostname: 'third.example' } });
  own.uploader.start();
  assert.match(net.all('POST')[1].url, /^https:\/\/third\.example\//);
});

test('impossible options are refused', () => {
  const { incoming } = fake_page();
  for (const options of [{ chunk_size: 0 }, { send_ahead: 1.5 }, { chunk_size: '8' }, { hostname: 'a b' }]) {
    assert.throws(() => incoming.Uploader('a', fake_file(1), options), TypeError);
  }
});

test('done never makes an unhandled rejection', async () => {
  const unhandled = [];
  const note = (error) => unhandled.push(error);
  process.on('unhandledRejection', note);
  const { net, uploader } = fake_upload();
  uploader.start();
  net.next('POST').refuse(404, 'unknown-upload');
  await settled();
  await settled();
  process.off('unhandledRejection', note);
  assert.deepEqual(unhandled, []);
});

test('a wait counts down, and start() ends it', () => {
  const { net, clock, uploader, begin, told } = fake_upload({ options: { send_ahead: 1 } });
  assert.equal(uploader.retry_in_s, null);
  begin();
  net.next('PUT').lose();
  clock.advance(1500);
  net.next('GET').lose();
  clock.advance(3000);
  net.next('GET').lose();
  const seen = [];
  const before = told('progress');
  for (let i = 0; i < 6; i += 1) {
    seen.push(uploader.retry_in_s);
    assert.match(uploader.state_msg, new RegExp(`^lost connection, trying again in ${uploader.retry_in_s} s$`));
    clock.advance(i === 5 ? 999 : 1000);
  }
  assert.deepEqual(seen, [6, 5, 4, 3, 2, 1]);
  assert.equal(told('progress') - before, 6, 'once each second, and once that it waits');
  assert.equal(net.open.length, 0);
  clock.advance(1);
  assert.equal(uploader.retry_in_s, null);
  net.next('GET').lose();
  assert.equal(uploader.retry_in_s, 12);
  uploader.start();
  assert.equal(uploader.retry_in_s, null);
  net.next('GET').reply(200, status_of());
  uploader.start();
  assert.equal(net.log.filter((line) => line.startsWith('PUT')).length, 2);
});

test('start() ends a wait that Retry-After asked for as well', () => {
  const { net, uploader, begin } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  net.next('PUT').refuse(503, 'unavailable', { upload: status_of() }, '600');
  assert.equal(uploader.retry_in_s, 600);
  uploader.start();
  assert.equal(net.all('PUT').length, 1);
});

test('after an offline spell pauses begin anew: by the browser\'s word, and by the first answer', () => {
  const { net, clock, uploader, begin, wake } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  net.next('PUT').lose();
  for (let i = 0; i < 5; i += 1) {
    clock.advance(60_000);
    net.next('GET').lose();
  }
  assert.equal(uploader.retry_in_s, 45);
  // A look at the tab is no reason to hope.
  wake(false);
  net.next('GET').lose();
  assert.equal(uploader.retry_in_s, 45);
  wake(true);
  net.next('GET').lose();
  assert.equal(uploader.retry_in_s, 2);
  for (let i = 0; i < 5; i += 1) {
    clock.advance(60_000);
    net.next('GET').lose();
  }
  clock.advance(60_000);
  net.next('GET').reply(200, status_of());
  net.next('PUT').lose();
  assert.ok(uploader.retry_in_s <= 3, String(uploader.retry_in_s));
});

test('paused: what arrived of the aborted chunks is asked for until something did, and shown', () => {
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

test('paused: nothing comes of looks that fail, or are overtaken by going on', () => {
  const { net, clock, uploader, begin, told } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  for (const fail of [(call) => call.lose(), (call) => call.refuse(404, 'unknown-upload'), (call) => call.refuse(503, 'unavailable')]) {
    net.next('PUT').send(6);
    uploader.pause('pause');
    for (let looks = 0; looks < 4; looks += 1) {
      clock.advance(6000);
      fail(net.next('GET'));
    }
    clock.advance(1e6);
    assert.deepEqual([net.open.length, uploader.paused, told('error'), uploader.state_msg], [0, true, 0, 'paused']);
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

test('paused: the look finds the upload over', () => {
  for (const [state, event] of [['cancelled', 'cancelled'], ['failed', 'error'], ['finished', 'finished']]) {
    const { net, clock, uploader, begin, told } = fake_upload({ options: { send_ahead: 1 } });
    begin();
    net.next('PUT').send(6);
    uploader.pause('pause');
    clock.advance(1000);
    net.next('GET').reply(200, status_of({ state }));
    assert.deepEqual([told(event), uploader.paused], [1, false]);
  }
});

test('cancelled offline: the word that the backend does not know goes when it knows', () => {
  const { net, clock, uploader, begin, told } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  net.next('PUT').lose();
  uploader.cancel('x');
  assert.equal(uploader.error_code, 0);
  net.next('DELETE').lose();
  clock.advance(2000);
  const before = told('progress');
  net.next('DELETE').reply(200, status_of({ state: 'cancelled' }));
  assert.deepEqual([uploader.error_code, uploader.error_msg, uploader.cancelled, uploader.state_msg], [null, null, true, 'cancelled: x']);
  assert.equal(told('progress'), before + 1);
  assert.deepEqual([told('error'), told('cancelled')], [1, 1]);
});
