/**
 * The state of one upload and the steps between its phases. What to request is decided in `pump`, what an outcome
 * changes in `outcomes`; both work on this. It ends only in `finished`, `cancelled` or `failed`.
 */
import { Calls } from './calls.js';
import { Hold } from './hold.js';
import { Ledger } from './ledger.js';
import { Pace } from './pace.js';
import { Remembering } from './remembering.js';
import { Rival } from './rival.js';
export type Call = import('./calls.js').Call;
export type Failure = import('./types.js').Failure;
export type Outcome = import('./types.js').Outcome;
/** @typedef {import('./calls.js').Call} Call */
/** @typedef {import('./types.js').Failure} Failure */
/** @typedef {import('./types.js').Outcome} Outcome */
export declare class Upload {
    #private;
    upload_id: string;
    file: File;
    ports: import("./types.js").Ports;
    origin: () => string;
    pace: Pace;
    calls: Calls;
    hold: Hold;
    memory: Remembering;
    settle: () => void;
    tell: () => void;
    /** @type {import('./present.js').Phase} */
    phase: import('./present.js').Phase;
    /** Mark of the ledger when the phase began. */
    phase_mark: number;
    /** @type {import('./present.js').Snapshot['ending']} */
    ending: import('./present.js').Snapshot['ending'];
    /** @type {import('./types.js').Status | null} the newest */
    status: import('./types.js').Status | null;
    need_status: boolean;
    connected: boolean;
    chunks_acked: number;
    /** Failures of chunks in a row, for the length of the next pause; and of all else since the server last answered. */
    failures: number;
    misses: number;
    /** Looks that did not wait at the server, for the length of the pause between them. */
    polls: number;
    /** Times that the server had everything and then no longer, for the length of the pause after it. */
    falls: number;
    /** Answers in a row that contradict earlier ones, and looks in a row at a file that could not be read. */
    contradictions: number;
    unreadable: number;
    /** The file is being looked at. */
    looking: boolean;
    /** When the youngest of the acknowledged chunks began. */
    acked_began_at: number;
    /** @type {string | null} */
    cancel_msg: string | null;
    /** @type {Failure | null} */
    failure: Failure | null;
    /** @type {import('./types.js').Ending[]} not yet told */
    events: import('./types.js').Ending[];
    hostname: string;
    url: string;
    /** @type {import('./budget.js').Budget | null} */
    budget: import('./budget.js').Budget | null;
    ledger: Ledger;
    rival: Rival;
    /** @type {import('./present.js').Turn} */
    turn: import('./present.js').Turn;
    /** @type {import('./same.js').Check} */
    check: import('./same.js').Check;
    /** The last bytes, read before all others were compared. @type {Blob | null} */
    last: Blob | null;
    /** Bytes that are surely of this file: sent by this uploader or compared. @type {import('./ranges.js').Range[]} */
    own: import('./ranges.js').Range[];
    verify_failures: number;
    /**
     * @param {object} what
     * @param {string} what.upload_id
     * @param {File} what.file
     * @param {import('./types.js').Options} what.options
     * @param {import('./types.js').Ports} what.ports
     * @param {() => string} what.origin asked when the first request is due
     * @param {(call: Call, outcome: Outcome) => void} on_outcome
     * @param {() => void} on_settled it is time to look what to request, and to tell the page
     * @param {() => void} on_tell it is time to tell the page
     */
    constructor({ upload_id, file, options, ports, origin }: {
        upload_id: string;
        file: File;
        options: import('./types.js').Options;
        ports: import('./types.js').Ports;
        origin: () => string;
    }, on_outcome: (call: Call, outcome: Outcome) => void, on_settled: () => void, on_tell: () => void);
    /** @returns {import('./types.js').Properties} */
    properties(): import('./types.js').Properties;
    /**
     * Waits before the next try; failures that come while it waits already are the same trouble.
     * @param {string} text
     * @param {Call} call that failed
     * @param {number | null} retry_after what the server asks for
     */
    trouble(text: string, { kind }: Call, retry_after?: number | null): void;
    /** Paused: looks what has arrived of the chunks under way, some times at most. */
    look_later(): void;
    /** A newer request took over: backs off, and leaves the sending to the other one when that goes on. */
    give_way(): void;
    /**
     * An answer that does not agree with what the server said before: something in between may be wrong for a while, so
     * the status is read after a pause. Believed when it comes again and again, and at once where nothing was known.
     * @param {Failure} failure
     * @param {Call} call
     * @param {number} [first_ms] of the first pause, where the usual ones are too short
     */
    contradict(failure: Failure, call: Call, first_ms?: number): void;
    /** Gives up chunks on which nothing moves while later ones are acknowledged: their connection is dead. */
    drop_overtaken(): void;
    /** The file cannot be read: it may be on a drive that comes back. */
    cannot_read(): void;
    /**
     * Looks up the server on the first occasion, so that the page may name it until then.
     * @throws {TypeError} when there is none; nothing is changed then
     */
    open(): void;
    /**
     * Asks for this browser's turn, which is taken when no answer comes.
     * @param {boolean} [steal] takes it from a tab that makes no progress
     */
    join(steal?: boolean): void;
    /** @param {'sending' | 'watching' | 'following'} phase */
    enter(phase: 'sending' | 'watching' | 'following'): void;
    /** Ends all that runs or waits; the phase is the caller's to set. */
    stop(): void;
    /** @param {'finished' | 'cancelled' | 'failed'} ending */
    end(ending: 'finished' | 'cancelled' | 'failed'): void;
    /** @param {Failure} failure */
    fail(failure: Failure): void;
    /** Cancels without the server, which is told as soon as it can be reached. */
    cancel_here(): void;
}
