/**
 * The queue: turns, slots, tickets, sums, what the page asks for. Uploaders are stand-ins that a test moves.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UploadQueue } from '../src/queue.js';
import { TicketError } from '../src/ticket.js';

/** An uploader that does what the test says. */
class FakeUploader {
  constructor(id, file, options) {
    Object.assign(this, { id, file, options, bytes_total: file.size, bytes_acked: 0, bytes_per_s: null, eta_s: null, retry_in_s: null, error_code: null,
      connected: false, finished: false, paused: false, cancelled: false, can_pause: true, started: false });
    this.done = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    this.done.catch(() => {});
    options.signal?.addEventListener('abort', () => this.reject(options.signal.reason));
  }
  start() {
    this.started = true;
    return this;
  }
  pause(what) {
    this.set({ paused: what === 'pause' });
  }
  set(properties) {
    Object.assign(this, properties);
    this.onprogress(this);
  }
  ack(bytes = this.bytes_total) {
    this.set({ connected: true, bytes_acked: bytes });
  }
  async finish() {
    this.ack();
    this.finished = true;
    this.resolve(this);
    await settled();
  }
  async fail(code) {
    this.reject(Object.assign(new Error(`is ${code}`), { code }));
    await settled();
  }
}

const settled = async () => {
  for (let n = 0; n < 20; n += 1) await null;
};

const file = (name, size = 10, more = {}) => ({ name, size, type: 'text/plain', lastModified: 1, slice() {}, ...more });
const files = (count, size) => Array.from({ length: count }, (_, n) => file(`f${n}`, size));

/** A queue with its uploaders, tickets and events. */
function setup(options = {}) {
  const made = [];
  const asked = [];
  const remembered = { recall: async () => null, unfinished: async () => [], forget: async () => {}, ...options.library };
  const queue = new UploadQueue({
    getTicket: async (request) => (asked.push(request), `t-${request.name}`),
    ...options,
    library: { ...remembered, Uploader: function Uploader(...what) {
      made.push(new FakeUploader(...what));
      return made.at(-1);
    } },
  });
  const events = [];
  for (const type of ['add', 'reject', 'state', 'finish', 'error', 'auth', 'idle', 'remove']) queue.addEventListener(type, ({ detail }) => events.push([type, detail]));
  return { queue, made, asked, events, of: (type) => events.filter(([one]) => one === type).map(([, detail]) => detail) };
}

const states = (queue) => queue.entries.map(({ state }) => state);

test('tickets are asked for near the turn, slots are free again when all is acknowledged', async () => {
  const { queue, made, asked, of } = setup({ concurrent: 2 });
  queue.add(files(10));
  await settled();
  assert.deepEqual([made.length, asked.length], [2, 4]);
  made[0].ack(5);
  assert.deepEqual([queue.bytes_acked, queue.bytes_total, queue.files_total], [5, 100, 10]);
  made[0].ack();
  await settled();
  assert.deepEqual([queue.entries[0].state, made.length, asked.length], ['handing_over', 3, 5]);
  for (let n = 0; n < 10; n += 1) await made[n].finish();
  assert.deepEqual([of('finish').map(({ id }) => id).sort()[0], of('finish').length, of('idle').length, queue.busy], ['t-f0', 10, 1, false]);
  assert.deepEqual([queue.bytes_acked, queue.done().length, queue.recent.length], [100, 10, 10]);
  assert.equal(new Set(asked.map(({ batch }) => batch)).size, 1);
  assert.match(asked[0].batch, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test('an empty file is not handed over before the server was asked', async () => {
  const { queue, made } = setup();
  queue.add([file('empty', 0)]);
  await settled();
  made[0].set({ connected: false });
  assert.equal(queue.entries[0].state, 'uploading');
  made[0].ack();
  assert.equal(queue.entries[0].state, 'handing_over');
});

test('pause frees the slot, resume comes next and goes on with the same uploader', async () => {
  const { queue, made } = setup({ concurrent: 1 });
  queue.add(files(5));
  await settled();
  const [first] = queue.entries;
  first.pause();
  await settled();
  assert.deepEqual([first.state, made[0].paused, made.length], ['paused', true, 2]);
  first.resume();
  await settled();
  assert.equal(first.state, 'ticket');
  await made[1].finish();
  assert.deepEqual([first.state, made[0].paused], ['uploading', false]);
  first.cancel('enough');
  await settled();
  assert.deepEqual([first.state, made[0].options.signal.aborted, made[0].options.signal.reason.message], ['cancelled', true, 'enough']);
  assert.equal(queue.bytes_total, 40);
});

test('an uploader that cannot pause yet pauses when it can', async () => {
  const { queue, made } = setup();
  queue.add(files(1));
  await settled();
  made[0].can_pause = false;
  queue.pause();
  assert.deepEqual([queue.entries[0].state, made[0].paused], ['uploading', false]);
  made[0].can_pause = true;
  made[0].ack(3);
  assert.deepEqual([queue.entries[0].state, made[0].paused, queue.busy], ['paused', true, true]);
});

test('a busy web app is asked again after its Retry-After, and pauses grow', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const answers = [new TicketError('slow', 429, 7_000), new TicketError('slow', 503), new TicketError('down', 0)];
  let asked = 0;
  const { queue, made } = setup({ concurrent: 1, getTicket: async () => {
    asked += 1;
    if (answers.length > 0) throw answers.shift();
    return 'id';
  } });
  queue.add([file('one')]);
  await settled();
  assert.deepEqual([states(queue), queue.blocked, asked], [['waiting'], { retry_in_s: 7 }, 1]);
  for (const [ms, times] of [[6_999, 1], [1, 2], [1_999, 2], [1, 3], [3_999, 3], [1, 4]]) {
    t.mock.timers.tick(ms);
    await settled();
    assert.equal(asked, times, String(ms));
  }
  assert.equal(made.length, 1);
});

test('a visitor who is logged out stops the queue until `retry`', async () => {
  let logged_in = false;
  let asked = 0;
  const { queue, of, made } = setup({ getTicket: async () => {
    asked += 1;
    if (!logged_in) throw new TicketError('log in', 401);
    return `id${asked}`;
  } });
  queue.add(files(20));
  await settled();
  assert.deepEqual([of('auth').length, of('auth')[0].status, asked, made.length], [1, 401, 6, 0]);
  logged_in = true;
  of('auth')[0].retry();
  await settled();
  assert.equal(made.length, 4);
});

test('a refused ticket is final; a failed upload may be tried again with a new one', async () => {
  const { queue, made, of, asked } = setup({ getTicket: async (request) => {
    asked.push(request.name);
    if (request.name === 'bad') throw new TicketError('no such folder', 422);
    return 'id';
  }, concurrent: 1 });
  queue.add([file('bad'), file('good')]);
  await settled();
  assert.deepEqual(of('error').map(({ error }) => error), [{ code: 'no-ticket', message: 'no such folder', final: true }]);
  await made[0].fail('unknown-upload');
  assert.deepEqual([states(queue), of('idle').length], [['failed', 'failed'], 1]);
  queue.retry();
  await settled();
  assert.deepEqual([states(queue), asked], [['failed', 'uploading'], ['bad', 'good', 'good']]);
  await made[1].finish();
  const { finished, failed } = await queue.whenIdle();
  assert.deepEqual([finished.length, failed.length], [1, 1]);
});

test('what is no ticket, such as a login page, is told', async () => {
  const { queue, of } = setup({ getTicket: async () => '<!doctype html>' });
  queue.add(files(1));
  await settled();
  assert.equal(of('error')[0].error.message, 'the web app gave no ticket');
});

test('limits and duplicates become no entries', () => {
  const { queue, of } = setup({ limits: { accept: '.txt', max_size: 10, min_size: 1, max_files: 2 } });
  queue.add([file('a.txt'), file('a.txt'), file('b.exe'), file('c.txt', 11), file('d.txt', 0), file('e.txt'), file('f.txt')]);
  assert.deepEqual(of('reject').map(({ file: { name }, code }) => [name, code]), [['a.txt', 'duplicate'], ['b.exe', 'type'], ['c.txt', 'size'], ['d.txt', 'small'], ['f.txt', 'count']]);
  assert.equal(queue.files_total, 2);
});

test('a file of a folder is read at its turn, and checked then', async () => {
  const read = [];
  const source = (name, size) => ({ name, file: (done) => (read.push(name), done(file(name, size))) });
  const { queue, asked, of } = setup({ concurrent: 1, limits: { max_size: 10 } });
  queue.add(['a', 'b', 'c', 'd', 'e'].map((name) => ({ source: source(name, name === 'b' ? 11 : 10), path: `dir/${name}` })));
  await settled();
  assert.deepEqual([read, queue.files_total, queue.bytes_total], [['a', 'b', 'c', 'd'], 4, 30]);
  assert.deepEqual([of('reject').map(({ code }) => code), asked[0].path], [['size'], 'dir/a']);
});

test('an unreadable file of a folder fails and can be tried again', async () => {
  let bad = true;
  const { queue } = setup();
  queue.add([{ source: { name: 'a', file: (done, failed) => (bad ? failed(new Error('gone')) : done(file('a'))) } }]);
  await settled();
  assert.deepEqual([queue.entries[0].error.code, queue.entries[0].error.final], ['unreadable', false]);
  bad = false;
  queue.retry();
  await settled();
  assert.equal(queue.entries[0].state, 'uploading');
});

test('an upload of an earlier visit is resumed in its scope alone, and once', async () => {
  const known = { upload_id: 'old', hostname: 'http://up', scope: 'letter', active: false };
  const { queue, made, asked } = setup({ scope: 'letter', library: { recall: async () => known } });
  queue.add([file('a'), file('b')]);
  await settled();
  assert.deepEqual([made.map(({ id }) => id).sort(), made.find(({ id }) => id === 'old').options.hostname, asked.length], [['old', 't-b'], 'http://up', 1]);
  for (const other of [{ ...known, scope: null }, { ...known, active: true }]) {
    const { queue: second, asked: again } = setup({ scope: 'letter', library: { recall: async () => other } });
    second.add(files(1));
    await settled();
    assert.equal(again.length, 1);
  }
});

test('restore lists what is unfinished; choosing the file again takes its place', async (t) => {
  t.mock.method(globalThis, 'fetch', () => Promise.reject(new TypeError('no network')));
  const scopes = [];
  const unfinished = async ({ scope }) => (scopes.push(scope), [
    { upload_id: 'x', hostname: 'http://up', name: 'a', size: 10, bytes_acked: 4, active: false, handle: null, resume: null, scope },
    { upload_id: 'y', hostname: 'http://up', name: 'b', size: 10, bytes_acked: 4, active: true, handle: null, resume: null, scope },
  ]);
  const { queue } = setup({ scope: 'letter', library: { unfinished } });
  await queue.restore();
  assert.deepEqual([states(queue), queue.bytes_acked, queue.busy, scopes], [['lost'], 4, false, ['letter']]);
  queue.add([file('a')]);
  assert.deepEqual([queue.files_total, queue.entries[0].state], [1, 'ticket']);
  assert.deepEqual([queue.bytes_acked, queue.bytes_total], [0, 10]);
});

test('what became of an upload of an earlier visit: finished, handed over meanwhile, gone, out of reach', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const problem = (status, code) => new Response(JSON.stringify(code ? { code } : {}), { status });
  const state = (name) => new Response(JSON.stringify({ state: name }));
  const answers = { done: [state('finished')], taking: [state('handing_over'), state('finished')], part: [state('uploading')], failed: [state('failed')],
    gone: [problem(404, 'unknown-upload')], proxy: [problem(404)], offline: [new TypeError('no network')] };
  const asked = [];
  t.mock.method(globalThis, 'fetch', async (url) => {
    asked.push(url);
    const answer = answers[url.split('/').at(-1)].shift();
    if (answer instanceof Error) throw answer;
    return answer;
  });
  const forgotten = [];
  const found = Object.keys(answers).map((upload_id) => ({ upload_id, hostname: 'http://up', name: upload_id, size: 10, bytes_acked: 4, active: false, handle: null, resume: null }));
  const { queue, of } = setup({ library: { unfinished: async () => found, forget: async (id) => forgotten.push(id) } });
  const restored = queue.restore();
  await settled();
  t.mock.timers.tick(2000);
  await restored;
  assert.deepEqual(Object.fromEntries(queue.entries.map(({ id, state: now }) => [id, now])), { done: 'kept', part: 'lost', proxy: 'lost', offline: 'lost', taking: 'kept' });
  assert.deepEqual([queue.bytes_acked, queue.done().map(({ id }) => id)], [10 + 10 + 3 * 4, ['done', 'taking']]);
  assert.deepEqual(forgotten.sort(), ['done', 'failed', 'gone', 'taking']);
  assert.equal(asked[0], 'http://up/incoming/frontend/uploads/done');
  // The element's form value follows these.
  assert.deepEqual(of('state').map(({ to }) => to), ['kept', 'kept']);
});

test('an upload of an earlier visit goes on in a click, at its own server', async (t) => {
  t.mock.method(globalThis, 'fetch', () => Promise.reject(new TypeError('no network')));
  const options = [];
  const resumed = new FakeUploader('x', file('a'), {});
  const resume = async (given) => (options.push(given), resumed);
  const unfinished = async () => [{ upload_id: 'x', hostname: 'http://its-own', name: 'a', size: 10, bytes_acked: 4, active: false, handle: {}, resume }];
  const { queue } = setup({ scope: 's', uploader: { hostname: 'http://other', digest: true }, library: { unfinished } });
  await queue.restore();
  queue.entries[0].resume();
  await settled();
  assert.equal(states(queue)[0], 'uploading');
  const { signal, ...rest } = options[0];
  assert.deepEqual(rest, { hostname: 'http://its-own', digest: true, scope: 's' });
  assert.equal(signal.aborted, false);
  resumed.ack();
  await resumed.finish();
  assert.equal(states(queue)[0], 'finished');
});

test('a stalled upload is tried at once; a wait for tickets ends when the browser is online', async (t) => {
  const page = new EventTarget();
  for (const name of ['addEventListener', 'removeEventListener']) globalThis[name] = page[name].bind(page);
  t.after(() => ['addEventListener', 'removeEventListener'].forEach((name) => delete globalThis[name]));
  let down = true;
  const { queue, made } = setup({ getTicket: async () => {
    if (down) throw new TicketError('down', 0);
    return 'id';
  } });
  queue.add(files(1));
  await settled();
  assert.deepEqual(queue.blocked, { retry_in_s: 1 });
  down = false;
  page.dispatchEvent(new Event('online'));
  await settled();
  assert.deepEqual([queue.blocked, states(queue)], [null, ['uploading']]);
  made[0].retry_in_s = 30;
  made[0].onprogress();
  assert.equal(states(queue)[0], 'stalled');
  made[0].started = 0;
  made[0].start = () => (made[0].started += 1);
  queue.entries[0].retry();
  assert.equal(made[0].started, 1);
});

test('kept files are posted, count as done and are never sent', () => {
  const { queue, made } = setup();
  queue.keep([{ id: 'k', name: 'old.pdf', size: 5 }, { id: 'k' }]);
  assert.deepEqual([states(queue), queue.done().map(({ id }) => id), made.length, queue.busy], [['kept'], ['k'], 0, false]);
  queue.entries[0].remove();
  assert.deepEqual([queue.files_total, queue.bytes_total, queue.bytes_acked], [0, 0, 0]);
});

test('`stored`: done when every byte is acknowledged', async () => {
  const { queue, made, of } = setup({ done_when: 'stored' });
  queue.add(files(1));
  await settled();
  made[0].ack();
  assert.deepEqual([queue.busy, queue.done().map(({ id }) => id), of('idle').length], [false, ['t-f0'], 1]);
  await made[0].finish();
  assert.equal(of('idle').length, 1);
});

test('done files are in the order of adding, not of finishing', async () => {
  const { queue, made } = setup();
  queue.add(files(3));
  await settled();
  for (const n of [2, 0, 1]) await made[n].finish();
  assert.deepEqual([queue.done().map(({ name }) => name), queue.files_done], [['f0', 'f1', 'f2'], 3]);
  assert.deepEqual((await queue.whenIdle()).finished.map(({ name }) => name), ['f0', 'f1', 'f2']);
});

test('nothing starts before `start` if `auto` is false', async () => {
  const { queue, made } = setup({ auto: false });
  queue.add(files(1));
  await settled();
  assert.deepEqual([made.length, queue.busy], [0, true]);
  queue.start();
  await settled();
  assert.equal(made.length, 1);
});

test('snapshots are the same object until something changes; subscribers are called once for one moment', async () => {
  const { queue } = setup({ auto: false });
  let calls = 0;
  const end = queue.subscribe(() => (calls += 1));
  const before = queue.snapshot();
  assert.equal(queue.snapshot(), before);
  queue.add(files(3));
  assert.notEqual(queue.snapshot(), before);
  assert.deepEqual([queue.snapshot().counts.waiting, queue.snapshot().entries.length], [3, 3]);
  await settled();
  assert.equal(calls, 1);
  end();
  queue.clear('all');
  await settled();
  assert.equal(calls, 1);
});

test('many files: adding and finishing 10,000 costs the same for each', async () => {
  const { queue, made } = setup({ concurrent: 16 });
  queue.add(files(10_000, 1));
  for (let n = 0; n < 10_000; n += 1) {
    if (!made[n]) await settled();
    await made[n].finish();
  }
  assert.deepEqual([queue.done().length, queue.bytes_acked, queue.recent.length], [10_000, 10_000, 50]);
});
