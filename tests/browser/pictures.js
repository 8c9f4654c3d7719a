// Makes the pictures that README and docs show: node pictures.js [FOLDER], in tests/browser, with Chromium. Default: docs/pictures.
// They show the real element against a real server, so they are made anew when it changes.

import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { file, test } from './harness.js';
import { choose, forms, visit, wait } from './ui-site.js';

const FOLDER = resolve(process.argv[2] ?? process.env.PICTURES ?? join(import.meta.dirname, '../../docs/pictures'));

test('the element in a form', async (t) => {
  const at = await forms(t, { bytes_per_second: 3_000_000 });
  const { page } = await visit(at);
  await page.setViewport({ width: 560, height: 520, deviceScaleFactor: 2 });
  const sizes = { 'Contract.pdf': 300_000, 'Site survey.zip': 24_000_000, 'Interview, camera 2.mp4': 60_000_000 };
  const files = [];
  for (const [name, bytes] of Object.entries(sizes)) files.push(await file(at.dir, name, bytes));
  await choose(page, ...files);
  await wait(page, 'some bytes of each', ({ entries }) => entries.every(({ bytes_acked, size }) => bytes_acked > Math.min(size - 1, 2_000_000)));
  await page.evaluate(() => {
    // The test's page has no style of its own; its policy lets a script of the test set one.
    document.body.style.cssText = 'font: 16px system-ui, sans-serif; margin: 20px';
    document.querySelector('h1').textContent = 'Send a letter';
    document.querySelector('#draft').remove();
  });
  await mkdir(FOLDER, { recursive: true });
  await page.screenshot({ path: join(FOLDER, 'element.png'), clip: await page.evaluate(() => ({ x: 0, y: 0, width: 560, height: Math.ceil(document.querySelector('main').getBoundingClientRect().bottom) + 20 })) });
}, { skip: { firefox: 'one browser is enough', webkit: 'one browser is enough' } });
