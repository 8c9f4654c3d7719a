/**
 * The comparison of the file with the bytes that the server holds.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { sample_pieces } from '../src/file.js';
import { fake_page, fake_upload, settled, status_of } from './fakes.js';
import { KiB, MiB, SIZE, asked, content, large_file, patience, upload } from './large-file.js';

for (const [what, ranges, expected] of [
  ['nothing', [], []],
  ['less than the server compares', [[0, 4095], [9000, 9001]], []],
  ['one small piece', [[10, 10 + 5000]], [[10, 5010]]],
  ['two pieces that overlap', [[0, 100 * KiB]], [[0, 64 * KiB], [36 * KiB, 100 * KiB]]],
  ['all of it', [[0, MiB]], Array.from({ length: 16 }, (_, i) => [i * 64 * KiB, (i + 1) * 64 * KiB])],
  ['the first, the last, and one of each part between', [[MiB, 2 * MiB], [5 * MiB, 6 * MiB]],
    [0, ...Array.from({ length: 14 }, (_, i) => 128 * i + 160), 1984].map((at) => (at < 1024 ? MiB : 4 * MiB) + at * KiB).map((at) => [at, at + 64 * KiB])],
]) {
  test(`pieces of ${what}`, () => assert.deepEqual(sample_pieces(ranges, () => 0.5), expected));
}

test('pieces lie within acknowledged bytes and have sizes that the server takes', () => {
  let seed = 7;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  for (let i = 0; i < 500; i += 1) {
    const ranges = [];
    for (let at = 0; at < 20 * MiB && ranges.length < 1 + (i % 9);) {
      const from = at + Math.floor(random() * MiB) + 1;
      at = from + 1 + Math.floor(random() ** 4 * 3 * MiB);
      ranges.push([from, at]);
    }
    const chosen = sample_pieces(ranges, random);
    assert.ok(chosen.length <= 16);
    for (const [from, to] of chosen) {
      assert.ok(to - from >= 4 * KiB && to - from <= 64 * KiB, `${from} ${to}`);
      assert.ok(ranges.some(([start, end]) => start <= from && to <= end), `${from} ${to} in ${JSON.stringify(ranges)}`);
    }
  }
});

test('every change longer than two of sixteen parts meets a piece, and so does one at either end', () => {
  let seed = 11;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  for (let i = 0; i < 500; i += 1) {
    const length = Math.floor((2 + 100 * random()) * MiB);
    const bytes = Math.ceil(length / 8);
    const at = i === 0 ? 0 : i === 1 ? length - bytes : Math.floor(random() * (length - bytes));
    const changes = [[at, at + bytes], [0, 1], [length - 1, length]];
    const chosen = sample_pieces([[0, length]], random);
    for (const [start, end] of changes) assert.ok(chosen.some(([from, to]) => from < end && start < to), `${start}-${end} of ${length}`);
  }
});

test('bytes of an earlier visit are compared before anything is sent, by small pieces', async () => {
  const { net, uploader, status, seen } = upload([[0, 2 * MiB]]);
  assert.equal(net.open.length, 0);
  assert.equal(uploader.state_msg, 'comparing file with what upload server has');
  assert.equal(uploader.can_pause, true);
  const post = await asked(net, 'POST');
  assert.match(post.url, /\/uploads\/id1\/verify$/);
  const { ranges } = JSON.parse(post.body);
  assert.deepEqual(ranges.map(({ range }) => range), seen.reads);
  assert.deepEqual([ranges[0].range, ranges.at(-1).range], [[0, 64 * KiB], [2 * MiB - 64 * KiB, 2 * MiB]]);
  for (const { range, 'sha-256': hash } of ranges) {
    assert.equal(hash, createHash('sha256').update(content(...range)).digest('base64'));
  }
  assert.equal(net.all('PUT').length, 0);
  post.reply(200, { ...status(), verified: ranges.map(() => true) });
  assert.deepEqual(net.next('PUT').range, [2 * MiB, 3 * MiB]);
});

test('another file: FILE_CHANGED, and not a byte is sent', async () => {
  const { net, clock, uploader, status, reported } = upload([[0, 2 * MiB]]);
  (await asked(net, 'POST')).reply(200, { ...status(), verified: [true, null, false] });
  assert.deepEqual([reported('error'), uploader.error_code], [1, 100]);
  assert.match(uploader.error_msg, /FILE_CHANGED/);
  await assert.rejects(uploader.done, { code: 'FILE_CHANGED' });
  clock.advance(1e6);
  assert.ok(!net.log.some((line) => line.startsWith('PUT') || line.startsWith('DELETE')));
});

test('pieces that the server cannot compare do not matter', async () => {
  const { net, status } = upload([[0, 2 * MiB]]);
  (await asked(net, 'POST')).reply(200, { ...status(), verified: [null, null, null] });
  assert.equal(net.all('PUT').length, 1);
});

test('a file that cannot be read: FILE_CHANGED', async () => {
  const page = upload([[0, 2 * MiB]]);
  const { uploader, seen } = page;
  seen.readable = false;
  await patience(page, () => page.status());
  await assert.rejects(uploader.done, { code: 'FILE_CHANGED' });
  assert.equal(uploader.error_code, 100);
});

for (const http of [400, 403, 404, 405]) {
  test(`a server that answers ${http} to it: the upload goes on`, async () => {
    const { net, uploader } = upload([[0, 2 * MiB]]);
    (await asked(net, 'POST')).refuse(http, 'no-such-thing');
    await settled();
    assert.equal(net.all('PUT').length, 1);
    assert.equal(uploader.error_code, null);
  });
}

test('no SHA-256 in this browser: the upload goes on, and nothing is asked', async () => {
  const page = (await import('./fakes.js')).fake_page({ sha256: async () => null });
  const { net } = upload([[0, 2 * MiB]], { page });
  await asked(net, 'PUT');
  assert.ok(!net.log.some((line) => line.includes('verify')));
});

test('the connection breaks while comparing: it is asked again, and after three times it goes on without', async () => {
  const { net, clock, status } = upload([[0, 2 * MiB]]);
  for (let i = 0; i < 3; i += 1) {
    (await asked(net, 'POST')).lose();
    assert.equal(net.all('PUT').length, i < 2 ? 0 : 1);
    if (i === 2) break;
    clock.advance(60_000);
    net.next('GET').reply(200, status());
    assert.equal(net.all('PUT').length, 0);
  }
});

test('bytes that this uploader sent are not compared again, even after breaks and pauses', async () => {
  const { net, clock, uploader, status } = upload([]);
  const put = net.next('PUT');
  put.send(MiB / 2);
  put.lose();
  clock.advance(2000);
  net.next('GET').reply(200, status({ received: [[0, MiB / 2]] }));
  await settled();
  assert.deepEqual(net.next('PUT').range, [MiB / 2, 1.5 * MiB]);
  net.next('PUT').send(1000);
  uploader.pause('pause');
  uploader.pause('unpause');
  net.next('GET').reply(200, status({ received: [[0, MiB]] }));
  assert.deepEqual(net.next('PUT').range, [MiB, 2 * MiB]);
  assert.ok(!net.log.some((line) => line.includes('verify')));
});

test('what another uploader sent meanwhile is compared', async () => {
  const { net, clock, status } = upload([]);
  net.next('PUT').refuse(409, 'superseded');
  clock.advance(4000);
  net.next('GET').reply(200, status({ received: [[0, MiB]] }));
  const post = await asked(net, 'POST');
  assert.match(post.url, /verify$/);
  post.reply(200, { ...status({ received: [[0, MiB]] }), verified: [true] });
  assert.deepEqual(net.next('PUT').range, [MiB, 2 * MiB]);
});

test('what another uploader sent before it went away is compared', async () => {
  const { net, clock, status } = upload([]);
  const held = () => status({ received: [[0, MiB]] });
  for (let i = 0; i < 3; i += 1) {
    net.next('PUT').refuse(409, 'superseded');
    if (i === 2) break;
    clock.advance(4000);
    net.next('GET').reply(200, status());
  }
  for (let i = 0; i < 200; i += 1) {
    await settled();
    if (net.all('GET').length > 0) net.next('GET').reply(200, held());
    clock.advance(2000);
    if (net.all('POST').length > 0) break;
  }
  assert.equal(net.all('PUT').length, 0);
  (await asked(net, 'POST')).reply(200, { ...held(), verified: [false] });
  assert.equal(net.all('PUT').length, 0);
});

test('paused while comparing: the result is dropped, and the comparison repeated after the pause', async () => {
  const { net, uploader, status } = upload([[0, 2 * MiB]]);
  uploader.pause('pause');
  for (let i = 0; i < 5; i += 1) await settled();
  assert.equal(net.open.length, 0);
  uploader.pause('unpause');
  net.next('GET').reply(200, status());
  const post = await asked(net, 'POST');
  uploader.pause('pause');
  assert.equal(net.open.length, 0);
  uploader.pause('unpause');
  net.next('GET').reply(200, status());
  assert.notEqual(await asked(net, 'POST'), post);
});

test('cancelled while the pieces are read, with a file that is gone: it stays cancelled', async () => {
  const { net, uploader, seen } = upload([[0, 2 * MiB]]);
  seen.readable = false; // from the second piece on
  uploader.cancel('x');
  net.next('DELETE').reply(200, status_of({ state: 'cancelled' }));
  for (let i = 0; i < 5; i += 1) await settled();
  assert.deepEqual([uploader.cancelled, uploader.error_code], [true, null]);
});

test('digests: when the web app wants them, unless the page says otherwise', async () => {
  for (const [option, reported, expected] of [[undefined, 'sha-256', true], [undefined, null, false], [false, 'sha-256', false], [true, null, true], [undefined, 'md5', false]]) {
    const options = option === undefined ? {} : { digest: option };
    const { net, begin } = fake_upload({ size: 20, options: { send_ahead: 1, ...options } });
    begin({ digest: reported });
    const put = await asked(net, 'PUT');
    assert.equal(/^sha-256=:.{44}:$/.test(put.headers['Content-Digest'] ?? ''), expected, `${option} ${reported}`);
  }
});

const LAST = SIZE - 16 * KiB;

/** An upload all of whose other bytes are acknowledged. */
function nearly_done(more) {
  const page = upload([], { options: { send_ahead: 2, chunk_size: MiB }, ...more });
  for (let i = 0; i < 4; i += 1) page.ack(page.net.next('PUT'), { chunk_size: MiB });
  assert.deepEqual(page.net.all('PUT'), []);
  return { ...page, held: (extra = {}) => ({ chunk_size: MiB, length: SIZE, received: [[0, LAST]], ...extra }) };
}

test('the last bytes wait until all others are acknowledged and pieces of them are the same', async () => {
  const { net, uploader, ack, seen } = upload([], { options: { send_ahead: 2, chunk_size: MiB } });
  for (const from of [0, MiB, 2 * MiB]) {
    assert.deepEqual(net.next('PUT').range, [from, from + MiB]);
    ack(net.next('PUT'), { chunk_size: MiB });
  }
  assert.deepEqual(net.next('PUT').range, [3 * MiB, LAST]);
  for (let i = 0; i < 5; i += 1) await settled();
  assert.deepEqual([net.open.length, seen.reads], [1, []], 'nothing is compared while a chunk is on its way');
  ack(net.next('PUT'), { chunk_size: MiB });
  const post = await asked(net, 'POST');
  assert.match(post.url, /\/uploads\/id1\/verify$/);
  assert.deepEqual([uploader.state_msg, uploader.can_cancel], ['comparing file with what upload server has', true]);
  const { ranges } = JSON.parse(post.body);
  assert.deepEqual(seen.reads, [[LAST, SIZE], ...ranges.map(({ range }) => range)], 'the last bytes are read first');
  assert.deepEqual([ranges.length, ranges[0].range, ranges.at(-1).range], [16, [0, 64 * KiB], [LAST - 64 * KiB, LAST]]);
  for (const { range, 'sha-256': hash } of ranges) assert.equal(hash, createHash('sha256').update(content(...range)).digest('base64'));
  assert.deepEqual(net.all('PUT'), []);
  post.reply(200, status_of({ length: SIZE, received: [[0, LAST]], verified: ranges.map(() => true) }));
  // From memory: It does not matter what happens to the file now.
  seen.readable = false;
  const put = net.next('PUT');
  assert.deepEqual(put.range, [LAST, SIZE]);
  assert.deepEqual(new Uint8Array(await put.body.arrayBuffer()), content(LAST, SIZE));
  ack(put, { state: 'handing_over' });
  assert.equal(uploader.frac_complete, 1);
});

test('a piece that differs: FILE_CHANGED, and the upload never completes', async () => {
  const { net, clock, uploader, reported, held } = nearly_done();
  (await asked(net, 'POST')).reply(200, status_of(held({ verified: [true, false] })));
  assert.deepEqual([reported('error'), uploader.error_code], [1, 100]);
  await assert.rejects(uploader.done, { code: 'FILE_CHANGED' });
  clock.advance(1e6);
  for (let i = 0; i < 5; i += 1) await settled();
  assert.equal(net.open.length, 0);
});

for (const [what, spoil] of [
  ['cannot be read', (slice) => ({ ...slice, arrayBuffer: () => Promise.reject(new DOMException('gone', 'NotReadableError')) })],
  ['is cut short', (slice) => ({ ...slice, arrayBuffer: async () => new ArrayBuffer(7) })],
]) {
  test(`a file that ${what} by then: FILE_CHANGED`, async () => {
    const whole = large_file();
    const file = { ...whole, slice: (from, to) => (from === LAST ? spoil(whole.slice(from, to)) : whole.slice(from, to)) };
    const page = nearly_done({ file });
    const { net, uploader } = page;
    await patience(page, () => status_of(page.held()));
    await assert.rejects(uploader.done, { code: 'FILE_CHANGED' });
    assert.equal(net.open.length, 0);
  });
}

for (const [what, more] of [
  ['a server that knows no such call', {}],
  ['a browser without SHA-256', { page: fake_page({ sha256: async () => null }) }],
]) {
  test(`${what}: the last bytes go out after all others`, async () => {
    const { net, uploader } = nearly_done(more);
    if (!more.page) (await asked(net, 'POST')).refuse(404, 'not-found');
    assert.deepEqual((await asked(net, 'PUT')).range, [LAST, SIZE]);
    assert.equal(net.log.some((line) => line.includes('verify')), !more.page);
    assert.equal(uploader.error_code, null);
  });
}

test('the last bytes are lost: all is compared once more before they are sent again', async () => {
  const { net, clock, held } = nearly_done();
  (await asked(net, 'POST')).reply(200, status_of(held({ verified: [true] })));
  net.next('PUT').lose();
  await settled();
  clock.advance(2000);
  net.next('GET').reply(200, status_of(held()));
  assert.deepEqual(net.all('PUT'), []);
  const post = await asked(net, 'POST');
  assert.equal(JSON.parse(post.body).ranges.length, 16);
  post.reply(200, status_of(held({ verified: [true] })));
  assert.deepEqual(net.next('PUT').range, [LAST, SIZE]);
});

test('comparisons that fail: three in a row let the upload go on, and one that worked counts from the start', async () => {
  const { net, clock, held } = nearly_done();
  for (const outcome of ['lost', 'lost', 'same', 'lost', 'lost', 'lost']) {
    const post = await asked(net, 'POST');
    if (outcome === 'same') {
      post.reply(200, status_of(held({ verified: [true] })));
      net.next('PUT').lose();
      await settled();
    } else post.lose();
    clock.advance(60_000);
    if (net.all('GET').length > 0) net.next('GET').reply(200, status_of(held()));
  }
  assert.deepEqual(net.next('PUT').range, [LAST, SIZE]);
});

test('paused and cancelled while it compares', async () => {
  const { net, uploader, held, reported } = nearly_done();
  uploader.pause('pause');
  for (let i = 0; i < 5; i += 1) await settled();
  assert.deepEqual([net.open.length, uploader.paused], [0, true]);
  uploader.pause('unpause');
  net.next('GET').reply(200, status_of(held()));
  const post = await asked(net, 'POST');
  uploader.pause('pause');
  uploader.pause('unpause');
  net.next('GET').reply(200, status_of(held()));
  assert.notEqual(await asked(net, 'POST'), post);
  uploader.cancel('enough');
  net.next('DELETE').reply(200, status_of(held({ state: 'cancelled' })));
  assert.deepEqual([reported('cancelled'), net.open.length], [1, 0]);
});

test('holes that are left in the middle: the end of the last one waits', async () => {
  const { net, ack } = upload([[0, MiB], [2 * MiB, SIZE]]);
  const post = await asked(net, 'POST');
  post.reply(200, status_of({ chunk_size: MiB, length: SIZE, received: [[0, MiB], [2 * MiB, SIZE]], verified: [true] }));
  assert.deepEqual(net.next('PUT').range, [MiB, 2 * MiB - 16 * KiB]);
  ack(net.next('PUT'), { chunk_size: MiB });
  await asked(net, 'POST');
});

test('a small file goes out at once and in one piece, as it was when it was read', async () => {
  const file = large_file(300 * KiB);
  const { net, uploader } = fake_upload({ size: 300 * KiB, file, options: {} });
  uploader.start();
  net.next('POST').reply(200, status_of({ length: 300 * KiB, chunk_size: MiB }));
  const put = await asked(net, 'PUT');
  assert.deepEqual([put.range, file.seen.reads], [[0, 300 * KiB], [[0, 300 * KiB]]]);
  file.seen.readable = false;
  assert.deepEqual(new Uint8Array(await put.body.arrayBuffer()), content(0, 300 * KiB));
  put.reply(200, status_of({ length: 300 * KiB, state: 'finished' }));
  assert.deepEqual([uploader.finished, net.log.length], [true, 2]);
});

test('a small file that is gone: FILE_CHANGED', async () => {
  const file = large_file(300 * KiB);
  file.seen.readable = false;
  const page = fake_upload({ size: 300 * KiB, file, options: {} });
  const { net, uploader } = page;
  uploader.start();
  const answer = () => status_of({ length: 300 * KiB, chunk_size: MiB });
  net.next('POST').reply(200, answer());
  await patience(page, answer);
  await assert.rejects(uploader.done, { code: 'FILE_CHANGED' });
  assert.ok(!net.log.some((line) => line.startsWith('PUT')));
});

test('the last bytes wait also if the file is one large chunk', async () => {
  const { net, ack } = upload([], { options: { chunk_size: 64 * MiB } });
  assert.deepEqual(net.next('PUT').range, [0, LAST]);
  ack(net.next('PUT'));
  assert.match((await asked(net, 'POST')).url, /verify$/);
});

test('a server that is too busy to compare is asked until it does: nothing is sent uncompared', async () => {
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
