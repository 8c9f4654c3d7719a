/**
 * Which bytes to send next. Pure: the answer depends on the arguments alone.
 */
import { FIRST_CHUNK_BYTES, LAST_BYTES, MIN_PIECE_BYTES } from './limits.js';
import { missing, size_of, union } from './ranges.js';

/** @typedef {import('./ranges.js').Range} Range */

/**
 * The range to put in flight next, the lowest one: of the first hole in what the server holds and what is on its way, as
 * much as a chunk takes; undefined when there is none, or `send_ahead` allows no more. No two ranges in flight overlap.
 * @param {object} known
 * @param {readonly Range[]} known.received acknowledged, merged
 * @param {readonly Range[]} known.in_flight any order
 * @param {number} known.length of the file
 * @param {number} known.chunk_bytes
 * @param {number} known.send_ahead chunks in flight at once
 * @returns {Range | undefined}
 */
export function next_chunk({ received, in_flight, length, chunk_bytes, send_ahead }) {
  if (in_flight.length >= send_ahead) return undefined;
  const [hole] = missing(union(received, in_flight), 0, length);
  return hole && [hole[0], Math.min(hole[1], hole[0] + chunk_bytes)];
}

/**
 * Where the next chunk ends so that the last bytes of the file stay behind, to be sent when all others are acknowledged
 * and compared; `from` when it is just those. A file that is small enough goes out in one piece.
 * @param {readonly Range[]} known acknowledged or in flight, merged
 * @param {Range} next
 * @param {number} length of the file
 */
export function end_before_last(known, [from, to], length) {
  const completes = size_of(union(known, [[from, to]])) === length;
  if (!completes || (known.every((range) => size_of([range]) < MIN_PIECE_BYTES) && to - from <= FIRST_CHUNK_BYTES)) return to;
  return Math.max(from, to - LAST_BYTES);
}
