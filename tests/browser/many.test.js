// Many files at once from one page: all arrive right, and the page never has more requests in flight than the six
// connections that a browser gives an origin. Idle connections and those being closed do not count.

import assert from 'node:assert/strict';
import { Line, browser, file, folder, open, test } from './harness.js';
import { choose_files, site, start_upload, wait_end, wait_until } from './site.js';

const MB = 1_000_000;

/** Fails unless the page kept to its budget: four chunks, one long poll, five in all, and one more that cancels. */
async function in_budget(t, page) {
  const { most, now, sent } = await page.evaluate(() => window.flights);
  t.diagnostic(`in flight at most: ${JSON.stringify(most)} of ${sent} requests`);
  assert.ok(most.put === 4 && most.poll <= 1 && most.shared <= 5 && most.all <= 6, JSON.stringify(most));
  assert.ok(Object.values(now).every((count) => count >= 0), JSON.stringify(now));
  return { most, now, sent };
}

test('20 files at once', async (t) => {
  const app = await site(t);
  const line = new Line(t, app.uploadPort, 1000 * MB, { delayMs: 2 });
  app.library = `http://localhost:${await line.open()}/incoming/frontend/incoming.js`;
  const { page } = await open(await browser(t), app.page);
  const dir = await folder(t);
  const files = [];
  for (let number = 0; number < 20; number += 1) files.push(await file(dir, `file ${number}.bin`, Math.round((number / 4) * MB)));
  await choose_files(page, ...files);
  const ids = await Promise.all(files.map(() => app.ticket()));
  await Promise.all(ids.map((id, index) => start_upload(page, id, { index, name: files[index].name })));
  for (const [index, one] of files.entries()) {
    const last = await wait_end(page, one.name);
    assert.deepEqual([last.outcome, last.endings, last.wrong], ['finished', ['finished'], []], one.name);
    const call = await app.taken(ids[index]);
    assert.deepEqual([call.sha256, call.filenameFromBrowser, app.calls.get(ids[index]).length], [one.sha256, one.name, 1]);
  }
  t.diagnostic(`${line.most} connections at most, ${line.preflights} preflights`);
  const { sent } = await in_budget(t, page);
  assert.ok(sent >= 2 * files.length, `only ${sent} requests were counted`);
});

test('a cancel gets through beside many that upload and wait', async (t) => {
  const app = await site(t);
  const line = new Line(t, app.uploadPort, 0.5 * MB);
  app.library = `http://localhost:${await line.open()}/incoming/frontend/incoming.js`;
  const { page } = await open(await browser(t), app.page);
  const dir = await folder(t);
  const files = [];
  for (let number = 0; number < 8; number += 1) files.push(await file(dir, `file ${number}.bin`, 8 * MB));
  // One that waits for the web app all the while.
  files.push(await file(dir, 'waiting.bin', 1000));
  app.handover = () => new Promise(() => {});
  await choose_files(page, ...files);
  const ids = await Promise.all(files.map(() => app.ticket()));
  await start_upload(page, ids[8], { index: 8, name: 'waiting' });
  await wait_until(page, 'it is handed over', (now) => now.frac_complete === 1, 'waiting');
  for (let index = 0; index < 8; index += 1) await start_upload(page, ids[index], { index, name: files[index].name });
  await wait_until(page, 'the first is on its way', (now) => now.bytes_acked > 0 && now.connected && now.can_cancel, files[0].name);
  const began = performance.now();
  await page.evaluate((name) => window.uploads[name].up.cancel('this one'), files[0].name);
  assert.match((await wait_end(page, files[0].name)).outcome, /^AbortError/);
  await app.cancelled(ids[0]);
  t.diagnostic(`cancelled after ${Math.round(performance.now() - began)} ms`);
  await in_budget(t, page);
  await page.evaluate(() => {
    for (const { up } of Object.values(window.uploads)) up.cancel('the end of the test');
  });
});
