/**
 * Pause before the next try after `failures` (>= 1) failures in a row: doubled each time, between half of it and
 * the whole, so that clients cut off together do not come back together.
 * @param {number} failures
 * @param {number} random in [0, 1)
 */
export declare function backoff_ms(failures: number, random: number): number;
/**
 * Pause a `Retry-After` header asks for (seconds or an HTTP date), null when there is none that can be read.
 * @param {string | null} header
 * @param {number} now_ms wall clock
 */
export declare function retry_after_ms(header: string | null, now_ms: number): number | null;
/**
 * Pause between two status requests that do not wait at the server, because several uploaders share one connection:
 * quick at first, since most handovers take no time, then slower, and never more than twenty requests a second in all.
 * @param {number} polls made so far
 * @param {number} followers uploaders that share the connection
 */
export declare function poll_pause_ms(polls: number, followers: number): number;
