/**
 * How an upload uses its line: how large chunks are, how many are in flight, how fast it goes. Fed with what became of
 * each chunk. Pure but for its own memory.
 */
import { Flight } from './flight.js';
import { Rate } from './rate.js';
import { Suspects } from './suspects.js';
export type Put = import('./present.js').Put;
export type Status = import('./types.js').Status;
/** @typedef {import('./present.js').Put} Put */
/** @typedef {import('./types.js').Status} Status */
export declare class Pace {
    #private;
    rate: Rate;
    suspects: Suspects;
    flight: Flight;
    /** @param {import('./types.js').Options} options */
    constructor(options: import('./types.js').Options);
    /** @param {Status} status */
    hashes(status: Status): boolean;
    /**
     * The sizes in force, as `next_chunks` takes them.
     * @param {Status} status
     * @param {number} length of the file
     * @param {number} ceiling what passes on the way to the server
     */
    sizes(status: Status, length: number, ceiling: number): {
        chunk_bytes: number;
        send_ahead: number;
    };
    /**
     * @param {Put} put
     * @param {number} ms
     * @param {number} now_ms
     * @param {Status} status
     */
    acked({ from, to }: Put, ms: number, now_ms: number, status: Status): void;
    /**
     * No answer came.
     * @param {Put} put
     * @param {number} ms
     * @param {import('./types.js').Lost['why']} why
     */
    lost({ from, to, sent }: Put, ms: number, why: import('./types.js').Lost['why']): void;
}
