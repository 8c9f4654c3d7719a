export declare class Remembering {
    #private;
    /**
     * @param {import('./types.js').Ports} ports
     * @param {string} upload_id
     * @param {File} file
     * @param {import('./types.js').Options} options
     */
    constructor({ store, clock, visit }: import('./types.js').Ports, upload_id: string, file: File, { remember, handle }: import('./types.js').Options);
    /**
     * How far it is; for the first time once the server knows it.
     * @param {string} hostname
     * @param {number} bytes_acked
     * @param {boolean} now the upload stands still
     */
    note(hostname: string, bytes_acked: number, now: boolean): void;
    /** Nothing can come of it any more. */
    end(): void;
}
