export type Request = import('./types.js').Request;
/** @typedef {import('./types.js').Request} Request */
/**
 * Binds the ticket to the file; answered with the status, any number of times. One of no bytes completes the upload, so
 * it is read before: a folder and a file that is gone have none either.
 * @param {string} url
 * @param {File} file
 * @returns {Request}
 */
export declare function bind_request(url: string, file: File): Request;
/**
 * @param {string} url
 * @returns {Request}
 */
export declare function status_request(url: string): Request;
/**
 * Status, as soon as it is another one.
 * @param {string} url
 * @param {string} state the present one
 * @returns {Request}
 */
export declare function long_poll_request(url: string, state: string): Request;
/**
 * @param {string} url
 * @param {string | null} reason
 * @returns {Request}
 */
export declare function cancel_request(url: string, reason: string | null): Request;
/**
 * Compares pieces with what the server holds. A plain text, so that browsers ask no leave first.
 * @param {string} url
 * @param {string} body
 * @returns {Request}
 */
export declare function verify_request(url: string, body: string): Request;
/**
 * A chunk, streamed from the file by the browser; keeps `put` up to date while it goes out.
 * @param {string} url
 * @param {File} file
 * @param {import('./present.js').Put} put
 * @param {Blob | null} bytes of it, where they are in memory
 * @param {boolean} digest
 * @param {() => number} now
 * @param {() => void} on_change
 * @returns {Request}
 */
export declare function chunk_request(url: string, file: File, put: import('./present.js').Put, bytes: Blob | null, digest: boolean, now: () => number, on_change: () => void): Request;
