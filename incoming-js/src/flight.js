/**
 * How many chunks are in flight: as many as help. Pure but for its own memory.
 *
 * From time to time one more is tried. It stays when the rate, measured in acknowledgements, rises with it; else it
 * goes, and the next trial comes later than this one did.
 */
import { CRAWL_MS, FIRST_CHUNK_BYTES, FIRST_IN_FLIGHT, IN_FLIGHT_GAIN, IN_FLIGHT_REST, IN_FLIGHT_WINDOW_MS } from './limits.js';

export class Flight {
  #count = FIRST_IN_FLIGHT;
  /** On trial: the rate without the last one, in bytes per ms. */
  #before = 0;
  #rest = 0;
  #resting = 1;
  // The measurement: acknowledgements (below zero: those that do not count yet), bytes in them, since when, the largest.
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
    if (ms > CRAWL_MS && bytes <= FIRST_CHUNK_BYTES) return this.fewer();
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
    // Whole rounds of chunks: those begun together are acknowledged together.
    if (this.#acks <= 2 * count || (this.#acks - 1) % count !== 0 || measured_ms < IN_FLIGHT_WINDOW_MS) return;
    const rate = this.#bytes / measured_ms;
    this.#begin(now_ms);
    this.#acks = 1;
    this.#judge(rate, limit);
  }

  /** Sending stood still: what is measured now began before. */
  restart() {
    this.#acks = -this.#count;
  }

  /** A line too slow or a server too busy for so many. */
  fewer() {
    this.#change(Math.max(1, this.#count - 1));
    this.#rest = this.#resting;
    this.#resting = Math.min(IN_FLIGHT_REST, this.#resting * 2);
  }

  /**
   * @param {number} rate
   * @param {number} limit
   */
  #judge(rate, limit) {
    if (rate < this.#before * IN_FLIGHT_GAIN) return this.fewer();
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
    // Those that are on their way still went out in the old company.
    this.restart();
  }

  /** @param {number} now_ms */
  #begin(now_ms) {
    this.#since = now_ms;
    this.#bytes = 0;
  }
}
