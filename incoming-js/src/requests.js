/**
 * The requests an upload makes, as values. Pure.
 */
import { CONTROL_MS, FIRST_CHUNK_BYTES, MIN_PIECE_BYTES, POLL_WAIT_S, WATCH_WAIT_S } from './limits.js';

/** @typedef {import('./types.js').Request} Request */

/**
 * Binds the ticket to the file; answered with the status, any number of times.
 * @param {string} url
 * @param {File} file
 * @returns {Request}
 */
export function bind_request(url, { name, size, type, lastModified }) {
  return {
    method: 'POST',
    url,
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ name: name || undefined, length: size, type: type || undefined, last_modified: lastModified }),
  };
}

/**
 * @param {string} url
 * @returns {Request}
 */
export function status_request(url) {
  return { method: 'GET', url };
}

/**
 * Status, as soon as it is another one.
 * @param {string} url
 * @param {string} state the present one
 * @returns {Request}
 */
export function long_poll_request(url, state) {
  const wait_s = state === 'handing_over' ? POLL_WAIT_S : WATCH_WAIT_S;
  return { method: 'GET', url: `${url}?wait=${wait_s}&state=${state}`, answer_ms: CONTROL_MS + wait_s * 1000 };
}

/**
 * @param {string} url
 * @param {string | null} reason
 * @returns {Request}
 */
export function cancel_request(url, reason) {
  return { method: 'DELETE', url: reason ? `${url}?reason=${encodeURIComponent(reason)}` : url };
}

/**
 * Compares pieces with what the server holds. A plain text, so that browsers ask no leave first.
 * @param {string} url
 * @param {string} body
 * @returns {Request}
 */
export function verify_request(url, body) {
  return { method: 'POST', url: `${url}/verify`, body };
}

/**
 * A chunk, streamed from the file by the browser; keeps `put` up to date while it goes out.
 * @param {string} url
 * @param {File} file
 * @param {import('./present.js').Put} put
 * @param {Blob | null} bytes of it, where they are in memory
 * @param {boolean} digest
 * @param {() => void} on_change
 * @returns {Request}
 */
export function chunk_request(url, file, put, bytes, digest, on_change) {
  const { from, to } = put;
  return {
    method: 'PUT',
    url,
    headers: { 'Content-Range': `bytes ${from}-${to - 1}/${file.size}` },
    body: bytes ?? file.slice(from, to),
    // A small file is read in one go, before anything can happen to it; smaller ones are so in any case.
    read_first: to - from === file.size && file.size >= MIN_PIECE_BYTES && file.size <= FIRST_CHUNK_BYTES,
    digest,
    on_sent: (bytes) => {
      put.sent = Math.min(bytes, to - from);
      on_change();
    },
    on_handed: () => {
      put.sent = to - from;
      put.handed = true;
      on_change();
    },
  };
}
