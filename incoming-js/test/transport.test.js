/**
 * The network file, against a stand-in for XMLHttpRequest and mocked timers.
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { ANSWER_MS, CONTROL_MS, FIRST_BYTE_MS, STALL_MS, STILL_MS } from '../src/limits.js';
import { xhr_transport } from '../src/transport.js';

let xhr;
let asleep_ms = 0;

class FakeXhr {
  upload = {};
  sent_headers = {};
  status = 0;
  responseText = '';
  asked = [];
  aborted = false;
  constructor() {
    xhr = this;
  }
  open(method, url) {
    Object.assign(this, { method, url });
  }
  setRequestHeader(name, value) {
    this.sent_headers[name] = value;
  }
  getResponseHeader(name) {
    this.asked.push(name);
    return '7';
  }
  send(body) {
    this.body = body;
  }
  abort() {
    this.aborted = true;
    this.onloadend();
  }
  answer(status, text) {
    Object.assign(this, { status, responseText: text });
    this.onload();
    this.onloadend();
  }
}

beforeEach(() => {
  globalThis.XMLHttpRequest = FakeXhr;
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  // The monotonic clock follows the mocked one.
  const { now } = Date;
  mock.method(performance, 'now', () => now.call(Date) + asleep_ms);
});
afterEach(() => {
  asleep_ms = 0;
  mock.restoreAll();
  mock.timers.reset();
  delete globalThis.XMLHttpRequest;
});

/** A minute passes in which no timer runs; then those that were due do, as in a hidden tab or after sleep. */
function sleep_until_late() {
  asleep_ms += 60_000;
  mock.timers.tick(STALL_MS);
}

function send(request) {
  const ends = [];
  const running = xhr_transport.send(request, (raw) => ends.push(raw));
  return { ends, ...running };
}

const get = { method: 'GET', url: 'https://a/b' };
const put = (more) => ({ method: 'PUT', url: 'https://a/b', body: 'x', headers: { 'Content-Range': 'r' }, on_sent: () => {}, on_handed: () => {}, ...more });

test('an answer comes as it is, and no upload listener is set without a chunk', () => {
  const { ends } = send(get);
  assert.deepEqual(xhr.upload, {});
  assert.equal(xhr.body, null);
  xhr.answer(200, 'text');
  assert.deepEqual(ends, [{ kind: 'answer', status: 200, body: 'text', retry_after: null }]);
  assert.deepEqual(xhr.asked, []);
  mock.timers.tick(1e6);
  assert.equal(ends.length, 1);
});

test('Retry-After is read where it belongs', () => {
  const { ends } = send(get);
  xhr.answer(503, '');
  assert.equal(ends[0].retry_after, '7');
});

test('a chunk reports how much is sent, and only forward', () => {
  const sent = [];
  let handed = 0;
  send(put({ on_sent: (bytes) => sent.push(bytes), on_handed: () => (handed += 1) }));
  assert.deepEqual(xhr.sent_headers, { 'Content-Range': 'r' });
  for (const loaded of [0, 5, 5, 9]) xhr.upload.onprogress({ loaded });
  xhr.upload.onload();
  assert.deepEqual([sent, handed], [[5, 9], 1]);
});

test('a chunk that stands still reports it before it is aborted, once each time, and not after its end', () => {
  let still = 0;
  const { ends } = send(put({ on_still: () => (still += 1) }));
  mock.timers.tick(STILL_MS - 1);
  xhr.upload.onprogress({ loaded: 5 });
  mock.timers.tick(STILL_MS - 1);
  assert.equal(still, 0);
  mock.timers.tick(1);
  assert.equal(still, 1);
  mock.timers.tick(STILL_MS);
  assert.equal(still, 1);
  xhr.upload.onprogress({ loaded: 6 });
  mock.timers.tick(STILL_MS);
  assert.deepEqual([still, ends], [2, []]);
  xhr.upload.onprogress({ loaded: 7 });
  xhr.answer(200, '');
  mock.timers.tick(1e6);
  assert.equal(still, 2);
});

test('a chunk stalls on bytes that do not move, not on time that passes', () => {
  const { ends } = send(put());
  mock.timers.tick(FIRST_BYTE_MS - 1);
  for (let loaded = 1; loaded < 20; loaded += 1) {
    xhr.upload.onprogress({ loaded });
    mock.timers.tick(STALL_MS - 1);
  }
  assert.deepEqual(ends, []);
  xhr.upload.onprogress({ loaded: 19 });
  mock.timers.tick(1);
  assert.deepEqual(ends, [{ kind: 'lost', why: 'stall' }]);
  assert.equal(xhr.aborted, true);
});

test('no first byte, no answer, no reply to a poll: each ends', () => {
  const first = send(put());
  mock.timers.tick(FIRST_BYTE_MS);
  assert.equal(first.ends[0].why, 'stall');

  const second = send(put());
  xhr.upload.onload();
  mock.timers.tick(ANSWER_MS - 1);
  assert.equal(second.ends.length, 0);
  mock.timers.tick(1);
  assert.equal(second.ends[0].why, 'stall');

  const third = send(get);
  mock.timers.tick(CONTROL_MS);
  assert.equal(third.ends[0].why, 'stall');

  const fourth = send({ ...get, answer_ms: 55_000 });
  mock.timers.tick(54_999);
  assert.equal(fourth.ends.length, 0);
  mock.timers.tick(1);
  assert.equal(fourth.ends[0].why, 'stall');
});

test('a slow line that moves is not a stall, however slow', () => {
  const { ends } = send(put());
  for (let loaded = 1; loaded <= 200; loaded += 1) {
    mock.timers.tick(STALL_MS - 1000);
    xhr.upload.onprogress({ loaded });
  }
  assert.deepEqual(ends, []);
});

test('a chunk that is handed over waits for the server to write it, not for bytes', () => {
  const { ends } = send(put());
  xhr.upload.onprogress({ loaded: 1 });
  xhr.upload.onload();
  mock.timers.tick(ANSWER_MS - 1);
  assert.deepEqual(ends, []);
  xhr.answer(200, 'x');
  assert.equal(ends.length, 1);
});

test('a timer that fires late, in a hidden tab or after sleep, is not a stall: progress is reported first', () => {
  const { ends } = send(put());
  xhr.upload.onprogress({ loaded: 1 });
  sleep_until_late();
  assert.deepEqual(ends, []);
  xhr.upload.onprogress({ loaded: 2 });
  mock.timers.tick(STALL_MS - 1);
  assert.deepEqual(ends, []);
  mock.timers.tick(1);
  assert.deepEqual(ends, [{ kind: 'lost', why: 'stall' }]);
});

test('late twice without a byte is a stall all the same', () => {
  const { ends } = send(put());
  xhr.upload.onprogress({ loaded: 1 });
  sleep_until_late();
  assert.equal(ends.length, 0);
  sleep_until_late();
  assert.deepEqual(ends, [{ kind: 'lost', why: 'stall' }]);
});

test('a network error is one, and after abort nothing comes', () => {
  const one = send(get);
  xhr.onerror();
  assert.deepEqual(one.ends, [{ kind: 'lost', why: 'network' }]);

  // Firefox says no more than this when a link to a download is clicked.
  const stopped = send(get);
  xhr.onloadend();
  assert.deepEqual(stopped.ends, [{ kind: 'lost', why: 'abort' }], 'aborted by the browser, not from here');

  const two = send(get);
  two.abort();
  mock.timers.tick(1e6);
  assert.equal(xhr.aborted, true);
  assert.deepEqual(two.ends, []);
});

test('an endless answer is aborted: by its bytes, and by its time', () => {
  const { ends } = send(get);
  xhr.onprogress({ loaded: 2 ** 20 });
  assert.equal(xhr.aborted, false);
  xhr.onprogress({ loaded: 2 ** 20 + 1 });
  assert.deepEqual([ends, xhr.aborted], [[{ kind: 'lost', why: 'stall' }], true]);
  // A long poll's answer may begin late; once it does, it has to come to its end.
  const slow = send({ ...get, answer_ms: 55_000 });
  mock.timers.tick(54_000);
  for (let ms = 0; ms < ANSWER_MS; ms += 20_000) {
    assert.equal(slow.ends.length, 0);
    xhr.onprogress({ loaded: 1 + ms });
    mock.timers.tick(20_000);
  }
  assert.deepEqual([slow.ends, xhr.aborted], [[{ kind: 'lost', why: 'stall' }], true]);
});
