// WebKitGTK behind the few calls of puppeteer that the tests make. Its driver speaks WebDriver (W3C, classic) alone: it
// reports no console and no requests, so a script in each page collects what the page writes to its console.
//
// One driver process drives one session, and a session shares nothing with another one: a browser context is a session.

import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { createServer } from 'node:net';

/** How long a script in a page may take before the driver gives up. */
const SCRIPT_MS = 300_000;
/** How long the driver and its browser may take to start, and how often that is tried: the driver now and then misses that
 *  its browser has started, and waits for ever. */
const START_MS = 10_000;
const STARTS = 8;
/** How often a page is asked what it has written to its console. */
const CONSOLE_MS = 250;

/** Starts WebKitGTK through the driver at `path`, on a display of its own where there is none. */
export async function launch(path, proxy) {
  return new Browser(path, proxy, process.env.DISPLAY ?? (await display()));
}

/** The X server of this test process, started with the first browser. */
let xvfb;
async function display() {
  xvfb ??= (async () => {
    const child = spawn('Xvfb', ['-displayfd', '3', '-screen', '0', '1200x900x24', '-nolisten', 'tcp', '-noreset'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
    child.unref();
    process.once('exit', () => child.kill());
    const failed = once(child, 'error').then(([error]) => Promise.reject(error));
    const [number] = await Promise.race([once(child.stdio[3], 'data'), failed]);
    // Left open: the server may have more to write, and a closed pipe would end it.
    child.stdio[3].resume().unref();
    return `:${String(number).trim()}`;
  })();
  return xvfb;
}

class Browser extends EventEmitter {
  #contexts = new Set();
  connected = true;

  constructor(path, proxy, screen) {
    super();
    Object.assign(this, { path, proxy, screen });
  }

  async createBrowserContext() {
    const context = new Context(this);
    this.#contexts.add(context);
    context.ended.then(() => this.#contexts.delete(context));
    return context;
  }

  /** A browser that is not shared: its one context. */
  async newPage() {
    return (await this.createBrowserContext()).newPage();
  }

  async close() {
    this.connected = false;
    await Promise.all([...this.#contexts].map((context) => context.close()));
  }
}

/** A driver process and its session. */
class Context extends EventEmitter {
  #session;
  #queue = Promise.resolve();

  constructor(browser) {
    super();
    this.browser = browser;
    this.ended = once(this, 'disconnected');
  }

  get connected() {
    return this.child !== undefined && this.child.exitCode === null && this.child.signalCode === null;
  }

  async newPage() {
    if (this.#session) throw new Error('WebKitGTK is driven with one page in a context');
    for (let left = STARTS; !this.#session; left -= 1) {
      const child = await this.#start().catch((error) => {
        if (left === 1) throw error;
      });
      if (!child) continue;
      this.child = child;
      child.once('exit', () => this.emit('disconnected'));
      if (!this.connected) this.emit('disconnected');
    }
    return new Page(this);
  }

  /** A driver with a session; ends what it has begun when that fails. */
  async #start() {
    const port = await free_port();
    // In a process group of its own, which ends with its browser: the driver leaves that running when it is killed.
    const child = spawn(this.browser.path, [`--port=${port}`], {
      detached: true,
      stdio: 'ignore',
      env: { ...process.env, DISPLAY: this.browser.screen, WEBKIT_DISABLE_COMPOSITING_MODE: '1', NO_AT_BRIDGE: '1' },
    });
    const end = () => end_group(child, 'SIGKILL');
    process.once('exit', end);
    child.once('exit', () => (end(), process.removeListener('exit', end)));
    try {
      await once(child, 'spawn');
      this.at = `http://127.0.0.1:${port}`;
      const late = AbortSignal.timeout(START_MS);
      while (!(await fetch(`${this.at}/status`, { signal: late }).then((answer) => answer.ok, () => late.throwIfAborted()))) {
        await new Promise((next) => setTimeout(next, 50));
      }
      const alwaysMatch = {
        acceptInsecureCerts: true,
        unhandledPromptBehavior: 'accept',
        timeouts: { script: SCRIPT_MS },
        proxy: { proxyType: 'manual', httpProxy: this.browser.proxy, sslProxy: this.browser.proxy, noProxy: ['localhost', '127.0.0.1'] },
      };
      const { sessionId } = await this.#ask('POST', '/session', { capabilities: { alwaysMatch } }, late);
      this.#session = `/session/${sessionId}`;
      return child;
    } catch (error) {
      end();
      throw error;
    }
  }

  /** One command to the session. Commands go one after the other. */
  command(method, path, body) {
    const done = this.#queue.then(() => this.#ask(method, this.#session + path, body));
    this.#queue = done.catch(() => {});
    return done;
  }

  process() {
    return { kill: (signal) => end_group(this.child, signal) };
  }

  async close() {
    if (!this.connected) return;
    const ended = this.ended;
    this.emit('closing');
    await Promise.race([this.command('DELETE', '').catch(() => {}), new Promise((done) => setTimeout(done, 5_000).unref())]);
    end_group(this.child, 'SIGKILL');
    await ended;
  }

  async #ask(method, path, body = {}, signal = undefined) {
    const text = method === 'POST' ? JSON.stringify(body) : undefined;
    const answer = await fetch(this.at + path, { method, body: text, signal });
    const { value } = await answer.json();
    if (answer.ok) return value;
    throw new Error(`${value.error}: ${value.message}`);
  }
}

class Page extends EventEmitter {
  #context;
  #closed = false;
  #asking = false;

  constructor(context) {
    super();
    this.#context = context;
    const timer = setInterval(() => this.#poll_console(), CONSOLE_MS).unref();
    const end = () => (clearInterval(timer), (this.#closed = true));
    context.once('closing', end).once('disconnected', end);
  }

  browser() {
    return this.#context;
  }

  isClosed() {
    return this.#closed;
  }

  close() {
    return this.#context.close();
  }

  /** Nothing of a page runs before its own scripts here; the tests' one use of it is part of `collect`. */
  async evaluateOnNewDocument() {}

  async goto(url) {
    await this.#context.command('POST', '/url', { url });
    await this.evaluate(collect);
  }

  async reload() {
    await this.#context.command('POST', '/refresh');
    await this.evaluate(collect);
  }

  async evaluate(what, ...args) {
    const script = `const done = arguments[arguments.length - 1], given = arguments[0];
      const wrote = () => window.console_of_tests?.splice(0) ?? [];
      (async () => (${what})(...given))().then(
        (value) => done({ value, wrote: wrote() }),
        (error) => done({ error: String(error) + '\\n' + (error?.stack ?? ''), wrote: wrote() }));`;
    const { value, error, wrote } = await this.#context.command('POST', '/execute/async', { script, args: [args] });
    for (const line of wrote) {
      if (line.type === 'pageerror') this.emit('pageerror', { message: line.text });
      else this.emit('console', { type: () => line.type, text: () => line.text });
    }
    if (error !== undefined) throw new Error(error);
    return value;
  }

  async $(selector) {
    const found = await this.#context.command('POST', '/elements', { using: 'css selector', value: selector });
    if (found.length === 0) return null;
    const [element] = Object.values(found[0]);
    const send = (text) => this.#context.command('POST', `/element/${element}/value`, { text });
    return { uploadFile: (...paths) => send(paths.join('\n')) };
  }

  async #poll_console() {
    if (this.#asking || this.#closed) return;
    this.#asking = true;
    // A page that is being left answers nothing.
    await this.evaluate(() => null).catch(() => {});
    this.#asking = false;
  }
}

/** In the page: what it writes to its console from now on, what it throws, and what it rejects and handles nowhere. */
function collect() {
  const wrote = (window.console_of_tests = []);
  for (const type of ['error', 'warn', 'assert']) {
    const write = console[type];
    console[type] = (...words) => {
      if (type !== 'assert') wrote.push({ type, text: words.map(String).join(' ') });
      else if (!words[0]) wrote.push({ type, text: words.slice(1).map(String).join(' ') });
      write.apply(console, words);
    };
  }
  window.addEventListener('error', (event) => event.message && wrote.push({ type: 'pageerror', text: event.message }));
  window.addEventListener('unhandledrejection', ({ reason }) => wrote.push({ type: 'error', text: `unhandled rejection: ${reason}` }));
}

/** Sends a signal to a child and all that it has started. */
function end_group(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

async function free_port() {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}
