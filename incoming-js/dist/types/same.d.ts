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
 * Pieces of `ranges` to compare, in order: all of it where that is little; else the first, the last, and one from each
 * of equal parts between, by chance, so that every change over more than two parts is met.
 * @param {readonly Range[]} ranges merged
 * @param {() => number} random in [0, 1)
 */
export declare function pieces(ranges: readonly Range[], random: () => number): import("./ranges.js").Range[];
/**
 * Begins to compare what is not surely of this file, if there is any; until it is done no chunk is sent.
 * @param {Upload} upload whose status was just read
 */
export declare function check_foreign(upload: Upload): void;
/**
 * Begins to compare whatever is acknowledged, and holds the last bytes ready.
 * @param {Upload} upload that lacks these only
 * @param {Range} last
 */
export declare function check_all(upload: Upload, last: Range): void;
/**
 * @param {Upload} upload
 * @param {import('./types.js').Status} status
 */
export declare function on_verdicts(upload: Upload, { verified }: import('./types.js').Status): void;
/**
 * The server cannot compare, or not now. Gives true when it is to be asked once more, later; one that is busy, as often as
 * it takes.
 * @param {Upload} upload
 * @param {import('./types.js').Outcome} outcome
 */
export declare function ask_again(upload: Upload, outcome: import('./types.js').Outcome): boolean;
/**
 * Looks whether the file can still be read, one look at a time.
 * @param {Upload} upload
 * @param {number} at offset of a byte that is being sent, or was
 */
export declare function look_at_file(upload: Upload, at: number): Promise<void>;
