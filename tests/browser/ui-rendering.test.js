// `<incoming-upload>` rendered on a server by React 19 and Vue 3 and hydrated in the browser; a list in React on an `UploadQueue`.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { browser, file, folder, open, test, until } from './harness.js';
import { site } from './site.js';
import { body_of, choose, finished, look } from './ui-site.js';

const HERE = import.meta.dirname;
const DIST = resolve(HERE, '../../incoming-js/dist');

async function bundle(name, platform) {
  const { outputFiles } = await build({
    entryPoints: [join(HERE, 'frameworks', name)], bundle: true, platform, format: platform === 'node' ? 'cjs' : 'iife', write: false, target: 'es2022', jsx: 'automatic', nodePaths: [join(HERE, '../node_modules')],
    define: { __VUE_OPTIONS_API__: 'true', __VUE_PROD_DEVTOOLS__: 'false', __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: 'true', 'process.env.NODE_ENV': '"development"' },
    alias: { 'incoming-js/ui': join(DIST, 'incoming-ui.mjs'), 'incoming-js/queue': join(DIST, 'incoming-queue.mjs'), 'incoming-js': join(DIST, 'incoming.mjs') },
  });
  return outputFiles[0].text;
}

/** The app, with a page that this framework renders here and hydrates there. */
async function rendered(t, framework, extension) {
  const app = await site(t);
  const dir = await folder(t);
  const module = join(dir, 'server.cjs');
  await writeFile(module, await bundle(`${framework}-server.${extension}`, 'node'));
  const { default: { render } } = await import(pathToFileURL(module));
  const html = await render(app.origin);
  const script = await bundle(`${framework}-page.${extension}`, 'browser');
  const posts = [];
  const send = (type, body) => (answer) => answer.writeHead(200, { 'Content-Type': type }).end(body);
  app.more.set('/page', send('text/html', `<!doctype html><html lang="en" data-server="${app.origin}"><meta charset="utf-8"><title>page</title><div id="root">${html}</div><div id="list"></div><script src="/page.js"></script></html>`));
  app.more.set('/page.js', send('text/javascript', script));
  app.more.set('/ticket', async (answer) => answer.end(await app.ticket()));
  app.more.set('/posted', async (answer, request) => {
    posts.push([...new URLSearchParams(await body_of(request))]);
    answer.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><title>thank you</title>');
  });
  const opened = await open(await browser(t), `${app.page}page`);
  await until('it is hydrated', () => opened.page.evaluate(() => Boolean(document.querySelector('incoming-upload')?.queue)));
  return { app, dir, html, posts, ...opened };
}

for (const [framework, extension] of [['react', 'jsx'], ['vue', 'js']]) {
  test(`${framework}: what the server rendered stays, files are uploaded and posted`, async (t) => {
    const { dir, html, posts, page, console_errors } = await rendered(t, framework, extension);
    assert.match(html, /<incoming-upload [^>]*ticket-url="\/ticket"/);
    assert.equal(await page.evaluate(() => document.querySelectorAll('incoming-upload > input').length), 1, 'the fallback is as the server wrote it');
    await choose(page, await file(dir, 'a.bin', 1000), await file(dir, 'b.bin', 0));
    const { entries } = await finished(page, 2);
    await until('the framework has the events', () => page.evaluate(() => document.querySelector('output').textContent === '2'));
    assert.equal((await look(page)).violations, undefined);
    await page.evaluate(() => document.querySelector('#send').click());
    await until('it is posted', () => page.title().then((title) => title === 'thank you', () => false));
    const ids = posts[0].filter(([name]) => name === 'files').map(([, id]) => id);
    assert.deepEqual(ids, entries.map(({ id }) => id));
    assert.deepEqual(console_errors, []);
  });
}

test('react: a list of a queue, by useSyncExternalStore', async (t) => {
  const { page, console_errors } = await rendered(t, 'react', 'jsx');
  await page.evaluate(() => void window.queue.add([new File(['abc'], 'a.txt'), new File(['d'], 'b.txt')]));
  await until('both are there', () => page.evaluate(() => document.querySelector('#counts').textContent === '2 of 2'));
  assert.deepEqual(await page.evaluate(() => [...document.querySelectorAll('#list li')].map((one) => one.textContent)), ['a.txt: finished', 'b.txt: finished']);
  assert.deepEqual(console_errors, []);
});
