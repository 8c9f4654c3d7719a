// Pages with Uppy or tus-js-client, made of the code in docs/clients, on another origin than the upload server; and what
// tests do in them. The line to the upload server can be slow and be cut.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';
import { Line, browser, folder, open, until } from '../../../browser/harness.js';
import { site } from '../../../browser/site.js';

const HERE = import.meta.dirname;
const DOCS = join(HERE, '../../../../docs/clients');
export const MIB = 1 << 20;

/** The blocks of code in a page of the documentation. */
export async function blocks(page, language = 'js') {
  const text = await readFile(join(DOCS, page), 'utf8');
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))].map(([, code]) => code);
}

/** Script and style of a page with this code, and with this version of tus-js-client instead of Uppy's own. */
async function bundle(code, version) {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: HERE },
    absWorkingDir: HERE,
    bundle: true,
    alias: version ? { 'tus-js-client': version } : {},
    format: 'esm',
    outdir: HERE,
    write: false,
    minify: true,
    logLevel: 'error',
  });
  const of = (end) => outputFiles.find(({ path }) => path.endsWith(end))?.contents ?? '';
  return { '/page.js': ['text/javascript', of('.js')], '/page.css': ['text/css', of('.css')] };
}

const [ROUTE, TICKETS] = await blocks('uppy.md');
const [TUS] = await blocks('tus-js-client.md');
const [INPUT] = await blocks('tus-js-client.md', 'html');
/** Made once: Uppy with the web app's own route as endpoint and with a ticket for each file, and a page without Uppy. */
const PAGES = {
  route: await bundle(`${ROUTE}\nwindow.uppy = uppy;`),
  tickets: await bundle(`${ROUTE}\n${TICKETS}\nwindow.uppy = uppy;`),
  tus4: await bundle(TUS, 'tus4'),
  tus5: await bundle(TUS, 'tus5'),
};

/** Answers a request of a page for a new upload: with `Location`, or as JSON. */
async function create(app, origin, request, answer, as_ticket) {
  const body = new URLSearchParams({
    signalFinishURL: `http://127.0.0.1:${app.port}/handover`,
    length: request.headers['upload-length'] ?? '',
    uploadMetadata: request.headers['upload-metadata'] ?? '',
    uploadConcat: request.headers['upload-concat'] ?? '',
  });
  const made = await fetch(`http://127.0.0.1:${app.backendPort}/incoming/backend/new_upload`, {
    method: 'POST', body, headers: { Accept: 'application/json' },
  });
  assert.equal(made.status, 200, 'no ticket');
  const { id, tus_url } = await made.json();
  app.made.push(id);
  if (as_ticket === 'id') return answer.end(id);
  if (as_ticket) return answer.setHeader('Content-Type', 'application/json').end(JSON.stringify({ id, tus_url: `${origin}${tus_url}` }));
  return answer.writeHead(201, { Location: `${origin}${tus_url}`, 'Tus-Resumable': '1.0.0' }).end();
}

/** A page of that kind, a web app and its server with a line of so many bytes a second between. */
export async function page_with(t, kind, rate = 200 * MIB) {
  const app = await site(t, { serve: ({ port }) => ['--create-url', `http://127.0.0.1:${port}/create`] });
  const line = new Line(t, app.uploadPort, rate, { together: true });
  const origin = `http://localhost:${await line.open()}`;
  app.made = [];
  app.asked = [];
  app.more.set('/uploads', (answer, request) => create(app, origin, request, answer));
  app.more.set('/ticket', (answer, request) => create(app, origin, request, answer, 'json'));
  app.more.set('/create', (answer, request) => {
    app.asked.push(request.headers);
    return create(app, origin, request, answer, 'id');
  });
  for (const [path, [type, content]] of Object.entries(PAGES[kind])) {
    app.more.set(path, (answer) => answer.setHeader('Content-Type', type).end(content));
  }
  app.more.set('/uploader', (answer) => answer.setHeader('Content-Type', 'text/html').end(`<!doctype html><meta charset="utf-8">
    <title>uploads</title><link rel="stylesheet" href="/page.css">
    <div id="uppy"></div> ${INPUT}
    <script type="module" src="/page.js"></script>`));
  const on = await browser(t);
  const { page, console_errors } = await open(on, new URL('/uploader', app.page).href);
  return { app, line, origin, page, console_errors, dir: await folder(t) };
}

/** A page with Uppy; `options` are those of its plugin Tus. */
export async function page_with_uppy(t, { rate, kind = 'route', options = {} } = {}) {
  const made = await page_with(t, kind, rate);
  const uppy = new Uppy(made.app, made.page, made.line, options);
  await uppy.ready();
  return { ...made, uppy };
}

class Uppy {
  constructor(app, page, line, options) {
    Object.assign(this, { app, page, line, options });
  }

  /** Waits for Uppy after a load of the page, sets the options, and records each answer. */
  async ready() {
    await this.page.waitForFunction(() => window.uppy !== undefined);
    await this.page.evaluate((options) => {
      [window.requests, window.failures] = [[], 0];
      const onAfterResponse = (request, response) => void window.requests.push(`${request.getMethod()} ${response.getStatus()}`);
      const onShouldRetry = (error, attempt, mine, by_default) => ((window.failures += 1), by_default(error));
      window.uppy.getPlugin('Tus').setOptions({ ...options, onAfterResponse, onShouldRetry });
    }, this.options);
  }

  requests() {
    return this.page.evaluate(() => window.requests);
  }

  /** Waits until a request has failed. A browser itself sends one again first, where it can. */
  fails() {
    return this.page.waitForFunction(() => window.failures > 0);
  }

  /** Chooses files in the Dashboard. */
  async choose(...files) {
    if (await this.page.$('.uppy-DashboardContent-addMore')) await this.press('.uppy-DashboardContent-addMore');
    const input = await this.page.waitForSelector('.uppy-Dashboard-input');
    await input.uploadFile(...files.map(({ path }) => path));
    await until('the files are chosen', async () => (await this.files()).length === files.length);
  }

  /** What Uppy says of its files. */
  files() {
    return this.page.evaluate(() => window.uppy.getFiles().map(({ id, name, size, progress, error, uploadURL, isGhost, tus }) =>
      ({ id, name, size, error, uploadURL, isGhost, sent: Number(progress.bytesUploaded), complete: Boolean(progress.uploadComplete), tus: tus?.uploadUrl })));
  }

  sent() {
    return this.files().then((files) => files.reduce((sum, { sent }) => sum + sent, 0));
  }

  /** Presses a button of the Dashboard. */
  async press(selector) {
    await this.page.waitForSelector(selector, { visible: true });
    await this.page.evaluate((which) => document.querySelector(which).click(), selector);
  }

  upload() {
    return this.press('.uppy-StatusBar-actionBtn--upload');
  }

  /** Chooses files and starts their upload. */
  async send(...files) {
    await this.choose(...files);
    await this.upload();
  }

  /** Waits until the line has carried so many bytes. What Uppy counts as sent may lie in the browser and the kernel. */
  reaches(bytes) {
    return until(`${bytes} bytes are sent`, async () => {
      const failed = (await this.files()).find(({ error }) => error);
      assert.equal(failed, undefined, JSON.stringify(failed));
      return this.line.bytes >= bytes;
    });
  }

  /** Waits until all is sent, and until the web app has these files, whole and each once; their calls. */
  async arrive(...files) {
    await until('Uppy has sent all', async () => {
      const now = await this.files();
      assert.deepEqual(now.filter(({ error }) => error), []);
      return now.every(({ complete }) => complete);
    });
    await until('the web app has all', () => this.#calls().length >= files.length);
    const found = Object.fromEntries(this.#calls().map((call) => [call.filenameFromBrowser, call.sha256]));
    assert.deepEqual(found, Object.fromEntries(files.map(({ name, sha256 }) => [name, sha256])));
    assert.equal(this.#calls().length, files.length);
    return this.#calls();
  }

  #calls() {
    return [...this.app.calls.values()].flat().filter(({ cancelled }) => cancelled === 'no');
  }
}
