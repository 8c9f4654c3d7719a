/**
 * The failures the library finds by itself, as the page is told of them; the server's own come with its answers. Pure.
 */
export type Failure = import('./types.js').Failure;
/** @typedef {import('./types.js').Failure} Failure */
/**
 * The file is another one than when the upload began.
 * @param {number} now_bytes
 * @param {number} then_bytes
 * @returns {Failure}
 */
export declare function length_changed(now_bytes: number, then_bytes: number): Failure;
/**
 * @param {string | null} reason what the server says
 * @returns {Failure}
 */
export declare function failed_on_server(reason: string | null): Failure;
/**
 * The browser cannot read the file any more, or the server holds other bytes than it has. Numbers from 100 to 199 are the
 * library's: the server's are below, HTTP status codes above.
 * @returns {Failure}
 */
export declare function file_changed(): Failure;
/**
 * Cancelled while the server could not be reached.
 * @returns {Failure}
 */
export declare function cancelled_here(): Failure;
