export type RawOutcome = import('./types.js').RawOutcome;
export type Outcome = import('./types.js').Outcome;
export type Refusal = import('./types.js').Refusal;
export type Status = import('./types.js').Status;
/**
 * @param {RawOutcome} raw
 * @param {number} now_ms wall clock, for a Retry-After that is a date
 * @returns {Outcome}
 */
export declare function read_outcome(raw: RawOutcome, now_ms: number): Outcome;
/**
 * A status object, null when it is none. Missing suggestions get the defaults.
 * @param {unknown} json
 * @returns {Status | null}
 */
export declare function read_status(json: unknown): Status | null;
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
export declare function verdict({ http, code, from_server }: Refusal): 'retry' | 'superseded' | 'too_large' | 'too_late' | 'over' | 'absent' | 'wrong';
/**
 * The upload has ended, one way or the other.
 * @param {Status} status
 */
export declare function is_over({ state }: Status): boolean;
