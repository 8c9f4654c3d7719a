// Makes the pictures that README and docs show: node pictures.js [FOLDER], in tests/browser, with Chromium. Default: docs/pictures.
// They show the real element and the real operator's page against a real server, so they are made anew when it changes.

import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { file, test, until } from './harness.js';
import { operated, visit as visit_page, wait as wait_page } from './operator-site.js';
import { choose, forms, visit, wait } from './ui-site.js';

/** Zeros, a piece of 64 KB after each pause. */
async function* trickle(bytes, pause_ms) {
  for (let at = 0; at < bytes; at += 64_000) {
    yield new Uint8Array(64_000);
    await new Promise((next) => setTimeout(next, pause_ms));
  }
}

const FOLDER = resolve(process.argv[2] ?? process.env.PICTURES ?? join(import.meta.dirname, '../../docs/pictures'));

test('the element in a form', async (t) => {
  const at = await forms(t, { bytes_per_second: 3_000_000 });
  const { page } = await visit(at);
  await page.setViewport({ width: 560, height: 520, deviceScaleFactor: 2 });
  const sizes = { 'Contract.pdf': 300_000, 'Site survey.zip': 24_000_000, 'Interview, camera 2.mp4': 60_000_000 };
  const files = [];
  for (const [name, bytes] of Object.entries(sizes)) files.push(await file(at.dir, name, bytes));
  await choose(page, ...files);
  await wait(page, 'some bytes of each', ({ entries }) => entries.every(({ bytes_acked, size }) => bytes_acked > Math.min(size - 1, 8_000_000)));
  await page.evaluate(() => {
    // The test's page has no style of its own; its policy lets a script of the test set one.
    document.body.style.cssText = 'font: 16px system-ui, sans-serif; margin: 20px';
    document.querySelector('h1').textContent = 'Send a letter';
    document.querySelector('#draft').remove();
    document.querySelector('#send').style.cssText = 'font: inherit; margin-top: 16px; padding: 4px 10px';
  });
  await mkdir(FOLDER, { recursive: true });
  await page.screenshot({ path: join(FOLDER, 'element.png'), clip: await page.evaluate(() => ({ x: 0, y: 0, width: 560, height: Math.ceil(document.querySelector('main').getBoundingClientRect().bottom) + 20 })) });
}, { skip: { firefox: 'one browser is enough', webkit: 'one browser is enough' } });

test('the operator\'s page', async (t) => {
  const MB = 1_000_000;
  const at = await operated(t, { args: ['--handover-retry-for', '3s'], min_free_space: '1GiB', answer: (response) => response.writeHead(503).end('the disk is full') });
  const put = async (name, bytes) => {
    const id = await at.begin(name, bytes);
    await at.put(id, 0, Buffer.alloc(bytes), bytes);
    return id;
  };
  const lost = await put('Minutes of May.pdf', 300_000);
  await until('it has failed', async () => (await at.state(lost)) === 'failed');
  at.app.answer = (response) => response.end('done');
  for (const name of ['Contract.pdf', 'Plan.dwg']) {
    const id = await put(name, 2 * MB);
    await until('it is taken', async () => (await at.state(id)) === 'finished');
  }
  at.app.answer = () => {};
  await put('Ground floor.jpg', 4 * MB);
  // Chunks come slowly, two at a time of each file, as from clients far away.
  const leaving = new AbortController();
  const sending = Object.entries({ 'Interview, camera 2.mp4': 600, 'Site survey.zip': 300, 'Photos of the roof.zip': 250 }).map(async ([name, length], n) => {
    const id = await at.begin(name, length * MB);
    const put_slowly = async (first) => {
      for (let from = first; !leaving.signal.aborted && from < 0.8 * length; from += 16) {
        const headers = { 'Content-Range': `bytes ${from * MB}-${(from + 8) * MB - 1}/${length * MB}` };
        await fetch(at.upload_url(id), { method: 'PUT', headers, body: trickle(8 * MB, 30 + 12 * n), duplex: 'half', signal: leaving.signal }).catch(() => {});
      }
    };
    await Promise.all([put_slowly(0), put_slowly(8)]);
  });
  t.after(() => (leaving.abort(), Promise.all(sending)));
  const { page } = await visit_page(t, at);
  await mkdir(FOLDER, { recursive: true });
  await wait_page(page, 'a line in the chart', ({ live, pending, failed }) => live.length === 3 && pending.length === 1 && failed.length === 1);
  await new Promise((next) => setTimeout(next, 25_000));
  const look_at = async (width, scheme) => {
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    await page.setViewport({ width, height: 900, deviceScaleFactor: 1 });
  };
  await look_at(1280, 'light');
  await page.screenshot({ path: join(FOLDER, 'operator.png') });
  // For whoever changes the page: the other ways in which it looks.
  if (process.env.ALL_LOOKS) {
    for (const width of [1280, 320]) {
      for (const scheme of ['light', 'dark']) {
        await look_at(width, scheme);
        await page.screenshot({ path: join(FOLDER, `operator-${width}-${scheme}.png`), fullPage: true });
      }
    }
  }
}, { skip: { firefox: 'one browser is enough', webkit: 'one browser is enough' } });
