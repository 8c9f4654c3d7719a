export declare class Hold {
    #private;
    /**
     * @param {import('./types.js').Clock} clock
     * @param {() => void} on_end called when a pause has run its time or was woken
     * @param {() => void} on_count called while a reason is shown and another second has gone by
     */
    constructor(clock: import('./types.js').Clock, on_end: () => void, on_count: () => void);
    get stands(): boolean;
    /** Why, for people; null when it is no trouble or there is no pause. */
    get text(): string | null;
    /** Seconds left of a pause with a reason, rounded up; else null. */
    get seconds(): number | null;
    /**
     * Begins a pause in place of any other.
     * @param {number} ms
     * @param {string | null} text
     * @param {boolean} wakeable ends early when prospects are better
     */
    begin(ms: number, text: string | null, wakeable: boolean): void;
    /** Prospects are better now. */
    wake(): void;
    /** The page wants no more waiting. */
    cut(): void;
    /** Ends it without a word. */
    end(): void;
}
