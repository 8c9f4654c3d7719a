/**
 * Requests that run: their preparation, the connections that they hold or wait for, and the cancel request that outlives
 * its upload.
 */
import { content_digest, in_memory } from './file.js';
import { PREPARE_MS } from './limits.js';
import { meaning_of, read_outcome } from './protocol.js';
import { backoff_ms } from './timers.js';

/** @typedef {import('./api.js').Options} Options */
/** @typedef {import('./pool.js').Priority} Priority */
/** @typedef {import('./pool.js').Slot} Slot */
/** @typedef {import('./types.js').Call} Call */
/** @typedef {import('./types.js').Ports} Ports */
/** @typedef {import('./types.js').Request} Request */

/**
 * The running requests of one upload. A connection is released when its request has ended and the outcome is processed, or
 * when the request is aborted.
 */
export class Calls {
  #ports;
  #on_outcome;
  #on_settled;
  /** @type {import('./pool.js').ConnectionPool | null} */
  #pool = null;
  /** @type {Set<Call>} */
  #running = new Set();
  /** @type {Map<Priority, () => void>} */
  #queued = new Map();

  /**
   * @param {Ports} ports
   * @param {(call: Call, outcome: import('./types.js').Outcome) => void} on_outcome
   * @param {() => void} on_settled after an outcome was processed, or a connection was granted
   */
  constructor(ports, on_outcome, on_settled) {
    this.#ports = ports;
    this.#on_outcome = on_outcome;
    this.#on_settled = on_settled;
  }

  /** @param {import('./pool.js').ConnectionPool} pool whose connections are used from now on */
  open(pool) {
    this.#pool = pool;
  }

  /** Nothing runs and nothing waits for a connection. */
  get idle() {
    return this.#running.size === 0 && this.#queued.size === 0;
  }

  /** @param {Call['kind']} kind */
  runs(kind) {
    return [...this.#running].some((call) => call.kind === kind);
  }

  /** @returns {import('./types.js').Chunk[]} chunks in flight */
  get chunks() {
    return [...this.#running].flatMap((call) => call.chunk ?? []);
  }

  /** Lowest `since` of the running requests; Infinity if none runs. */
  get oldest() {
    return Math.min(Infinity, ...[...this.#running].map((call) => call.since));
  }

  /**
   * Uses free connections while they are wanted, then queues for the next one.
   * @param {Priority} priority
   * @param {() => boolean} wants
   * @param {(slot: Slot) => void} use begins a request
   */
  fill(priority, wants, use) {
    while (this.#pool && !this.#queued.has(priority) && wants()) {
      const slot = this.#pool.take(priority);
      if (slot) use(slot);
      else this.#queued.set(priority, this.#pool.wait(priority, (granted) => {
        this.#queued.delete(priority);
        if (wants()) use(granted);
        else granted.release();
        this.#on_settled();
      }));
    }
  }

  /**
   * @param {Pick<Call, 'kind' | 'slot' | 'since'> & Partial<Call>} what
   * @param {Request} request
   */
  begin(what, request) {
    const { transport, clock } = this.#ports;
    /** @type {Call} */
    const call = { chunk: null, waits: false, abort: () => {}, ...what, began_at: clock.now() };
    this.#running.add(call);
    /** @param {import('./types.js').RawOutcome} raw */
    const end = (raw) => {
      this.#running.delete(call);
      try {
        this.#on_outcome(call, read_outcome(raw, clock.date()));
      } catch (error) {
        // An answer that breaks this library counts as no answer: it is retried after a pause.
        console.error(error);
        this.#on_outcome(call, { kind: 'lost', why: 'network' });
      } finally {
        // Not earlier: the slot may be granted to this very upload at once.
        call.slot?.release();
        this.#on_settled();
      }
    };
    try {
      call.abort = transport.send(request, end).abort;
    } catch {
      // A request that the browser refuses to make ends like a lost one.
      const timer = clock.set_timer(() => end({ kind: 'lost', why: 'network' }), 0);
      call.abort = () => clock.clear_timer(timer);
    }
  }

  /** @param {(call: Call) => unknown} which */
  abort_all(which) {
    for (const call of [...this.#running]) if (which(call)) this.#abort(call);
  }

  /** Aborts everything and leaves every queue. */
  stop() {
    for (const leave of this.#queued.values()) leave();
    this.#queued.clear();
    this.abort_all(() => 1);
  }

  /** @param {Call} call */
  #abort(call) {
    this.#running.delete(call);
    call.abort();
    call.slot?.release();
  }
}

/**
 * A transport that prepares each request before it is sent: reads the body if it is to be read first, asks the page for its
 * headers, and hashes a chunk. A page that cannot provide its headers counts as a lost connection.
 * @param {Ports} ports
 * @param {Pick<Options, 'headers'>} options
 * @returns {import('./types.js').Transport}
 */
export function preparing_transport({ transport, clock }, options) {
  return {
    send(request, on_end) {
      if (!options.headers && !request.digest && !request.read_first) return transport.send(request, on_end);
      /** @type {{ abort: () => void } | null} */
      let running = null;
      let done = false;
      const close = () => {
        done = true;
        clock.clear_timer(timer);
      };
      /** @param {Omit<import('./types.js').Lost, 'kind'>} how */
      const lose = (how) => {
        if (done) return;
        close();
        on_end({ kind: 'lost', ...how });
      };
      /** @param {unknown} error */
      const fail = (error) => lose({ why: 'headers', text: `headers: ${/** @type {Error} */ (error)?.message ?? error}` });
      const timer = clock.set_timer(() => fail('no answer'), PREPARE_MS);
      const prepare = async () => {
        let { body } = request;
        if (request.read_first) {
          try {
            const read = await in_memory(request.read_first);
            if (body === request.read_first) body = read;
          } catch {
            return lose({ why: 'file' });
          }
        }
        const headers = await all_headers({ ...request, body }, options);
        if (done) return;
        // Throws if the page's headers are invalid.
        running = transport.send({ ...request, body, headers }, on_end);
        close();
      };
      prepare().catch(fail);
      return {
        abort() {
          close();
          running?.abort();
        },
      };
    },
  };
}

/**
 * The page's headers and the request's own. The latter win, whatever the case of their names.
 * @param {Request} request
 * @param {Pick<Options, 'headers'>} options
 */
async function all_headers({ body, headers = {}, digest }, options) {
  const own = { ...headers };
  const value = digest ? await content_digest(body) : null;
  if (value) own['Content-Digest'] = value;
  // After the hashing, which takes time: a token should be fresh.
  const theirs = typeof options.headers === 'function' ? await options.headers() : options.headers;
  const others = new Headers(theirs);
  for (const name in own) others.delete(name);
  return { ...Object.fromEntries(others), ...own };
}

/**
 * Sends the cancel request of an upload that was cancelled while the server could not be reached: with growing pauses, until
 * the server knows, has nothing left to cancel, or answers that it is too late.
 * @param {Ports} ports
 * @param {Request} request
 * @param {() => void} on_known
 */
export function cancel_later(ports, request, on_known) {
  const { transport, clock } = ports;
  let failures = 0;
  let wakeable = true;
  /** @type {unknown} */
  let timer = null;

  const stop_waking = ports.on_wake((online) => {
    if (online) failures = 0;
    if (timer !== null && wakeable) attempt();
  });

  const attempt = () => {
    if (timer !== null) clock.clear_timer(timer);
    timer = null;
    transport.send(request, (raw) => {
      const outcome = read_outcome(raw, clock.date());
      const refusal = outcome.kind === 'refused' ? outcome.refusal : null;
      if (outcome.kind === 'status' || (refusal && meaning_of(refusal) !== 'retry')) {
        stop_waking();
        return on_known();
      }
      failures += 1;
      wakeable = !refusal?.retry_after_ms;
      timer = clock.set_timer(attempt, refusal?.retry_after_ms ?? backoff_ms(failures, clock.random()));
    });
  };
  attempt();
}
