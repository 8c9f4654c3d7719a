export declare class Rate {
    #private;
    /** Forgets everything: what comes next has nothing to do with what was. */
    forget(): void;
    /**
     * So many bytes are acknowledged now. Time without progress counts: the rate falls.
     * @param {number} bytes
     * @param {number} now_ms
     */
    note(bytes: number, now_ms: number): void;
    /** Bytes per second, rounded; null until known, and when nothing arrives. */
    get bytes_per_s(): number | null;
    /**
     * Seconds until `left` more bytes will have arrived, rounded up; null when unknown.
     * @param {number} left
     */
    eta_s(left: number): number | null;
}
