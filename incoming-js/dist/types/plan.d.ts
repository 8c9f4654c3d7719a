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
/**
 * Where the next chunk ends so that the last bytes of the file stay behind, to be sent when all others are acknowledged
 * and compared; `from` when it is just those. A file that is small enough goes out in one piece.
 * @param {readonly Range[]} known acknowledged or in flight, merged
 * @param {Range} next
 * @param {number} length of the file
 */
export declare function end_before_last(known: readonly Range[], [from, to]: Range, length: number): number;
