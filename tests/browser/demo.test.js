// The demo page in a real browser, over https: what a person does with it, and what happens to it.

import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Line, browser, choose, demo, file, folder, kind_of, open, press, received, row, test, until } from './harness.js';
import { violations } from './ui-site.js';

const MB = 1_000_000;

/** A demo behind a slow line, a browser on its page. */
async function demo_over_line(t, bytesPerSecond) {
  const app = await demo(t);
  const line = new Line(t, app.https, bytesPerSecond);
  const port = await line.open();
  const on = await browser(t);
  const { page, console_errors } = await open(on, `https://localhost:${port}/`);
  return { app, line, page, console_errors, dir: await folder(t) };
}

const uploading = async (page, name, percent) =>
  until(`${name} is on its way`, async () => {
    const seen = await row(page, name);
    return seen?.state === 'uploading' && seen.percent >= percent && seen.percent < 90;
  });

const parts = async (app) =>
  (await readdir(join(app.dir, 'data/storage'))).filter((name) => name.endsWith('.part'));

test('several files at once arrive whole, also an empty and a strangely named one', async (t) => {
  const app = await demo(t);
  const on = await browser(t);
  const { page, console_errors } = await open(on, `https://localhost:${app.https}/`);
  const dir = await folder(t);
  const files = [
    await file(dir, 'large.bin', 40 * MB),
    await file(dir, 'empty.bin', 0),
    await file(dir, '<script>alert(1)<!-- ü "quoted" .txt', 3 * MB),
    await file(dir, 'one more.bin', 9 * MB),
  ];
  await choose(page, ...files);
  for (const one of files) {
    await received(page, one);
    await until(`${one.name} is finished`, async () => (await row(page, one.name))?.state === 'finished');
  }
  assert.deepEqual(console_errors, []);
});

test('pause and resume', async (t) => {
  const { page, console_errors, dir } = await demo_over_line(t, 4 * MB);
  const one = await file(dir, 'paused.bin', 16 * MB);
  await choose(page, one);
  await uploading(page, one.name, 5);
  await press(page, one.name, 'Pause');
  await until('it is paused', async () => (await row(page, one.name)).state === 'paused');
  await press(page, one.name, 'Resume');
  await received(page, one);
  assert.deepEqual(console_errors, []);
});

test('cancel removes what was stored', async (t) => {
  const { app, page, console_errors, dir } = await demo_over_line(t, 4 * MB);
  const one = await file(dir, 'cancelled.bin', 60 * MB);
  await choose(page, one);
  await uploading(page, one.name, 5);
  assert.equal((await parts(app)).length, 1);
  await press(page, one.name, 'Cancel');
  await until('it is cancelled', async () => (await row(page, one.name)).state === 'cancelled');
  await until('its bytes are gone', async () => (await parts(app)).length === 0);
  assert.deepEqual(console_errors, []);
});

test('the server is killed and started again: the page goes on by itself', async (t) => {
  const { app, page, console_errors, dir } = await demo_over_line(t, 6 * MB);
  const files = [await file(dir, 'survivor-1.bin', 18 * MB), await file(dir, 'survivor-2.bin', 12 * MB)];
  await choose(page, ...files);
  await uploading(page, files[0].name, 5);
  await app.server.kill('SIGKILL');
  await until('the page has noticed', async () => (await row(page, files[0].name)).state === 'stalled');
  await app.server.start();
  for (const one of files) await received(page, one);
  assert.deepEqual(console_errors, []);
});

test('the network is cut for a while', async (t) => {
  const { line, page, console_errors, dir } = await demo_over_line(t, 6 * MB);
  const one = await file(dir, 'cut.bin', 18 * MB);
  await choose(page, one);
  await uploading(page, one.name, 5);
  line.cut();
  await until('the page has noticed', async () => (await row(page, one.name)).state === 'stalled');
  line.restore();
  await received(page, one);
  assert.deepEqual(console_errors, []);
});

test('the page counts down to the next try, and the wait can be skipped', async (t) => {
  const { line, page, console_errors, dir } = await demo_over_line(t, 6 * MB);
  const one = await file(dir, 'counted.bin', 14 * MB);
  await choose(page, one);
  await uploading(page, one.name, 5);
  line.cut();
  const seconds = async () => Number(/next try in (\d+) s/.exec((await row(page, one.name)).text)?.[1] ?? 0);
  // Pauses grow: in time there is one that is long enough to see it count.
  const seen = [];
  await until('it counts down by three', async () => {
    const now = await seconds();
    if (now > 0 && seen.at(-1) !== now) seen.push(now);
    const [a, b, c, d] = seen.slice(-4);
    return a === b + 1 && b === c + 1 && c === d + 1;
  });
  await until('a long wait', async () => (await seconds()) > 10);
  line.restore();
  const began = performance.now();
  await press(page, one.name, 'Try again');
  await until('it goes on', async () => (await row(page, one.name)).state === 'uploading');
  assert.ok(performance.now() - began < 8000);
  await received(page, one);
  assert.deepEqual(console_errors, []);
});

test('paused in the first chunk: what has arrived is shown; cancelled while paused, the server knows', async (t) => {
  const { app, page, console_errors, dir } = await demo_over_line(t, 0.1 * MB);
  const one = await file(dir, 'kept.bin', 10 * MB);
  await choose(page, one);
  await until('bytes are on their way, and none acknowledged', () => page.evaluate(() => {
    const [entry] = document.querySelector('incoming-upload').entries;
    return entry?.uploader?.bytes_tx > 100_000 && entry.bytes_acked === 0;
  }));
  await press(page, one.name, 'Pause');
  await until('what is kept is shown', async () => {
    const bytes_acked = await page.evaluate(() => document.querySelector('incoming-upload').entries[0].bytes_acked);
    return (await row(page, one.name)).state === 'paused' && bytes_acked > 0;
  });
  await press(page, one.name, 'Cancel');
  await until('it is cancelled', async () => (await row(page, one.name)).state === 'cancelled');
  await until('its bytes are gone', async () => (await parts(app)).length === 0);
  assert.deepEqual(console_errors, []);
});

test('cancelled offline: the server knows when it can be reached', async (t) => {
  const { app, line, page, console_errors, dir } = await demo_over_line(t, 4 * MB);
  const one = await file(dir, 'unheard.bin', 60 * MB);
  await choose(page, one);
  await uploading(page, one.name, 3);
  line.cut();
  await until('the page has noticed', async () => (await row(page, one.name)).state === 'stalled');
  await press(page, one.name, 'Cancel');
  await until('it is cancelled', async () => (await row(page, one.name)).state === 'cancelled');
  assert.equal((await parts(app)).length, 1);
  line.restore();
  await until('its bytes are gone', async () => (await parts(app)).length === 0);
  assert.deepEqual(console_errors, []);
});

test('a file that is chosen again while it is uploaded: a message, and no second upload', async (t) => {
  const { page, console_errors, dir } = await demo_over_line(t, 4 * MB);
  const one = await file(dir, 'again.bin', 20 * MB);
  await choose(page, one);
  await uploading(page, one.name, 3);
  await choose(page, one);
  await until('a message', () => page.evaluate(() => document.querySelector('incoming-upload').shadowRoot.querySelector('[role=alert]').textContent === 'again.bin is in the list already.'));
  assert.equal(await page.evaluate(() => document.querySelector('incoming-upload').entries.length), 1);
  await received(page, one);
  assert.deepEqual(console_errors, []);
});

test('the page is reloaded: the same file goes on where it was', async (t) => {
  const { line, page, console_errors, dir } = await demo_over_line(t, 4 * MB);
  // Large enough that it cannot end while the page is fetched behind its bytes.
  const one = await file(dir, 'reloaded.bin', 50 * MB);
  await choose(page, one);
  await uploading(page, one.name, 30);
  await page.reload({ waitUntil: 'load' });
  await until('the page remembers', async () => (await row(page, one.name))?.state === 'lost');
  const before = line.bytes;
  await choose(page, one);
  await received(page, one);
  assert.ok(line.bytes - before < 0.85 * one.bytes, 'what the server had was not sent again');
  assert.deepEqual(console_errors, []);
});

test('with a file handle the reloaded page goes on at one press', async (t) => {
  const { page, console_errors } = await demo_over_line(t, 4 * MB);
  const bytes = 30 * MB;
  const sha256 = await page.evaluate(async (size) => {
    const root = await navigator.storage.getDirectory();
    const handle = await root.getFileHandle('handle.bin', { create: true });
    const writing = await handle.createWritable();
    await writing.write(new Uint8Array(size).map((_, at) => at >> 10));
    await writing.close();
    const file = await handle.getFile();
    const headers = { 'Content-Type': 'application/json' };
    const answer = await fetch('/api/tickets', { method: 'POST', headers, body: JSON.stringify({ name: file.name, size }) });
    window.up = new incoming.Uploader((await answer.json()).id, file, { handle }).start();
    const hash = await crypto.subtle.digest('SHA-256', await file.arrayBuffer());
    return [...new Uint8Array(hash)].map((one) => one.toString(16).padStart(2, '0')).join('');
  }, bytes);
  await until('it is on its way', () => page.evaluate(() => window.up.bytes_acked > 2_000_000));
  await page.reload({ waitUntil: 'load' });
  await press(page, 'handle.bin', 'Resume');
  await until('it goes on', async () => (await row(page, 'handle.bin'))?.percent > 5);
  await received(page, { name: 'handle.bin', sha256 });
  await until('it is finished', async () => (await row(page, 'handle.bin')).state === 'finished');
  assert.deepEqual(console_errors, []);
});

test('axe-core finds nothing on the page, in light and dark', async (t) => {
  const { page, console_errors, dir } = await demo_over_line(t, 4 * MB);
  const files = [await file(dir, 'there.bin', MB), await file(dir, 'on its way.bin', 60 * MB)];
  await choose(page, ...files);
  await received(page, files[0]);
  for (const details of ['terminal', 'doctor']) await page.evaluate((id) => (document.getElementById(id).open = true), details);
  if (kind_of(t) === 'chromium') await page.setBypassCSP(true);
  for (const scheme of kind_of(t) === 'chromium' ? ['light', 'dark'] : ['light']) {
    if (kind_of(t) === 'chromium') await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    assert.deepEqual(await violations(page), [], scheme);
  }
  assert.deepEqual(console_errors, []);
});

test('the page fits a phone', async (t) => {
  const app = await demo(t);
  const on = await browser(t);
  const { page } = await open(on, `http://localhost:${app.http}/`);
  await page.setViewport({ width: 360, height: 740, isMobile: true, hasTouch: true });
  const one = await file(await folder(t), `${'a-very-long-name-'.repeat(10)}.bin`, 2 * MB);
  await choose(page, one);
  await received(page, one);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 360, `the page is ${wide} pixels wide`);
  const name = await page.$eval('[data-testid=received-file] .name', (node) => ({ cut: node.scrollWidth > node.clientWidth, lines: node.getClientRects().length, title: node.title }));
  assert.deepEqual(name, { cut: true, lines: 1, title: one.name });
});
