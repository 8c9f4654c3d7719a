// The page of docs/clients/tus-js-client.md in real browsers.

import assert from 'node:assert/strict';
import { file, test, until } from '../../../browser/harness.js';
import { MIB, page_with } from './pages.js';

const state = (page) => page.$eval('#state', ({ textContent }) => textContent);

async function choose(page, one) {
  await (await page.$('#file')).uploadFile(one.path);
}

async function arrives(app, page, one) {
  await until('the page says that it is sent', async () => (await state(page)) === 'sent');
  const call = await app.taken(app.made[0]);
  assert.deepEqual([call.sha256, call.filenameFromBrowser, app.made.length], [one.sha256, one.name, 1]);
}

for (const version of ['tus4', 'tus5']) {
  test(`${version}: a file, and one without bytes`, async (t) => {
    for (const bytes of [3 * MIB + 7, 0]) {
      const { app, page, dir } = await page_with(t, version);
      const one = await file(dir, 'film – ü.mp4', bytes);
      await choose(page, one);
      await arrives(app, page, one);
    }
  });

  test(`${version}: a reload, and the same file goes on where it was`, async (t) => {
    const { app, page, line, dir } = await page_with(t, version, 6 * MIB);
    const one = await file(dir, 'again.bin', 12 * MIB);
    await choose(page, one);
    await until('half of it is sent', () => line.bytes > 6 * MIB);
    const carried = line.bytes;
    await page.reload({ waitUntil: 'load' });
    await choose(page, one);
    await arrives(app, page, one);
    assert.ok(line.bytes - carried < one.bytes, `${line.bytes - carried} bytes after the reload`);
  });
}
