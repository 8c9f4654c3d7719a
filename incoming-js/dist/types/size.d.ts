export declare class ChunkSize {
    #private;
    /** @param {Pick<import('./types.js').Options, 'chunk_size' | 'digest'>} options of the page */
    constructor({ chunk_size, digest }: Pick<import('./types.js').Options, 'chunk_size' | 'digest'>);
    /**
     * Whether chunks carry a digest: as the page says, else as the web app wishes.
     * @param {{ digest: boolean }} status
     */
    hashes({ digest }: {
        digest: boolean;
    }): boolean;
    /**
     * Bytes of the next chunk.
     * @param {{ chunk_size: number, max_chunk_size: number | null, digest: boolean }} status what the server suggests and takes
     * @param {number} length of the file
     * @param {number} ceiling learnt from refusals; Infinity at first
     */
    next(status: {
        chunk_size: number;
        max_chunk_size: number | null;
        digest: boolean;
    }, length: number, ceiling: number): number;
    /**
     * A chunk was acknowledged. A fast one of any size shows that larger ones are due, at most four times as large; a
     * slow one makes them smaller, by half at most, since a single one may just have had bad luck.
     * @param {number} bytes
     * @param {number} ms it took
     */
    acked(bytes: number, ms: number): void;
    /**
     * A chunk broke off: when that was late, a smaller one would have come through.
     * @param {number} bytes that went out
     * @param {number} ms
     */
    lost(bytes: number, ms: number): void;
}
/**
 * The new ceiling after a chunk of `sent` bytes was refused as too large; null when smaller makes no sense.
 * @param {number} sent
 * @param {number | null} max what the server said with the refusal that it takes
 */
export declare function ceiling_after_refusal(sent: number, max: number | null): number | null;
