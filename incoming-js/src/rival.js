/**
 * Whether to send or to look on while another uploader sends the same file. Pure but for its own memory.
 */
import { SUPERSEDED_LIMIT, WATCH_IDLE_MS } from './limits.js';

export class Rival {
  /** Times superseded in a row, without progress of one's own. */
  superseded = 0;
  #bytes = -1;
  #grew_at = 0;

  /** A chunk of one's own was acknowledged, or a new start. */
  forget() {
    this.superseded = 0;
  }

  /** A newer request took over. True when it is time to leave the sending to the other one. */
  took_over() {
    this.superseded += 1;
    return this.superseded >= SUPERSEDED_LIMIT;
  }

  /**
   * Begins to look on.
   * @param {number} now_ms
   */
  watch(now_ms) {
    this.#bytes = -1;
    this.#grew_at = now_ms;
  }

  /**
   * True when the other one has made no progress for so long that it must be gone; should it come back, it is given
   * way to at once.
   * @param {number} bytes acknowledged
   * @param {number} now_ms
   */
  is_gone(bytes, now_ms) {
    if (bytes !== this.#bytes) this.#grew_at = now_ms;
    this.#bytes = bytes;
    if (now_ms - this.#grew_at <= WATCH_IDLE_MS) return false;
    this.superseded = SUPERSEDED_LIMIT - 1;
    // Should this one not get on either, it is as long until the next try.
    this.#grew_at = now_ms;
    return true;
  }
}
