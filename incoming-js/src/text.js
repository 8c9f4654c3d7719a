/**
 * Text that comes from the page, made fit to be sent, and what to say of it when it is not. Pure.
 */

/**
 * The text of anything, cut to `most` UTF-16 units, without halves of surrogate pairs: URLs and JSON cannot carry those.
 * @param {unknown} value
 * @param {number} most
 */
export function sendable(value, most) {
  let text = '';
  try {
    text = String(value ?? '').slice(0, most);
  } catch {
    // It has no text.
  }
  // Whole pairs are one character here.
  return text.replace(/[\ud800-\udfff]/gu, '\ufffd');
}

/**
 * What to throw at a page that hands over what cannot be.
 * @param {string} what
 * @param {string} expected
 * @param {unknown} value
 */
export function wrong(what, expected, value) {
  return new TypeError(`incoming: ${what} must be ${expected}: "${sendable(value, 50)}"`);
}
