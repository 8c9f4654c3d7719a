/**
 * The same file, really: pieces of what the server holds are compared before an upload goes on.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { sample_pieces } from '../src/file.js';
import { KiB, MiB, SIZE, asked, content, patience, upload } from './pieces.js';
import { fake_upload, settled, status_of } from './fakes.js';

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

test('pieces are always whole, within what is held, of a size the server takes', () => {
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

test('every change over more than two of sixteen parts meets a piece, and so does one at either end', () => {
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
  const { net, clock, uploader, status, told } = upload([[0, 2 * MiB]]);
  (await asked(net, 'POST')).reply(200, { ...status(), verified: [true, null, false] });
  assert.deepEqual([told('error'), uploader.error_code], [1, 100]);
  assert.match(uploader.error_msg, /FILE_CHANGED/);
  await assert.rejects(uploader.done, { code: 'FILE_CHANGED' });
  clock.advance(1e6);
  assert.ok(!net.log.some((line) => line.startsWith('PUT') || line.startsWith('DELETE')));
});

test('what the server cannot tell does not matter', async () => {
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

test('what this uploader sent itself is not compared again, after breaks and pauses neither', async () => {
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

test('paused while comparing: nothing comes of it, and it is compared when it goes on', async () => {
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
  for (const [option, told, expected] of [[undefined, 'sha-256', true], [undefined, null, false], [false, 'sha-256', false], [true, null, true], [undefined, 'md5', false]]) {
    const options = option === undefined ? {} : { digest: option };
    const { net, begin } = fake_upload({ size: 20, options: { send_ahead: 1, ...options } });
    begin({ digest: told });
    const put = await asked(net, 'PUT');
    assert.equal(/^sha-256=:.{44}:$/.test(put.headers['Content-Digest'] ?? ''), expected, `${option} ${told}`);
  }
});
