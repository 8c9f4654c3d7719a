// What every browser test needs: a server as a child process that can be killed, a slow line to it that can be cut, a
// browser, files of known content. Waits for conditions, never for time.
//
// `test` runs a test once in each browser, and fails it for any error in the console that it did not announce.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes, randomInt } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, test as once } from 'node:test';
import { KINDS, is_browser_message, launch, unavailable } from './browsers.js';

const ROOT = resolve(import.meta.dirname, '../..');
const BINARY = process.env.BINARY_UNDER_TEST ?? join(ROOT, 'target/debug/incoming');
const PATIENCE_MS = 90_000;
/** A check of a condition takes at most this long, unless the machine stands still. */
const CHECK_MS = 2_000;
/** Longer waits are reported, even if they succeed. */
const LONG_MS = 30_000;
const TEST_MS = 300_000;
/** How often a failed test is run again from the start. Each failure is reported. For machines whose disk or processor may
 *  stand still for a minute. */
const RETRIES = Number(process.env.BROWSER_RETRIES ?? 0);
/** More failures in one file count as real. */
const FLAKY_AT_MOST = 2;
/** `alone`: only the tests that judge times, for a run with nothing beside it. `beside`: the others. Else all. */
const PART = process.env.BROWSER_TESTS ?? 'all';
if (!['all', 'alone', 'beside'].includes(PART)) throw new Error(`BROWSER_TESTS is ${PART}; it may be all, alone or beside`);
let flaky = 0;

/** The browser of each test that `test` made. */
const kinds = new WeakMap();
/** The pages of each test, with the errors of their consoles. */
const pages = new WeakMap();
/** The test that a browser belongs to. */
const owners = new WeakMap();

/** Which browser `t` runs in. */
export const kind_of = (t) => kinds.get(t) ?? KINDS[0];

/** Does `body` in each browser. `skip` says of a browser why not in that one; `alone` are the browsers in which it judges times. */
export function test(name, body, { skip = {}, timeout = TEST_MS, alone = [] } = {}) {
  for (const kind of KINDS) {
    if (PART !== 'all' && alone.includes(kind) !== (PART === 'alone')) continue;
    // A little more than all attempts may take: each has its own bound.
    once(`${kind}: ${name}`, { skip: unavailable(kind) || (skip[kind] ?? false), timeout: timeout * (1 + RETRIES) + TEST_MS }, async (t) => {
      for (let left = RETRIES; ; left -= 1) {
        const one = new Attempt(t, kind);
        try {
          await one.run(body, timeout);
          return;
        } catch (error) {
          flaky += 1;
          if (left === 0 || flaky > FLAKY_AT_MOST) throw error;
          t.diagnostic(`FLAKY, tried again: ${error.stack ?? error}`);
        }
      }
    });
  }
}

/** One attempt at a test: what it set up is undone before the next one begins. */
class Attempt {
  #undo = [];

  constructor(test, kind) {
    this.test = test;
    kinds.set(this, kind);
    pages.set(this, []);
  }

  diagnostic(text) {
    this.test.diagnostic(text);
  }

  skip(why) {
    this.test.skip(why);
  }

  /** Does `undo` at the end; what was set up last is undone first. */
  after(undo) {
    this.#undo.push(undo);
  }

  async run(body, timeout) {
    const failures = [];
    let timer;
    const late = new Promise((_, fail) => {
      timer = setTimeout(() => fail(new Error(`not over after ${timeout / 1000} s`)), timeout);
    });
    await Promise.race([body(this).then(() => quiet(this)), late]).catch((error) => failures.push(error));
    clearTimeout(timer);
    for (let undo; (undo = this.#undo.pop()); ) await Promise.resolve().then(undo).catch((error) => failures.push(error));
    if (failures.length > 1) throw new AggregateError(failures, failures.map(String).join('; '));
    if (failures.length > 0) throw failures[0];
  }
}

/** Fails if a page of `t` has an error in its console, an uncaught error or an unhandled rejection. */
export async function quiet(t) {
  for (const { page, console_errors, crashed } of pages.get(t)) {
    // What a page says last comes before the answer to a question asked after it.
    if (!page.isClosed() && !crashed() && page.browser().connected) await page.evaluate(() => new Promise((done) => setTimeout(done)));
    assert.deepEqual(console_errors, [], 'errors in the console');
  }
}

/** Removes the console errors of this form, which the test has caused. Fails if there are none. */
export async function expected(console_errors, form) {
  await until(`a console error like ${form}`, () => console_errors.some((one) => form.test(one)));
  for (let at = console_errors.length - 1; at >= 0; at -= 1) if (form.test(console_errors[at])) console_errors.splice(at, 1);
}

/** Waits until `check` returns something true, and returns it. After a timeout fails with `what` and the text of `describe`.
 *  Time in which this machine stood still does not count. */
export async function until(what, check, describe = async () => '') {
  let [waited, last] = [0, performance.now()];
  for (;;) {
    const seen = await check();
    const now = performance.now();
    waited += Math.min(now - last, CHECK_MS);
    last = now;
    if (seen && waited > LONG_MS) console.log(`waited ${Math.round(waited / 1000)} s for: ${what}`);
    if (seen) return seen;
    if (waited > PATIENCE_MS) throw new Error(`timed out waiting for: ${what}${await describe()}`);
    await new Promise((next) => setTimeout(next, 50));
  }
}

/** A free port, below the range that the system assigns to connections, so that none of those takes it. */
export async function freePort() {
  for (;;) {
    const port = randomInt(12_000, 32_000);
    const free = await new Promise((done) => {
      const server = createServer().on('error', () => done(false));
      server.listen(port, () => server.close(() => done(true)));
    });
    if (free) return port;
  }
}

/** A folder that goes away with `t`. */
export async function folder(t) {
  const path = await mkdtemp(join(tmpdir(), 'incoming-browser-'));
  t.after(() => rm(path, { recursive: true, force: true, maxRetries: 5 }));
  return path;
}

/** A file of `bytes` random bytes; its path and SHA-256. */
export async function file(dir, name, bytes) {
  const path = join(dir, name);
  const content = randomBytes(bytes);
  await writeFile(path, content);
  return { path, name, bytes, sha256: createHash('sha256').update(content).digest('hex') };
}

/** A child process running `incoming` with these arguments; can be killed and started again. */
export class Server {
  constructor(t, args, ready) {
    this.args = args;
    this.ready = ready;
    this.log = '';
    t.after(() => this.kill('SIGKILL'));
  }

  async start() {
    this.child = spawn(BINARY, this.args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.ended = new Promise((done) => this.child.once('exit', (code) => done(code)));
    const append = (text) => (this.log += text);
    this.child.stdout.on('data', append);
    this.child.stderr.on('data', append);
    let gone = false;
    this.ended.then(() => (gone = true));
    await until(`a server that answers\n${this.log}`, async () => {
      if (gone) throw new Error(`the server ended by itself:\n${this.log}`);
      return fetch(this.ready).then((answer) => answer.ok, () => false);
    });
  }

  async kill(signal) {
    if (!this.child || this.child.exitCode !== null || this.child.signalCode) return undefined;
    this.child.kill(signal);
    return this.ended;
  }
}

/** The demo: its server, and where it is. */
export async function demo(t) {
  const dir = await folder(t);
  const [https, http, backend] = [await freePort(), await freePort(), await freePort()];
  const ports = { 'https-port': https, 'http-port': http, 'backend-port': backend };
  const args = ['demo', '--dir', join(dir, 'data')];
  for (const [flag, port] of Object.entries(ports)) args.push(`--${flag}`, String(port));
  const server = new Server(t, args, `http://localhost:${http}/`);
  await server.start();
  return { server, dir, https, http, backend };
}

const UPLOAD = /^[A-Z]+ \/incoming\/(0\.1\/)?frontend\/uploads\//;

/** A TCP line to `port` that carries at most `bytesPerSecond` upwards, for each connection or for
 *  all together, takes `delayMs` each way, and can be cut or stand still. `faults(bytes)` is asked with each piece
 *  that comes: 'reset' breaks that connection, a number keeps it standing still for so many ms. */
export class Line {
  constructor(t, port, bytesPerSecond, { delayMs = 0, together = false, faults = () => undefined } = {}) {
    this.port = port;
    this.faults = faults;
    /** Connections at one time, at most so far. */
    this.connections = 0;
    /** Connections at one time that uploads had used, at most so far. */
    this.most = 0;
    /** Bytes that each connection has carried upwards. */
    this.carried = [];
    /** CORS preflights that went over it, where it is not encrypted. */
    this.preflights = 0;
    this.rate = bytesPerSecond;
    this.delayMs = delayMs;
    this.together = together;
    this.free = 0;
    this.up = true;
    this.stands = false;
    this.bytes = 0;
    this.pairs = new Set();
    this.server = createServer((client) => this.#carry(client));
    t.after(() => this.close());
  }

  async open() {
    await new Promise((done) => this.server.listen(0, '127.0.0.1', done));
    return this.server.address().port;
  }

  /** Breaks every connection, and refuses new ones until `restore`. */
  cut() {
    this.up = false;
    for (const pair of this.pairs) pair.destroy();
  }

  restore() {
    this.up = true;
  }

  /** Kills one of the connections that uploads use, without notice to either side. */
  kill_one() {
    const pair = [...this.pairs].find(({ used }) => used);
    pair.dead = true;
    pair.client.pause();
  }

  /** Nothing goes upwards until `resume`; connections stay. */
  pause() {
    this.stands = true;
    for (const { client } of this.pairs) client.pause();
  }

  resume() {
    this.stands = false;
    for (const { client, dead } of this.pairs) if (!dead) client.resume();
  }

  close() {
    this.cut();
    this.server.close();
  }

  #carry(client) {
    if (!this.up) return client.destroy();
    const far = connect(this.port, '127.0.0.1');
    const pair = { client, destroy: () => (client.destroy(), far.destroy()) };
    this.pairs.add(pair);
    const nth = this.carried.push(0) - 1;
    this.connections = Math.max(this.connections, this.pairs.size);
    const end = () => (this.pairs.delete(pair), pair.destroy());
    for (const socket of [client, far]) socket.on('error', end).on('close', end);
    const upwards = this.#delayed(far);
    const downwards = this.#delayed(client);
    far.on('data', (data) => downwards(data, 0));
    const gate = this.together ? this : { free: 0 };
    client.on('data', (data) => {
      if (pair.dead) return client.pause();
      this.bytes += data.length;
      this.carried[nth] += data.length;
      const head = data.subarray(0, 64).toString('latin1');
      if (head.startsWith('OPTIONS /incoming/')) this.preflights += 1;
      if (UPLOAD.test(head)) pair.used = true;
      this.most = Math.max(this.most, [...this.pairs].filter(({ used }) => used).length);
      const fault = this.faults(data.length);
      if (fault === 'reset') return pair.destroy();
      const now = performance.now();
      // Timers that are late by a little must not make the line slower than it is.
      const starts = Math.max(now - 20, gate.free);
      gate.free = starts + (data.length / this.rate) * 1000 + (fault ?? 0);
      upwards(data, Math.max(0, starts - now));
      client.pause();
      setTimeout(() => this.stands || pair.dead || client.resume(), Math.max(0, gate.free - now));
      return undefined;
    });
    if (this.stands) client.pause();
    return undefined;
  }

  /** Writes to `socket` later, in order, whatever the timers do. */
  #delayed(socket) {
    const waiting = [];
    return (data, ms) => {
      waiting.push(data);
      const write = () => socket.write(waiting.shift());
      if (this.delayMs + ms === 0) write();
      else setTimeout(write, this.delayMs + ms);
    };
  }
}

/** Browsers that are shared, by kind, and the folders of all that were. */
const started = new Map();
const profiles = [];
after(async () => {
  for (const one of await Promise.allSettled(started.values())) await one.value?.close();
  for (const profile of profiles) await rm(profile, { recursive: true, force: true, maxRetries: 5 });
});

/** The browser that the tests of a file share; another one when it did not start, or has crashed. */
async function shared(kind) {
  const there = await started.get(kind)?.catch(() => null);
  if (there?.connected) return there;
  const next = start(kind);
  started.set(kind, next);
  return next;
}

async function start(kind) {
  const profile = await mkdtemp(join(tmpdir(), 'incoming-browser-'));
  profiles.push(profile);
  return launch(kind, profile);
}

/** A headless browser of the test's kind without a past: what it keeps ends with `t`. With `own` it is a process of its
 *  own, not a new context in one that others have used, and `flags` and
 *  launch `options` are its own besides those of every test; `profile` is a folder with the past of another one. */
export async function browser(t, more = {}) {
  const { own = false, flags = [], options = {}, profile = null } = Array.isArray(more) ? { flags: more, own: true } : more;
  const kind = kind_of(t);
  if (own || flags.length > 0) {
    const alone = await launch(kind, profile ?? await folder(t), flags, options);
    owners.set(alone, t);
    t.after(() => alone.connected && alone.close());
    return alone;
  }
  const context = await (await shared(kind)).createBrowserContext();
  owners.set(context, t);
  t.after(() => context.close());
  return context;
}

/** A page at `url`. `console_errors` collects its errors, warnings and unhandled rejections, except for the lines with which a
 *  browser itself reports a failed request. */
export async function open(on, url) {
  const page = await on.newPage();
  const kind = kind_of(owners.get(on));
  const console_errors = [];
  let gone = false;
  page.on('error', () => (gone = true));
  pages.get(owners.get(on)).push({ page, console_errors, crashed: () => gone });
  const collect = (text) => is_browser_message(kind, text) || console_errors.push(text);
  page.on('pageerror', (error) => collect(error.message));
  page.on('console', (line) => ['error', 'warning', 'warn', 'assert'].includes(line.type()) && collect(line.text()));
  page.on('dialog', (dialog) => dialog.accept());
  await page.evaluateOnNewDocument(() => {
    addEventListener('unhandledrejection', ({ reason }) => console.error(`unhandled rejection: ${reason}`));
  });
  await page.goto(url, { waitUntil: 'load' });
  return { page, console_errors };
}

/** Chooses files in the demo page. */
export async function choose(page, ...files) {
  const element = await page.waitForSelector('incoming-upload:defined');
  const input = await element.evaluateHandle(({ shadowRoot }) => shadowRoot.querySelector('input[type=file]'));
  await input.uploadFile(...files.map((one) => one.path));
}

/** The state and percentage of the row of `name` in the demo page's element, and its text. */
export function row(page, name) {
  return page.evaluate((wanted) => {
    const element = document.querySelector('incoming-upload');
    const entry = element?.entries?.find((one) => one.name === wanted);
    const found = [...(element?.shadowRoot?.querySelectorAll('li.item') ?? [])].find((one) => one.querySelector('.name').textContent === wanted);
    if (!entry || !found) return null;
    return { state: entry.state, percent: Math.floor((100 * entry.bytes_acked) / entry.size) || 0, text: found.innerText };
  }, name);
}

/** Presses the button with this text in the row of `name`, once there is one. */
export async function press(page, name, button) {
  await until(`${button} of ${name} can be pressed`, () =>
    page.evaluate((label) => {
      const root = document.querySelector('incoming-upload').shadowRoot;
      const pressed = [...root.querySelectorAll('button')].find((one) => one.getAttribute('aria-label') === label && !one.hidden);
      pressed?.click();
      return Boolean(pressed);
    }, `${button} ${name}`));
}

/** Waits until the web app has the file, whole and right. */
export async function received(page, wanted) {
  await until(`the web app has ${wanted.name}`, () =>
    page.evaluate(({ name, sha256 }) => {
      const rows = [...document.querySelectorAll('[data-testid=received-file]')];
      return rows.some((row) =>
        row.dataset.name === name && row.querySelector('[data-testid=sha256]')?.dataset.sha256 === sha256);
    }, wanted), () => shown(page));
}

/** What the page shows of its uploads and of the files the web app has, for a test that timed out. */
async function shown(page) {
  const texts = await page.evaluate(() => [
    ...document.querySelector('incoming-upload').entries.map(({ name, state, bytes_acked, size, retry_in_s, error, uploader }) => JSON.stringify({ name, state, bytes_acked, size, retry_in_s, error, state_msg: uploader?.state_msg })),
    ...[...document.querySelectorAll('[data-testid=received-file]')].map((row) => `${row.dataset.state ?? 'received'}: ${row.innerText.replace(/\s+/g, ' ')}`),
  ]);
  return ['; the page shows:', ...texts].join('\n  ');
}
