export type Lane = import('./budget.js').Lane;
export type Slot = import('./budget.js').Slot;
export type Put = import('./present.js').Put;
export type Outcome = import('./types.js').Outcome;
export type Call = {
    kind: 'sync' | 'verify' | 'put' | 'poll' | 'cancel';
    slot: Slot | null;
    put: Put | null;
    /**
     * the server was asked to wait
     */
    waits: boolean;
    /**
     * mark of the ledger when it began
     */
    since: number;
    began_at: number;
    abort: () => void;
};
/** @typedef {import('./budget.js').Lane} Lane */
/** @typedef {import('./budget.js').Slot} Slot */
/** @typedef {import('./present.js').Put} Put */
/** @typedef {import('./types.js').Outcome} Outcome */
/**
 * A request that runs.
 * @typedef {object} Call
 * @property {'sync' | 'verify' | 'put' | 'poll' | 'cancel'} kind
 * @property {Slot | null} slot
 * @property {Put | null} put
 * @property {boolean} waits the server was asked to wait
 * @property {number} since mark of the ledger when it began
 * @property {number} began_at
 * @property {() => void} abort
 */
export declare class Calls {
    #private;
    /**
     * @param {import('./types.js').Ports} ports
     * @param {(call: Call, outcome: Outcome) => void} on_outcome
     * @param {() => void} on_settled after an outcome was dealt with, or a connection came free
     */
    constructor(ports: import('./types.js').Ports, on_outcome: (call: Call, outcome: Outcome) => void, on_settled: () => void);
    /** @param {import('./budget.js').Budget} budget whose connections are used from now on */
    open(budget: import('./budget.js').Budget): void;
    /** Nothing runs and nothing waits. */
    get idle(): boolean;
    /** @param {Call['kind']} kind */
    runs(kind: Call['kind']): boolean;
    /** @returns {Put[]} chunks on their way */
    get puts(): Put[];
    /** The lowest mark among the running; Infinity when nothing runs. */
    get oldest(): number;
    /**
     * Uses connections of a lane while they are wanted and there are any; waits in line for the next one.
     * @param {Lane} lane
     * @param {() => boolean} wants
     * @param {(slot: Slot) => void} use begins a request
     */
    fill(lane: Lane, wants: () => boolean, use: (slot: Slot) => void): void;
    /**
     * @param {Pick<Call, 'kind' | 'slot' | 'since'> & Partial<Call>} what
     * @param {import('./types.js').Request} request
     */
    begin(what: Pick<Call, 'kind' | 'slot' | 'since'> & Partial<Call>, request: import('./types.js').Request): void;
    /**
     * Aborts those of this kind.
     * @param {(call: Call) => unknown} which
     */
    abort_all(which: (call: Call) => unknown): void;
    /** Aborts everything and leaves every line. */
    stop(): void;
}
