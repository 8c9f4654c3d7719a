export type Lane = import('./budget.js').Lane;
export type Slot = import('./budget.js').Slot;
export type Call = import('./calls.js').Call;
export type Put = import('./present.js').Put;
export type Status = import('./types.js').Status;
export type Refusal = import('./types.js').Refusal;
export type Failure = import('./types.js').Failure;
export declare class Engine {
    #private;
    /**
     * @param {object} upload
     * @param {string} upload.upload_id
     * @param {File} upload.file
     * @param {import('./types.js').Options} upload.options
     * @param {import('./types.js').Ports} upload.ports
     * @param {() => string} upload.origin asked when the first request is due
     * @param {(properties: import('./types.js').Properties, events: import('./types.js').Ending[]) => void} upload.on_change
     *   must not throw
     */
    constructor({ upload_id, file, options, ports, origin, on_change }: {
        upload_id: string;
        file: File;
        options: import('./types.js').Options;
        ports: import('./types.js').Ports;
        origin: () => string;
        on_change: (properties: import('./types.js').Properties, events: import('./types.js').Ending[]) => void;
    });
    /** @returns {import('./types.js').Properties} */
    properties(): import('./types.js').Properties;
    /** Begins, or goes on when paused; else does nothing. */
    start(): void;
    /** Stops sending and keeps what is acknowledged; does nothing where pausing is not possible. */
    pause(): void;
    /**
     * Cancels, where possible: by the server when it is there, else here and now, and the server is told later.
     * @param {string} reason
     */
    cancel(reason: string): void;
    /** @returns {Failure | null} */
    get failure(): Failure | null;
}
