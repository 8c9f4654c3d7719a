export type Properties = import('./types.js').Properties;
export type Callback = ((uploader: Uploader) => void) | null;
/** @typedef {import('./types.js').Properties} Properties */
/** @typedef {((uploader: Uploader) => void) | null} Callback */
/** Why an upload failed; `done` is rejected with it. */
export declare class UploadError extends Error {
    /** A word such as `length-changed`, `unknown-upload` or `FILE_CHANGED`. */
    code: string;
    /** The number of the same, as in the uploader's `error_code`. */
    error_code: number;
    /** @param {import('./types.js').Failure} failure */
    constructor({ code, error_code, message }: import('./types.js').Failure);
}
/**
 * Uploads one file with one ticket. Treat all but the callbacks as read-only.
 *
 * Events, besides the callbacks of the same meaning: `progress`, `finished`, `cancelled`, `error`.
 */
export declare class Uploader extends EventTarget {
    /** Name of the file, without a path. */
    filename: string;
    bytes_total: number;
    /**
     * Resolves to the uploader when the web app has the file; rejects with an UploadError, with an error named
     * AbortError when the upload was cancelled, with the signal's reason when it was aborted.
     * @type {Promise<Uploader>}
     */
    done: Promise<Uploader>;
    start: () => this;
    /** @param {'pause' | 'unpause' | 'toggle'} what */
    pause: (what: 'pause' | 'unpause' | 'toggle') => this;
    /** @param {string} [reason] for the web app and for people */
    cancel: (reason?: string) => this;
    bytes_tx: number;
    bytes_acked: number;
    bytes_ahead: number;
    frac_complete: number;
    /** @type {number | null} */
    bytes_per_s: number | null;
    /** @type {number | null} */
    eta_s: number | null;
    chunks_tx_now: number;
    chunks_acked_now: number;
    chunks_ahead: number;
    state_msg: string;
    /** @type {number | null} */
    retry_in_s: number | null;
    /** @type {string | null} */
    cancel_msg: string | null;
    /** @type {number | null} */
    error_code: number | null;
    /** @type {string | null} */
    error_msg: string | null;
    connected: boolean;
    finished: boolean;
    paused: boolean;
    can_pause: boolean;
    cancelling: boolean;
    cancelled: boolean;
    can_cancel: boolean;
    /** @type {Callback} */
    onprogress: Callback;
    /** @type {Callback} */
    onfinished: Callback;
    /** @type {Callback} */
    oncancelled: Callback;
    /** @type {Callback} */
    onerror: Callback;
    /**
     * @param {string} upload_id
     * @param {File} file
     * @param {import('./types.js').Options} options
     * @param {import('./types.js').Ports} ports
     * @param {() => string} origin
     */
    constructor(upload_id: string, file: File, options: import('./types.js').Options, ports: import('./types.js').Ports, origin: () => string);
}
