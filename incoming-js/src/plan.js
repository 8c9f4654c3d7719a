/**
 * Which bytes to send next. Pure: the answer depends on the arguments alone.
 */
import { merged, missing } from './ranges.js';

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
