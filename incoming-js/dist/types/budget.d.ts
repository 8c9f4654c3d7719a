export type Lane = 'chunk' | 'poll' | 'control';
export type Slot = {
    release: () => void;
};
/** @typedef {'chunk' | 'poll' | 'control'} Lane */
/** @typedef {{ release: () => void }} Slot to be given back exactly once; giving it back again does nothing */
export declare class Budget {
    #private;
    /** Bytes of the largest chunk that passes on the way to this server, as far as refusals have taught. */
    ceiling: number;
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
     * Counts an uploader among those that follow by status; the others are told, since one of them may sit on the
     * connection with a long poll.
     * @param {() => void} on_more called when another one joins
     * @returns {() => void} ends it
     */
    follow(on_more: () => void): () => void;
}
/**
 * The one budget of an origin.
 * @param {string} origin
 */
export declare function budget_for(origin: string): Budget;
