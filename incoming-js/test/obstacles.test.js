/**
 * What stands in the way of uploads in the field (issue 13): texts and files that pages hand over, one wrong answer, a file that is
 * away for a moment, connections that die without a word, thousands of uploads at once.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConnectionPool } from '../src/pool.js';
import { sendable } from '../src/protocol.js';
import { FakeStore, fake_file, fake_page, fake_upload, settled, status_of } from './fakes.js';
import { KiB, MiB, asked, large_file, upload } from './pieces.js';

const one = { send_ahead: 1 };

const calm = async () => {
  for (let i = 0; i < 12; i += 1) await settled();
};

// Texts from the page.

for (const [what, value, expected] of [
  ['plain', 'no & more?', 'no & more?'],
  ['half of an emoji at the end', 'Sorry \u{1F600}'.slice(0, 7), 'Sorry \ufffd'],
  ['half of an emoji at the start', '\u{1F600}!'.slice(1), '\ufffd!'],
  ['a whole emoji', '\u{1F600}', '\u{1F600}'],
  ['an emoji that the cut halves', 'x'.repeat(19) + '\u{1F600}', 'x'.repeat(19) + '\ufffd'],
  ['too long', 'x'.repeat(40_000), 'x'.repeat(20)],
  ['a number', 7, '7'],
  ['nothing', undefined, ''],
  ['null', null, ''],
  ['a symbol', Symbol('why'), 'Symbol(why)'],
  ['without a text', { toString() { throw new Error('no'); } }, ''],
  ['without a prototype', Object.create(null), ''],
]) test(`text that is ${what} becomes fit to be sent`, () => assert.equal(sendable(value, 20), expected));

for (const [what, reason, told] of [
  ['with half of an emoji', 'Sorry \u{1F600}'.slice(0, 7), 'Sorry \ufffd'],
  ['of 40,000 characters', '\u4e2d'.repeat(40_000), '\u4e2d'.repeat(500)],
  ['that has no text', Object.create(null), ''],
]) {
  test(`a reason ${what} cancels: asked, offline, before the start, by a signal`, () => {
    const control = new AbortController();
    for (const [where, options, act] of [
      ['asked', {}, ({ begin, uploader }) => (begin(), uploader.cancel(reason))],
      ['offline', {}, ({ begin, net, uploader }) => (begin(), net.next('PUT').lose(), uploader.cancel(reason))],
      ['before the start', {}, ({ uploader }) => uploader.cancel(reason)],
      ['by a signal', { signal: control.signal }, ({ begin }) => (begin(), control.abort(reason))],
    ]) {
      const page = fake_upload({ options });
      act(page);
      const { url } = page.net.next('DELETE');
      assert.equal(new URL(url).searchParams.get('reason') ?? '', told, where);
      // A request line of more than 8 KiB does not pass every proxy.
      assert.ok(url.length < 6_000, `${where}: ${url.length}`);
      assert.equal(page.net.all('PUT').length, 0);
      page.net.next('DELETE').reply(200, status_of({ state: 'cancelled', reason: told }));
      assert.deepEqual([page.uploader.cancelled, page.uploader.cancel_msg], [true, told], where);
    }
  });
}

test('names and types are made fit as well: half of an emoji is no JSON that servers take', () => {
  const file = fake_file(10, { name: `\ud800${'x'.repeat(5_000)}`, type: 'y'.repeat(100_000) });
  const { net, uploader } = fake_upload({ file });
  uploader.start();
  const { body } = net.next('POST');
  assert.ok(body.length < 4_000, String(body.length));
  assert.doesNotMatch(body, /\\ud8/);
  assert.match(JSON.parse(body).name, /^\ufffdx+$/);
});

// What pages hand over.

test('ids are trimmed, in every request and in the name of the lock', async () => {
  const page = fake_page({ store: new FakeStore() });
  const { net, uploader } = fake_upload({ page, id: ' \n52a6a3f5-b87d-4d5c-8b6b-0e4cdb1ad5f0\r\n' });
  uploader.start();
  assert.equal(net.next('POST').url, 'https://up.example/incoming/frontend/uploads/52a6a3f5-b87d-4d5c-8b6b-0e4cdb1ad5f0');
  assert.deepEqual(await page.ports.locks.held(), ['incoming https://up.example/incoming/frontend/uploads/52a6a3f5-b87d-4d5c-8b6b-0e4cdb1ad5f0']);
});

for (const id of [undefined, null, 7, {}, Promise.resolve('id'), '', ' \n ', 'a/b', 'a b', '../id', '<html>', '{"id": 1}', 'x'.repeat(101), '\ud800']) {
  test(`no id: ${typeof id} ${typeof id === 'string' ? JSON.stringify(id.slice(0, 9)) : ''}`, () => {
    assert.throws(() => fake_page().incoming.Uploader(id, fake_file(1)), { name: 'TypeError', message: /^incoming: upload_id must be/ });
  });
}

for (const [what, file] of [['nothing', undefined], ['null', null], ['a text', 'film.mp4'], ['a list', [1]], ['a map', new Map()], ['its list', { length: 1 }]]) {
  test(`no Blob: ${what}`, () => {
    assert.throws(() => fake_page().incoming.Uploader('id', file), { name: 'TypeError', message: /^incoming: file must be/ });
  });
}

test('a Blob without a name is a file too', () => {
  const { net, uploader } = fake_upload({ file: new Blob(['abc']) });
  assert.equal(uploader.filename, '');
  uploader.start();
  assert.equal(JSON.parse(net.next('POST').body).name, undefined);
});

test('no server is known: start says so and changes nothing, cancelling ends it, and a later start finds the server', async (t) => {
  const { create_library } = await import('../src/library.js');
  const { ports, net } = fake_page();
  const incoming = create_library(null, ports);
  const uploader = incoming.Uploader('id1', fake_file(10));
  assert.throws(() => uploader.start(), { name: 'TypeError', message: /hostname/ });
  assert.deepEqual([uploader.state_msg, net.open.length, ports.clock.timers], ['not yet started', 0, 0]);
  const cancelled = incoming.Uploader('id2', fake_file(10)).cancel('x');
  assert.deepEqual([cancelled.cancelled, net.open.length], [true, 0]);
  incoming.set_server_hostname('up.example');
  uploader.start();
  assert.equal(net.all('POST').length, 1);
  // As on a page from a file.
  globalThis.location = { protocol: 'file:', origin: 'null' };
  t.after(() => delete globalThis.location);
  assert.throws(() => create_library(null, ports).Uploader('id3', fake_file(10)).start(), TypeError);
});

// Exceptions.

test('a request that the browser does not make at all is one that was lost, and its connection comes back', () => {
  const page = fake_page();
  const { send } = page.net;
  let broken = true;
  page.net.send = (request, on_end) => {
    if (broken && request.method === 'PUT') throw new DOMException('blocked', 'SecurityError');
    return send(request, on_end);
  };
  const { net, clock, uploader, begin, told } = fake_upload({ page });
  begin();
  clock.advance(0);
  assert.match(uploader.state_msg, /^lost connection/);
  broken = false;
  clock.advance(60_000);
  net.next('GET').reply(200, status_of());
  assert.equal(net.all('PUT').length, 4);
  assert.equal(told('error'), 0);
});

test('a callback that is nothing to call, and one that starts, pauses and cancels, harm nothing', async (t) => {
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

// Files of no bytes.

for (const [what, read] of [
  ['is gone, or a folder', () => Promise.reject(new DOMException('gone', 'NotFoundError'))],
  ['has grown', async () => new ArrayBuffer(4)],
]) {
  test(`a file of size 0 that ${what} is not bound`, async () => {
    const { net, uploader } = fake_upload({ file: fake_file(0, { arrayBuffer: read }) });
    uploader.start();
    await assert.rejects(uploader.done, { code: 'FILE_CHANGED', error_code: 100 });
    assert.deepEqual(net.log, []);
  });
}

// A file that is away for a moment.

test('a file that cannot be read for 20 s: nothing is sent meanwhile, then it goes on', async () => {
  const file = large_file();
  const page = upload([], { file });
  const { net, clock, uploader, seen, status } = page;
  seen.readable = false;
  for (let look = 0; look < 2; look += 1) {
    net.next('PUT').lose();
    await calm();
    assert.equal(uploader.retry_in_s, 10);
    clock.advance(9_999);
    assert.equal(net.open.length, 0);
    clock.advance(1);
    net.next('GET').reply(200, status());
  }
  seen.readable = true;
  page.ack(net.next('PUT'), { chunk_size: MiB });
  // And again later: the count began anew.
  seen.readable = false;
  for (let look = 0; look < 3; look += 1) {
    net.next('PUT').lose();
    await calm();
    clock.advance(10_000);
    net.next('GET').reply(200, status({ received: [[0, MiB]] }));
  }
  assert.deepEqual([uploader.error_code, net.all('PUT').length], [null, 1]);
});

test('a file that cannot be read while it is compared: the same', async () => {
  const { net, clock, uploader, seen, status } = upload([[0, 2 * MiB]]);
  seen.readable = false;
  for (let i = 0; i < 500 && !/cannot be read/.test(uploader.state_msg); i += 1) await new Promise((next) => setTimeout(next, 1));
  seen.readable = true;
  clock.advance(10_000);
  net.next('GET').reply(200, status());
  const post = await asked(net, 'POST');
  assert.match(post.url, /verify$/);
});

test('paused or cancelled while the file cannot be read: that counts', async () => {
  for (const act of ['pause', 'cancel']) {
    const { net, clock, uploader, begin } = fake_upload({ file: fake_file(100, { readable: false }), options: one });
    begin();
    net.next('PUT').lose();
    await calm();
    uploader[act](act);
    clock.advance(60_000);
    await calm();
    for (const call of net.all('DELETE')) call.reply(200, status_of({ state: 'cancelled' }));
    assert.deepEqual([uploader.paused, uploader.cancelled], [act === 'pause', act === 'cancel']);
  }
});

// One wrong answer.

const wrong_answers = [
  ['404 after bytes were acknowledged', (call) => call.refuse(404, 'unknown-upload'), 60_000],
  ['416: emptied or cut on the way', (call) => call.refuse(416, 'range-invalid', { upload: status_of() })],
  ['409: stripped of its Content-Range', (call) => call.refuse(409, 'length-changed', { upload: status_of() })],
  ['400', (call) => call.refuse(400, 'bad-request')],
  ['403', (call) => call.refuse(403, 'forbidden')],
  ['405', (call) => call.refuse(405, 'method-not-allowed')],
  ['412', (call) => call.refuse(412, 'wrong-state')],
  ['410 without a word how it ended', (call) => call.refuse(410, 'upload-over')],
  ['413 for a chunk that is small already', (call) => call.refuse(413, 'too-large')],
  ['200 with another length', (call) => call.reply(200, status_of({ length: 99 }))],
];

for (const [what, answer, pause_ms = 1_500] of wrong_answers) {
  test(`one wrong answer (${what}): a pause, the status is read, and it goes on; the entry stays`, async () => {
    const store = new FakeStore();
    const page = fake_page({ store });
    const { net, clock, uploader, begin, ack, told } = fake_upload({ page, options: one, file: new File(['x'.repeat(100)], 'film.mp4') });
    begin();
    await calm();
    ack(net.next('PUT'));
    answer(net.next('PUT'));
    assert.match(uploader.state_msg, /, trying again in \d+ s$/);
    assert.equal(net.open.length, 0);
    clock.advance(pause_ms - 1);
    assert.equal(net.open.length, 0);
    clock.advance(60_000);
    net.next('GET').reply(200, status_of({ received: [[0, 10]] }));
    assert.deepEqual(net.next('PUT').range, [10, 20]);
    await calm();
    assert.deepEqual([told('error'), uploader.error_code, uploader.bytes_acked, store.entries.size], [0, null, 10, 1]);
  });

  test(`the same wrong answer each time (${what}) is believed in the end; the entry stays`, async () => {
    const store = new FakeStore();
    const page = fake_page({ store });
    const { net, clock, begin, told } = fake_upload({ page, options: one, file: new File(['x'.repeat(100)], 'film.mp4') });
    begin();
    await calm();
    let puts = 0;
    for (let i = 0; i < 50 && told('error') === 0; i += 1) {
      for (const call of net.all('PUT')) {
        puts += 1;
        answer(call);
      }
      clock.advance(3_600_000);
      for (const call of net.all('GET')) call.reply(200, status_of());
    }
    assert.deepEqual([told('error'), puts], [1, 7]);
    await calm();
    assert.equal(store.entries.size, 1);
  });
}

test('an upload that the server denies: the pauses are minutes, in all half an hour and more, and a look at the tab does not end them', () => {
  const { net, clock, begin, told, wake, uploader } = fake_upload({ options: one });
  begin();
  net.next('PUT').refuse(404, 'unknown-upload');
  const pauses = [];
  while (told('error') === 0) {
    wake();
    let ms = 0;
    for (; net.open.length === 0; ms += 1_000) clock.advance(1_000);
    pauses.push(ms / 60_000);
    net.next('GET').refuse(404, 'unknown-upload');
  }
  assert.deepEqual(pauses, [1, 2, 4, 8, 16, 32]);
  assert.equal(uploader.error_msg, 'told unknown-upload');
});

test('four chunks that are denied together are one wrong answer', () => {
  const { net, clock, begin, uploader } = fake_upload();
  begin();
  for (const put of net.all('PUT')) put.refuse(404, 'unknown-upload');
  assert.equal(uploader.retry_in_s, 60);
  clock.advance(60_000);
  net.next('GET').reply(200, status_of());
  assert.equal(net.all('PUT').length, 4);
});

test('a denial while the file is handed over, or another uploader is watched, ends nothing either', () => {
  const { net, clock, begin, told } = fake_upload();
  begin({ state: 'handing_over', received: [[0, 100]] });
  net.next('GET').refuse(404, 'unknown-upload');
  clock.advance(60_000);
  net.next('GET').reply(200, status_of({ state: 'finished' }));
  assert.deepEqual([told('error'), told('finished')], [0, 1]);
});

test('what is wrong from the start is told at once: nothing is known that it could contradict', () => {
  for (const [http, code] of [[404, 'unknown-upload'], [409, 'length-changed'], [400, 'bad-request']]) {
    const { net, uploader, told } = fake_upload();
    uploader.start();
    net.next('POST').refuse(http, code);
    assert.equal(told('error'), 1);
  }
});

test('a server that is too busy to compare is asked until it does: no byte goes out uncompared', async () => {
  const { net, clock, status } = upload([[0, 2 * MiB]]);
  for (let i = 0; i < 10; i += 1) {
    const post = await asked(net, 'POST');
    assert.match(post.url, /verify$/);
    post.refuse(429, 'too-many', {}, '2');
    assert.equal(net.all('PUT').length, 0);
    clock.advance(60_000);
    net.next('GET').reply(200, status());
  }
  (await asked(net, 'POST')).reply(200, { ...status(), verified: [true] });
  assert.equal(net.all('PUT').length, 1);
});

// Connections that die without a word.

for (const [what, die] of [['before its first byte', () => {}], ['amid its bytes', (put) => put.send(3)], ['waiting for its answer', (put) => put.hand()]]) {
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

test('the last chunk of all stands still, and nothing more is acknowledged: the silence itself shows it', async () => {
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

test('a chunk whose bytes move is left alone, however many others overtake it', () => {
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

test('no sign of life within the patience: it is doubled for all uploads to that server, until there is one again', () => {
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
  // Behind a service worker nothing is told of a body but its end.
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

test('a chunk that stalls after bytes had moved is a dead line, not an impatient library', () => {
  const { net, clock, begin } = fake_upload({ options: one });
  begin();
  net.next('PUT').send(5);
  net.next('PUT').lose('stall');
  clock.advance(60_000);
  net.next('GET').reply(200, status_of());
  assert.equal(net.next('PUT').patience, 1);
});

// Time.

test('a clock that is set, forward or back, changes no pause, no rate and no turn', () => {
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

test('what a server suggests is clamped: chunks, how many at once, pauses', () => {
  const { net, clock, begin, uploader } = fake_upload({ size: 2 ** 40, options: {} });
  begin({ chunk_size: 2 ** 50, send_ahead: 2 ** 40 });
  for (let i = 0; i < 40; i += 1) {
    for (const put of net.all('PUT')) {
      assert.ok(put.range[1] - put.range[0] <= 2 ** 30);
      put.reply(200, status_of({ length: 2 ** 40, received: [put.range], chunk_size: 2 ** 50, send_ahead: 2 ** 40 }));
    }
    assert.ok(net.all('PUT').length <= 4);
    clock.advance(20);
  }
  net.next('PUT').refuse(503, 'unavailable', {}, '999999999');
  assert.equal(uploader.retry_in_s, 3600);
});

test('chunks that a page wants in in_flight are no more than there are connections, and cost no more to plan', () => {
  const { net, begin } = fake_upload({ size: 2 ** 40, options: { send_ahead: 2 ** 50, chunk_size: 1 } });
  begin();
  assert.equal(net.all('PUT').length, 4);
});

// Thousands at once.

test('2,500 uploaders: chunks of those that are bound go out before others are bound, and no start looks at all others', () => {
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

test('who leaves a queue costs nothing, however long it is', () => {
  const pool = new ConnectionPool();
  for (let i = 0; i < 5; i += 1) pool.take('control');
  const leave = Array.from({ length: 200_000 }, () => pool.wait('bind', () => {}));
  const began = performance.now();
  for (const one_of_them of leave.reverse()) one_of_them();
  assert.ok(performance.now() - began < 2_000);
});

test('followers that join are told to one that was alone, not to all', () => {
  const pool = new ConnectionPool();
  let told = 0;
  for (let i = 0; i < 1000; i += 1) pool.add_poller(() => (told += 1));
  assert.equal(told, 1);
});

test('the page is listened to once, for all uploaders', async (t) => {
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

test('an upload is written down once the server knows it, not at its start', async () => {
  const store = new FakeStore();
  const { net, uploader } = fake_upload({ page: fake_page({ store }), file: new File(['x'.repeat(300 * KiB)], 'a') });
  uploader.start();
  await calm();
  assert.equal(store.writes, 0);
  net.next('POST').refuse(404, 'unknown-upload');
  await calm();
  assert.deepEqual([store.writes, store.entries.size], [0, 0]);
});
