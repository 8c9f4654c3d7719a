/**
 * The pause of an upload during which it sends nothing new: one at a time, with its reason for people.
 */
export declare class Hold {
    #private;
    /**
     * @param {import('./types.js').Clock} clock
     * @param {() => void} on_end called when a pause has run its time or was woken
     */
    constructor(clock: import('./types.js').Clock, on_end: () => void);
    get stands(): boolean;
    /** Why, for people; null when it is no trouble or there is no pause. */
    get text(): string | null;
    /**
     * Begins a pause in place of any other.
     * @param {number} ms
     * @param {string | null} text
     * @param {boolean} wakeable ends early when prospects are better
     */
    begin(ms: number, text: string | null, wakeable: boolean): void;
    /** Prospects are better now. */
    wake(): void;
    /** Ends it without a word. */
    end(): void;
}
