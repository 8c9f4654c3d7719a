/**
 * What follows from answers: retries, refusals, contradictions.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeStore, calm, fake_page, fake_upload, settled, status_of } from './fakes.js';
import { MiB } from './large-file.js';

const one = { send_ahead: 1 };

test('a lost chunk: reads the status before it sends again, keeps the prefix', () => {
  const { net, clock, uploader, begin } = fake_upload({ size: 20, options: { send_ahead: 1 } });
  begin();
  net.next('PUT').send(8);
  assert.equal(uploader.bytes_tx, 8);
  net.next('PUT').lose();
  assert.equal(uploader.connected, false);
  assert.equal(uploader.bytes_tx, 0);
  assert.match(uploader.state_msg, /lost connection, trying again in 2 s/);
  assert.equal(uploader.can_pause, true);
  assert.equal(net.open.length, 0);
  clock.advance(1600);
  assert.equal(net.open.length, 1);
  net.next('GET').reply(200, status_of({ length: 20, received: [[0, 7]] }));
  assert.equal(uploader.connected, true);
  assert.deepEqual(net.next('PUT').range, [7, 17]);
});

test('four chunks lost together are one failure', () => {
  const { net, clock, begin } = fake_upload();
  begin();
  for (const put of net.all('PUT')) put.send(1);
  for (const put of net.all('PUT')) put.lose();
  clock.advance(1500);
  net.next('GET').reply(200, status_of());
  assert.equal(net.all('PUT').length, 4);
});

test('a server that cannot be reached is tried for ever, with growing pauses', () => {
  const { net, clock, uploader, reported } = fake_upload();
  uploader.start();
  const pauses = [];
  for (let i = 0; i < 12; i += 1) {
    net.next('POST').lose();
    let waited = 0;
    while (net.open.length === 0) {
      clock.advance(500);
      waited += 500;
    }
    pauses.push(waited);
  }
  assert.deepEqual(pauses, [1500, 3000, 6000, 12_000, 24_000, ...Array(7).fill(45_000)]);
  assert.equal(reported('error'), 0);
  assert.equal(uploader.can_pause, false);
  assert.equal(uploader.can_cancel, true);
});

test('pauses do not shrink while only status requests succeed', () => {
  const { net, clock, begin } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  net.next('PUT').lose();
  clock.advance(1500);
  net.next('GET').reply(200, status_of());
  net.next('PUT').lose();
  clock.advance(1500);
  assert.equal(net.open.length, 0);
  clock.advance(1500);
  net.next('GET').reply(200, status_of());
});

test('coming online wakes a retry at once', () => {
  const { net, wake, uploader } = fake_upload();
  uploader.start();
  for (let i = 0; i < 6; i += 1) {
    net.next('POST').lose();
    wake();
  }
  assert.equal(net.all('POST').length, 1);
});

test('a stall is treated as a lost connection', () => {
  const { net, clock, uploader, begin } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  net.next('PUT').lose('stall');
  assert.match(uploader.state_msg, /stalled/);
  clock.advance(2000);
  net.next('GET').reply(200, status_of({ received: [[0, 3]] }));
  assert.deepEqual(net.next('PUT').range, [3, 13]);
});

test('a chunk that is acknowledged but not kept does not make a tight loop', () => {
  const { net, clock, begin } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  net.next('PUT').reply(200, status_of());
  assert.equal(net.open.length, 0);
  clock.advance(2000);
  assert.equal(net.all('PUT').length, 1);
});

for (const [http, code] of [[429, 'too-many'], [503, 'unavailable']]) {
  test(`${http}: waits as long as Retry-After says, also when woken`, () => {
    const { net, clock, uploader, begin, reported, wake } = fake_upload({ options: { send_ahead: 1 } });
    begin();
    net.next('PUT').refuse(http, code, { upload: status_of() }, '20');
    assert.equal(uploader.connected, true);
    assert.match(uploader.state_msg, new RegExp(`reported ${code}, trying again in 20 s`));
    wake();
    clock.advance(19_999);
    assert.equal(net.open.length, 0);
    clock.advance(1);
    assert.equal(net.all('PUT').length, 1);
    assert.equal(reported('error'), 0);
  });
}

test('507 and 500 wait and go on', () => {
  const { net, clock, uploader, begin, ack } = fake_upload({ size: 20, options: { send_ahead: 1 } });
  begin();
  for (const [http, code] of [[507, 'no-space'], [507, 'no-space'], [500, 'fault']]) {
    net.next('PUT').refuse(http, code);
    assert.match(uploader.state_msg, new RegExp(code));
    clock.advance(60_000);
    net.next('GET').reply(200, status_of({ length: 20 }));
  }
  ack(net.next('PUT'));
  assert.equal(uploader.bytes_acked, 10);
});

test('502 from a proxy and a 200 that is not a status are retried as not connected', () => {
  const { net, clock, uploader } = fake_upload();
  uploader.start();
  net.next('POST').reply(502, '<html>');
  assert.equal(uploader.connected, false);
  clock.advance(60_000);
  net.next('POST').reply(200, 'welcome to our hotel');
  clock.advance(60_000);
  assert.equal(net.all('POST').length, 1);
});

test('413 for a chunk halves the size until it fits', () => {
  const { net, begin, uploader } = fake_upload({ size: 8 * MiB, options: { send_ahead: 1, chunk_size: 4 * MiB } });
  begin();
  net.next('PUT').refuse(413, 'too-large');
  assert.deepEqual(net.next('PUT').range, [0, 2 * MiB]);
  net.next('PUT').refuse(413, 'too-large', { upload: status_of({ length: 8 * MiB, max_chunk_size: 1000 }) });
  assert.deepEqual(net.next('PUT').range, [0, 1000]);
  assert.equal(uploader.error_code, null);
});

test('413 for the smallest chunk again and again, or for the file, is the end', () => {
  const { net, clock, begin, uploader, reported } = fake_upload({ size: 8 * MiB, options: { send_ahead: 1, chunk_size: 1 * MiB } });
  begin();
  for (let i = 0; i < 2; i += 1) net.next('PUT').refuse(413, 'too-large');
  for (let i = 0; i < 7; i += 1) {
    assert.equal(reported('error'), 0);
    assert.equal(net.next('PUT').range[1], MiB / 4);
    net.next('PUT').refuse(413, 'too-large');
    clock.advance(60_000);
    if (i < 6) net.next('GET').reply(200, status_of({ length: 8 * MiB }));
  }
  assert.equal(reported('error'), 1);
  assert.equal(net.open.length, 0);

  const other = fake_upload();
  other.uploader.start();
  other.net.next('POST').refuse(413, 'too-large', { error_code: 11 });
  assert.deepEqual([other.reported('error'), other.uploader.error_code, other.uploader.error_msg], [1, 11, 'reported too-large']);
  void uploader;
});

test('max_chunk_size is obeyed over suggestion and option', () => {
  const { net, begin } = fake_upload({ options: { chunk_size: 50 } });
  begin({ max_chunk_size: 7 });
  assert.deepEqual(net.next('PUT').range, [0, 7]);
});

for (const [http, code] of [[404, 'unknown-upload'], [409, 'length-changed'], [400, 'bad-request'], [403, 'forbidden'], [416, 'range-invalid']]) {
  test(`${http} ${code} is the end`, async () => {
    const { net, clock, uploader, reported, wakers } = fake_upload();
    uploader.start();
    net.next('POST').refuse(http, code, { error_code: 6 });
    assert.deepEqual([uploader.error_code, uploader.error_msg, reported('error'), reported('cancelled')], [6, `reported ${code}`, 1, 0]);
    assert.deepEqual([uploader.can_cancel, uploader.can_pause, uploader.cancelled, uploader.finished], [false, false, false, false]);
    assert.match(uploader.state_msg, /upload failed: reported/);
    await assert.rejects(uploader.done, { name: 'UploadError', code, error_code: 6 });
    clock.advance(1e6);
    assert.equal(net.open.length, 0);
    assert.equal(clock.timers, 0);
    assert.equal(wakers.size, 0);
  });
}

test('another length on the server is the end', () => {
  const { net, uploader, reported } = fake_upload();
  uploader.start();
  net.next('POST').reply(200, status_of({ length: 99 }));
  assert.deepEqual([reported('error'), uploader.error_code], [1, 6]);
});

for (const [what, body] of [
  ['a list', { state: ['uploading'], received: [] }],
  ['nothing that can be a text', { state: { toString: 1, valueOf: 1 }, received: [] }],
]) {
  test(`a state that is ${what} is not a status: asked again after growing pauses`, () => {
    const { net, clock, uploader } = fake_upload();
    uploader.start();
    for (let tries = 1; tries < 6; tries += 1) {
      assert.equal(net.log.length, tries);
      net.next('POST').reply(200, body);
      assert.equal(net.open.length, 0);
      clock.advance(500);
      assert.equal(net.open.length, 0);
      clock.advance(60_000);
    }
    net.next('POST').reply(200, status_of());
    assert.equal(net.all('PUT').length, 4);
  });
}

for (const http of [400, 404, 405, 407, 410, 412, 421]) {
  test(`a proxy's own ${http} ends nothing and removes no record`, async () => {
    const store = new FakeStore();
    const { net, clock, uploader, begin } = fake_upload({ page: fake_page({ store }), options: { send_ahead: 1 } });
    begin();
    net.next('PUT').reply(http, '<html>nginx</html>');
    assert.deepEqual([uploader.error_code, uploader.connected, net.open.length], [null, false, 0]);
    clock.advance(60_000);
    net.next('GET').reply(http, '<html>nginx</html>');
    clock.advance(60_000);
    net.next('GET').reply(200, status_of());
    assert.equal(net.all('PUT').length, 1);
    for (let i = 0; i < 12; i += 1) await settled();
    assert.equal(store.entries.size, 1);
  });
}

test('a server that has everything and then nothing, again and again: the pauses grow', () => {
  const { net, clock, uploader } = fake_upload({ size: 10 });
  uploader.start();
  net.next('POST').reply(200, status_of({ length: 10 }));
  const pauses = [];
  for (let round = 0; round < 5; round += 1) {
    net.next('PUT').reply(200, status_of({ length: 10, state: 'handing_over', received: [[0, 10]] }));
    net.next('GET').reply(200, status_of({ length: 10 }));
    let ms = 0;
    for (; net.all('PUT').length === 0 && ms < 100_000; ms += 250) clock.advance(250);
    pauses.push(ms);
  }
  assert.ok(pauses.every((ms, at) => ms >= 1000 && (at === 0 || ms > pauses[at - 1])), String(pauses));
});

test('ranges beyond the file are ignored', () => {
  const { net, uploader, begin } = fake_upload();
  begin({ received: [[0, 10], [20, 1000]] });
  assert.equal(uploader.bytes_acked, 10);
  assert.deepEqual(net.next('PUT').range, [10, 20]);
});

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
    const { net, clock, uploader, begin, ack, reported } = fake_upload({ page, options: one, file: new File(['x'.repeat(100)], 'film.mp4') });
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
    assert.deepEqual([reported('error'), uploader.error_code, uploader.bytes_acked, store.entries.size], [0, null, 10, 1]);
  });

  test(`the same wrong answer each time (${what}) is believed in the end; the entry stays`, async () => {
    const store = new FakeStore();
    const page = fake_page({ store });
    const { net, clock, begin, reported } = fake_upload({ page, options: one, file: new File(['x'.repeat(100)], 'film.mp4') });
    begin();
    await calm();
    let puts = 0;
    for (let i = 0; i < 50 && reported('error') === 0; i += 1) {
      for (const call of net.all('PUT')) {
        puts += 1;
        answer(call);
      }
      clock.advance(3_600_000);
      for (const call of net.all('GET')) call.reply(200, status_of());
    }
    assert.deepEqual([reported('error'), puts], [1, 7]);
    await calm();
    assert.equal(store.entries.size, 1);
  });
}

test('an upload that the server denies: the pauses take an hour in all, and showing the tab does not end them', () => {
  const { net, clock, begin, reported, wake, uploader } = fake_upload({ options: one });
  begin();
  net.next('PUT').refuse(404, 'unknown-upload');
  const pauses = [];
  while (reported('error') === 0) {
    wake();
    let ms = 0;
    for (; net.open.length === 0; ms += 1_000) clock.advance(1_000);
    pauses.push(ms / 60_000);
    net.next('GET').refuse(404, 'unknown-upload');
  }
  assert.deepEqual(pauses, [1, 2, 4, 8, 16, 32]);
  assert.equal(uploader.error_msg, 'reported unknown-upload');
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

test('a denial while the file is handed over ends nothing either', () => {
  const { net, clock, begin, reported } = fake_upload();
  begin({ state: 'handing_over', received: [[0, 100]] });
  net.next('GET').refuse(404, 'unknown-upload');
  clock.advance(60_000);
  net.next('GET').reply(200, status_of({ state: 'finished' }));
  assert.deepEqual([reported('error'), reported('finished')], [0, 1]);
});

test('a refusal of the first request is the end: nothing is known that it could contradict', () => {
  for (const [http, code] of [[404, 'unknown-upload'], [409, 'length-changed'], [400, 'bad-request']]) {
    const { net, uploader, reported } = fake_upload();
    uploader.start();
    net.next('POST').refuse(http, code);
    assert.equal(reported('error'), 1);
  }
});
