/**
 * Several uploaders of one upload: one sends, the others observe and take over.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Contention, browser_locks, claim_by_channel, claim_lock } from '../src/tabs.js';
import { FakeLocks, fake_page, fake_upload, settled, status_of } from './fakes.js';

const handing_over = { state: 'handing_over', received: [[0, 100]] };

function two_tabs() {
  const locks = new FakeLocks();
  const tab = () => fake_upload({ page: fake_page({ locks }), options: { send_ahead: 1 } });
  return [tab(), tab()];
}

test('the second tab observes, says so, shows progress, and takes over when the first is closed', () => {
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

test('issue 13: a tab that holds the lock and makes no progress for minutes, like a frozen one, loses it', () => {
  const locks = new FakeLocks();
  const tab = () => fake_upload({ page: fake_page({ locks }), options: { send_ahead: 1 } });
  const [first, second] = [tab(), tab()];
  first.begin();
  second.begin();
  const poll = () => second.net.next('GET').reply(200, status_of({ received: [[0, 10]] }));
  // Setting the clock forward is not time that passes.
  second.clock.ahead = 8 * 24 * 3_600_000;
  for (let ms = 0; ms < 5 * 60_000; ms += 2000) {
    poll();
    assert.equal(second.net.all('PUT').length, 0, `${ms} ms`);
    second.clock.advance(2000);
  }
  poll();
  second.clock.advance(2000);
  poll();
  // The status shows what the server has now, and it sends.
  poll();
  assert.deepEqual(second.net.next('PUT').range, [10, 20]);
  // The first one runs again: it observes, and sends when the second is done.
  locks.thaw();
  assert.equal(first.net.all('PUT').length, 0);
  assert.match(first.uploader.state_msg, /another tab/);
  first.net.next('GET').reply(200, status_of({ state: 'finished' }));
  assert.equal(first.reported('finished'), 1);
});

test('the second tab reports the end as well', () => {
  const [first, second] = two_tabs();
  first.begin();
  second.begin();
  second.net.next('GET').reply(200, status_of({ state: 'finished' }));
  assert.equal(second.reported('finished'), 1);
});

test('no answer about the lock yet: nothing is sent until there is one, or for two seconds', () => {
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

test('paused before the lock is decided: it stays paused, and observes after the pause', () => {
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

test('at the end the lock is released once', () => {
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

test('Web Locks: in order; a claim that was released is skipped', async () => {
  const locks = lock_manager();
  const reported = [];
  const claim = (who) => claim_lock(locks, 'a', (state) => reported.push(`${who} ${state}`));
  const [a, b, c] = [claim('a'), claim('b'), claim('c')];
  await settled();
  await settled();
  assert.deepEqual(reported, ['a held', 'b waiting', 'c waiting']);
  b();
  a();
  await settled();
  assert.deepEqual(reported.slice(3), ['c held']);
  c();
  await settled();
  const d = claim('d');
  await settled();
  assert.deepEqual(reported.slice(4), ['d held']);
  d();
  claim_lock(lock_manager({ refuses: true }), 'a', (state) => reported.push(`e ${state}`));
  await settled();
  assert.deepEqual(reported.slice(5), ['e held']);
});

test('Web Locks: a tab waits again for a lock that was stolen from it', async () => {
  const locks = lock_manager();
  const reported = [];
  const claim = (who, steal) => claim_lock(locks, 'a', (state) => reported.push(`${who} ${state}`), steal);
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
  assert.deepEqual(reported, ['a held', 'b waiting', 'b held', 'a waiting']);
  again();
  await calm();
  assert.deepEqual(reported.slice(4), ['a held']);
  a();
});

/** Channels of one name, which get each other's messages a moment later. */
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
  const reported = [];
  const claim = (who, number) => claim_by_channel(open(), number, (state) => reported.push(`${who} ${state}`));
  const pass = async (ms) => {
    for (let i = 0; i < ms; i += 100) {
      t.mock.timers.tick(100);
      for (let j = 0; j < 5; j += 1) await Promise.resolve();
    }
  };
  // Together: the smaller number has it.
  const [a, b] = [claim('a', 0.2), claim('b', 0.7)];
  await pass(400);
  assert.deepEqual(reported, ['b waiting', 'a held']);
  const c = claim('c', 0.1);
  await pass(20_000);
  assert.deepEqual([...new Set(reported.slice(2))].sort(), ['b waiting', 'c waiting']);
  // The first goes: another one takes over soon. One that vanishes without a word is missed when it is next asked.
  const before = reported.length;
  a();
  await pass(1000);
  assert.equal(reported.slice(before).filter((line) => line.endsWith('held')).length, 1);
  assert.ok(reported.includes('c held'));
  b();
  c();
});

test('a lock manager that never answers counts as holding no locks', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { locks: { query: () => new Promise(() => {}) } } });
  t.after(() => (before ? Object.defineProperty(globalThis, 'navigator', before) : delete globalThis.navigator));
  const held = browser_locks.held();
  t.mock.timers.tick(5000);
  assert.deepEqual(await held, []);
});

test('unknown messages on the channel do no harm', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const channel = { postMessage: () => {}, close: () => {} };
  const end = claim_by_channel(channel, 0.5, () => {});
  for (const data of ['ask', null, 7, undefined]) channel.onmessage({ data });
  end();
});

test('contention: yields after three times, and detects that the other uploader is gone', () => {
  const contention = new Contention();
  assert.deepEqual([contention.lost_range(), contention.lost_range()], [false, false]);
  contention.reset();
  assert.deepEqual([contention.lost_range(), contention.lost_range(), contention.lost_range()], [false, false, true]);
  contention.observe(0);
  assert.equal(contention.is_stale(5, 400_000), false);
  assert.equal(contention.is_stale(6, 600_000), false);
  assert.equal(contention.is_stale(6, 800_000), false);
  assert.equal(contention.is_stale(6, 900_001), true);
  assert.equal(contention.is_stale(6, 900_002), false, 'not at every poll from now on');
  assert.equal(contention.lost_range(), true);
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

test('superseded three times in a row: observes, until the end', () => {
  const { net, clock, uploader, begin, reported } = fake_upload();
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
  assert.equal(reported('finished'), 1);
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
