export declare class Rival {
    #private;
    /** Times superseded in a row, without progress of one's own. */
    superseded: number;
    /** A chunk of one's own was acknowledged, or a new start. */
    forget(): void;
    /** A newer request took over. True when it is time to leave the sending to the other one. */
    took_over(): boolean;
    /**
     * Begins to look on.
     * @param {number} now_ms
     */
    watch(now_ms: number): void;
    /**
     * True when the other one has made no progress for so long that it must be gone; should it come back, it is given
     * way to at once.
     * @param {number} bytes acknowledged
     * @param {number} now_ms
     */
    is_gone(bytes: number, now_ms: number): boolean;
}
