/**
 * How fast the file arrives at the server and how long that will take, from acknowledgements alone: what merely left
 * the browser does not count. Pure but for its own memory.
 */
import { RATE_LEAST_MS, RATE_TOGETHER_MS, RATE_WINDOW_MS } from './limits.js';

export class Rate {
  /** @type {{ at: number, bytes: number }[]} */
  #looks = [];

  /** Forgets everything: what comes next has nothing to do with what was. */
  forget() {
    this.#looks.length = 0;
  }

  /**
   * So many bytes are acknowledged now. Time without progress counts: the rate falls.
   * @param {number} bytes
   * @param {number} now_ms
   */
  note(bytes, now_ms) {
    const looks = this.#looks;
    let last = looks[looks.length - 1];
    // A server that fell back begins a new account.
    if (last && bytes < last.bytes) {
      looks.length = 0;
      last = looks[0];
    }
    // Chunks that were begun together end together; an account that begins between two of them would be wrong.
    if (last && now_ms - last.at < RATE_TOGETHER_MS) last.bytes = bytes;
    else looks.push({ at: now_ms, bytes });
    while (looks.length > 2 && now_ms - looks[1].at >= RATE_WINDOW_MS) looks.shift();
  }

  /** Bytes per second, rounded; null until known, and when nothing arrives. */
  get bytes_per_s() {
    const [first] = this.#looks;
    const last = this.#looks[this.#looks.length - 1];
    if (!first || last.at - first.at < RATE_LEAST_MS) return null;
    return Math.round(((last.bytes - first.bytes) * 1000) / (last.at - first.at)) || null;
  }

  /**
   * Seconds until `left` more bytes will have arrived, rounded up; null when unknown.
   * @param {number} left
   */
  eta_s(left) {
    const rate = this.bytes_per_s;
    return rate === null ? null : Math.ceil(left / rate);
  }
}
