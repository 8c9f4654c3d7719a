export type Range = import('./ranges.js').Range;
/** @typedef {import('./ranges.js').Range} Range */
export declare class Ledger {
    #private;
    /** @type {Range[]} acknowledged ranges */
    received: Range[];
    /** The present moment, to be kept with a request that begins now. */
    mark(): number;
    /**
     * @param {readonly Range[]} ranges what the answer says
     * @param {number} since the mark of its request
     * @param {number} oldest the lowest mark of the requests still running; Infinity without any
     */
    learn(ranges: readonly Range[], since: number, oldest: number): void;
}
