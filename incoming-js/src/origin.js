/**
 * Where the server is: from what the page says, from where the script came, from the page itself. Pure.
 */

/**
 * The origin a hostname stands for. With `http://` or `https://` it is taken as it is; a bare `host` or `host:port`
 * gets the scheme of the page, and https where the page has neither (as on `file:`).
 * @param {string} hostname
 * @param {string} page_protocol such as `https:`
 * @throws {TypeError} when it cannot be one
 */
export function origin_of(hostname, page_protocol) {
  const text = String(hostname).trim().replace(/\/+$/, '');
  const scheme = page_protocol === 'http:' ? 'http://' : 'https://';
  const origin = /^https?:\/\//i.test(text) ? text : scheme + text.replace(/^\/\//, '');
  try {
    new URL(origin);
    // Some browsers escape white space.
    if (/\s/.test(text)) throw text;
  } catch {
    throw new TypeError(`incoming: not a hostname: "${hostname}"`);
  }
  return origin;
}

/**
 * The origin a script was loaded from, null where that says nothing (inline, blob:, data:, file:).
 * @param {string | null | undefined} script_url
 */
export function script_origin(script_url) {
  return /^https?:\/\/[^/]+/i.exec(script_url ?? '')?.[0] ?? null;
}

/**
 * @param {string} origin
 * @param {string} upload_id
 */
export function upload_url(origin, upload_id) {
  return `${origin}/incoming/frontend/uploads/${encodeURIComponent(upload_id)}`;
}
