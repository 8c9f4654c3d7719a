/**
 * Connections shared between uploaders.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConnectionPool, pool_for } from '../src/pool.js';
import { fake_file, fake_page, fake_upload, status_of } from './fakes.js';

test('four chunks and one poll at most, five in all, in whatever order they come', () => {
  const orders = [['control', 'chunk', 'poll'], ['chunk', 'poll', 'control'], ['poll', 'control', 'chunk'], ['chunk', 'control', 'poll'], ['poll', 'chunk', 'control']];
  const counts = orders.map((order) => {
    const pool = new ConnectionPool();
    return order.map((lane) => {
      let n = 0;
      while (pool.take(lane)) n += 1;
      return n;
    });
  });
  assert.deepEqual(counts, [[5, 0, 0], [4, 1, 0], [1, 4, 0], [4, 1, 0], [1, 4, 0]]);
});

test('when a connection comes free small requests are served first, then the poll, then chunks', () => {
  const pool = new ConnectionPool();
  const slots = [1, 2, 3, 4].map(() => pool.take('chunk'));
  pool.take('poll').release();
  const first = pool.take('control');
  const served = [];
  for (const lane of ['chunk', 'poll', 'control']) pool.wait(lane, (slot) => served.push([lane, slot]));
  slots[0].release();
  assert.deepEqual(served.map(([lane]) => lane), ['control']);
  first.release();
  assert.deepEqual(served.map(([lane]) => lane), ['control', 'poll']);
  slots[1].release();
  assert.deepEqual(served.map(([lane]) => lane), ['control', 'poll', 'chunk']);
});

test('waiting requests are served in order, and later ones do not overtake them', () => {
  const pool = new ConnectionPool();
  const slots = [1, 2, 3, 4].map(() => pool.take('chunk'));
  const served = [];
  pool.wait('chunk', (slot) => served.push(['a', slot]));
  const leave = pool.wait('chunk', (slot) => served.push(['b', slot]));
  pool.wait('chunk', (slot) => served.push(['c', slot]));
  leave();
  slots[0].release();
  slots[0].release();
  assert.deepEqual(served.map(([who]) => who), ['a']);
  assert.equal(pool.take('chunk'), null);
  slots[1].release();
  assert.deepEqual(served.map(([who]) => who), ['a', 'c']);
  slots[2].release();
  assert.ok(pool.take('chunk'));
});

test('one pool per origin', () => {
  assert.equal(pool_for('https://a'), pool_for('https://a'));
  assert.notEqual(pool_for('https://a'), pool_for('https://b'));
});

test('two uploaders share the four connections fairly', () => {
  const page = fake_page();
  const a = fake_upload({ page, id: 'a' });
  const b = fake_upload({ page, id: 'b' });
  a.begin();
  b.begin();
  assert.equal(page.net.all('PUT').length, 4);
  for (let i = 0; i < 12; i += 1) {
    const call = page.net.next('PUT');
    (call.url.endsWith('/a') ? a : b).ack(call);
    assert.equal(page.net.all('PUT').length, 4);
  }
  const puts = page.net.log.filter((line) => line.startsWith('PUT'));
  assert.ok(puts.filter((line) => line === 'PUT b').length >= 6, puts.join());
});

test('an uploader that pauses gives its connections to the others', () => {
  const page = fake_page();
  const a = fake_upload({ page, id: 'a' });
  const b = fake_upload({ page, id: 'b' });
  a.begin();
  b.begin();
  assert.equal(page.net.all('PUT').filter((call) => call.url.endsWith('/b')).length, 0);
  a.uploader.pause('pause');
  assert.equal(page.net.all('PUT').filter((call) => call.url.endsWith('/b')).length, 4);
});

test('one uploader uses long polls, several use short ones', () => {
  const page = fake_page();
  const over = { state: 'handing_over', received: [[0, 100]] };
  const a = fake_upload({ page, id: 'a' });
  const b = fake_upload({ page, id: 'b' });
  a.begin(over);
  assert.match(page.net.next('GET').url, /\/a\?wait=25&state=handing_over$/);
  b.begin(over);
  assert.equal(page.net.all('GET').length, 1);
  for (let i = 0; i < 20; i += 1) {
    assert.ok(page.net.all('GET').length <= 1);
    for (const call of page.net.all('GET')) {
      assert.doesNotMatch(call.url, /wait/);
      call.reply(200, status_of(over));
    }
    page.clock.advance(600);
  }
  const polls = page.net.log.filter((line) => line.startsWith('GET'));
  assert.ok(polls.includes('GET a') && polls.includes('GET b'), polls.join());
  while (!a.uploader.finished) {
    page.clock.advance(6000);
    const call = page.net.next('GET');
    call.reply(200, status_of(call.url.endsWith('/a') ? { ...over, state: 'finished' } : over));
  }
  page.clock.advance(6000);
  const poll = page.net.next('GET');
  if (!poll.url.includes('wait')) {
    poll.reply(200, status_of(over));
    page.clock.advance(6000);
  }
  assert.match(page.net.next('GET').url, /\/b\?wait=25/);
  assert.equal(page.net.all('GET').length, 1);
});

test('many small files: every one is bound, sent and finished within five connections', () => {
  const page = fake_page();
  const uploads = Array.from({ length: 30 }, (_, i) => fake_upload({ page, id: `u${i}`, file: fake_file(5) }));
  for (const upload of uploads) upload.uploader.start();
  for (let i = 0; i < 200 && page.net.open.length > 0; i += 1) {
    assert.ok(page.net.open.length <= 5);
    assert.ok(page.net.all('PUT').length <= 4);
    const call = page.net.open[0];
    call.reply(200, status_of({ length: 5, ...(call.method === 'PUT' ? { state: 'finished', received: [[0, 5]] } : {}) }));
  }
  assert.ok(uploads.every(({ uploader }) => uploader.finished));
  assert.equal(page.net.log.length, 60);
});

test('2,500 uploaders: chunks of those that are bound go out before others are bound, and no start visits all others', () => {
  const page = fake_page();
  const uploads = Array.from({ length: 2500 }, (_, i) => fake_upload({ page, id: `u${i}`, file: fake_file(5), options: {} }));
  let followed = 0;
  for (const upload of uploads) {
    upload.uploader.start();
    followed = Math.max(followed, page.net.open.length);
  }
  assert.equal(followed, 5);
  let [bound, sent] = [0, 0];
  for (let i = 0; i < 20_000 && page.net.open.length > 0; i += 1) {
    const call = page.net.open[0];
    if (call.method === 'POST') bound += 1;
    else sent += 1;
    assert.ok(bound - sent <= 20, `${bound} are bound, ${sent} chunks were sent`);
    call.reply(200, status_of({ length: 5, ...(call.method === 'PUT' ? { state: 'finished', received: [[0, 5]] } : {}) }));
  }
  assert.ok(uploads.every(({ uploader }) => uploader.finished));
});

test('large uploads that wait for each other do not let more begin; those that pause let the next ones in', () => {
  const page = fake_page();
  const uploads = Array.from({ length: 30 }, (_, i) => fake_upload({ page, id: `u${i}`, size: 1000 }));
  for (const upload of uploads) upload.uploader.start();
  const answer_binds = () => {
    for (let posts; (posts = page.net.all('POST')).length > 0; ) posts[0].reply(200, status_of({ length: 1000 }));
  };
  answer_binds();
  const bound = () => uploads.filter(({ uploader }) => uploader.connected).length;
  const before = bound();
  assert.ok(before >= 8 && before <= 13, String(before));
  for (let i = 0; i < 2; i += 1) uploads.findLast(({ uploader }) => uploader.connected).uploader.pause('pause');
  answer_binds();
  assert.ok(uploads.filter(({ uploader }) => uploader.connected || uploader.paused).length > before);
});

test('leaving a long queue is cheap', () => {
  const pool = new ConnectionPool();
  for (let i = 0; i < 5; i += 1) pool.take('control');
  const leave = Array.from({ length: 200_000 }, () => pool.wait('bind', () => {}));
  const began = performance.now();
  for (const one_of_them of leave.reverse()) one_of_them();
  assert.ok(performance.now() - began < 2_000);
});

test('when pollers join, only one that was alone is notified', () => {
  const pool = new ConnectionPool();
  let reported = 0;
  for (let i = 0; i < 1000; i += 1) pool.add_poller(() => (reported += 1));
  assert.equal(reported, 1);
});
