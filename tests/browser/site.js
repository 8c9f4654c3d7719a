// A web app on an origin of its own beside an upload server: it gives tickets, takes files over and
// remembers every call. Its page is a file input and the library; the tests do the rest in it.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { createServer, request as ask } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { Server, folder, freePort, until } from './harness.js';

const OWN_SCRIPT = join(import.meta.dirname, 'watch.js');

export async function sha256(path) {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/** The web app and its upload server. */
class Site {
  /** Handover calls by the id of the upload, oldest first, each with what was found in the file. */
  calls = new Map();
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
  async taken(id) {
    const call = await until(`upload ${id} is handed over`, () => this.calls.get(id)?.find((one) => one.cancelled === 'no'));
    return call;
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
        <script src="${this.library}"></script><script src="/watch.js"></script>
        <input type="file" id="files" multiple>`);
    }
    if (pathname === '/watch.js') return send('text/javascript', await readFile(OWN_SCRIPT));
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
      call.sha256 = await sha256(call.filename);
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
export async function put_in(page, ...files) {
  await (await page.$('#files')).uploadFile(...files.map((one) => one.path));
}

/** Makes an uploader in the page for the file at `index` of the input, watched as `name`, and starts it unless told not to. */
export async function begin(page, id, { name = 'up', index = 0, options = {}, start = true } = {}) {
  await page.evaluate((...what) => window.begin(...what), id, name, index, options, start);
}

/** Properties of the uploader and what was heard of it so far. */
export function look(page, name = 'up') {
  return page.evaluate((which) => window.look(which), name);
}

/** Waits until what `look` gives is as wanted. */
export function seen(page, what, wanted, name = 'up') {
  return until(what, async () => {
    const now = await look(page, name);
    return wanted(now) && now;
  });
}

/** Waits for the end of an upload: the last `look`, after all that was told of it. */
export function ended(page, name = 'up') {
  return seen(page, `${name} has ended`, (now) => now.outcome !== null, name);
}
