export declare class Flight {
    #private;
    /** @param {number} limit of the server or the page */
    within(limit: number): number;
    /**
     * A chunk was acknowledged.
     * @param {number} bytes
     * @param {number} ms it took
     * @param {number} now_ms
     * @param {number} limit
     */
    acked(bytes: number, ms: number, now_ms: number, limit: number): void;
    /** Sending stood still: what is measured now began before. */
    restart(): void;
    /** A line too slow or a server too busy for so many. */
    fewer(): void;
}
