/**
 * The uploader object: callbacks, events, promise, abort signal.
 */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { calm, fake_file, fake_page, fake_upload, settled, status_of } from './fakes.js';
import { upload } from './large-file.js';

const one = { send_ahead: 1 };

test('onprogress comes at most every 16 ms while bytes flow, and never skips the last', () => {
  const { net, clock, begin, reported, uploader } = fake_upload({ size: 1000, options: { chunk_size: 1000 } });
  begin();
  clock.advance(100);
  const before = reported('progress');
  for (let bytes = 1; bytes <= 500; bytes += 1) {
    net.next('PUT').send(bytes);
    clock.advance(1);
  }
  const calls = reported('progress') - before;
  assert.ok(calls >= 28 && calls <= 33, String(calls));
  clock.advance(16);
  let seen;
  uploader.onprogress = () => (seen = uploader.bytes_tx);
  net.next('PUT').send(600);
  net.next('PUT').send(601);
  clock.advance(16);
  assert.equal(seen, 601);
});

test('a flag change is reported at once, and nothing is reported twice', () => {
  const { net, uploader, begin, reported } = fake_upload();
  begin();
  net.next('PUT').send(1);
  net.next('PUT').send(2);
  const before = reported('progress');
  uploader.pause('pause');
  assert.equal(reported('progress'), before + 1);
  uploader.pause('pause');
  assert.equal(reported('progress'), before + 1);
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
  const { net, uploader, begin, reported } = fake_upload();
  uploader.onfinished = null;
  uploader.onprogress = () => {
    if (uploader.bytes_acked > 0) uploader.cancel('enough');
  };
  begin({ received: [[0, 10]] });
  net.next('DELETE').reply(200, status_of({ state: 'cancelled' }));
  assert.equal(reported('cancelled'), 1);
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

test('a callback that is not a function, and one that starts, pauses and cancels, do no harm', async (t) => {
  t.mock.method(console, 'error', () => {});
  const { net, uploader, begin } = fake_upload({ options: one });
  uploader.onprogress = 'text';
  begin();
  uploader.onprogress = () => {
    uploader.pause('pause');
    uploader.start();
    uploader.cancel('\ud800');
    throw new Error('mine');
  };
  net.next('PUT').send(5);
  uploader.pause('pause');
  await calm();
  for (const call of net.all('DELETE')) call.reply(200, status_of({ state: 'cancelled' }));
  await new Promise((next) => setTimeout(next, 5));
  assert.ok(uploader.cancelled || uploader.can_pause, uploader.state_msg);
});

function with_signal(more = {}) {
  const control = new AbortController();
  return { control, ...fake_upload({ options: { send_ahead: 4, signal: control.signal }, ...more }) };
}

test('abort cancels at once, with the reason, and tells the server', async () => {
  const { control, net, clock, uploader, begin, diary } = with_signal();
  begin();
  const reason = new TypeError('left the page');
  control.abort(reason);
  assert.deepEqual([uploader.cancelled, uploader.cancelling, uploader.cancel_msg], [true, false, 'left the page']);
  assert.deepEqual([uploader.error_code, diary.includes('error'), diary.at(-1)], [null, false, 'cancelled']);
  await assert.rejects(uploader.done, (error) => error === reason);
  assert.equal(net.all('PUT').length, 0);
  const cancelling = net.next('DELETE');
  assert.match(cancelling.url, /\/id1\?reason=left%20the%20page$/);
  cancelling.lose();
  clock.advance(2000);
  net.next('DELETE').reply(200, status_of({ state: 'cancelled' }));
  assert.deepEqual([net.open.length, clock.timers], [0, 0]);
});

test('abort in every phase', async () => {
  const phases = {
    binding: ({ uploader }) => uploader.start(),
    waiting: ({ uploader, net }) => (uploader.start(), net.next('POST').lose()),
    sending: ({ begin }) => begin(),
    paused: ({ begin, uploader }) => (begin(), uploader.pause('pause')),
    cancelling: ({ begin, uploader }) => (begin(), uploader.cancel('by hand')),
    following: ({ begin }) => begin({ state: 'handing_over', received: [[0, 100]] }),
  };
  for (const [name, go] of Object.entries(phases)) {
    const upload = with_signal();
    go(upload);
    upload.control.abort();
    assert.equal(upload.uploader.cancelled, true, name);
    await assert.rejects(upload.uploader.done, { name: 'AbortError' });
    assert.deepEqual(upload.net.open.map((call) => call.method), ['DELETE'], name);
    assert.equal(upload.reported('cancelled'), 1, name);
  }
});

test('a signal that is aborted already: start cancels, only the cancel request is sent', async () => {
  const { net, uploader, reported } = with_signal();
  void uploader;
  const upload = fake_upload({ options: { signal: AbortSignal.abort('never mind') } });
  assert.equal(upload.uploader.start(), upload.uploader);
  assert.deepEqual([upload.uploader.cancelled, upload.uploader.cancel_msg, upload.reported('cancelled')], [true, 'never mind', 1]);
  assert.deepEqual(upload.net.log, ['DELETE id1?reason=never%20mind']);
  await assert.rejects(upload.uploader.done, (reason) => reason === 'never mind');
  assert.deepEqual([net.open.length, reported('cancelled')], [0, 0]);
});

test('an upload that has ended removes its listener from the signal, and abort changes nothing', async () => {
  const endings = {
    finished: ({ begin }) => begin({ state: 'finished' }),
    failed: ({ uploader, net }) => (uploader.start(), net.next('POST').refuse(404, 'unknown-upload')),
    cancelled: ({ begin }) => begin({ state: 'cancelled' }),
  };
  for (const [name, go] of Object.entries(endings)) {
    const upload = with_signal();
    assert.equal(getEventListeners(upload.control.signal, 'abort').length, 1);
    go(upload);
    assert.equal(getEventListeners(upload.control.signal, 'abort').length, 0, name);
    const before = { ...upload.uploader };
    upload.control.abort();
    upload.uploader.start();
    assert.deepEqual({ ...upload.uploader }, before);
    assert.deepEqual(upload.net.open, []);
  }
  await settled();
});
