/**
 * Two tabs and one upload: one of them sends, the other looks on and takes over.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { claim_by_channel, claim_lock } from '../src/tabs.js';
import { FakeLocks, fake_page, fake_upload, settled, status_of } from './fakes.js';

function two_tabs() {
  const locks = new FakeLocks();
  const tab = () => fake_upload({ page: fake_page({ locks }), options: { send_ahead: 1 } });
  return [tab(), tab()];
}

test('the second tab looks on, says so, shows progress, and takes over when the first goes', () => {
  const [first, second] = two_tabs();
  first.begin();
  second.begin();
  assert.equal(first.net.all('PUT').length, 1);
  assert.equal(second.net.all('PUT').length, 0);
  assert.equal(second.uploader.state_msg, 'another tab is sending this file, looking on');
  assert.deepEqual([second.uploader.can_pause, second.uploader.can_cancel], [false, true]);
  second.net.next('GET').reply(200, status_of({ received: [[0, 10]] }));
  assert.equal(second.uploader.bytes_acked, 10);
  // As long as the first makes progress, however little.
  for (let bytes = 10; bytes < 20; bytes += 1) {
    for (let i = 0; i < 100; i += 1) {
      second.clock.advance(2000);
      if (second.net.all('GET').length > 0) second.net.next('GET').reply(200, status_of({ received: [[0, bytes]] }));
    }
  }
  assert.equal(second.net.all('PUT').length, 0);
  first.uploader.cancel('x');
  first.net.next('DELETE').lose();
  assert.equal(second.net.all('GET').length, 1);
  second.net.next('GET').reply(200, status_of({ received: [[0, 10]] }));
  assert.deepEqual(second.net.next('PUT').range, [10, 20]);
});

test('issue 13: a tab that has the turn and makes no progress for minutes, as a frozen one, loses it', () => {
  const locks = new FakeLocks();
  const tab = () => fake_upload({ page: fake_page({ locks }), options: { send_ahead: 1 } });
  const [first, second] = [tab(), tab()];
  first.begin();
  second.begin();
  const look = () => second.net.next('GET').reply(200, status_of({ received: [[0, 10]] }));
  // A clock that is set on is no time that went by.
  second.clock.ahead = 8 * 24 * 3_600_000;
  for (let ms = 0; ms < 5 * 60_000; ms += 2000) {
    look();
    assert.equal(second.net.all('PUT').length, 0, `${ms} ms`);
    second.clock.advance(2000);
  }
  look();
  second.clock.advance(2000);
  look();
  // What it has now the status tells, and it sends.
  look();
  assert.deepEqual(second.net.next('PUT').range, [10, 20]);
  // The first one runs again: it looks on, and goes on when the second is done.
  locks.thaw();
  assert.equal(first.net.all('PUT').length, 0);
  assert.match(first.uploader.state_msg, /another tab/);
  first.net.next('GET').reply(200, status_of({ state: 'finished' }));
  assert.equal(first.told('finished'), 1);
});

test('the second tab sees the end as well', () => {
  const [first, second] = two_tabs();
  first.begin();
  second.begin();
  second.net.next('GET').reply(200, status_of({ state: 'finished' }));
  assert.equal(second.told('finished'), 1);
});

test('no word yet: it begins, but nothing is sent until there is one, or two seconds have gone', () => {
  const locks = Object.assign(new FakeLocks(), { undecided: true });
  const { net, clock, begin, uploader } = fake_upload({ page: fake_page({ locks }), options: { send_ahead: 1 } });
  begin();
  assert.equal(net.open.length, 0);
  clock.advance(2000);
  assert.equal(net.all('PUT').length, 1);
  // The word comes late: another tab has it.
  [...locks.queues.values()][0][0]('waiting');
  assert.equal(net.all('PUT').length, 0);
  assert.match(uploader.state_msg, /another tab/);
  [...locks.queues.values()][0][0]('held');
  net.next('GET').reply(200, status_of());
  assert.equal(net.all('PUT').length, 1);
});

test('paused while waiting for the word: it stays paused, and looks on when it goes on', () => {
  const locks = Object.assign(new FakeLocks(), { undecided: true });
  const { net, begin, uploader } = fake_upload({ page: fake_page({ locks }), options: { send_ahead: 1 } });
  begin();
  uploader.pause('pause');
  [...locks.queues.values()][0][0]('waiting');
  assert.equal(uploader.paused, true);
  uploader.pause('unpause');
  net.next('GET').reply(200, status_of());
  assert.match(uploader.state_msg, /another tab/);
});

test('over: the turn is given back, once', () => {
  const locks = new FakeLocks();
  const { net, begin } = fake_upload({ page: fake_page({ locks }) });
  begin();
  assert.equal([...locks.queues.values()][0].length, 1);
  net.next('PUT').refuse(410, 'upload-over', { upload: status_of({ state: 'cancelled' }) });
  assert.equal([...locks.queues.values()][0].length, 0);
});

/** A lock manager with one lock, as browsers have it. */
function lock_manager({ refuses = false } = {}) {
  const queue = [];
  let held = false;
  let rob = () => {};
  const grant = async (callback) => {
    held = true;
    const robbed = new Promise((_, fail) => (rob = () => fail(new DOMException('stolen', 'AbortError'))));
    await Promise.race([callback({}), robbed]);
    held = false;
    const next = queue.shift();
    if (next) grant(next.callback).then(next.resolve, next.reject);
  };
  return {
    request: (name, { ifAvailable, signal, steal }, callback) => {
      if (refuses) return Promise.reject(new DOMException('no', 'SecurityError'));
      if (signal?.aborted) return Promise.reject(signal.reason);
      if (steal) {
        rob();
        return Promise.resolve().then(() => grant(callback));
      }
      if (!held) {
        held = true;
        return Promise.resolve().then(() => grant(callback));
      }
      if (ifAvailable) return Promise.resolve().then(() => callback(null));
      return new Promise((resolve, reject) => {
        const one = { callback, resolve, reject };
        queue.push(one);
        signal.addEventListener('abort', () => {
          if (!queue.includes(one)) return;
          queue.splice(queue.indexOf(one), 1);
          reject(signal.reason);
        });
      });
    },
  };
}

test('Web Locks: in turn; who gives up is passed over', async () => {
  const locks = lock_manager();
  const told = [];
  const claim = (who) => claim_lock(locks, 'a', (turn) => told.push(`${who} ${turn}`));
  const [a, b, c] = [claim('a'), claim('b'), claim('c')];
  await settled();
  await settled();
  assert.deepEqual(told, ['a held', 'b waiting', 'c waiting']);
  b();
  a();
  await settled();
  assert.deepEqual(told.slice(3), ['c held']);
  c();
  await settled();
  const d = claim('d');
  await settled();
  assert.deepEqual(told.slice(4), ['d held']);
  d();
  claim_lock(lock_manager({ refuses: true }), 'a', (turn) => told.push(`e ${turn}`));
  await settled();
  assert.deepEqual(told.slice(5), ['e held']);
});

test('Web Locks: one that is taken away is waited for like any other', async () => {
  const locks = lock_manager();
  const told = [];
  const claim = (who, steal) => claim_lock(locks, 'a', (turn) => told.push(`${who} ${turn}`), steal);
  const calm = async () => {
    for (let i = 0; i < 4; i += 1) await settled();
  };
  const a = claim('a');
  await calm();
  const b = claim('b');
  await calm();
  b();
  const again = claim('b', true);
  await calm();
  assert.deepEqual(told, ['a held', 'b waiting', 'b held', 'a waiting']);
  again();
  await calm();
  assert.deepEqual(told.slice(4), ['a held']);
  a();
});

/** Channels of one name, which hear each other a moment later. */
function channels() {
  const all = new Set();
  return () => {
    const channel = {
      onmessage: null,
      postMessage: (data) => {
        for (const other of all) if (other !== channel) queueMicrotask(() => all.has(other) && other.onmessage?.({ data }));
      },
      close: () => all.delete(channel),
    };
    all.add(channel);
    return channel;
  };
}

test('without Web Locks tabs ask each other', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const open = channels();
  const told = [];
  const claim = (who, number) => claim_by_channel(open(), number, (turn) => told.push(`${who} ${turn}`));
  const pass = async (ms) => {
    for (let i = 0; i < ms; i += 100) {
      t.mock.timers.tick(100);
      for (let j = 0; j < 5; j += 1) await Promise.resolve();
    }
  };
  // Together: the smaller number has it.
  const [a, b] = [claim('a', 0.2), claim('b', 0.7)];
  await pass(400);
  assert.deepEqual(told, ['b waiting', 'a held']);
  const c = claim('c', 0.1);
  await pass(20_000);
  assert.deepEqual([...new Set(told.slice(2))].sort(), ['b waiting', 'c waiting']);
  // The first goes: another one takes over soon. One that vanishes without a word is missed when it is next asked.
  const before = told.length;
  a();
  await pass(1000);
  assert.equal(told.slice(before).filter((line) => line.endsWith('held')).length, 1);
  assert.ok(told.includes('c held'));
  b();
  c();
});
