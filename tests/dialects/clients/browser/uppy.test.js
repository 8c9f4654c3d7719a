// Uppy's Dashboard in real browsers: what its users do, and what happens to them.

import assert from 'node:assert/strict';
import { expected, file, kind_of, test, until } from '../../../browser/harness.js';
import { MIB, page_with_uppy } from './pages.js';

const PAUSE = '[data-cy=togglePauseResume]';
/** What Uppy's own log says of a try that failed. */
const TRY_FAILED = /\[Uppy\].*(tus: failed|Failed to|NetworkError)/;

test('Uppy: a file in one request and in chunks of 1 MiB', async (t) => {
  for (const [chunkSize, patches] of [[undefined, 1], [MIB, 4]]) {
    const { uppy, app, dir } = await page_with_uppy(t, { options: chunkSize ? { chunkSize } : {} });
    const one = await file(dir, 'film – ü.mp4', 3 * MIB + 7);
    await uppy.send(one);
    const [call] = await uppy.arrive(one);
    assert.deepEqual(await uppy.requests(), ['POST 201', ...Array(patches).fill('PATCH 204')]);
    assert.deepEqual([call.type, call.length], ['video/mp4', String(one.bytes)]);
    assert.deepEqual(app.made, [call.id]);
  }
});

test('Uppy: paused and resumed', async (t) => {
  const { uppy, line, dir } = await page_with_uppy(t, { rate: 8 * MIB });
  const one = await file(dir, 'paused.bin', 16 * MIB);
  await uppy.send(one);
  await uppy.reaches(4 * MIB);
  await uppy.press(PAUSE);
  assert.ok(line.bytes < one.bytes, 'it was too quick');
  await uppy.press(PAUSE);
  await uppy.arrive(one);
  const requests = await uppy.requests();
  assert.equal(requests.filter((request) => request === 'POST 201').length, 1, requests.join());
  assert.ok(requests.includes('HEAD 200'), requests.join());
});

for (const chunkSize of [undefined, MIB]) {
  test(`Uppy: the network goes and comes back, ${chunkSize ? 'chunks of 1 MiB' : 'one request'}`, async (t) => {
    const { uppy, line, dir, console_errors } = await page_with_uppy(t, { rate: 8 * MIB, options: chunkSize ? { chunkSize } : {} });
    const one = await file(dir, 'cut.bin', 16 * MIB);
    await uppy.send(one);
    await uppy.reaches(6 * MIB);
    line.cut();
    const carried = line.bytes;
    await uppy.fails();
    line.restore();
    await uppy.arrive(one);
    const requests = await uppy.requests();
    assert.ok(requests.includes('HEAD 200'), requests.join());
    // It went on where it was: what was sent before does not come again.
    assert.ok(line.bytes - carried < one.bytes, `${line.bytes - carried} bytes after the cut`);
    assert.deepEqual(console_errors.splice(0).filter((text) => !TRY_FAILED.test(text)), []);
  });
}

test('Uppy: the browser is offline for a while', async (t) => {
  const { uppy, page, dir, console_errors } = await page_with_uppy(t, { rate: 8 * MIB, options: { chunkSize: MIB } });
  const one = await file(dir, 'offline.bin', 12 * MIB);
  await uppy.send(one);
  await uppy.reaches(3 * MIB);
  try {
    await page.setOfflineMode(true);
  } catch (error) {
    return t.skip(`${kind_of(t)} cannot emulate being offline: ${error.message}`);
  }
  if (await page.evaluate(() => navigator.onLine)) return t.skip(`${kind_of(t)} says that it is online while it is emulated not to be`);
  const before = (await uppy.requests()).length;
  await uppy.fails();
  await page.setOfflineMode(false);
  await uppy.arrive(one);
  assert.ok((await uppy.requests()).slice(before).includes('HEAD 200'));
  assert.deepEqual(console_errors.splice(0).filter((text) => !TRY_FAILED.test(text)), []);
  return undefined;
});

test('Uppy: the server is killed in the middle', async (t) => {
  const { uppy, app, dir, console_errors } = await page_with_uppy(t, { rate: 8 * MIB });
  const one = await file(dir, 'killed.bin', 16 * MIB);
  await uppy.send(one);
  await uppy.reaches(8 * MIB);
  await app.server.kill('SIGKILL');
  await app.server.start();
  await uppy.arrive(one);
  assert.deepEqual(console_errors.splice(0).filter((text) => !TRY_FAILED.test(text)), []);
});

for (const kind of ['route', 'tickets']) {
  test(`Uppy: a reload, and Golden Retriever brings the file back, ${kind}`, async (t) => {
    const { uppy, app, page, line, dir } = await page_with_uppy(t, { rate: 4 * MIB, kind });
    const one = await file(dir, 'restored.bin', 9 * MIB);
    await uppy.send(one);
    await uppy.reaches(5 * MIB);
    const carried = line.bytes;
    await page.reload({ waitUntil: 'load' });
    await uppy.ready();
    await page.waitForSelector('.uppy-Dashboard-serviceMsg');
    assert.deepEqual((await uppy.files()).map(({ name, isGhost }) => [name, isGhost]), [['restored.bin', false]]);
    await uppy.upload();
    await uppy.arrive(one);
    assert.equal((await uppy.requests())[0], 'HEAD 200');
    assert.ok(line.bytes - carried < one.bytes, `${line.bytes - carried} bytes after the reload`);
    assert.equal(app.made.length, 1, 'a second upload was created');
  });
}

test('Uppy: a reload, and a file too large for Golden Retriever is chosen again', async (t) => {
  const { uppy, app, page, dir } = await page_with_uppy(t, { rate: 8 * MIB, options: { chunkSize: MIB } });
  const one = await file(dir, 'chosen again.bin', 16 * MIB);
  await uppy.send(one);
  await uppy.reaches(4 * MIB);
  await page.reload({ waitUntil: 'load' });
  await uppy.ready();
  await page.waitForSelector('.uppy-Dashboard-serviceMsg');
  assert.deepEqual((await uppy.files()).map(({ isGhost }) => isGhost), [true]);
  await uppy.choose(one);
  await until('it is no ghost any more', async () => (await uppy.files()).every(({ isGhost }) => !isGhost));
  await uppy.upload();
  await uppy.arrive(one);
  const requests = await uppy.requests();
  assert.equal(requests[0], 'HEAD 200');
  assert.ok(requests.length < 14, `all was sent again: ${requests}`);
  assert.equal(app.made.length, 1, 'a second upload was created');
});

test('Uppy: 30 files', async (t) => {
  for (const kind of ['route', 'tickets']) {
    const { uppy, dir } = await page_with_uppy(t, { kind });
    const files = await Promise.all(Array.from({ length: 30 }, (_, nth) => file(dir, `file ${nth}.bin`, nth * 40_000)));
    await uppy.send(...files);
    await uppy.arrive(...files);
  }
});

test('Uppy: all are cancelled, and the web app knows', async (t) => {
  const { uppy, app, origin, dir } = await page_with_uppy(t, { rate: 2 * MIB });
  const files = await Promise.all(Array.from({ length: 5 }, (_, nth) => file(dir, `no ${nth}.bin`, 4 * MIB)));
  await uppy.send(...files);
  await until('all are on their way', async () => (await uppy.files()).every(({ sent }) => sent > 0));
  await uppy.press('[data-cy=cancel]');
  for (const id of app.made) {
    await app.cancelled(id);
    const { status } = await fetch(`${origin}/incoming/frontend/tus/${id}`, { method: 'HEAD' });
    assert.equal(status, 404);
  }
  assert.equal(app.made.length, 5);
  assert.deepEqual(await uppy.files(), []);
});

test('Uppy: the length is said at the end', async (t) => {
  const { uppy, app, dir } = await page_with_uppy(t, { options: { uploadLengthDeferred: true, chunkSize: MIB } });
  const one = await file(dir, 'deferred.bin', 3 * MIB + 7);
  await uppy.send(one);
  await uppy.arrive(one);
  assert.equal(app.made.length, 1);
});

for (const way of ['route', 'create_url']) {
  test(`Uppy: four parts of a file in parallel, paused and resumed, ${way}`, async (t) => {
    const { uppy, page, line, origin, dir } = await page_with_uppy(t, { rate: 8 * MIB, options: { parallelUploads: 4 } });
    if (way === 'create_url') {
      await page.evaluate((endpoint) => window.uppy.getPlugin('Tus').setOptions({ endpoint }), `${origin}/incoming/frontend/tus`);
    }
    const one = await file(dir, 'parts.mp4', 12 * MIB + 3);
    await uppy.send(one);
    await uppy.reaches(4 * MIB);
    await uppy.press(PAUSE);
    assert.ok(line.bytes < one.bytes, 'it was too quick');
    await uppy.press(PAUSE);
    const [call] = await uppy.arrive(one);
    assert.deepEqual([call.type, call.length], ['video/mp4', String(one.bytes)]);
    const requests = await uppy.requests();
    assert.equal(requests.filter((request) => request === 'POST 201').length, 5, requests.join());
    assert.ok(requests.includes('HEAD 200'), requests.join());
  });
}

test('Uppy: the upload server as endpoint, with a token of the page', async (t) => {
  const { uppy, app, origin, dir } = await page_with_uppy(t);
  await uppy.page.evaluate((endpoint) => {
    window.uppy.getPlugin('Tus').setOptions({ endpoint, headers: { Authorization: 'Bearer token' }, uploadDataDuringCreation: true, chunkSize: 1 << 20 });
  }, `${origin}/incoming/frontend/tus`);
  const one = await file(dir, 'created.bin', 2 * MIB + 1);
  await uppy.send(one);
  await uppy.arrive(one);
  assert.deepEqual(await uppy.requests(), ['POST 201', 'PATCH 204', 'PATCH 204']);
  assert.deepEqual(app.asked.map(({ authorization }) => authorization), ['Bearer token']);
});

test('Uppy: what the server refuses is shown', async (t) => {
  const { uppy, app, dir, console_errors } = await page_with_uppy(t);
  app.more.set('/uploads', (answer) => answer.writeHead(403, { 'Content-Type': 'text/plain' }).end('not you'));
  await uppy.send(await file(dir, 'refused.bin', 10));
  await uppy.page.waitForSelector('.uppy-StatusBar.is-error');
  assert.match((await uppy.files())[0].error, /403.*not you/s);
  await expected(console_errors, /403/);
});
