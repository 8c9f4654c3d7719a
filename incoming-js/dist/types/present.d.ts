export type Range = import('./ranges.js').Range;
export type Properties = import('./types.js').Properties;
export type Put = {
    from: number;
    to: number;
    /**
     * bytes the network has taken
     */
    sent: number;
    /**
     * it has taken all of them
     */
    handed: boolean;
    /**
     * the browser tells how many are sent
     */
    watched: boolean;
    /**
     * when bytes moved last, or it began
     */
    moved_at: number;
};
export type Phase = 'idle' | 'binding' | 'sending' | 'watching' | 'following' | 'paused' | 'cancelling' | 'over';
export type Turn = 'asking' | 'held' | 'waiting';
export type Snapshot = {
    phase: Phase;
    ending: 'finished' | 'cancelled' | 'failed' | null;
    total: number;
    received: readonly Range[];
    puts: readonly Put[];
    rate: import('./rate.js').Rate;
    chunks_acked: number;
    connected: boolean;
    need_status: boolean;
    turn: Turn;
    check: import('./same.js').Check;
    /**
     * why it waits
     */
    trouble: string | null;
    /**
     * seconds left of that
     */
    retry_s: number | null;
    /**
     * what the server says for people
     */
    note: string | null;
    cancel_msg: string | null;
    failure: import('./types.js').Failure | null;
};
/** @typedef {import('./ranges.js').Range} Range */
/** @typedef {import('./types.js').Properties} Properties */
/**
 * A chunk on its way.
 * @typedef {object} Put
 * @property {number} from
 * @property {number} to
 * @property {number} sent bytes the network has taken
 * @property {boolean} handed it has taken all of them
 * @property {boolean} watched the browser tells how many are sent
 * @property {number} moved_at when bytes moved last, or it began
 */
/**
 * - `idle`: not started
 * - `binding`: asks the server what it has
 * - `sending`: sends chunks
 * - `watching`: another uploader sends the file, this one looks on
 * - `following`: the server has everything and hands it over
 * - `paused`, `cancelling`: as the page wished
 * - `over`
 * @typedef {'idle' | 'binding' | 'sending' | 'watching' | 'following' | 'paused' | 'cancelling' | 'over'} Phase
 */
/**
 * Among the tabs of this browser: nobody has answered yet, it is this one's turn, another one has the upload.
 * @typedef {'asking' | 'held' | 'waiting'} Turn
 */
/**
 * @typedef {object} Snapshot
 * @property {Phase} phase
 * @property {'finished' | 'cancelled' | 'failed' | null} ending
 * @property {number} total
 * @property {readonly Range[]} received
 * @property {readonly Put[]} puts
 * @property {import('./rate.js').Rate} rate
 * @property {number} chunks_acked
 * @property {boolean} connected
 * @property {boolean} need_status
 * @property {Turn} turn
 * @property {import('./same.js').Check} check
 * @property {string | null} trouble why it waits
 * @property {number | null} retry_s seconds left of that
 * @property {string | null} note what the server says for people
 * @property {string | null} cancel_msg
 * @property {import('./types.js').Failure | null} failure
 */
/**
 * @param {Snapshot} now
 * @returns {Properties}
 */
export declare function present(now: Snapshot): Properties;
