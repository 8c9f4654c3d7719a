export type Lane = 'control' | 'poll' | 'chunk' | 'bind';
/** @typedef {'control' | 'poll' | 'chunk' | 'bind'} Lane in the order in which they are served */
/** @type {Lane[]} */
export declare const LANES: Lane[];
export type Slot = {
    release: () => void;
};
/** @typedef {{ release: () => void }} Slot to be given back exactly once; giving it back again does nothing */
export declare class Budget {
    #private;
    /** Bytes of the largest chunk that passes on the way to this server, as far as refusals have taught. */
    ceiling: number;
    /** How many times longer than usual a chunk may go without a sign of life, as stalls have taught. */
    patience: number;
    /**
     * A slot if one is free and nobody waits for it.
     * @param {Lane} lane
     * @returns {Slot | null}
     */
    take(lane: Lane): Slot | null;
    /**
     * Calls `grant` with a slot when it is this one's turn; never before `wait` has returned.
     * @param {Lane} lane
     * @param {(slot: Slot) => void} grant
     * @returns {() => void} stops waiting
     */
    wait(lane: Lane, grant: (slot: Slot) => void): () => void;
    /** Uploaders that follow their upload by status requests. */
    get followers(): number;
    /**
     * Counts an uploader among those that follow by status. One that was alone is told, since it may sit on the
     * connection with a long poll.
     * @param {() => void} on_more called when another one joins; this one's own function
     * @returns {() => void} ends it
     */
    follow(on_more: () => void): () => void;
}
/**
 * The one budget of an origin.
 * @param {string} origin
 */
export declare function budget_for(origin: string): Budget;
