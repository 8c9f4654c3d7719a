/**
 * Where the server is: from what the page says, from where the script came, from the page itself. Pure.
 */
import { wrong } from './text.js';

/**
 * The origin a hostname stands for. With `http://` or `https://` it is taken as it is; a bare `host` or `host:port`
 * gets the scheme of the page, and https where the page has neither (as on `file:`).
 * @param {string} hostname
 * @param {string | undefined} page_protocol such as `https:`
 * @throws {TypeError} when it cannot be one
 */
export function origin_of(hostname, page_protocol) {
  try {
    const scheme = page_protocol === 'http:' ? page_protocol : 'https:';
    const { href, origin } = new URL(/^https?:\/\//i.test(hostname) ? hostname : `${scheme}//${hostname.trim()}`);
    // A path, a query or a user's name belong to no origin; some browsers escape white space.
    if (href === `${origin}/` && !/\s|%20/.test(href)) return origin;
  } catch {
    // No URL, or no text.
  }
  throw wrong('hostname', 'an origin', hostname);
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
