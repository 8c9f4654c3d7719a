/**
 * The requests an upload makes, as values. Pure.
 */
import { CONTROL_MS, FIRST_CHUNK_BYTES, MIN_PIECE_BYTES, NAME_CHARS, POLL_WAIT_S, REASON_CHARS, WATCH_WAIT_S } from './limits.js';
import { sendable } from './text.js';

/** @typedef {import('./types.js').Request} Request */

/**
 * Binds the ticket to the file; answered with the status, any number of times. One of no bytes completes the upload, so
 * it is read before: a folder and a file that is gone have none either.
 * @param {string} url
 * @param {File} file
 * @returns {Request}
 */
export function bind_request(url, file) {
  const { name, size, type, lastModified } = file;
  return {
    method: 'POST',
    url,
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ name: sendable(name, NAME_CHARS) || undefined, length: size, type: sendable(type, NAME_CHARS) || undefined, last_modified: lastModified }),
    read_first: size === 0 ? file : null,
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
  return { method: 'DELETE', url: reason ? `${url}?reason=${encodeURIComponent(sendable(reason, REASON_CHARS))}` : url };
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
 * @param {() => number} now
 * @param {() => void} on_change
 * @returns {Request}
 */
export function chunk_request(url, file, put, bytes, digest, now, on_change) {
  const { from, to } = put;
  const body = bytes ?? file.slice(from, to);
  /** @param {number} sent */
  const moved = (sent) => {
    put.sent = sent;
    put.moved_at = now();
    on_change();
  };
  return {
    method: 'PUT',
    url,
    headers: { 'Content-Range': `bytes ${from}-${to - 1}/${file.size}` },
    body,
    // A small file is read in one go, before anything can happen to it; smaller ones are so in any case.
    read_first: to - from === file.size && file.size >= MIN_PIECE_BYTES && file.size <= FIRST_CHUNK_BYTES ? body : null,
    digest,
    on_sent: (bytes) => {
      if (bytes < to - from) put.watched = true;
      moved(Math.min(bytes, to - from));
    },
    on_handed: () => {
      put.handed = true;
      moved(to - from);
    },
  };
}
