/**
 * Finds out that a proxy refuses chunks for their size although its answer cannot be read: without CORS headers a 413
 * looks like a lost connection. Pure but for its own memory.
 *
 * The sign: one chunk was lost twice, nothing of it arrived, and the server answers status requests before and after.
 */
export declare class Suspects {
    #private;
    /**
     * A chunk went without an answer, by no fault of this side.
     * @param {number} from
     * @param {number} bytes
     */
    lost(from: number, bytes: number): void;
    /** A chunk came through: size is not the trouble. */
    clear(): void;
    /**
     * The server answered what it holds. Bytes of a chunk that must be taken for refused, or null.
     * @param {(offset: number) => boolean} holds
     */
    convict(holds: (offset: number) => boolean): number | null;
}
