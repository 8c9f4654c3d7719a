export type Locks = import('./types.js').Locks;
export type OnTurn = Parameters<Locks['claim']>[1];
/** @typedef {import('./types.js').Locks} Locks */
/** @typedef {Parameters<Locks['claim']>[1]} OnTurn */
/** @type {Locks} */
export declare const browser_locks: Locks;
/**
 * @param {LockManager} locks
 * @param {string} name
 * @param {OnTurn} on_turn
 * @param {boolean} [steal] takes it from a tab that has it
 */
export declare function claim_lock(locks: LockManager, name: string, on_turn: OnTurn, steal?: boolean): () => void;
/**
 * Who has the upload says so when asked; of two who ask together, the one with the smaller number does.
 * @param {BroadcastChannel} channel of this upload alone
 * @param {number} me
 * @param {OnTurn} on_turn
 */
export declare function claim_by_word(channel: BroadcastChannel, me: number, on_turn: OnTurn): () => void;
