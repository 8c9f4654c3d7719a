/**
 * How large a chunk is: so large that it takes one to two seconds. Pure but for its own memory.
 *
 * What the server and the proxies before it let pass is a bound from outside; here the line is learnt, from how long
 * chunks took until they were acknowledged.
 */
import { CHUNKS_PER_FILE, CHUNK_FAST_MS, CHUNK_GOAL_MS, CHUNK_SLOW_MS, FIRST_CHUNK_BYTES, HASH_BYTES, MIN_CHUNK_BYTES, MOST_CHUNK_BYTES } from './limits.js';

export class ChunkSize {
  #bytes = FIRST_CHUNK_BYTES;
  #fixed;
  #digest;

  /** @param {Pick<import('./types.js').Options, 'chunk_size' | 'digest'>} options of the page */
  constructor({ chunk_size, digest }) {
    this.#fixed = chunk_size;
    this.#digest = digest;
  }

  /**
   * Whether chunks carry a digest: as the page says, else as the web app wishes.
   * @param {{ digest: boolean }} status
   */
  hashes({ digest }) {
    return this.#digest ?? digest;
  }

  /**
   * Bytes of the next chunk.
   * @param {{ chunk_size: number, max_chunk_size: number | null, digest: boolean }} status what the server suggests and takes
   * @param {number} length of the file
   * @param {number} ceiling learnt from refusals; Infinity at first
   */
  next(status, length, ceiling) {
    const { chunk_size, max_chunk_size } = status;
    const most = Math.min(this.hashes(status) ? HASH_BYTES : MOST_CHUNK_BYTES, Math.max(chunk_size, Math.floor(length / CHUNKS_PER_FILE)));
    return Math.max(1, Math.min(this.#fixed ?? Math.min(this.#bytes, most), max_chunk_size ?? Infinity, ceiling));
  }

  /**
   * A chunk was acknowledged. A fast one of any size shows that larger ones are due, at most four times as large; a
   * slow one makes them smaller, by half at most, since a single one may just have had bad luck.
   * @param {number} bytes
   * @param {number} ms it took
   */
  acked(bytes, ms) {
    const goal = bytes * Math.min(4, CHUNK_GOAL_MS / ms);
    if (ms < CHUNK_FAST_MS) this.#bytes = Math.floor(Math.max(this.#bytes, goal));
    else this.lost(bytes, ms);
  }

  /**
   * A chunk broke off: when that was late, a smaller one would have come through.
   * @param {number} bytes that went out
   * @param {number} ms
   */
  lost(bytes, ms) {
    if (ms <= CHUNK_SLOW_MS) return;
    const goal = Math.max(MIN_CHUNK_BYTES, this.#bytes / 2, (bytes * CHUNK_GOAL_MS) / ms);
    this.#bytes = Math.floor(Math.min(this.#bytes, goal));
  }
}

/**
 * The new ceiling after a chunk of `sent` bytes was refused as too large; null when smaller makes no sense.
 * @param {number} sent
 * @param {number | null} max what the server said with the refusal that it takes
 */
export function ceiling_after_refusal(sent, max) {
  if (max !== null && max < sent) return max;
  if (sent <= MIN_CHUNK_BYTES) return null;
  return Math.max(MIN_CHUNK_BYTES, Math.floor(sent / 2));
}
