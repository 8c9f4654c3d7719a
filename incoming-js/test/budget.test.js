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

test('those who wait are served in turn, and newcomers do not pass them', () => {
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

test('a lone follower polls long; with company all take short looks; alone again, long again', () => {
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
  const looks = page.net.log.filter((line) => line.startsWith('GET'));
  assert.ok(looks.includes('GET a') && looks.includes('GET b'), looks.join());
  while (!a.uploader.finished) {
    page.clock.advance(6000);
    const call = page.net.next('GET');
    call.reply(200, status_of(call.url.endsWith('/a') ? { ...over, state: 'finished' } : over));
  }
  page.clock.advance(6000);
  const look = page.net.next('GET');
  if (!look.url.includes('wait')) {
    look.reply(200, status_of(over));
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
