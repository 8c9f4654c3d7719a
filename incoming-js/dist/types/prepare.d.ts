export type Request = import('./types.js').Request;
export type Options = import('./types.js').Options;
/** @typedef {import('./types.js').Request} Request */
/** @typedef {import('./types.js').Options} Options */
/**
 * @param {import('./types.js').Ports} ports
 * @param {Pick<Options, 'headers'>} options
 * @returns {import('./types.js').Transport}
 */
export declare function prepared({ transport, clock }: import('./types.js').Ports, options: Pick<Options, 'headers'>): import('./types.js').Transport;
