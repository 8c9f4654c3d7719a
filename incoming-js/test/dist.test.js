/**
 * The built files and the package: what they define and hold, and where they look for the server.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';
import { gzipSync } from 'node:zlib';
import { INNER_NAMES, UI_NAMES } from '../scripts/inner-names.js';
import { fake_file, fake_page, status_of } from './fakes.js';

/** What a page may have to load, at most; and what the queue and the element add. */
const MOST_BYTES = 12.6 * 1024;
const MOST_UI_BYTES = 14 * 1024;

const sources = readdirSync(new URL('../src/', import.meta.url), { recursive: true, withFileTypes: true }).filter((one) => one.isFile())
  .map(({ parentPath, name }) => `${parentPath}/${name}`.split('/src/').at(-1).replace(/^\//, ''));
const gzipped = (name) => gzipSync(readFileSync(new URL(`../dist/${name}`, import.meta.url)), { level: 9 }).length;

const BUILT = ['incoming.js', 'incoming.mjs', 'incoming.d.mts', 'incoming-queue.mjs', 'incoming-queue.d.mts', 'incoming-ui.js', 'incoming-ui.mjs', 'incoming-ui.d.mts', 'incoming-locale.d.mts', 'incoming-uppy.mjs', 'incoming-uppy.d.mts', 'incoming-filepond.mjs',
  'incoming-plugins.d.mts', ...['de', 'es', 'fr', 'ja', 'nb'].map((name) => `locales/${name}.js`)];

const classic = readFileSync(new URL('../dist/incoming.js', import.meta.url), 'utf8');

/** Runs the classic script on a page whose requests go to `on_send`; gives the global it makes. */
function run_classic(src, on_send = () => {}) {
  class XMLHttpRequest {
    upload = {};
    headers = {};
    open(method, url) {
      Object.assign(this, { method, url });
    }
    setRequestHeader(name, value) {
      this.headers[name] = value;
    }
    getResponseHeader() {
      return null;
    }
    send(body) {
      this.body = body;
      on_send(this);
    }
    abort() {}
  }
  const script = src === null ? null : { src, getAttribute: () => src };
  const page = {
    XMLHttpRequest, AbortController, EventTarget, Event, URL, console, performance, setTimeout: () => 0, clearTimeout() {},
    location: { protocol: 'http:', origin: 'http://page.example' },
    document: { currentScript: script, addEventListener() {}, removeEventListener() {} },
  };
  page.window = { addEventListener() {}, removeEventListener() {} };
  vm.runInNewContext(classic, page);
  return page.incoming;
}

/** Starts an upload and returns the URL it asks for. */
function url_asked(src, before = () => {}) {
  let asked;
  const incoming = run_classic(src, (xhr) => (asked = xhr.url));
  before(incoming);
  incoming.Uploader('id', fake_file(3)).start();
  return asked;
}

test('classic script: the server is where the script came from, else the page, else the one that is set', () => {
  const path = '/incoming/frontend/uploads/id';
  assert.equal(url_asked('https://up.example:4000/incoming/0.1/frontend/incoming.js'), `https://up.example:4000${path}`);
  assert.equal(url_asked(''), `http://page.example${path}`);
  assert.equal(url_asked(null), `http://page.example${path}`);
  assert.equal(url_asked(null, (incoming) => incoming.set_server_hostname('x.example:1')), `http://x.example:1${path}`);
});

test('classic script: a whole upload, as the server sees it and as the page sees it', () => {
  const sent = [];
  const incoming = run_classic('https://up.example/x.js', (xhr) => sent.push(xhr));
  const uploader = incoming.Uploader('id', fake_file(35), { chunk_size: 20, send_ahead: 4 });
  const calls = [];
  for (const event of ['onprogress', 'onfinished']) uploader[event] = (u) => calls.push([event, u === uploader]);
  uploader.start();
  const answer = (xhr, body) => xhr.onload.call(Object.assign(xhr, { status: 200, responseText: JSON.stringify(body) }));
  answer(sent[0], status_of({ length: 35 }));
  for (const xhr of sent.slice(1)) xhr.upload.onload();
  assert.equal(uploader.bytes_tx, 35);
  answer(sent[1], status_of({ length: 35, received: [[0, 20]] }));
  assert.deepEqual([uploader.bytes_acked, uploader.bytes_ahead, uploader.chunks_acked_now], [20, 15, 1]);
  answer(sent[2], status_of({ length: 35, received: [[0, 35]], state: 'finished' }));
  assert.deepEqual(sent.map(({ method, url }) => `${method} ${url}`), ['POST', 'PUT', 'PUT'].map((method) => `${method} https://up.example/incoming/frontend/uploads/id`));
  assert.deepEqual(JSON.parse(sent[0].body), { name: 'film.mp4', length: 35, type: 'video/mp4', last_modified: 7 });
  assert.deepEqual(sent.map(({ headers }) => headers['Content-Range']), [undefined, 'bytes 0-19/35', 'bytes 20-34/35']);
  assert.deepEqual([uploader.finished, uploader.frac_complete, uploader.state_msg], [true, 1, 'all done']);
  assert.deepEqual(calls.at(-1), ['onfinished', true]);
  const { incoming: from_source } = fake_page();
  assert.deepEqual(Object.keys(uploader).sort(), Object.keys(from_source.Uploader('id', fake_file(1))).sort());
});

test('the build shortens only internal names', () => {
  const uploader = fake_page().incoming.Uploader('id', fake_file(1));
  const problem = ['type', 'title', 'status', 'detail', 'code', 'error_code', 'upload'];
  const known = [...Object.keys(uploader), ...Object.keys(fake_page().incoming), ...Object.keys(status_of()), ...problem,
    'hostname', 'chunk_size', 'send_ahead', 'headers', 'signal', 'digest', 'name', 'length', 'type', 'last_modified',
    // What is asked of and stored in browsers, and said among tabs.
    'remember', 'handle', 'upload_id', 'size', 'mark', 'bytes_acked', 'when', 'active', 'resume', 'verified', 'ranges', 'range', 'sha-256',
    'ask', 'mine', 'locks', 'held', 'request', 'query', 'mode', 'ifAvailable', 'result', 'put', 'get', 'getAll', 'delete',
    // Priorities, which are keys of records.
    'control', 'poll', 'chunk', 'bind'];
  for (const kind of [Array, Blob, EventTarget, Event, Map, Set, Promise, String, Error, AbortController, AbortSignal]) {
    known.push(...Object.getOwnPropertyNames(kind.prototype), ...Object.getOwnPropertyNames(kind));
  }
  assert.deepEqual(INNER_NAMES.filter((name) => known.includes(name)), []);
  for (const name of INNER_NAMES) assert.doesNotMatch(classic, new RegExp(`\\.${name}\\b`));
});

test('no shortened name is used as a quoted key, which the build does not shorten', () => {
  const quoted = new RegExp(`[\\w)\\]]\\[[^\\]\\n]*['"\`](${[...INNER_NAMES, ...UI_NAMES].join('|')})['"\`]`);
  assert.match("this[kind === 'put' ? 'read_failures' : 'polls'] += 1;", quoted);
  for (const name of sources) {
    const code = readFileSync(new URL(`../src/${name}`, import.meta.url), 'utf8').replace(/^\s*\/?\*.*$/gm, '').replace(/\/\*\*.*?\*\//g, '');
    assert.doesNotMatch(code, quoted, name);
  }
});

test('what pages load stays small', (t) => {
  for (const name of ['incoming.js', 'incoming.mjs']) {
    const bytes = gzipped(name);
    t.diagnostic(`dist/${name}: ${bytes} bytes gzipped of ${MOST_BYTES} at most`);
    assert.ok(bytes < MOST_BYTES, `${name}: ${bytes}`);
  }
  const ui = gzipped('incoming-ui.js') - gzipped('incoming.js');
  t.diagnostic(`dist/incoming-ui.js: ${ui} bytes gzipped of ${MOST_UI_BYTES} at most on top of incoming.js; dist/incoming-queue.mjs: ${gzipped('incoming-queue.mjs')}`);
  assert.ok(ui <= MOST_UI_BYTES, String(ui));
});

test('the package holds exactly the expected files', () => {
  const cwd = fileURLToPath(new URL('..', import.meta.url));
  const run = spawnSync('npm', ['pack', '--dry-run', '--json', '--offline'], { cwd, encoding: 'utf8' });
  assert.equal(run.status, 0, run.stderr);
  const [{ files }] = JSON.parse(run.stdout);
  const paths = files.map(({ path }) => path);
  const wanted = ['README.md', 'LICENSE-MIT', 'LICENSE-APACHE', 'package.json', 'custom-elements.json', ...BUILT.map((name) => `dist/${name}`),
    ...sources.map((name) => `src/${name}`), ...readdirSync(new URL('../docs/', import.meta.url)).map((name) => `docs/${name}`)];
  assert.deepEqual(paths.sort(), wanted.sort());
  const { main, types, exports } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  for (const path of [main, types, ...Object.values(exports).flatMap((one) => (typeof one === 'string' ? one : Object.values(one)))]) {
    if (!path.includes('*')) assert.ok(paths.includes(path.replace(/^\.\//, '')), path);
  }
  for (const name of ['MIT', 'APACHE']) {
    const [here, there] = ['..', '../..'].map((up) => readFileSync(new URL(`${up}/LICENSE-${name}`, import.meta.url), 'utf8'));
    assert.equal(here, there);
  }
});

test('module: named and default exports, loads outside of a page', async () => {
  const module = await import('../dist/incoming.mjs');
  assert.deepEqual(Object.keys(module).sort(), ['UploadError', 'Uploader', 'default', 'forget', 'recall', 'set_server_hostname', 'unfinished']);
  assert.equal(module.default.Uploader, module.Uploader);
});

test('a strict CSP allows the scripts, and they carry a licence line', () => {
  for (const name of ['incoming.js', 'incoming.mjs']) {
    const text = readFileSync(new URL(`../dist/${name}`, import.meta.url), 'utf8');
    assert.doesNotMatch(text, /\beval\b|new Function|requestAnimationFrame|withCredentials|document\.cookie/);
    assert.match(text, /^\/\*! Incoming!! browser library .* \| MIT OR Apache-2\.0 \*\//m);
  }
});
