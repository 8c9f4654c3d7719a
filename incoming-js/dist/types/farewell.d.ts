/**
 * @param {import('./types.js').Ports} ports
 * @param {import('./types.js').Request} request the cancel request
 */
export declare function tell_cancelled(ports: import('./types.js').Ports, request: import('./types.js').Request): void;
