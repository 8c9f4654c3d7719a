/**
 * What a browser remembers of an upload, and how it is found again.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mark_of } from '../src/mark.js';
import { FakeStore, fake_page, fake_upload, settled, status_of } from './fakes.js';

/** A real file, so that its bytes are read. */
const film = (bytes = 'x'.repeat(100), name = 'film.mp4', lastModified = 7) => new File([bytes], name, { lastModified });

const calm = async () => {
  for (let i = 0; i < 12; i += 1) await settled();
};

/** A page with an upload under way, and the store that outlives it. */
async function visit({ store = new FakeStore(), file = film(), options = { send_ahead: 1 } } = {}) {
  const page = fake_page({ store });
  const upload = fake_upload({ page, file, options, size: file.size });
  upload.begin();
  await calm();
  return { ...upload, store };
}

/** Asks a new page; the server answers with this. */
async function recalled(store, file, answer = (call) => call.reply(200, status_of()), more = {}) {
  const page = fake_page({ store, ...more });
  const found = page.incoming.recall(file);
  await calm();
  for (const call of page.net.all('GET')) answer(call, page);
  return { found: await found, page };
}

test('an upload is remembered from its start, found again by the same file, and gone when it is over', async () => {
  const { net, store, ack } = await visit();
  assert.equal(store.entries.size, 1);
  assert.deepEqual(Object.keys([...store.entries.values()][0]).sort(),
    ['bytes_acked', 'hostname', 'last_modified', 'mark', 'name', 'size', 'upload_id', 'when']);
  const { found } = await recalled(store, film());
  const { upload_id, hostname, name, size, active, resume } = found;
  assert.deepEqual([upload_id, hostname, name, size, active, resume], ['id1', 'https://up.example', 'film.mp4', 100, false, null]);
  while (net.all('PUT').length > 0) ack(net.next('PUT'), net.next('PUT').range[1] === 100 ? { state: 'finished' } : {});
  await calm();
  assert.equal(store.entries.size, 0);
  assert.equal((await recalled(store, film())).found, null);
});

for (const [what, file] of [
  ['name', film(undefined, 'other.mp4')], ['size', film('x'.repeat(99))], ['time', film(undefined, undefined, 8)],
  ['first byte', film('y' + 'x'.repeat(99))], ['last byte', film('x'.repeat(99) + 'y')],
]) {
  test(`a file with another ${what} is another file`, async () => {
    const { store } = await visit();
    assert.equal((await recalled(store, file)).found, null);
    assert.equal(store.entries.size, 1);
  });
}

test('the mark reads both ends of a large file and nothing between', async () => {
  const bytes = new Uint8Array(1_000_000);
  const plain = await mark_of(new Blob([bytes]));
  assert.ok(Number.isSafeInteger(plain) && plain > 0);
  for (const [at, same] of [[0, false], [65_535, false], [65_536, true], [500_000, true], [934_463, true], [934_464, false], [999_999, false]]) {
    const changed = bytes.slice();
    changed[at] = 1;
    assert.equal((await mark_of(new Blob([changed]))) === plain, same, String(at));
  }
  assert.notEqual(await mark_of(new Blob(['ab'])), await mark_of(new Blob(['ba'])));
  await mark_of(new Blob([]));
});

for (const [what, end] of [
  ['cancelled', ({ net, uploader }) => (uploader.cancel('x'), net.next('DELETE').reply(200, status_of({ state: 'cancelled' })))],
  ['unknown to the server', ({ net }) => net.next('PUT').refuse(404, 'unknown-upload')],
  ['over on the server', ({ net }) => net.next('PUT').refuse(410, 'upload-over')],
  ['failed on the server', ({ net }) => net.next('PUT').refuse(410, 'upload-over', { upload: status_of({ state: 'failed' }) })],
]) {
  test(`an upload that is ${what} is forgotten`, async () => {
    const upload = await visit();
    assert.equal(upload.store.entries.size, 1);
    end(upload);
    await calm();
    assert.equal(upload.store.entries.size, 0);
  });
}

test('an upload that is over before it was written down leaves nothing', async () => {
  const store = new FakeStore();
  const upload = fake_upload({ page: fake_page({ store }), file: film() });
  upload.begin({ state: 'finished' });
  await calm();
  assert.equal(store.entries.size, 0);
});

test('nothing is kept with remember: false', async () => {
  const { store } = await visit({ options: { remember: false } });
  assert.equal(store.entries.size + store.writes, 0);
});

test('progress is written down now and then, not with every chunk, and when it stands still', async () => {
  const { net, clock, store, ack, uploader } = await visit({ file: film('x'.repeat(1000)), options: { send_ahead: 1, chunk_size: 10 } });
  for (let i = 0; i < 60; i += 1) {
    ack(net.next('PUT'));
    clock.advance(200);
    await settled();
  }
  assert.ok(store.writes >= 2 && store.writes <= 5, String(store.writes));
  ack(net.next('PUT'));
  uploader.pause('pause');
  await calm();
  assert.equal([...store.entries.values()][0].bytes_acked, 610);
  uploader.pause('unpause');
  net.next('GET').reply(200, status_of({ length: 1000, received: [[0, 610]] }));
  ack(net.next('PUT'));
  net.next('PUT').lose();
  await calm();
  assert.equal([...store.entries.values()][0].bytes_acked, 620);
});

test('a store that fails at everything: the upload does not notice', async () => {
  const store = Object.assign(new FakeStore(), { broken: true });
  const { net, ack, told, page } = await visit({ store, file: film('x'.repeat(10)) });
  assert.equal(await page.incoming.recall(film()), null);
  assert.deepEqual(await page.incoming.unfinished(), []);
  await page.incoming.forget();
  ack(net.next('PUT'), { state: 'finished' });
  assert.equal(told('finished'), 1);
});

test('no store at all', async () => {
  const { incoming } = fake_page();
  assert.equal(await incoming.recall(film()), null);
  assert.deepEqual(await incoming.unfinished(), []);
  await incoming.forget('id1');
});

test('recall asks the server: what is over or unknown is forgotten, without an answer the page decides', async () => {
  const cases = [
    [(call) => call.reply(200, status_of({ state: 'handing_over' })), true],
    [(call) => call.reply(200, status_of({ state: 'finished' })), false],
    [(call) => call.reply(200, status_of({ state: 'cancelled' })), false],
    [(call) => call.refuse(404, 'unknown-upload'), false],
    [(call) => call.refuse(410, 'upload-over'), false],
    [(call) => call.reply(404, 'a proxy that has lost its server'), true],
    [(call) => call.refuse(503, 'unavailable'), true],
    [(call) => call.reply(401, ''), true],
    [(call) => call.lose(), true],
    [(call, page) => page.clock.advance(5000), true],
  ];
  for (const [answer, there] of cases) {
    const { store } = await visit();
    const { found, page } = await recalled(store, film(), answer);
    assert.deepEqual([found !== null, store.entries.size], [there, there ? 1 : 0], String(answer));
    assert.equal(page.net.open.length, 0);
  }
});

test('unfinished: all of them, the newest first, the old ones dropped; active while an uploader has it', async () => {
  const { store, clock, page } = await visit();
  clock.advance(1000);
  store.put({ ...[...store.entries.values()][0], upload_id: 'id2', name: 'b', when: clock.now(), bytes_acked: 40 });
  store.put({ ...[...store.entries.values()][0], upload_id: 'id3', name: 'c', when: clock.now() - 8 * 24 * 3_600_000 });
  const all = await page.incoming.unfinished();
  assert.deepEqual(all.map(({ upload_id, name, bytes_acked, active }) => [upload_id, name, bytes_acked, active]),
    [['id2', 'b', 40, false], ['id1', 'film.mp4', 0, true]]);
  assert.deepEqual([...store.entries.keys()], ['id1', 'id2']);
  await page.incoming.forget(all[0]);
  assert.deepEqual([...store.entries.keys()], ['id1']);
  await page.incoming.forget('id1');
  assert.equal(store.entries.size, 0);
});

test('what is forgotten stays forgotten, also while it goes on', async () => {
  const { net, clock, ack, store, page } = await visit();
  await page.incoming.forget();
  clock.advance(60_000);
  ack(net.next('PUT'));
  await calm();
  assert.equal(store.entries.size, 0);
});

/** A handle as Chromium gives it; the store of the tests cannot clone functions, so it gives what was put. */
function handle_of(file, leave = 'granted') {
  const asked = [];
  return { asked, getFile: async () => file(), requestPermission: async (want) => (asked.push(want.mode), leave) };
}

function store_of_handles() {
  const store = new FakeStore();
  store.all = async () => [...store.entries.values()];
  return store;
}

test('a handle: one call asks leave, takes the file and starts', async () => {
  const store = store_of_handles();
  const handle = handle_of(() => film());
  await visit({ store, options: { handle, send_ahead: 1 } });
  const page = fake_page({ store });
  const [entry] = await page.incoming.unfinished();
  const uploader = await entry.resume({ chunk_size: 30 });
  assert.deepEqual(handle.asked, ['read']);
  assert.ok(uploader instanceof page.incoming.Uploader);
  assert.equal(uploader.filename, 'film.mp4');
  page.net.next('POST').reply(200, status_of({ received: [[0, 20]] }));
  assert.deepEqual(page.net.next('PUT').range, [20, 50]);
  await calm();
  assert.equal([...store.entries.values()][0].handle, handle);
});

test('a handle: without leave, gone, or another file by now: told, and nothing is sent', async () => {
  for (const [leave, file, expected] of [
    ['denied', () => film(), { name: 'NotAllowedError' }],
    ['granted', () => { throw new DOMException('gone', 'NotFoundError'); }, { code: 'FILE_CHANGED', error_code: 100 }],
    ['granted', () => film(undefined, undefined, 9), { code: 'FILE_CHANGED' }],
    ['granted', () => film('x'.repeat(99) + 'y'), { code: 'FILE_CHANGED' }],
  ]) {
    const store = store_of_handles();
    let later = () => film();
    const handle = handle_of(() => later(), leave);
    await visit({ store, options: { handle } });
    later = file;
    const page = fake_page({ store });
    const [entry] = await page.incoming.unfinished();
    await assert.rejects(entry.resume(), expected);
    assert.equal(page.net.log.length, 0);
  }
});
