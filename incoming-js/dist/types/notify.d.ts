export type Properties = import('./types.js').Properties;
export declare class Notifier {
    #private;
    /**
     * @param {import('./types.js').Clock} clock
     * @param {Properties} initial what counts as told
     * @param {() => void} tell must not throw
     */
    constructor(clock: import('./types.js').Clock, initial: Properties, tell: () => void);
    /** @param {Properties} properties as they are now */
    note(properties: Properties): void;
}
