/**
 * Pauses between tries: their length, their countdown, and what ends them early.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backoff_ms, poll_pause_ms } from '../src/timers.js';
import { fake_upload, status_of, table } from './fakes.js';

const one = { send_ahead: 1 };

table('backoff', backoff_ms, [
  [1, 0, 1000],
  [1, 1, 2000],
  [2, 0, 2000],
  [3, 0.5, 6000],
  [6, 0, 30_000],
  [7, 1, 60_000],
  [5000, 1, 60_000],
]);

test('short polls become slower with time and with the number of uploaders', () => {
  assert.equal(poll_pause_ms(0, 1), 200);
  assert.equal(poll_pause_ms(50, 2), 5000);
  assert.equal(poll_pause_ms(0, 40), 2000);
});

test('a wait counts down, and start() ends it', () => {
  const { net, clock, uploader, begin, reported } = fake_upload({ options: { send_ahead: 1 } });
  assert.equal(uploader.retry_in_s, null);
  begin();
  net.next('PUT').lose();
  clock.advance(1500);
  net.next('GET').lose();
  clock.advance(3000);
  net.next('GET').lose();
  const seen = [];
  const before = reported('progress');
  for (let i = 0; i < 6; i += 1) {
    seen.push(uploader.retry_in_s);
    assert.match(uploader.state_msg, new RegExp(`^lost connection, trying again in ${uploader.retry_in_s} s$`));
    clock.advance(i === 5 ? 999 : 1000);
  }
  assert.deepEqual(seen, [6, 5, 4, 3, 2, 1]);
  assert.equal(reported('progress') - before, 6, 'once each second, and once that it waits');
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

test('after an offline time pauses start short again: by the online event, and by the first answer', () => {
  const { net, clock, uploader, begin, wake } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  net.next('PUT').lose();
  for (let i = 0; i < 5; i += 1) {
    clock.advance(60_000);
    net.next('GET').lose();
  }
  assert.equal(uploader.retry_in_s, 45);
  // Showing the tab says nothing about the network.
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

test('setting the clock, forward or back, changes no pause and no rate', () => {
  for (const jump of [8 * 24 * 3_600_000, -8 * 24 * 3_600_000, -1e12]) {
    const { net, clock, uploader, begin, ack } = fake_upload({ size: 1000, options: one });
    begin();
    for (let i = 0; i < 10; i += 1) {
      clock.advance(1_000);
      ack(net.next('PUT'));
      if (i === 5) clock.ahead = jump;
    }
    assert.equal(uploader.bytes_per_s, 15);
    net.next('PUT').lose();
    clock.ahead = 0;
    assert.equal(uploader.retry_in_s, 2);
    clock.advance(1_500);
    assert.equal(net.all('GET').length, 1);
  }
});

test('the page gets each event listener once, for all uploaders', async (t) => {
  const listeners = [];
  const target = { addEventListener: (event, fn) => listeners.push([event, fn]) };
  Object.assign(globalThis, { window: target, document: { ...target, hidden: false } });
  t.after(() => (delete globalThis.window, delete globalThis.document));
  const { on_wake } = await import('../src/timers.js?once');
  const woken = [];
  const ends = Array.from({ length: 100 }, (_, i) => on_wake((online) => woken.push([i, online])));
  assert.deepEqual(listeners.map(([event]) => event).sort(), ['online', 'pageshow', 'visibilitychange']);
  for (const end of ends.slice(2)) end();
  for (const [, fn] of listeners) fn();
  assert.deepEqual(woken, [[0, true], [1, true], [0, false], [1, false], [0, false], [1, false]]);
  globalThis.document.hidden = true;
  for (const [event, fn] of listeners) if (event === 'visibilitychange') fn();
  assert.equal(woken.length, 6);
});
