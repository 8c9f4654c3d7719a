export type Range = import('./ranges.js').Range;
export type Upload = import('./upload.js').Upload;
export type Check = null | object | string;
/** @typedef {import('./ranges.js').Range} Range */
/** @typedef {import('./upload.js').Upload} Upload */
/**
 * Nothing to compare, pieces being read (a value of its own, since a later check takes its place), or the text to send.
 * @typedef {null | object | string} Check
 */
/**
 * Pieces of `ranges` to compare: the first, the last and some by chance, in order.
 * @param {readonly Range[]} ranges merged
 * @param {() => number} random in [0, 1)
 */
export declare function pieces(ranges: readonly Range[], random: () => number): import("./ranges.js").Range[];
/**
 * Begins to compare if there is anything to compare; until it is done no chunk is sent.
 * @param {Upload} upload whose status was just read
 */
export declare function begin_check(upload: Upload): void;
/**
 * @param {Upload} upload
 * @param {import('./types.js').Status} status
 */
export declare function on_verdicts(upload: Upload, { verified }: import('./types.js').Status): void;
/**
 * The server cannot compare, or not now. Gives true when it is to be asked once more, later.
 * @param {Upload} upload
 * @param {import('./types.js').Outcome} outcome
 */
export declare function ask_again(upload: Upload, outcome: import('./types.js').Outcome): boolean;
