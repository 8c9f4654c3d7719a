/**
 * Files that cannot be read: changed, moved, removed, or away for a moment.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { calm, fake_file, fake_upload, settled, status_of } from './fakes.js';
import { MiB, asked, large_file, upload } from './large-file.js';

const one = { send_ahead: 1 };

for (const [what, end] of [
  ['an error of the network', (put) => put.lose()],
  ['bytes that stand still', (put) => put.on_still()],
  ['bytes that stood still for too long', (put) => put.lose('stall')],
  ['a server that timed out', (put) => put.refuse(408, 'http-408')],
  ['a proxy that got less than was announced', (put) => put.reply(400, '<html>nginx</html>')],
  ['a proxy that lost its server over it', (put) => put.reply(502, '')],
]) {
  test(`a file that cannot be read for half a minute is the end, and is named: by ${what}`, async () => {
    const { net, clock, uploader, begin, reported } = fake_upload({ file: fake_file(100, { readable: false }) });
    begin();
    for (let attempt = 1; attempt <= 4; attempt += 1) {
      assert.equal(reported('error'), 0);
      end(net.next('PUT'));
      await settled();
      if (attempt === 4) break;
      assert.equal(uploader.state_msg, 'the file cannot be read, trying again in 10 s');
      assert.equal(net.open.length, 0, 'nothing is sent meanwhile');
      clock.advance(10_000);
      net.next('GET').reply(200, status_of());
    }
    assert.equal(reported('error'), 1);
    assert.match(uploader.error_msg, /FILE_CHANGED/);
    await assert.rejects(uploader.done, { code: 'FILE_CHANGED', error_code: 100 });
    clock.advance(1e6);
    assert.equal(net.open.length, 0);
  });
}

test('a readable file is not blamed for a network error, nor for a chunk that the browser aborted', async () => {
  for (const [why, readable] of [['network', true], ['stall', true], ['abort', false]]) {
    const { net, uploader, begin, reported } = fake_upload({ file: fake_file(100, { readable }) });
    begin();
    net.next('PUT').lose(why);
    await settled();
    assert.equal(reported('error'), 0);
    assert.equal(uploader.error_code, null);
  }
});

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

test('a file that cannot be read for 20 s: nothing is sent meanwhile, then it goes on', async () => {
  const file = large_file();
  const page = upload([], { file });
  const { net, clock, uploader, seen, status } = page;
  seen.readable = false;
  for (let attempt = 0; attempt < 2; attempt += 1) {
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
  for (let attempt = 0; attempt < 3; attempt += 1) {
    net.next('PUT').lose();
    await calm();
    clock.advance(10_000);
    net.next('GET').reply(200, status({ received: [[0, MiB]] }));
  }
  assert.deepEqual([uploader.error_code, net.all('PUT').length], [null, 1]);
});

test('a file that cannot be read while it is compared is read again later', async () => {
  const { net, clock, uploader, seen, status } = upload([[0, 2 * MiB]]);
  seen.readable = false;
  for (let i = 0; i < 500 && !/cannot be read/.test(uploader.state_msg); i += 1) await new Promise((next) => setTimeout(next, 1));
  seen.readable = true;
  clock.advance(10_000);
  net.next('GET').reply(200, status());
  const post = await asked(net, 'POST');
  assert.match(post.url, /verify$/);
});

test('pause and cancel work while the file cannot be read', async () => {
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
