// A web app on its own origin beside an upload server: it issues tickets, receives files and records every
// call. Its page is a file input and the library. The functions below drive uploads in that page.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat, utimes } from 'node:fs/promises';
import { createServer, request as ask } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { Line, Server, browser, file, folder, freePort, open, until } from './harness.js';

const PAGE_SCRIPT = join(import.meta.dirname, 'page-script.js');

const MB = 1_000_000;

export async function sha256(path) {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/** The web app and its upload server. */
class Site {
  /** Handover calls by the id of the upload, oldest first, each with what was found in the file. */
  calls = new Map();
  /** What is recorded of a file's content. A backend that takes over 2 s for it is called for one upload at a time. */
  hash = sha256;
  /** Answers a handover; may take its time. */
  handover = async () => 'done';
  /** Where the page finds the library. */
  library;
  csp;
  /** More that the web app answers, by path: functions of the answer. */
  more = new Map();

  /** The page, as seen by the browser. */
  get page() {
    return `http://localhost:${this.port}/`;
  }

  /** Asks the upload server for a ticket. */
  async ticket(more = {}) {
    const signalFinishURL = `http://127.0.0.1:${this.port}/handover`;
    const { status, word } = await this.backend('new_upload', { signalFinishURL, ...more });
    if (status !== 200) throw new Error(`no ticket: ${status} ${word}`);
    return word;
  }

  /** Calls the upload server's backend API. */
  async backend(call, parameters) {
    const body = new URLSearchParams(parameters);
    const answer = await fetch(`http://127.0.0.1:${this.backendPort}/incoming/backend/${call}`, { method: 'POST', body });
    return { status: answer.status, word: await answer.text() };
  }

  /** What the server says of an upload. */
  async status(id) {
    const answer = await fetch(`http://127.0.0.1:${this.backendPort}/incoming/backend/uploads/${id}`);
    return answer.json();
  }

  /** Waits until the web app has taken a file over, and gives the call. */
  taken(id) {
    return until(`upload ${id} is handed over`, () => this.calls.get(id)?.find((one) => one.cancelled === 'no'));
  }

  /** Waits until the web app knows that an upload was cancelled, and gives the call. */
  cancelled(id) {
    return until(`the web app knows that ${id} is cancelled`, () => this.calls.get(id)?.find((one) => one.cancelled === 'yes'));
  }

  async #answer(request, answer) {
    const { pathname } = new URL(request.url, this.page);
    const send = (type, text) => {
      answer.setHeader('Content-Type', type);
      answer.setHeader('Cache-Control', 'no-store');
      if (this.csp) answer.setHeader('Content-Security-Policy', this.csp);
      answer.end(text);
    };
    if (pathname === '/') {
      return send('text/html', `<!doctype html><meta charset="utf-8"><title>a web app</title>
        <script src="${this.library}"></script><script src="/page-script.js"></script>
        <input type="file" id="files" multiple>`);
    }
    if (pathname === '/page-script.js') return send('text/javascript', await readFile(PAGE_SCRIPT));
    if (pathname === '/favicon.ico') return answer.writeHead(204).end();
    if (pathname === '/handover') return this.#take(request, send);
    if (this.more.has(pathname)) return this.more.get(pathname)(answer, request);
    if (pathname.startsWith('/incoming/')) return this.#pass(request, answer);
    return answer.writeHead(404).end();
  }

  async #take(request, send) {
    let body = '';
    for await (const part of request) body += part;
    const call = Object.fromEntries(new URLSearchParams(body));
    if (call.filename) {
      call.sha256 = await this.hash(call.filename);
      call.bytes = (await stat(call.filename)).size;
    }
    if (!this.calls.has(call.id)) this.calls.set(call.id, []);
    this.calls.get(call.id).push(call);
    send('text/plain', call.cancelled === 'yes' ? '' : await this.handover(call));
  }

  /** Passes a request on to the upload server, as a reverse proxy does. */
  #pass(request, answer) {
    const { method, url: path, headers } = request;
    const on = ask({ host: '127.0.0.1', port: this.uploadPort, method, path, headers }, (theirs) => {
      answer.writeHead(theirs.statusCode, theirs.headers);
      theirs.pipe(answer);
    });
    on.on('error', () => answer.destroy());
    request.on('error', () => on.destroy());
    request.pipe(on);
  }

  static async open(t, serve, tls) {
    const site = new Site();
    const web = createServer((request, answer) => {
      site.#answer(request, answer).catch(() => answer.destroy());
    });
    await new Promise((done) => web.listen(0, '127.0.0.1', done));
    t.after(() => (web.closeAllConnections(), web.close()));
    site.port = web.address().port;
    site.dir = await folder(t);
    [site.uploadPort, site.backendPort] = [await freePort(), await freePort()];
    const args = [
      'serve', '--listen', `127.0.0.1:${site.uploadPort}`, '--backend-listen', `127.0.0.1:${site.backendPort}`,
      '--storage-dir', join(site.dir, 'data'), '--shutdown-grace', '1s',
    ];
    if (tls) args.push(...await certificate(site.dir));
    args.push(...(typeof serve === 'function' ? serve(site) : serve));
    site.server = new Server(t, args, `http://127.0.0.1:${site.backendPort}/readyz`);
    await site.server.start();
    site.origin = `${tls ? 'https' : 'http'}://localhost:${site.uploadPort}`;
    site.library = `${site.origin}/incoming/frontend/incoming.js`;
    return site;
  }
}

/** A web app and an upload server with these arguments more; with `tls` the server speaks HTTP/2. */
export function site(t, { serve = [], tls = false } = {}) {
  return Site.open(t, serve, tls);
}

export async function certificate(dir) {
  const [cert, key] = [join(dir, 'cert.pem'), join(dir, 'key.pem')];
  await promisify(execFile)('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert,
  ]);
  return ['--tls-cert', cert, '--tls-key', key];
}

/** Puts files into the page's input. */
export async function choose_files(page, ...files) {
  await (await page.$('#files')).uploadFile(...files.map((one) => one.path));
}

/** Makes an uploader in the page for the file at `index` of the input, recorded as `name`, and starts it unless `start` is false. */
export async function start_upload(page, id, { name = 'up', index = 0, options = {}, start = true } = {}) {
  await page.evaluate((...what) => window.start_upload(...what), id, name, index, options, start);
}

/** Properties of the uploader, and the record of what it reported. */
export function snapshot(page, name = 'up') {
  return page.evaluate((which) => window.snapshot(which), name);
}

/** Waits for a snapshot that is as wanted. */
export function wait_until(page, what, wanted, name = 'up') {
  return until(what, async () => {
    const now = await snapshot(page, name);
    return wanted(now) && now;
  });
}

/** Waits for the end of an upload: the last snapshot. */
export function wait_end(page, name = 'up') {
  return wait_until(page, `${name} has ended`, (now) => now.outcome !== null, name);
}

/** Waits until an upload has this share, in percent. */
export function at_percent(page, percent, name = 'up') {
  return wait_until(page, `${percent}% of ${name}`, (now) => now.frac_complete >= percent / 100, name);
}

/** Waits for the end of an upload: `file` has arrived whole, and the web app was called once. */
export async function finished(page, app, id, { sha256 }, name = 'up') {
  const last = await wait_end(page, name);
  assert.equal(last.outcome, 'finished');
  assert.deepEqual([last.wrong, last.endings], [[], ['finished']]);
  const call = await app.taken(id);
  assert.deepEqual([call.sha256, app.calls.get(id).length], [sha256, 1]);
  return last;
}

/** A web app, and a browser with a page of it whose uploads go over a line; `more` is for `site` and `Line`. */
export async function page_over_line(t, bytes_per_second, { host = 'localhost', serve, ...more } = {}) {
  const app = await site(t, { serve });
  const line = new Line(t, app.uploadPort, bytes_per_second, more);
  app.library = `http://${host}:${await line.open()}/incoming/frontend/incoming.js`;
  const on = await browser(t);
  const url = app.page.replace('localhost', host);
  const { page, console_errors } = await open(on, url);
  return { app, line, on, url, page, console_errors, dir: await folder(t) };
}

/** Whole seconds, which every file system and browser keeps. */
export const LONG_AGO = 1_700_000_000;

/** Applies `change` to a file on disk when a quarter of it is acknowledged and the line stands still: what follows is read
 *  after the change, except for what the browser has read ahead. Returns the last snapshot of the upload and its file. */
export async function change_while_sending({ app, line, page, dir }, change) {
  const one = await file(dir, 'changing.bin', 24 * MB);
  await utimes(one.path, LONG_AGO, LONG_AGO);
  await choose_files(page, one);
  const id = await app.ticket();
  await start_upload(page, id, { options: { chunk_size: MB, send_ahead: 2 } });
  await at_percent(page, 25);
  line.pause();
  await change(one);
  line.resume();
  const last = await until('up has ended', async () => {
    const now = await snapshot(page);
    // The pauses in which a drive might come back are skipped, as by a person who presses "Try again": how long and how many
    // they are is tested in the library's own units.
    if (now.state_msg.startsWith('the file cannot be read')) await page.evaluate(() => window.uploads.up.up.start());
    return now.outcome !== null && now;
  });
  assert.deepEqual(last.wrong, []);
  return { app, id, one, last };
}

/** The page is told that the file has changed, and the web app gets nothing. */
export function assert_refused({ app, id, last }) {
  assert.match(last.outcome, /^UploadError FILE_CHANGED 100 /);
  assert.deepEqual([last.endings, last.finished, last.error_code], [['error'], false, 100]);
  assert.equal(app.calls.get(id), undefined, 'a mixed file was handed over');
}

/** That, or the file arrives as it was: some browsers go on reading a file that was removed, or the part that did not
 *  change. */
export async function assert_refused_or_whole(t, result) {
  const { app, id, one, last } = result;
  if (!last.finished) return assert_refused(result);
  assert.equal((await app.taken(id)).sha256, one.sha256, 'a mixed file was handed over');
  return t.diagnostic('it arrived as it was when it was chosen');
}
