/**
 * Finds out that a proxy refuses chunks for their size although its answer cannot be read: without CORS headers a 413
 * looks like a lost connection. Pure but for its own memory.
 *
 * The sign: one chunk was lost twice, nothing of it arrived, and the server answers status requests before and after.
 */

export class Suspects {
  /** @type {Map<number, { bytes: number, times: number }>} by offset */
  #lost = new Map();

  /**
   * A chunk went without an answer, by no fault of this side.
   * @param {number} from
   * @param {number} bytes
   */
  lost(from, bytes) {
    this.#lost.set(from, { bytes, times: (this.#lost.get(from)?.times ?? 0) + 1 });
  }

  /** A chunk came through: size is not the trouble. */
  clear() {
    this.#lost.clear();
  }

  /**
   * The server answered what it holds. Bytes of a chunk that must be taken for refused, or null.
   * @param {(offset: number) => boolean} holds
   */
  convict(holds) {
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
