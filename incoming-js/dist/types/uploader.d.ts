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
/** Its properties are set by every change. @type {new () => EventTarget & Properties} */
declare const Observable: new () => EventTarget & Properties;
/**
 * Uploads one file with one ticket. Treat all but the callbacks as read-only.
 *
 * Events, besides the callbacks of the same meaning: `progress`, `finished`, `cancelled`, `error`.
 */
export declare class Uploader extends Observable {
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
export {};
