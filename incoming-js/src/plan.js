/**
 * Which bytes to send next. Pure: the answer depends on the arguments alone.
 */
import { FIRST_CHUNK_BYTES, LAST_BYTES, MIN_PIECE_BYTES } from './limits.js';
import { merged, missing, size_of, union } from './ranges.js';

/** @typedef {import('./ranges.js').Range} Range */

/**
 * The ranges to put in flight now, lowest first: the holes in what the server holds and what is on its way,
 * cut into chunks, as many as `send_ahead` still allows. No two ranges in flight ever overlap.
 * @param {object} known
 * @param {readonly Range[]} known.received acknowledged, merged
 * @param {readonly Range[]} known.in_flight any order
 * @param {number} known.length of the file
 * @param {number} known.chunk_bytes
 * @param {number} known.send_ahead chunks in flight at once
 * @returns {Range[]}
 */
export function next_chunks({ received, in_flight, length, chunk_bytes, send_ahead }) {
  /** @type {Range[]} */
  const out = [];
  const free = send_ahead - in_flight.length;
  if (free <= 0) return out;
  for (const [start, end] of missing(merged([...received, ...in_flight]), 0, length)) {
    for (let from = start; from < end; from += chunk_bytes) {
      if (out.length === free) return out;
      out.push([from, Math.min(end, from + chunk_bytes)]);
    }
  }
  return out;
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
