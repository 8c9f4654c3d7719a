export type Request = import('./types.js').Request;
export type RawOutcome = import('./types.js').RawOutcome;
/** @typedef {import('./types.js').Request} Request */
/** @typedef {import('./types.js').RawOutcome} RawOutcome */
/** @type {import('./types.js').Transport} */
export declare const xhr_transport: import('./types.js').Transport;
