export type Lane = import('./budget.js').Lane;
export type Slot = import('./budget.js').Slot;
export type Call = import('./calls.js').Call;
export type Upload = import('./upload.js').Upload;
/** @typedef {import('./budget.js').Lane} Lane */
/** @typedef {import('./budget.js').Slot} Slot */
/** @typedef {import('./calls.js').Call} Call */
/** @typedef {import('./upload.js').Upload} Upload */
/**
 * Starts every request that is due and possible.
 * @param {Upload} upload
 */
export declare function pump(upload: Upload): void;
