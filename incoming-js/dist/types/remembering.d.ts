export declare class Remembering {
    #private;
    /**
     * @param {import('./types.js').Ports} ports
     * @param {File} file
     * @param {import('./types.js').Options} options
     */
    constructor({ store, clock }: import('./types.js').Ports, file: File, { remember, handle }: import('./types.js').Options);
    /**
     * @param {string} upload_id
     * @param {string} hostname
     */
    begin(upload_id: string, hostname: string): void;
    /**
     * @param {number} bytes_acked
     * @param {boolean} now the upload stands still
     */
    note(bytes_acked: number, now: boolean): void;
    /** It is over. */
    end(): void;
}
