/**
 * Bytes of the next chunk.
 * @param {{ chunk_size: number, max_chunk_size: number | null }} status what the server suggests and takes
 * @param {number | undefined} wanted by the page
 * @param {number} ceiling learnt from refusals; Infinity at first
 */
export declare function chunk_bytes({ chunk_size, max_chunk_size }: {
    chunk_size: number;
    max_chunk_size: number | null;
}, wanted: number | undefined, ceiling: number): number;
/**
 * The new ceiling after a chunk of `sent` bytes was refused as too large; null when smaller makes no sense.
 * @param {number} sent
 * @param {number | null} max what the server said with the refusal that it takes
 */
export declare function ceiling_after_refusal(sent: number, max: number | null): number | null;
