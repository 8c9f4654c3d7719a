export type Call = import('./calls.js').Call;
export type Refusal = import('./types.js').Refusal;
export type Status = import('./types.js').Status;
export type Upload = import('./upload.js').Upload;
/**
 * @param {Upload} upload
 * @param {Call} call
 * @param {import('./types.js').Outcome} outcome
 */
export declare function on_outcome(upload: Upload, call: Call, outcome: import('./types.js').Outcome): void;
