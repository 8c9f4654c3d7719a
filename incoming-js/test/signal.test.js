/**
 * Cancelling by an AbortSignal.
 */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { fake_upload, settled, status_of } from './fakes.js';

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
  const farewell = net.next('DELETE');
  assert.match(farewell.url, /\/id1\?reason=left%20the%20page$/);
  farewell.lose();
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
    assert.equal(upload.told('cancelled'), 1, name);
  }
});

test('a signal that is aborted already: start cancels, nothing is sent but the farewell', async () => {
  const { net, uploader, told } = with_signal();
  void uploader;
  const upload = fake_upload({ options: { signal: AbortSignal.abort('never mind') } });
  assert.equal(upload.uploader.start(), upload.uploader);
  assert.deepEqual([upload.uploader.cancelled, upload.uploader.cancel_msg, upload.told('cancelled')], [true, 'never mind', 1]);
  assert.deepEqual(upload.net.log, ['DELETE id1?reason=never%20mind']);
  await assert.rejects(upload.uploader.done, (reason) => reason === 'never mind');
  assert.deepEqual([net.open.length, told('cancelled')], [0, 0]);
});

test('an upload that is over lets go of the signal, and abort changes nothing', async () => {
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
