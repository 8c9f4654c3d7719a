/**
 * Text that comes from the page, made fit to be sent, and what to say of it when it is not. Pure.
 */
/**
 * The text of anything, cut to `most` UTF-16 units, without halves of surrogate pairs: URLs and JSON cannot carry those.
 * @param {unknown} value
 * @param {number} most
 */
export declare function sendable(value: unknown, most: number): string;
/**
 * What to throw at a page that hands over what cannot be.
 * @param {string} what
 * @param {string} expected
 * @param {unknown} value
 */
export declare function wrong(what: string, expected: string, value: unknown): TypeError;
