/**
 * What a browser remembers of an upload, and how it is found again.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fingerprint } from '../src/file.js';
import { browser_store } from '../src/resume.js';
import { FakeStore, calm, fake_page, fake_upload, settled, status_of } from './fakes.js';
import { KiB } from './large-file.js';

/** A real file, so that its bytes are read. */
const film = (bytes = 'x'.repeat(100), name = 'film.mp4', lastModified = 7) => new File([bytes], name, { lastModified });

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
    ['bytes_acked', 'hostname', 'last_modified', 'mark', 'name', 'size', 'upload_id', 'visit', 'when']);
  const { found } = await recalled(store, film());
  const { upload_id, hostname, name, size, active, resume } = found;
  assert.deepEqual([upload_id, hostname, name, size, active, resume], ['id1', 'https://up.example', 'film.mp4', 100, false, null]);
  while (net.all('PUT').length > 0) ack(net.next('PUT'), net.next('PUT').range[1] === 100 ? { state: 'finished' } : {});
  await calm();
  assert.equal(store.entries.size, 0);
  assert.equal((await recalled(store, film())).found, null);
});

for (const [what, file] of [['name', film(undefined, 'image:4711')], ['time', film(undefined, undefined, 8)]]) {
  test(`issue 13: the same bytes with another ${what} are the same file: phones hand out copies`, async () => {
    const { store } = await visit();
    const { found } = await recalled(store, file);
    assert.deepEqual([found?.upload_id, found?.name], ['id1', 'film.mp4']);
  });
}

test('issue 13: of several uploads of the same bytes that of the same name and time is found, else the latest', async () => {
  const { store } = await visit();
  const [entry] = store.entries.values();
  await store.put({ ...entry, upload_id: 'other', name: 'other.mp4', visit: entry.visit + 1 });
  assert.equal((await recalled(store, film())).found.upload_id, 'id1');
  assert.equal((await recalled(store, film(undefined, 'third.mp4'))).found.upload_id, 'other');
});

for (const [what, file] of [
  ['size', film('x'.repeat(99))],
  ['first byte', film('y' + 'x'.repeat(99))], ['last byte', film('x'.repeat(99) + 'y')],
]) {
  test(`a file with another ${what} is another file`, async () => {
    const { store } = await visit();
    assert.equal((await recalled(store, file)).found, null);
    assert.equal(store.entries.size, 1);
  });
}

test('the fingerprint reads both ends of a large file and nothing between', async () => {
  const bytes = new Uint8Array(1_000_000);
  const plain = await fingerprint(new Blob([bytes]));
  assert.ok(Number.isSafeInteger(plain) && plain > 0);
  for (const [at, same] of [[0, false], [65_535, false], [65_536, true], [500_000, true], [934_463, true], [934_464, false], [999_999, false]]) {
    const changed = bytes.slice();
    changed[at] = 1;
    assert.equal((await fingerprint(new Blob([changed]))) === plain, same, String(at));
  }
  assert.notEqual(await fingerprint(new Blob(['ab'])), await fingerprint(new Blob(['ba'])));
  await fingerprint(new Blob([]));
});

test('records of earlier versions are found: the fingerprint gives the numbers it always gave', async () => {
  assert.equal(await fingerprint(film()), 3448626679178753);
  assert.equal(await fingerprint(new Blob([new Uint8Array(300_000).map((_, i) => i * 7)])), 284225225097217);
  const store = new FakeStore();
  // As the first version wrote it: without the number of the visit.
  await store.put({ upload_id: 'id7', hostname: 'https://up.example', name: 'film.mp4', size: 100, last_modified: 7, mark: 3448626679178753, bytes_acked: 10, when: 1_000_000 });
  const { found } = await recalled(store, film());
  assert.equal(found.upload_id, 'id7');
});

for (const [what, end] of [
  ['cancelled', ({ net, uploader }) => (uploader.cancel('x'), net.next('DELETE').reply(200, status_of({ state: 'cancelled' })))],
  ['cancelled on the server', ({ net }) => net.next('PUT').refuse(410, 'upload-over', { upload: status_of({ state: 'cancelled' }) })],
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

test('an upload that ends before its record is written leaves none', async () => {
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

test('progress is recorded at intervals and when the upload waits, not with every chunk', async () => {
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
  const { net, ack, reported, page } = await visit({ store, file: film('x'.repeat(10)) });
  assert.equal(await page.incoming.recall(film()), null);
  assert.deepEqual(await page.incoming.unfinished(), []);
  await page.incoming.forget();
  ack(net.next('PUT'), { state: 'finished' });
  assert.equal(reported('finished'), 1);
});

test('no store at all', async () => {
  const { incoming } = fake_page();
  assert.equal(await incoming.recall(film()), null);
  assert.deepEqual(await incoming.unfinished(), []);
  await incoming.forget('id1');
});

test('recall asks the server: an ended upload is forgotten, an absent one is not found, without an answer the page decides', async () => {
  const cases = [
    [(call) => call.reply(200, status_of({ state: 'handing_over' })), true],
    [(call) => call.reply(200, status_of({ state: 'finished' })), false],
    [(call) => call.reply(200, status_of({ state: 'cancelled' })), false],
    [(call) => call.refuse(404, 'unknown-upload'), false, true],
    [(call) => call.refuse(410, 'upload-over'), false],
    [(call) => call.reply(404, 'a proxy that has lost its server'), true],
    [(call) => call.refuse(503, 'unavailable'), true],
    [(call) => call.reply(401, ''), true],
    [(call) => call.lose(), true],
    [(call, page) => page.clock.advance(5000), true],
  ];
  for (const [answer, there, stays = there] of cases) {
    const { store } = await visit();
    const { found, page } = await recalled(store, film(), answer);
    assert.deepEqual([found !== null, store.entries.size], [there, stays ? 1 : 0], String(answer));
    assert.equal(page.net.open.length, 0);
  }
});

test('unfinished: all of them, the newest first; active while an uploader has it', async () => {
  const { store, clock, page } = await visit();
  clock.advance(1000);
  store.put({ ...[...store.entries.values()][0], upload_id: 'id2', name: 'b', when: clock.date(), bytes_acked: 40 });
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

const DAY_MS = 24 * 3_600_000;

for (const [jump, ms] of [['8 days ahead', 8 * DAY_MS], ['8 days back', -8 * DAY_MS], ['back to 1970', -1_000_000 + 1], ['56 years ahead', 20_440 * DAY_MS]]) {
  test(`issue 13: a clock that is set ${jump} for a moment erases nothing, in this tab or another one`, async () => {
    const first = await visit();
    const { store } = first;
    // Another tab, with the wrong time: lists, recalls, records an upload of its own.
    const page = fake_page({ store });
    page.clock.ahead = ms;
    const listing = page.incoming.unfinished();
    await calm();
    for (const call of page.net.all('GET')) call.lose();
    assert.deepEqual((await listing).map(({ upload_id }) => upload_id), ['id1']);
    const found = page.incoming.recall(film());
    for (let i = 0; i < 2; i += 1) {
      await calm();
      for (const call of page.net.all('GET')) call.reply(200, status_of());
    }
    assert.equal((await found)?.upload_id, 'id1');
    const other = fake_upload({ page, file: film('y'.repeat(100), 'other.mp4'), id: 'id2' });
    other.begin();
    for (let i = 0; i < 2; i += 1) {
      await calm();
      for (const call of page.net.all('GET')) call.reply(200, status_of());
    }
    await calm();
    // The time is right again.
    for (const tab of [fake_page({ store }), first.page]) {
      const all = tab.incoming.unfinished();
      await calm();
      for (const call of tab.net.all('GET')) call.lose();
      assert.deepEqual((await all).map(({ upload_id }) => upload_id).sort(), ['id1', 'id2']);
    }
    assert.equal(store.entries.size, 2);
  });
}

test('issue 13: what is old by the clock is forgotten when the server denies it as well', async () => {
  const { store, page } = await visit();
  const [entry] = store.entries.values();
  store.put({ ...entry, upload_id: 'old', when: entry.when - 8 * DAY_MS });
  store.put({ ...entry, upload_id: 'older', when: entry.when - 9 * DAY_MS });
  page.net.open = [];
  const all = page.incoming.unfinished();
  await calm();
  for (const call of page.net.all('GET')) {
    if (call.url.endsWith('/old')) call.refuse(404, 'unknown-upload');
    else call.reply(200, status_of());
  }
  assert.deepEqual((await all).map(({ upload_id }) => upload_id), ['id1', 'older']);
  assert.deepEqual([...store.entries.keys()], ['id1', 'older']);
});

test('issue 13: at most so many are kept, those of the latest visits, whatever their dates', async () => {
  const store = new FakeStore();
  const entry = { hostname: 'https://up.example', name: 'f', size: 1, last_modified: 7, mark: 0, bytes_acked: 0 };
  for (let i = 0; i < 5_010; i += 1) store.entries.set(`n${i}`, { ...entry, upload_id: `n${i}`, visit: 1 + Math.floor(i / 10), when: 2_000_000 - i });
  await visit({ store });
  for (let i = 0; i < 200 && store.entries.size !== 5_001; i += 1) await settled();
  assert.equal(store.entries.size, 5_001);
  assert.equal(store.entries.has('n9'), false);
  assert.equal(store.entries.has('n10'), true);
  assert.equal(store.entries.get('id1').visit, 502);
});

test('issue 13: many recalls at once read the store once', async () => {
  const { store } = await visit();
  let reads = 0;
  const { all } = store;
  store.all = () => ((reads += 1), all());
  const page = fake_page({ store });
  const found = Array.from({ length: 100 }, (_, i) => page.incoming.recall(film('z'.repeat(i + 1))));
  await calm();
  assert.deepEqual([...new Set(await Promise.all(found))], [null]);
  assert.equal(reads, 1);
});

for (const [what, end] of [
  ['the file is gone', async ({ net, clock, file }) => {
    file.gone = true;
    for (let i = 0; i < 4; i += 1) {
      net.next('PUT').lose();
      await calm();
      clock.advance(10_000);
      if (i < 3) net.next('GET').reply(200, status_of());
    }
  }],
  ['the server denies it', ({ net, clock }) => {
    net.next('PUT').refuse(404, 'unknown-upload');
    for (let i = 0; i < 8; i += 1) {
      clock.advance(3_600_000);
      for (const call of net.all('GET')) call.refuse(404, 'unknown-upload');
    }
  }],
  ['it cannot be bound', ({ net, uploader, page, store }) => {
    const again = page.incoming.Uploader('id1', film());
    again.start();
    page.net.next('POST').refuse(409, 'length-changed');
  }],
]) {
  test(`issue 13: after a failure (${what}) it is remembered: a second try may go better`, async () => {
    const file = Object.assign(film(), { gone: false });
    const { slice } = file;
    file.slice = (...range) => (file.gone ? { size: 1, arrayBuffer: () => Promise.reject(new DOMException('gone', 'NotFoundError')) } : slice.apply(file, range));
    const upload = await visit({ file });
    await end({ ...upload, file });
    await calm();
    assert.equal(upload.store.entries.size, 1, what);
    if (what !== 'it cannot be bound') await assert.rejects(upload.uploader.done, { name: 'UploadError' });
  });
}

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

test('a handle: one call asks for permission, opens the file and starts', async () => {
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

test('a handle: without permission, a removed or changed file: rejected, and nothing is sent', async () => {
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

test('issue 13: a file that the server says is another one leads to no upload again; until that is known nothing is written of it', async () => {
  const store = new FakeStore();
  const bytes = 'x'.repeat(300_000);
  const entry = { upload_id: 'id1', hostname: 'https://up.example', name: 'a', size: bytes.length, last_modified: 7, mark: 7, bytes_acked: 200_000, when: 1_000_000, visit: 1 };
  await store.put(entry);
  const page = fake_page({ store });
  const { net, uploader } = fake_upload({ page, file: film(bytes) });
  uploader.start();
  net.next('POST').reply(200, status_of({ length: bytes.length, received: [[0, 200_000]] }));
  for (let i = 0; i < 2000 && net.all('POST').length === 0; i += 1) await new Promise((next) => setTimeout(next, 1));
  assert.deepEqual([...store.entries.values()], [entry]);
  net.next('POST').reply(200, status_of({ length: bytes.length, received: [[0, 200_000]], verified: [false] }));
  await assert.rejects(uploader.done, { code: 'FILE_CHANGED' });
  await calm();
  assert.equal(store.entries.size, 0);
});

test('a database that never answers times out', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  globalThis.indexedDB = { open: () => ({}) };
  t.after(() => delete globalThis.indexedDB);
  const page = fake_page({ store: browser_store() });
  const found = page.incoming.recall(new File(['x'], 'film.mp4'));
  const all = page.incoming.unfinished();
  const { net, uploader } = fake_upload({ page });
  uploader.start();
  assert.equal(net.all('POST').length, 1);
  t.mock.timers.tick(5000);
  assert.deepEqual([await found, await all], [null, []]);
});

test('an invalid entry is removed and hides no valid one', async () => {
  const store = new FakeStore();
  const good = { upload_id: 'b', hostname: 'https://up.example', name: 'film.mp4', size: 1, last_modified: 7, mark: 0, bytes_acked: 0, when: 1_000_000 };
  for (const entry of [{ upload_id: 'a' }, good, { ...good, upload_id: 'c', hostname: 7 }, { ...good, upload_id: 'd', when: 'x' }]) await store.put(entry);
  const found = await fake_page({ store }).incoming.unfinished();
  assert.deepEqual([found.map(({ upload_id }) => upload_id), store.entries.size], [['b'], 1]);
});

test('an upload is recorded once the server knows it, not at its start', async () => {
  const store = new FakeStore();
  const { net, uploader } = fake_upload({ page: fake_page({ store }), file: new File(['x'.repeat(300 * KiB)], 'a') });
  uploader.start();
  await calm();
  assert.equal(store.writes, 0);
  net.next('POST').refuse(404, 'unknown-upload');
  await calm();
  assert.deepEqual([store.writes, store.entries.size], [0, 0]);
});
