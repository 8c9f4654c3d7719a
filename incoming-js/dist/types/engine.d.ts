import { Upload } from './upload.js';
export declare class Engine {
    #private;
    /**
     * @param {ConstructorParameters<typeof Upload>[0]} what
     * @param {(properties: import('./types.js').Properties, events: import('./types.js').Ending[]) => void} on_change
     *   must not throw
     */
    constructor(what: ConstructorParameters<typeof Upload>[0], on_change: (properties: import('./types.js').Properties, events: import('./types.js').Ending[]) => void);
    properties(): import("./types.js").Properties;
    /** Why it failed, or what went wrong with the cancelling. */
    get failure(): import("./types.js").Failure | null;
    /**
     * Begins, or goes on when paused, or tries now what waits to be tried again; else does nothing.
     * @throws {TypeError} when there is no server
     */
    start(): void;
    /** Stops sending and keeps what is acknowledged; does nothing where pausing is not possible. */
    pause(): void;
    /**
     * Cancels, where possible: by the server when it is there, else here and now, and the server is told later.
     * @param {unknown} reason
     */
    cancel(reason: unknown): void;
    /**
     * Cancels here and now, in every phase, and tells the server.
     * @param {unknown} reason
     */
    abort(reason: unknown): void;
}
