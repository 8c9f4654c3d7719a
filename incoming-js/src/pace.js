/**
 * How an upload uses its line: the size of chunks, how many are in flight, and the measured rate. Learns from the outcome of
 * each chunk. Pure, but for its own memory.
 */
import { CHUNKS_PER_FILE, CHUNK_CONNECTIONS, CHUNK_FAST_MS, CHUNK_GOAL_MS, CHUNK_SLOW_MS, CRAWL_MS, FIRST_CHUNK_BYTES, FIRST_IN_FLIGHT, HASH_BYTES, IN_FLIGHT_GAIN, IN_FLIGHT_REST, IN_FLIGHT_WINDOW_MS, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, RATE_MIN_MS, RATE_TOGETHER_MS, RATE_WINDOW_MS } from './limits.js';

/** @typedef {import('./types.js').Chunk} Chunk */
/** @typedef {import('./types.js').Status} Status */

export class Pace {
  rate = new Rate();
  hidden_limits = new HiddenLimits();
  in_flight = new InFlight();
  #size;
  #send_ahead;

  /** @param {import('./api.js').Options} options */
  constructor(options) {
    this.#size = new ChunkSize(options);
    this.#send_ahead = options.send_ahead;
  }

  /** @param {Status} status */
  hashes(status) {
    return this.#size.hashes(status);
  }

  /**
   * Sizes in force, as `next_chunk` takes them.
   * @param {Status} status
   * @param {number} length of the file
   * @param {number} ceiling largest chunk that passes on the way to the server
   */
  sizes(status, length, ceiling) {
    return {
      chunk_bytes: this.#size.next(status, length, ceiling),
      send_ahead: this.#send_ahead ?? this.in_flight.within(max_in_flight(status)),
    };
  }

  /**
   * @param {Chunk} chunk acknowledged
   * @param {number} ms
   * @param {number} now_ms
   * @param {Status} status
   */
  acked({ from, to }, ms, now_ms, status) {
    this.hidden_limits.clear();
    this.#size.acked(to - from, ms);
    this.in_flight.acked(to - from, ms, now_ms, max_in_flight(status));
  }

  /**
   * No answer came.
   * @param {Chunk} chunk
   * @param {number} ms
   * @param {import('./types.js').Lost['why']} why
   */
  lost({ from, to, sent }, ms, why) {
    if (why === 'network') this.hidden_limits.lost(from, to - from);
    this.#size.lost(sent, ms);
  }
}

/**
 * The page has a limited number of connections, whatever the server suggests.
 * @param {Status} status
 */
function max_in_flight({ send_ahead }) {
  return Math.min(send_ahead, CHUNK_CONNECTIONS);
}

/**
 * Size of a chunk: such that it takes one to two seconds until it is acknowledged. The limits of the server and of proxies
 * come in as arguments.
 */
export class ChunkSize {
  #bytes = FIRST_CHUNK_BYTES;
  #fixed;
  #digest;

  /** @param {Pick<import('./api.js').Options, 'chunk_size' | 'digest'>} options of the page */
  constructor({ chunk_size, digest }) {
    this.#fixed = chunk_size;
    this.#digest = digest;
  }

  /**
   * Whether chunks carry a digest: as the page says, else as the web app asks.
   * @param {{ digest: boolean }} status
   */
  hashes({ digest }) {
    return this.#digest ?? digest;
  }

  /**
   * Bytes of the next chunk.
   * @param {{ chunk_size: number, max_chunk_size: number | null, digest: boolean }} status
   * @param {number} length of the file
   * @param {number} ceiling learnt from refusals; Infinity at first
   */
  next(status, length, ceiling) {
    const { chunk_size, max_chunk_size } = status;
    const most = Math.min(this.hashes(status) ? HASH_BYTES : MAX_CHUNK_BYTES, Math.max(chunk_size, Math.floor(length / CHUNKS_PER_FILE)));
    return Math.max(1, Math.min(this.#fixed ?? Math.min(this.#bytes, most), max_chunk_size ?? Infinity, ceiling));
  }

  /**
   * A chunk was acknowledged. A fast one of any size shows that the size may grow, by four times at most. A slow one makes
   * it smaller, by half at most, since a single slow chunk may be chance.
   * @param {number} bytes
   * @param {number} ms it took
   */
  acked(bytes, ms) {
    const goal = bytes * Math.min(4, CHUNK_GOAL_MS / ms);
    if (ms < CHUNK_FAST_MS) this.#bytes = Math.floor(Math.max(this.#bytes, goal));
    else this.lost(bytes, ms);
  }

  /**
   * A chunk broke off. If that was late, a smaller one would have succeeded.
   * @param {number} bytes sent
   * @param {number} ms
   */
  lost(bytes, ms) {
    if (ms <= CHUNK_SLOW_MS) return;
    const goal = Math.max(MIN_CHUNK_BYTES, this.#bytes / 2, (bytes * CHUNK_GOAL_MS) / ms);
    this.#bytes = Math.floor(Math.min(this.#bytes, goal));
  }
}

/**
 * The new ceiling after a chunk of `sent` bytes was refused as too large; null if it cannot be smaller.
 * @param {number} sent
 * @param {number | null} max limit that the refusal states
 */
export function ceiling_after_refusal(sent, max) {
  if (max !== null && max < sent) return max;
  if (sent <= MIN_CHUNK_BYTES) return null;
  return Math.max(MIN_CHUNK_BYTES, Math.floor(sent / 2));
}

/**
 * Number of chunks in flight. From time to time one more is tried. It stays if the rate of acknowledgements rises; else it
 * goes, and the pause before the next trial doubles.
 */
export class InFlight {
  #count = FIRST_IN_FLIGHT;
  /** During a trial: the rate before it, in bytes per ms. */
  #before = 0;
  #rest = 0;
  #resting = 1;
  // The measurement: acknowledgements (negative: not counted yet), their bytes, its start, the largest chunk.
  #acks = 0;
  #bytes = 0;
  #since = 0;
  #largest = 0;

  /** @param {number} limit of the server or the page */
  within(limit) {
    return Math.min(this.#count, limit);
  }

  /**
   * A chunk was acknowledged.
   * @param {number} bytes
   * @param {number} ms it took
   * @param {number} now_ms
   * @param {number} limit
   */
  acked(bytes, ms, now_ms, limit) {
    if (ms > CRAWL_MS && bytes <= FIRST_CHUNK_BYTES) return this.decrease();
    const count = this.within(limit);
    // Growing chunks raise the rate by themselves.
    if (bytes > this.#largest * 1.5) {
      this.#largest = bytes;
      this.#acks = Math.min(this.#acks, 0);
    }
    if (this.#acks > 0) this.#bytes += bytes;
    else this.#begin(now_ms);
    this.#acks += 1;
    const measured_ms = now_ms - this.#since;
    // Chunks that begin together end together, so only a multiple of `count` is measured.
    if (this.#acks <= 2 * count || (this.#acks - 1) % count !== 0 || measured_ms < IN_FLIGHT_WINDOW_MS) return;
    const rate = this.#bytes / measured_ms;
    this.#begin(now_ms);
    this.#acks = 1;
    this.#decide(rate, limit);
  }

  /** Sending was interrupted: measure anew. */
  restart() {
    this.#acks = -this.#count;
  }

  /** The line is too slow or the server too busy for this many. */
  decrease() {
    this.#change(Math.max(1, this.#count - 1));
    this.#rest = this.#resting;
    this.#resting = Math.min(IN_FLIGHT_REST, this.#resting * 2);
  }

  /**
   * @param {number} rate
   * @param {number} limit
   */
  #decide(rate, limit) {
    if (rate < this.#before * IN_FLIGHT_GAIN) return this.decrease();
    this.#before = 0;
    if (this.#rest > 0) this.#rest -= 1;
    else if (this.#count < limit) {
      this.#change(this.#count + 1);
      this.#before = rate;
    }
  }

  /** @param {number} count */
  #change(count) {
    this.#count = count;
    this.#before = 0;
    // Chunks in flight began under the old count.
    this.restart();
  }

  /** @param {number} now_ms */
  #begin(now_ms) {
    this.#since = now_ms;
    this.#bytes = 0;
  }
}

/** Rate at which the server acknowledges the file, and the time left. Bytes that only left the browser do not count. */
export class Rate {
  /** @type {{ at: number, bytes: number }[]} */
  #samples = [];

  /** Forgets everything measured so far. */
  reset() {
    this.#samples.length = 0;
  }

  /**
   * @param {number} bytes acknowledged in all. Time without progress counts: the rate falls
   * @param {number} now_ms
   */
  sample(bytes, now_ms) {
    const samples = this.#samples;
    let last = samples[samples.length - 1];
    // A server that lost bytes starts a new measurement.
    if (last && bytes < last.bytes) {
      samples.length = 0;
      last = samples[0];
    }
    // Chunks that begin together end together; a measurement that begins between two of them would be wrong.
    if (last && now_ms - last.at < RATE_TOGETHER_MS) last.bytes = bytes;
    else samples.push({ at: now_ms, bytes });
    while (samples.length > 2 && now_ms - samples[1].at >= RATE_WINDOW_MS) samples.shift();
  }

  /** Bytes per second, rounded; null until known, and if nothing arrives. */
  get bytes_per_s() {
    const [first] = this.#samples;
    const last = this.#samples[this.#samples.length - 1];
    if (!first || last.at - first.at < RATE_MIN_MS) return null;
    return Math.round(((last.bytes - first.bytes) * 1000) / (last.at - first.at)) || null;
  }

  /**
   * Seconds until `left` more bytes are acknowledged, rounded up; null if unknown.
   * @param {number} left
   */
  eta_s(left) {
    const rate = this.bytes_per_s;
    return rate === null ? null : Math.ceil(left / rate);
  }
}

/**
 * Detects a proxy that refuses chunks for their size with an answer that the browser hides: a 413 without CORS headers
 * looks like a lost connection. The sign: a chunk is lost twice, nothing of it arrived, and the server answers status
 * requests before and after.
 */
export class HiddenLimits {
  /** @type {Map<number, { bytes: number, times: number }>} by offset */
  #lost = new Map();

  /**
   * A chunk got no answer because of the network.
   * @param {number} from
   * @param {number} bytes
   */
  lost(from, bytes) {
    this.#lost.set(from, { bytes, times: (this.#lost.get(from)?.times ?? 0) + 1 });
  }

  /** A chunk succeeded: size is not the problem. */
  clear() {
    this.#lost.clear();
  }

  /**
   * The server answered a status request. Returns the bytes of a chunk that must be taken for refused, or null.
   * @param {(offset: number) => boolean} holds whether the server holds the byte at an offset
   */
  find(holds) {
    for (const [from, { bytes, times }] of this.#lost) {
      if (holds(from)) this.#lost.delete(from);
      else if (times > 1) {
        this.clear();
        return bytes;
      }
    }
    return null;
  }
}
