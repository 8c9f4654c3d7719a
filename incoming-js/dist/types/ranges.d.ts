/**
 * Sets of bytes as lists of half-open ranges, sorted and merged. Pure.
 */
export type Range = [number, number];
/** @typedef {[number, number]} Range from inclusive, to exclusive */
/**
 * The same bytes, sorted and merged; empty ranges are dropped.
 * @param {readonly Range[]} ranges
 * @returns {Range[]}
 */
export declare function merged(ranges: readonly Range[]): Range[];
/**
 * The bytes that are in either.
 * @param {readonly Range[]} a
 * @param {readonly Range[]} b
 */
export declare function union(a: readonly Range[], b: readonly Range[]): Range[];
/**
 * What of [from, to) is not in `ranges`, which must be merged.
 * @param {readonly Range[]} ranges
 * @param {number} from
 * @param {number} to
 * @returns {Range[]}
 */
export declare function missing(ranges: readonly Range[], from: number, to: number): Range[];
/**
 * Number of bytes in merged `ranges`.
 * @param {readonly Range[]} ranges
 */
export declare function size_of(ranges: readonly Range[]): number;
