export type Range = import('./ranges.js').Range;
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
export declare function next_chunks({ received, in_flight, length, chunk_bytes, send_ahead }: {
    received: readonly Range[];
    in_flight: readonly Range[];
    length: number;
    chunk_bytes: number;
    send_ahead: number;
}): Range[];
