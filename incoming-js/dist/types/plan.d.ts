export type Range = import('./ranges.js').Range;
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
export declare function next_chunk({ received, in_flight, length, chunk_bytes, send_ahead }: {
    received: readonly Range[];
    in_flight: readonly Range[];
    length: number;
    chunk_bytes: number;
    send_ahead: number;
}): Range | undefined;
/**
 * Where the next chunk ends so that the last bytes of the file stay behind, to be sent when all others are acknowledged
 * and compared; `from` when it is just those. A file that is small enough goes out in one piece.
 * @param {readonly Range[]} known acknowledged or in flight, merged
 * @param {Range} next
 * @param {number} length of the file
 */
export declare function end_before_last(known: readonly Range[], [from, to]: Range, length: number): number;
