export type Lane = import('./budget.js').Lane;
export type Slot = import('./budget.js').Slot;
export type Call = import('./calls.js').Call;
export type Upload = import('./upload.js').Upload;
/**
 * Starts every request that is due and possible.
 * @param {Upload} upload
 * @param {() => void} on_progress bytes of a chunk went out
 */
export declare function pump(upload: Upload, on_progress: () => void): void;
