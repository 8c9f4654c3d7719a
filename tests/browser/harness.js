// What every browser test needs: a demo server as a child process that can be killed, a slow line to
// it that can be cut, a browser, files of known content. Waits for conditions, never for time.

import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import puppeteer from 'puppeteer-core';

const ROOT = resolve(import.meta.dirname, '../..');
const BINARY = process.env.BINARY_UNDER_TEST ?? join(ROOT, 'target/debug/incoming');
const PATIENCE_MS = 60_000;

/** Waits until `look` gives something true, and gives it; fails with `what` after a minute. */
export async function until(what, look) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > deadline) throw new Error(`waited in vain for: ${what}`);
    await new Promise((next) => setTimeout(next, 50));
  }
}

const undone = new WeakMap();

/** Does `undo` at the end of `t`: what was set up last is undone first. */
function later(t, undo) {
  if (!undone.has(t)) {
    undone.set(t, []);
    t.after(async () => {
      for (const one of undone.get(t).reverse()) await one();
    });
  }
  undone.get(t).push(undo);
}

/** A port that was free a moment ago. */
export function freePort() {
  return new Promise((done, failed) => {
    const server = createServer().on('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

/** A folder that goes away with `t`. */
export async function folder(t) {
  const path = await mkdtemp(join(tmpdir(), 'incoming-browser-'));
  later(t, () => rm(path, { recursive: true, force: true, maxRetries: 5 }));
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
    later(t, () => this.kill('SIGKILL'));
  }

  async start() {
    this.child = spawn(BINARY, this.args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.ended = new Promise((done) => this.child.once('exit', (code) => done(code)));
    const hear = (text) => (this.log += text);
    this.child.stdout.on('data', hear);
    this.child.stderr.on('data', hear);
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

/** A TCP line to `port` that carries at most `bytesPerSecond` upwards, for each connection or for
 *  all together, takes `delayMs` each way, and can be cut. */
export class Line {
  constructor(t, port, bytesPerSecond, { delayMs = 0, together = false } = {}) {
    this.port = port;
    this.rate = bytesPerSecond;
    this.delayMs = delayMs;
    this.together = together;
    this.free = 0;
    this.up = true;
    this.bytes = 0;
    this.pairs = new Set();
    this.server = createServer((client) => this.#carry(client));
    later(t, () => this.close());
  }

  async open() {
    await new Promise((done) => this.server.listen(0, '127.0.0.1', done));
    return this.server.address().port;
  }

  /** Breaks every connection, and refuses new ones until `mend`. */
  cut() {
    this.up = false;
    for (const pair of this.pairs) pair.destroy();
  }

  mend() {
    this.up = true;
  }

  close() {
    this.cut();
    this.server.close();
  }

  #carry(client) {
    if (!this.up) return client.destroy();
    const far = connect(this.port, '127.0.0.1');
    const pair = { destroy: () => (client.destroy(), far.destroy()) };
    this.pairs.add(pair);
    const end = () => (this.pairs.delete(pair), pair.destroy());
    for (const socket of [client, far]) socket.on('error', end).on('close', end);
    const upwards = this.#delayed(far);
    const downwards = this.#delayed(client);
    far.on('data', (data) => downwards(data, 0));
    const gate = this.together ? this : { free: 0 };
    client.on('data', (data) => {
      this.bytes += data.length;
      const now = performance.now();
      // Timers that are late by a little must not make the line slower than it is.
      const starts = Math.max(now - 20, gate.free);
      gate.free = starts + (data.length / this.rate) * 1000;
      upwards(data, Math.max(0, starts - now));
      client.pause();
      setTimeout(() => client.resume(), Math.max(0, gate.free - now));
    });
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

/** A headless browser that ends with `t`; `flags` besides those of every test. */
export async function browser(t, flags = []) {
  const profile = await folder(t);
  const started = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    acceptInsecureCerts: true,
    userDataDir: profile,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-dev-shm-usage',
      '--disable-background-networking', '--disable-component-update', '--disable-sync', ...flags,
    ],
  });
  later(t, () => started.close());
  return started;
}

/** A page at `url`. `complaints` collects what a person would see in the console, but for the lines
 *  with which Chromium itself reports a failed request. */
export async function open(on, url) {
  const page = await on.newPage();
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(`error: ${error.message}`));
  page.on('console', (line) => {
    const network = line.text().startsWith('Failed to load resource');
    if (['error', 'warning', 'warn'].includes(line.type()) && !network) complaints.push(line.text());
  });
  page.on('dialog', (dialog) => dialog.accept());
  await page.goto(url, { waitUntil: 'load' });
  return { page, complaints };
}

/** Chooses files in the demo page. */
export async function choose(page, ...files) {
  const input = await page.waitForSelector('[data-testid=file-input]');
  await input.uploadFile(...files.map((one) => one.path));
}

/** The state, percentage and text of the card of `name`. */
export function card(page, name) {
  return page.evaluate((wanted) => {
    const cards = [...document.querySelectorAll('[data-testid=upload]')];
    const found = cards.findLast((one) => one.dataset.name === wanted);
    if (!found) return null;
    const percent = parseFloat(found.querySelector('[data-testid=percent]').textContent) || 0;
    return { state: found.dataset.state, percent, text: found.innerText };
  }, name);
}

/** Presses a button of the card of `name`, once it can be pressed. */
export async function press(page, name, button) {
  await until(`${button} of ${name} can be pressed`, () =>
    page.evaluate((wanted, which) => {
      const cards = [...document.querySelectorAll('[data-testid=upload]')];
      const found = cards.findLast((one) => one.dataset.name === wanted);
      const pressed = found?.querySelector(`[data-testid=${which}]`);
      if (!pressed || pressed.disabled || pressed.hidden) return false;
      pressed.click();
      return true;
    }, name, button));
}

/** Waits until the web app has the file, whole and right. */
export async function received(page, wanted) {
  await until(`the web app has ${wanted.name}`, () =>
    page.evaluate(({ name, sha256 }) => {
      const rows = [...document.querySelectorAll('[data-testid=received-file]')];
      return rows.some((row) =>
        row.dataset.name === name && row.querySelector('[data-testid=sha256]')?.dataset.sha256 === sha256);
    }, wanted));
}
