/**
 * A model of a line with a server behind it, as a transport on the fake clock: round trips, a rate that connections
 * share fairly, TCP's slow start on each, breaks. What the server got of a chunk that broke it keeps.
 */
import { merged, size_of, union } from '../src/ranges.js';
import { status_of } from './fakes.js';

const TICK_MS = 5;
const FIRST_WINDOW = 14_600;

export class NetworkModel {
  #clock;
  #what;
  #requests = new Set();
  #connections = [];
  #ticking = false;
  #up = true;
  received = [];
  puts = [];
  most_in_flight = 0;
  breaks = [];

  /**
   * @param what.bytes_per_s of the line
   * @param what.rtt_ms
   * @param what.server_ms from the last byte to the answer
   * @param what.flow_bytes_per_s of one connection at most
   * @param what.break_every_ms all connections break; they can be made again `down_ms` later
   * @param what.refuse (bytes) => true when a proxy refuses a chunk of that size with a hidden answer
   */
  constructor(clock, what) {
    this.#clock = clock;
    this.#what = { server_ms: 5, flow_bytes_per_s: Infinity, down_ms: 1000, length: 0, refuse: () => false, status: {}, ...what };
    if (what.break_every_ms) this.#break_later();
  }

  send = (request, on_end) => {
    const is_put = request.method === 'PUT';
    const [, from, last] = /bytes (\d+)-(\d+)/.exec(request.headers?.['Content-Range'] ?? '') ?? [0, 0, -1];
    const bytes = is_put ? Number(last) + 1 - Number(from) : 0;
    const call = { request, on_end, is_put, from: Number(from), bytes, sent: 0, connection: null, began: this.#clock.now() };
    this.#requests.add(call);
    if (is_put) {
      this.puts.push([call.from, call.from + bytes]);
      this.most_in_flight = Math.max(this.most_in_flight, [...this.#requests].filter((other) => other.is_put).length);
    }
    this.#after(0, call, () => this.#start(call));
    return { abort: () => this.#drop(call) };
  };

  #after(ms, call, fn) {
    call.timer = this.#clock.set_timer(fn, ms);
  }

  #drop(call) {
    this.#clock.clear_timer(call.timer);
    this.#requests.delete(call);
    if (call.connection) this.#connections = this.#connections.filter((other) => other !== call.connection);
  }

  #lose(call) {
    if (call.sent > 0) this.received = union(this.received, [[call.from, call.from + Math.floor(call.sent)]]);
    this.#drop(call);
    call.on_end({ kind: 'lost', why: 'network' });
  }

  #start(call) {
    const { rtt_ms } = this.#what;
    if (!this.#up) return this.#after(rtt_ms, call, () => this.#lose(call));
    if (call.is_put && this.#what.refuse(call.bytes)) return this.#after(rtt_ms, call, () => this.#lose(call));
    const free = this.#connections.find((connection) => !connection.busy);
    const connection = free ?? { window: FIRST_WINDOW, busy: false, idle_since: this.#clock.now() };
    if (!free) this.#connections.push(connection);
    connection.busy = true;
    if (this.#clock.now() - connection.idle_since > 1000) connection.window = FIRST_WINDOW;
    call.connection = connection;
    return this.#after(free ? 0 : rtt_ms, call, () => {
      if (call.is_put) this.#tick_on();
      else this.#answer_later(call);
      call.flows = call.is_put;
    });
  }

  #answer_later(call) {
    const { rtt_ms, server_ms } = this.#what;
    this.#after(rtt_ms + server_ms, call, () => {
      this.#requests.delete(call);
      call.connection.busy = false;
      call.connection.idle_since = this.#clock.now();
      if (call.is_put) this.received = union(this.received, [[call.from, call.from + call.bytes]]);
      const { length } = this.#what;
      const state = size_of(this.received) === length ? 'finished' : 'uploading';
      const body = status_of({ length, state, received: merged(this.received), chunk_size: 8 * 1024 * 1024, ...this.#what.status });
      call.on_end({ kind: 'answer', status: 200, body: JSON.stringify(body), retry_after: null });
    });
  }

  #tick_on() {
    if (this.#ticking) return;
    this.#ticking = true;
    this.#clock.set_timer(() => {
      this.#ticking = false;
      this.#tick();
    }, TICK_MS);
  }

  /** Shares out what the line carries in one tick: who wants less than the fair share leaves the rest to others. */
  #tick() {
    const { bytes_per_s, rtt_ms, flow_bytes_per_s } = this.#what;
    let left = (bytes_per_s * TICK_MS) / 1000;
    const flows = [...this.#requests].filter((call) => call.flows);
    const wants = flows.map((call) => {
      const by_window = (call.connection.window * TICK_MS) / Math.max(rtt_ms, 1);
      return [call, Math.min(call.bytes - call.sent, by_window, (flow_bytes_per_s * TICK_MS) / 1000)];
    }).sort((a, b) => a[1] - b[1]);
    for (const [index, [call, want]] of wants.entries()) {
      const got = Math.min(want, left / (wants.length - index));
      left -= got;
      call.sent += got;
      call.connection.window = Math.min(call.connection.window + got, 16 * 1024 * 1024);
    }
    for (const call of flows) {
      if (call.sent >= call.bytes - 1e-6) {
        call.flows = false;
        call.request.on_handed();
        this.#answer_later(call);
      } else call.request.on_sent(Math.floor(call.sent));
    }
    if ([...this.#requests].some((call) => call.flows)) this.#tick_on();
  }

  #break_later() {
    this.#clock.set_timer(() => {
      this.#up = false;
      for (const call of [...this.#requests]) this.#lose(call);
      this.#connections = [];
      this.breaks.push(size_of(this.received));
      this.#clock.set_timer(() => (this.#up = true), this.#what.down_ms);
      this.#break_later();
    }, this.#what.break_every_ms);
  }
}
