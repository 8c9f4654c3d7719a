/**
 * @param {import('./types.js').Ports} ports
 * @param {import('./types.js').Request} request the cancel request
 * @param {() => void} on_known called when that is so
 */
export declare function tell_cancelled(ports: import('./types.js').Ports, request: import('./types.js').Request, on_known: () => void): void;
