// `<incoming-upload>` in the forms of examples/: Django and PHP render them, their pages have no script of their own. Three files over a
// line that breaks, a reload, a form that the app refuses once: the ids are posted once, every file is whole.
//
// `UI_MB` is the size of the large files, `UI_LARGE_FILES` their number (two or more): UI_MB=1000 UI_LARGE_FILES=3. `DJANGO_PYTHON` is a Python that has Django.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Line, Server, browser, file, folder, freePort, test, until } from './harness.js';
import { sha256 } from './site.js';
import { choose, visit, wait } from './ui-site.js';

const MB = 1_000_000;
const LARGE_MB = Number(process.env.UI_MB ?? 24);
const LARGE_FILES = Number(process.env.UI_LARGE_FILES ?? 2);
const EXAMPLES = resolve(import.meta.dirname, '../../examples');
const PYTHON = process.env.DJANGO_PYTHON ?? 'python3';

const APPS = {
  Django: { check: [PYTHON, '-c', 'import django'], run: () => [PYTHON, join(EXAMPLES, 'django/app.py')], missing: 'Django is not installed' },
  PHP: { check: ['php', '--version'], run: (port) => ['php', '-S', `127.0.0.1:${port}`, join(EXAMPLES, 'php/index.php')], missing: 'php is not installed' },
};

/** The example's app, its upload server, and a line between the browser and that. */
async function start(t, name) {
  const dir = await folder(t);
  const [port, upload, backend] = [await freePort(), await freePort(), await freePort()];
  const args = ['serve', '--listen', `127.0.0.1:${upload}`, '--backend-listen', `127.0.0.1:${backend}`, '--storage-dir', join(dir, 'storage'), '--shutdown-grace', '1s'];
  const server = new Server(t, args, `http://127.0.0.1:${backend}/readyz`);
  await server.start();
  const line = new Line(t, upload, LARGE_MB * MB / 4);
  const uploads = `http://localhost:${await line.open()}`;
  const env = { ...process.env, UPLOADS: uploads, BACKEND: `http://127.0.0.1:${backend}`, PORT: String(port), DATA: dir, PHP_CLI_SERVER_WORKERS: '4', PYTHONDONTWRITEBYTECODE: '1' };
  const [command, ...rest] = APPS[name].run(port);
  // A group of its own: PHP's workers outlive it otherwise.
  const app = spawn(command, rest, { cwd: dir, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  let log = '';
  for (const stream of [app.stdout, app.stderr]) stream.on('data', (text) => (log += text));
  t.after(() => process.kill(-app.pid, 'SIGKILL'));
  const url = `http://localhost:${port}/`;
  await until('the app answers', () => fetch(`http://127.0.0.1:${port}/`, { headers: { Host: `localhost:${port}` } }).then((answer) => answer.ok, () => false), async () => log);
  return { dir, line, url, uploads, on: await browser(t), log: () => log };
}

for (const [name, { check: [command, ...rest], missing }] of Object.entries(APPS)) {
  const absent = spawnSync(command, rest).status !== 0 && missing;
  test(`${name}: small and large files, a line that breaks, a reload, a form that is shown again: the ids are posted once`, async (t) => {
    const here = await start(t, name);
    const { page, console_errors } = await visit(here);
    const requests = [];
    page.on('request', (request) => requests.push(`${request.method()} ${request.url().replace(here.url, '/').replace(`${here.uploads}/`, 'U/').replace(/[0-9a-f-]{36}.*/, 'ID').replace(/^data:.*/, 'data')}`));
    const files = [await file(here.dir, 'small.bin', 1000)];
    for (let number = 1; number <= LARGE_FILES; number += 1) files.push(await file(here.dir, `lärge ${number}.bin`, LARGE_MB * MB));
    await choose(page, ...files);
    const is = (now, ...states) => now.entries.slice(0, states.length).map(({ state }) => state).join() === states.join();
    await wait(page, 'one is there, two are on their way', (now) => is(now, 'finished', 'uploading', 'uploading') && now.entries[1].bytes_acked > 0);
    here.line.cut();
    await wait(page, 'the line is broken', (now) => is(now, 'finished', 'stalled', 'stalled'));
    here.line.restore();
    await wait(page, 'they go on', (now) => is(now, 'finished', 'uploading', 'uploading'));

    await page.goto(here.url, { waitUntil: 'load' });
    const after = await wait(page, 'what was there is there, and the large ones are to be chosen again', ({ entries }) => entries.length === files.length);
    assert.deepEqual(after.entries.map(({ state }) => state).sort(), ['kept', ...files.slice(1).map(() => 'lost')]);
    await choose(page, ...files.slice(1));
    // Without a subject: the app shows the form again, with the files.
    await page.evaluate(() => document.querySelector('form > button').click());
    await wait(page, 'it is held', ({ held }) => held);
    const is_shown = () => page.evaluate(() => document.body.textContent.includes('Say what it is about.')).catch(() => false);
    // Large files take longer than a test waits for one thing.
    for (let tenths = 1; tenths < 10; tenths += 1) {
      await until(`${tenths} tenths of the bytes`, async () => (await is_shown()) || page.evaluate((share) => {
        const { bytes_acked, bytes_total } = document.querySelector('incoming-upload');
        return bytes_acked >= share * bytes_total;
      }, tenths / 10).catch(() => false));
    }
    await until('the form is shown again', is_shown);
    const again = await wait(page, 'it has the files', ({ entries }) => entries.length === files.length && entries.every(({ state }) => state === 'kept'));
    assert.deepEqual(again.violations, []);
    await page.type('[name=subject]', 'Our letter');
    await page.evaluate(() => document.querySelector('form > button').click());
    await until('it is sent', () => page.title().then((title) => title === 'Sent', () => false));
    const sent = await page.evaluate(() => document.body.textContent);
    for (const one of files) assert.ok(sent.includes(one.name), sent);

    const inbox = join(here.dir, 'received');
    const ids = await readdir(inbox);
    assert.equal(ids.length, files.length, 'no file was uploaded twice');
    const found = await Promise.all(ids.map(async (id) => sha256(join(inbox, id, (await readdir(join(inbox, id)))[0]))));
    assert.deepEqual(found.sort(), files.map((one) => one.sha256).sort());
    assert.deepEqual(console_errors, []);

    const kinds = [...new Set(requests)].filter((one) => one !== 'GET data').sort();
    const allowed = ['GET /', 'POST /', 'POST /ticket', 'GET U/incoming/frontend/incoming-ui.js', ...['GET', 'POST', 'PUT', 'OPTIONS'].map((method) => `${method} U/incoming/frontend/uploads/ID`)];
    assert.deepEqual(kinds.filter((one) => !allowed.includes(one)), [], 'tickets, chunks and status alone');
    assert.equal(requests.filter((one) => one === 'POST /ticket').length, files.length);
    assert.equal(requests.filter((one) => one === 'POST /').length, 2);
  }, { skip: { chromium: absent, firefox: absent } });

  test(`${name}: an id that was issued to someone else, and a forged request, are refused`, async (t) => {
    const here = await start(t, name);
    const { page } = await visit(here);
    const mine = await file(here.dir, 'mine.bin', 1000);
    await choose(page, mine);
    const { entries: [{ id }] } = await wait(page, 'it is there', ({ entries }) => entries[0]?.state === 'finished');
    const stranger = await visit({ ...here, on: await browser(t) });
    await stranger.page.type('[name=subject]', 'Theirs');
    await stranger.page.evaluate((claimed) => {
      const element = document.querySelector('incoming-upload');
      element.value = JSON.stringify([{ id: claimed, name: 'mine.bin' }]);
      document.querySelector('form > button').click();
    }, id);
    await until('it is refused', () => stranger.page.evaluate(() => document.body.textContent.includes('Choose a file.')).catch(() => false));
    await wait(stranger.page, 'the form has no file', ({ entries }) => entries.length === 0);
    const forged = await fetch(`${here.url.replace('localhost', '127.0.0.1')}ticket`, { method: 'POST', headers: { Host: new URL(here.url).host, 'Content-Type': 'application/json' }, body: '{"name":"a","size":1}' });
    assert.equal(forged.status, 403);
    const call = await fetch(`${here.url.replace('localhost', '127.0.0.1')}handover`, { method: 'POST', headers: { Host: new URL(here.url).host, 'Content-Type': 'application/x-www-form-urlencoded' }, body: 'id=x&cancelled=no&filename=%2Fetc%2Fhostname&filenameFromBrowser=x' });
    assert.equal(call.status, 401);
  }, { skip: { chromium: absent, firefox: absent } });
}
