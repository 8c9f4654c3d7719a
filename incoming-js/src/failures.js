/**
 * The failures the library finds by itself, as the page is told of them; the server's own come with its answers. Pure.
 */

/** @typedef {import('./types.js').Failure} Failure */

/**
 * The file is another one than when the upload began.
 * @param {number} now_bytes
 * @param {number} then_bytes
 * @returns {Failure}
 */
export function length_changed(now_bytes, then_bytes) {
  const message = `the file has changed: ${now_bytes} bytes now, ${then_bytes} bytes when the upload began`;
  return { code: 'length-changed', error_code: 6, message };
}

/**
 * @param {string | null} reason what the server says
 * @returns {Failure}
 */
export function failed_on_server(reason) {
  return { code: 'upload-over', error_code: 8, message: reason ?? 'the upload failed on the server' };
}

/**
 * The browser cannot read the file any more, or the server holds other bytes than it has. Numbers from 100 to 199 are the
 * library's: the server's are below, HTTP status codes above.
 * @returns {Failure}
 */
export function file_changed() {
  const message = 'FILE_CHANGED: the file was changed, moved or removed, or is another';
  return { code: 'FILE_CHANGED', error_code: 100, message };
}

/**
 * Cancelled while the server could not be reached.
 * @returns {Failure}
 */
export function cancelled_here() {
  return { code: 'offline', error_code: 0, message: "upload is cancelled, but the backend doesn't know it yet" };
}
