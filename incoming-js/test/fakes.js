/**
 * Stand-ins for network, clock, file and page, so that a test decides what happens and when.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConnectionPool } from '../src/pool.js';
import { sha256 } from '../src/file.js';
import { create_library } from '../src/library.js';
import { merged } from '../src/ranges.js';

export class FakeClock {
  #timers = [];
  #now = 1_000_000;
  chance = 0.5;
  now = () => this.#now;
  /** The wall clock, which a test may set. */
  ahead = 0;
  date = () => this.#now + this.ahead;
  random = () => this.chance;
  set_timer = (fn, ms) => {
    const timer = { fn, at: this.#now + ms };
    this.#timers.push(timer);
    return timer;
  };
  clear_timer = (timer) => {
    this.#timers = this.#timers.filter((other) => other !== timer);
  };
  get timers() {
    return this.#timers.length;
  }
  advance(ms) {
    const end = this.#now + ms;
    for (;;) {
      const next = this.#timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#now = Math.max(this.#now, next.at);
      this.clear_timer(next);
      next.fn();
    }
    this.#now = end;
  }
}

/** A request the library has sent and the test has not yet answered. */
class FakeCall {
  constructor(request, on_end, forget) {
    Object.assign(this, request);
    this.request = request;
    this.finish = (raw) => {
      forget(this);
      on_end(raw);
    };
  }
  get range() {
    const [, from, to] = /bytes (\d+)-(\d+)\//.exec(this.request.headers['Content-Range']);
    return [Number(from), Number(to) + 1];
  }
  send(bytes) {
    this.request.on_sent(bytes);
  }
  hand() {
    this.request.on_sent(this.range[1] - this.range[0]);
    this.request.on_handed();
  }
  reply(status, body, retry_after = null) {
    this.finish({ kind: 'answer', status, body: typeof body === 'string' ? body : JSON.stringify(body), retry_after });
  }
  refuse(http, code, extra = {}, retry_after = null) {
    this.reply(http, { status: http, code, error_code: 99, title: code, detail: `reported ${code}`, ...extra }, retry_after);
  }
  lose(why = 'network') {
    this.finish({ kind: 'lost', why });
  }
}

export class FakeNetwork {
  /** @type {FakeCall[]} */
  open = [];
  log = [];
  aborted = 0;
  send = (request, on_end) => {
    const call = new FakeCall(request, on_end, (done) => {
      if (!this.open.includes(done)) throw new Error('answered twice or after abort');
      this.open = this.open.filter((other) => other !== done);
    });
    this.open.push(call);
    this.log.push(`${request.method} ${request.url.replace(/^.*\/uploads\//, '')}`);
    return {
      abort: () => {
        this.open = this.open.filter((other) => other !== call);
        this.aborted += 1;
      },
    };
  };
  all(method) {
    return this.open.filter((call) => call.method === method);
  }
  /** The oldest unanswered request of that method; fails when there is none. */
  next(method) {
    const call = this.all(method)[0];
    if (!call) throw new Error(`no ${method} is open: ${this.open.map((other) => other.method).join(' ') || 'nothing is'}`);
    return call;
  }
}

export function fake_file(size, { readable = true, ...rest } = {}) {
  const slice = (from, to) => ({
    size: Math.min(to, size) - from,
    range: [from, to],
    arrayBuffer: async () => {
      if (!readable) throw Object.assign(new Error('gone'), { name: 'NotReadableError' });
      return new ArrayBuffer(Math.min(to, size) - from);
    },
  });
  return { name: 'film.mp4', size, type: 'video/mp4', lastModified: 7, slice, arrayBuffer: () => slice(0, size).arrayBuffer(), ...rest };
}

export function status_of(extra = {}) {
  return {
    state: 'uploading', length: 100, offset: 0, received: [], chunk_size: 10, max_chunk_size: null,
    send_ahead: 4, name: 'film.mp4', reason: null, ...extra,
  };
}

/** Web Locks as the tabs of one browser share them; `undecided` holds every answer back. */
export class FakeLocks {
  queues = new Map();
  undecided = false;
  claim = (name, on_turn, steal) => {
    const queue = this.queues.get(name) ?? [];
    this.queues.set(name, queue);
    if (steal && queue.length > 0) {
      const [frozen] = queue;
      queue.unshift(on_turn);
      // The frozen tab learns of it when it runs again.
      this.thaw = () => frozen('waiting');
    } else queue.push(on_turn);
    if (!this.undecided) on_turn(queue[0] === on_turn ? 'held' : 'waiting');
    return () => {
      const first = queue[0] === on_turn;
      this.queues.set(name, queue.splice(queue.indexOf(on_turn), 1) && queue);
      if (first) queue[0]?.('held');
    };
  };
  held = async () => [...this.queues].filter(([, queue]) => queue.length > 0).map(([name]) => name);
}

/** What a browser remembers over reloads; counts what is written, and breaks when reported to. */
export class FakeStore {
  entries = new Map();
  writes = 0;
  broken = false;
  #check() {
    if (this.broken) throw new DOMException('no', 'SecurityError');
  }
  all = async () => {
    this.#check();
    return [...this.entries.values()].map((entry) => structuredClone(entry));
  };
  put = async (entry) => {
    this.#check();
    this.writes += 1;
    this.entries.set(entry.upload_id, entry);
  };
  change = async (upload_id, changes) => {
    this.#check();
    this.writes += 1;
    if (this.entries.has(upload_id)) this.entries.set(upload_id, { ...this.entries.get(upload_id), ...changes });
  };
  remove = async (upload_id) => {
    this.#check();
    this.entries.delete(upload_id);
  };
}

/** A page with the library: every uploader shares clock, network and pools. */
export function fake_page(more = {}) {
  const clock = new FakeClock();
  const net = new FakeNetwork();
  const pools = new Map();
  const wakers = new Set();
  const ports = {
    transport: net,
    clock,
    on_wake: (fn) => {
      wakers.add(fn);
      return () => wakers.delete(fn);
    },
    pool_for: (origin) => {
      if (!pools.has(origin)) pools.set(origin, new ConnectionPool());
      return pools.get(origin);
    },
    sha256,
    store: null,
    locks: new FakeLocks(),
    ...more,
  };
  const incoming = create_library('https://up.example', ports);
  return { clock, net, incoming, wakers, ports, wake: (online = false) => [...wakers].forEach((fn) => fn(online)) };
}

/**
 * An uploader on its page, with a diary of what the page was reported. Four chunks in flight, fixed, so that a test knows
 * what to expect.
 */
export function fake_upload({ size = 100, file = fake_file(size), options = { send_ahead: 4 }, page = fake_page(), id = 'id1' } = {}) {
  const uploader = page.incoming.Uploader(id, file, options);
  const diary = [];
  uploader.onprogress = () => diary.push('progress');
  uploader.onfinished = () => diary.push('finished');
  uploader.oncancelled = () => diary.push('cancelled');
  uploader.onerror = () => diary.push('error');
  const received = [];
  return {
    ...page, page, uploader, diary,
    reported: (event) => diary.filter((other) => other === event).length,
    /** Acknowledges a chunk as the server does. */
    ack(call, extra = {}) {
      received.push(call.range);
      call.reply(200, status_of({ length: size, received: merged(received), ...extra }));
    },
    /** Starts and answers the first request. */
    begin(extra = {}) {
      received.push(...(extra.received ?? []));
      uploader.start();
      page.net.next('POST').reply(200, status_of({ length: size, ...extra }));
    },
  };
}

/** Lets promises that are settled run their course. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Lets chains of promises that are settled run to their end. */
export async function calm() {
  for (let i = 0; i < 12; i += 1) await settled();
}

/** Makes a test of each row: arguments of `check`, then the expected result. */
export function table(name, check, rows) {
  for (const [index, row] of rows.entries()) {
    const expected = row[row.length - 1];
    test(`${name} ${index}`, () => assert.deepEqual(check(...row.slice(0, -1)), expected));
  }
}
