/**
 * What a form posts for the files that are there, and what a form that is shown again says of them.
 */

/** @typedef {import('../queue-entry.js').Entry} Entry */

/**
 * One entry `name=id` for each file, or with `json` one entry for all of them.
 * @param {Entry[]} done
 * @param {string} name of the field; empty: nothing is posted
 * @param {boolean} json
 */
export function form_data(done, name, json) {
  const data = new FormData();
  if (!name) return data;
  if (!json) for (const { id } of done) data.append(name, id ?? '');
  else if (done.length > 0) data.append(name, JSON.stringify(done.map(({ id, name, size, type, path }) => ({ id, name, size, type, path }))));
  return data;
}

/**
 * Keeps, through reloads of this tab, what is there in this scope; the browser's own restoring of forms is not reliable.
 * @param {string | null} scope null: nothing is kept
 * @param {string} [value] to keep; else it is read
 */
export function stored(scope, value) {
  try {
    if (scope === null) return null;
    const key = `incoming ${scope}`;
    if (value !== undefined) sessionStorage.setItem(key, value);
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Files of a form that is shown again. @param {string | null | undefined} text @returns {{ id: string, name?: string, size?: number }[]} */
export function known_files(text) {
  try {
    const list = JSON.parse(text || '[]');
    return Array.isArray(list) ? list.filter((one) => typeof one?.id === 'string') : [];
  } catch {
    return [];
  }
}
