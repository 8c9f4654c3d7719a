/**
 * How an upload uses its line: how large chunks are, how many are in flight, how fast it goes. Fed with what became of
 * each chunk. Pure but for its own memory.
 */
import { Flight } from './flight.js';
import { CHUNK_CONNECTIONS } from './limits.js';
import { Rate } from './rate.js';
import { ChunkSize } from './size.js';
import { Suspects } from './suspects.js';

/** @typedef {import('./present.js').Put} Put */
/** @typedef {import('./types.js').Status} Status */

export class Pace {
  rate = new Rate();
  suspects = new Suspects();
  flight = new Flight();
  #size;
  #send_ahead;

  /** @param {import('./types.js').Options} options */
  constructor(options) {
    this.#size = new ChunkSize(options);
    this.#send_ahead = options.send_ahead;
  }

  /** @param {Status} status */
  hashes(status) {
    return this.#size.hashes(status);
  }

  /**
   * The sizes in force, as `next_chunks` takes them.
   * @param {Status} status
   * @param {number} length of the file
   * @param {number} ceiling what passes on the way to the server
   */
  sizes(status, length, ceiling) {
    return {
      chunk_bytes: this.#size.next(status, length, ceiling),
      send_ahead: this.#send_ahead ?? this.flight.within(most(status)),
    };
  }

  /**
   * @param {Put} put
   * @param {number} ms
   * @param {number} now_ms
   * @param {Status} status
   */
  acked({ from, to }, ms, now_ms, status) {
    this.suspects.clear();
    this.#size.acked(to - from, ms);
    this.flight.acked(to - from, ms, now_ms, most(status));
  }

  /**
   * No answer came.
   * @param {Put} put
   * @param {number} ms
   * @param {import('./types.js').Lost['why']} why
   */
  lost({ from, to, sent }, ms, why) {
    if (why === 'network') this.suspects.lost(from, to - from);
    this.#size.lost(sent, ms);
  }
}

/**
 * Chunks in flight at most: the page has no more connections for them, whatever the server suggests.
 * @param {Status} status
 */
function most({ send_ahead }) {
  return Math.min(send_ahead, CHUNK_CONNECTIONS);
}
