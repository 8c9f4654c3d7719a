/**
 * The server's HTTP protocol: addresses, requests, answers and their meaning, and the failures that pages are told of.
 * Pure.
 */
import { CONTROL_MS, DEFAULT_CHUNK_BYTES, DEFAULT_SEND_AHEAD, FIRST_CHUNK_BYTES, MIN_PIECE_BYTES, NAME_CHARS, OBSERVE_WAIT_S, POLL_WAIT_S, REASON_CHARS, RETRY_AFTER_LAST_MS, RETRY_FIRST_MS } from './limits.js';
import { merged } from './ranges.js';

/** @typedef {import('./types.js').Failure} Failure */
/** @typedef {import('./types.js').Refusal} Refusal */
/** @typedef {import('./types.js').Request} Request */
/** @typedef {import('./types.js').Status} Status */

// Requests

/**
 * @param {string} origin
 * @param {string} upload_id
 */
export function upload_url(origin, upload_id) {
  return `${origin}/incoming/frontend/uploads/${encodeURIComponent(upload_id)}`;
}

/**
 * Binds the ticket to the file. Idempotent; the answer is the status. A file without bytes is complete with this request,
 * so it is read first: a folder and a removed file have no bytes either.
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
 * Answered when the state changes, or after the wait.
 * @param {string} url
 * @param {string} state the present one
 * @returns {Request}
 */
export function long_poll_request(url, state) {
  const wait_s = state === 'handing_over' ? POLL_WAIT_S : OBSERVE_WAIT_S;
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
 * Compares pieces with the server's bytes. The body is plain text, so that browsers send no preflight.
 * @param {string} url
 * @param {string} body
 * @returns {Request}
 */
export function verify_request(url, body) {
  return { method: 'POST', url: `${url}/verify`, body };
}

/**
 * A chunk, which the browser streams from the file. Updates `chunk` while it is sent.
 * @param {string} url
 * @param {File} file
 * @param {import('./types.js').Chunk} chunk
 * @param {Blob | null} bytes of the chunk, if they are in memory
 * @param {boolean} digest
 * @param {() => number} now
 * @param {() => void} on_change
 * @returns {Request}
 */
export function chunk_request(url, file, chunk, bytes, digest, now, on_change) {
  const { from, to } = chunk;
  const body = bytes ?? file.slice(from, to);
  /** @param {number} sent */
  const moved = (sent) => {
    chunk.sent = sent;
    chunk.moved_at = now();
    on_change();
  };
  return {
    method: 'PUT',
    url,
    headers: { 'Content-Range': `bytes ${from}-${to - 1}/${file.size}` },
    body,
    // A small file is read as a whole before it can change. Browsers read still smaller ones at once anyway.
    read_first: to - from === file.size && file.size >= MIN_PIECE_BYTES && file.size <= FIRST_CHUNK_BYTES ? body : null,
    digest,
    on_sent: (bytes) => {
      if (bytes < to - from) chunk.reports_progress = true;
      moved(Math.min(bytes, to - from));
    },
    on_handed: () => {
      chunk.handed = true;
      moved(to - from);
    },
  };
}

/**
 * The text of any value, cut to `max` UTF-16 units, lone surrogates replaced: URLs and JSON cannot carry those.
 * @param {unknown} value
 * @param {number} max
 */
export function sendable(value, max) {
  let text = '';
  try {
    text = String(value ?? '').slice(0, max);
  } catch {
    // It has no text.
  }
  // With `u` a whole pair is one character, which does not match.
  return text.replace(/[\ud800-\udfff]/gu, '\ufffd');
}

// Answers

/** The last three are terminal. */
const STATES = ['new', 'uploading', 'handing_over', 'finished', 'cancelled', 'failed'];

/**
 * @param {import('./types.js').RawOutcome} raw
 * @param {number} now_ms wall clock, for a Retry-After that is a date
 * @returns {import('./types.js').Outcome}
 */
export function read_outcome(raw, now_ms) {
  if (raw.kind === 'lost') return raw;
  const json = parse_json(raw.body);
  if (raw.status >= 200 && raw.status < 300) {
    const status = read_status(json);
    if (status) return { kind: 'status', status };
  }
  return { kind: 'refused', refusal: read_refusal(raw.status, json, retry_after_ms(raw.retry_after, now_ms)) };
}

/**
 * The status object, or null if `json` is not one. Missing suggestions get the defaults.
 * @param {unknown} json
 * @returns {Status | null}
 */
export function read_status(json) {
  if (!is_record(json) || !STATES.includes(/** @type {string} */ (json.state))) return null;
  if (!Array.isArray(json.received) || !json.received.every(is_range)) return null;
  return {
    state: /** @type {Status['state']} */ (json.state),
    length: is_count(json.length) ? json.length : null,
    received: merged(json.received),
    chunk_size: above_zero(json.chunk_size) ?? DEFAULT_CHUNK_BYTES,
    max_chunk_size: above_zero(json.max_chunk_size),
    align: /** @type {number} */ (json.align),
    send_ahead: above_zero(json.send_ahead) ?? DEFAULT_SEND_AHEAD,
    digest: json.digest === 'sha-256',
    reason: typeof json.reason === 'string' ? json.reason : null,
    verified: Array.isArray(json.verified) ? json.verified : [],
  };
}

/**
 * The meaning of a refusal:
 * - `retry`: a later try may succeed
 * - `superseded`: a newer request took over the range
 * - `too_large`: a smaller chunk may pass
 * - `too_late`: can no longer be cancelled
 * - `ended`: the upload has ended; the status says how
 * - `absent`: no such upload
 * - `wrong`: contradicts what is known; if nothing is known yet, no retry will help
 * @param {Refusal} refusal
 * @returns {'retry' | 'superseded' | 'too_large' | 'too_late' | 'ended' | 'absent' | 'wrong'}
 */
export function meaning_of({ http, code, from_server }) {
  if (http === 413) return 'too_large';
  // Answers that are not from the server end nothing: a hotel's login page, a gateway that asks for other credentials, a
  // proxy whose routes are being changed.
  if (!from_server || code === 'digest-mismatch' || [401, 408, 425, 429].includes(http) || http < 400 || http >= 500) return 'retry';
  if (code === 'superseded') return 'superseded';
  if (http === 410) return 'ended';
  if (http === 412) return 'too_late';
  return http === 404 ? 'absent' : 'wrong';
}

/**
 * The upload has ended, in whatever way.
 * @param {Status} status
 */
export function is_terminal({ state }) {
  return STATES.indexOf(state) > 2;
}

/**
 * The pause that a `Retry-After` header (seconds or a date) asks for; null if it cannot be read.
 * @param {string | null} header
 * @param {number} now_ms wall clock
 */
export function retry_after_ms(header, now_ms) {
  const text = header?.trim();
  if (!text) return null;
  const asked = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now_ms;
  if (!Number.isFinite(asked)) return null;
  return Math.min(RETRY_AFTER_LAST_MS, Math.max(RETRY_FIRST_MS, asked));
}

/**
 * @param {number} http
 * @param {unknown} json
 * @param {number | null} retry_after
 * @returns {Refusal}
 */
function read_refusal(http, json, retry_after) {
  const problem = is_record(json) && typeof json.code === 'string' ? json : null;
  const detail = problem?.detail ?? problem?.title;
  return {
    http,
    code: problem ? String(problem.code) : `http-${http}`,
    error_code: is_count(problem?.error_code) ? problem.error_code : http,
    message: typeof detail === 'string' && detail ? detail : `the server answered with status ${http}`,
    retry_after_ms: retry_after,
    status: problem ? read_status(problem.upload) : null,
    from_server: problem !== null,
  };
}

/**
 * The value, or null if the text is no JSON.
 * @param {string} text
 */
export function parse_json(text) {
  try {
    return /** @type {unknown} */ (JSON.parse(text));
  } catch {
    return null;
  }
}

/**
 * @param {unknown} value
 * @returns {value is Record<string, unknown>}
 */
function is_record(value) {
  return typeof value === 'object' && value !== null;
}

/**
 * @param {unknown} value
 * @returns {value is number}
 */
function is_count(value) {
  return Number.isSafeInteger(value) && /** @type {number} */ (value) >= 0;
}

/** @param {unknown} value */
function above_zero(value) {
  return is_count(value) && value > 0 ? value : null;
}

/**
 * @param {unknown} value
 * @returns {value is import('./ranges.js').Range}
 */
function is_range(value) {
  return Array.isArray(value) && value.length === 2 && value.every(is_count);
}

// Failures that the library finds itself. The server's come with its answers.

/** Why an upload failed; `done` rejects with it. */
export class UploadError extends Error {
  /** @param {Failure} failure */
  constructor({ code, error_code, message }) {
    super(message);
    this.name = 'UploadError';
    this.code = code;
    this.error_code = error_code;
  }
}

/**
 * The file has another length than when the upload began.
 * @param {number} now_bytes
 * @param {number} then_bytes
 * @returns {Failure}
 */
export function length_changed(now_bytes, then_bytes) {
  const message = `the file has changed: ${now_bytes} bytes now, ${then_bytes} bytes when the upload began`;
  return { code: 'length-changed', error_code: 6, message };
}

/**
 * @param {string | null} reason given by the server
 * @returns {Failure}
 */
export function failed_on_server(reason) {
  return { code: 'upload-over', error_code: 8, message: reason ?? 'the upload failed on the server' };
}

/**
 * The browser can no longer read the file, or the server holds other bytes. Numbers from 100 to 199 are the library's: the
 * server's are below, HTTP status codes above.
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
export function cancelled_offline() {
  return { code: 'offline', error_code: 0, message: "upload is cancelled, but the backend doesn't know it yet" };
}
