/**
 * How long to wait before trying again. Pure: randomness and time come in as arguments.
 */
import { RETRY_AFTER_LAST_MS, RETRY_FIRST_MS, RETRY_LAST_MS } from './limits.js';

/**
 * Pause before the next try after `failures` (>= 1) failures in a row: doubled each time, between half of it and
 * the whole, so that clients cut off together do not come back together.
 * @param {number} failures
 * @param {number} random in [0, 1)
 */
export function backoff_ms(failures, random) {
  const whole = Math.min(RETRY_LAST_MS, RETRY_FIRST_MS * 2 ** failures);
  return Math.round(whole / 2 + (whole / 2) * random);
}

/**
 * Pause a `Retry-After` header asks for (seconds or an HTTP date), null when there is none that can be read.
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
 * Pause between two status requests that do not wait at the server, because several uploaders share one connection:
 * quick at first, since most handovers take no time, then slower, and never more than twenty requests a second in all.
 * @param {number} polls made so far
 * @param {number} followers uploaders that share the connection
 */
export function poll_pause_ms(polls, followers) {
  return Math.max(Math.min(5_000, 200 * 1.5 ** polls), 50 * followers);
}
