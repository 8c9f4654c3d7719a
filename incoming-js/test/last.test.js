/**
 * Never two files in one: before the last bytes go out, what is acknowledged is compared, whoever sent it.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { fake_page, fake_upload, settled, status_of } from './fakes.js';
import { KiB, MiB, SIZE, asked, content, large_file, patience, upload } from './pieces.js';

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
  // From memory: what happens to the file now is no matter.
  seen.readable = false;
  const put = net.next('PUT');
  assert.deepEqual(put.range, [LAST, SIZE]);
  assert.deepEqual(new Uint8Array(await put.body.arrayBuffer()), content(LAST, SIZE));
  ack(put, { state: 'handing_over' });
  assert.equal(uploader.frac_complete, 1);
});

test('a piece that differs: FILE_CHANGED, and the upload never completes', async () => {
  const { net, clock, uploader, told, held } = nearly_done();
  (await asked(net, 'POST')).reply(200, status_of(held({ verified: [true, false] })));
  assert.deepEqual([told('error'), uploader.error_code], [1, 100]);
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
  const { net, uploader, held, told } = nearly_done();
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
  assert.deepEqual([told('cancelled'), net.open.length], [1, 0]);
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

test('one large chunk leaves its end behind as well', async () => {
  const { net, ack } = upload([], { options: { chunk_size: 64 * MiB } });
  assert.deepEqual(net.next('PUT').range, [0, LAST]);
  ack(net.next('PUT'));
  assert.match((await asked(net, 'POST')).url, /verify$/);
});
