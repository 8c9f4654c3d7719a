/**
 * Reads the server's answers: bytes in, typed outcomes out, and what an outcome means for the upload. Pure.
 */
import { DEFAULT_CHUNK_BYTES, DEFAULT_SEND_AHEAD } from './limits.js';
import { merged } from './ranges.js';
import { retry_after_ms } from './retry.js';

/** @typedef {import('./types.js').RawOutcome} RawOutcome */
/** @typedef {import('./types.js').Outcome} Outcome */
/** @typedef {import('./types.js').Refusal} Refusal */
/** @typedef {import('./types.js').Status} Status */

/** The last three are ends. */
const STATES = ['new', 'uploading', 'handing_over', 'finished', 'cancelled', 'failed'];

/**
 * @param {RawOutcome} raw
 * @param {number} now_ms wall clock, for a Retry-After that is a date
 * @returns {Outcome}
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
 * A status object, null when it is none. Missing suggestions get the defaults.
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
    send_ahead: above_zero(json.send_ahead) ?? DEFAULT_SEND_AHEAD,
    digest: json.digest === 'sha-256',
    reason: typeof json.reason === 'string' ? json.reason : null,
    verified: Array.isArray(json.verified) ? json.verified : [],
  };
}

/**
 * What a refusal means:
 * - `retry`: a later try can succeed
 * - `superseded`: a newer request took the range over
 * - `too_large`: perhaps a smaller chunk passes
 * - `too_late`: cannot be cancelled any more
 * - `over`: the upload has ended, the status says how
 * - `absent`: no such upload
 * - `wrong`: not possible by what is known; where nothing is known yet, no retry will help
 * @param {Refusal} refusal
 * @returns {'retry' | 'superseded' | 'too_large' | 'too_late' | 'over' | 'absent' | 'wrong'}
 */
export function verdict({ http, code, from_server }) {
  if (http === 413) return 'too_large';
  // Something that answered in the server's place ends nothing: the login page of a hotel, a gate that wants other
  // credentials, a proxy whose routes are being changed.
  if (!from_server || code === 'digest-mismatch' || [401, 408, 425, 429].includes(http) || http < 400 || http >= 500) return 'retry';
  if (code === 'superseded') return 'superseded';
  if (http === 410) return 'over';
  if (http === 412) return 'too_late';
  return http === 404 ? 'absent' : 'wrong';
}

/**
 * The upload has ended, one way or the other.
 * @param {Status} status
 */
export function is_over({ state }) {
  return STATES.indexOf(state) > 2;
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

/** @param {string} text */
function parse_json(text) {
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
