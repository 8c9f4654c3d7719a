/**
 * Names of the element's own attributes, and the one that is meant by a name such as `max_size` or `maxsize`, which HTML would
 * ignore in silence.
 */

export const ATTRIBUTES = ['accept', 'auto', 'camera', 'chunk-size', 'concurrent', 'csrf-header', 'csrf-token', 'digest', 'directory', 'done-when', 'drop', 'format', 'hostname', 'lang', 'max-files', 'max-size', 'min-size', 'multiple', 'name', 'paste', 'required', 'restore', 'submit', 'ticket-credentials', 'ticket-url', 'wake-lock'];

const letters = (/** @type {string} */ name) => name.replace(/-|_/, '');

/** @param {string} name of an attribute @returns {string | undefined} the right name, if this one is wrong */
export function meant(name) {
  return ATTRIBUTES.find((one) => one !== name && letters(one) === letters(name));
}
