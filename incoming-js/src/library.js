/**
 * The public object `incoming`, one per location that the script was loaded from, and how it finds its server.
 */
import { sha256 } from './file.js';
import { pool_for } from './pool.js';
import { UploadError, sendable } from './protocol.js';
import { browser_store, create_recall } from './resume.js';
import { browser_locks } from './tabs.js';
import { on_wake } from './timers.js';
import { xhr_transport } from './transport.js';
import { Uploader } from './uploader.js';

/** @typedef {import('./api.js').Options} Options */
/** @typedef {import('./types.js').Ports} Ports */

/** @type {Ports} */
const browser_ports = {
  transport: xhr_transport,
  clock: {
    now: () => performance.now(),
    date: () => Date.now(),
    set_timer: (fn, ms) => setTimeout(fn, ms),
    clear_timer: (timer) => clearTimeout(timer),
    random: () => Math.random(),
  },
  on_wake,
  pool_for,
  sha256,
  store: browser_store(),
  locks: browser_locks,
};

/**
 * @param {string | null} from_origin origin that the script was loaded from, null if unknown
 * @param {Ports} ports
 * @returns {import('./api.js').Incoming}
 */
export function create_library(from_origin, ports = browser_ports) {
  /** @type {string | null} */
  let origin = from_origin;

  /**
   * @param {string} hostname
   * @throws {TypeError}
   */
  function set_server_hostname(hostname) {
    origin = origin_of(hostname, page()?.protocol);
  }

  /**
   * @param {string} upload_id
   * @param {File} file
   * @param {Options} [options]
   * @throws {TypeError} if the id, the file or an option is invalid
   */
  function create_uploader(upload_id, file, options = {}) {
    const id = typeof upload_id === 'string' ? upload_id.trim() : '';
    // Catches the text of an error page, or a promise.
    if (!/^[\w-]{1,100}$/.test(id)) throw invalid('upload_id', 'a ticket id', upload_id);
    if (!(file?.size >= 0 && file.slice)) throw invalid('file', 'a File', file);
    for (const key of /** @type {const} */ (['chunk_size', 'send_ahead'])) {
      const value = options[key] ?? 1;
      if (!(Number.isSafeInteger(value) && value > 0)) throw invalid(key, 'an integer > 0', value);
    }
    const own = options.hostname === undefined ? null : origin_of(options.hostname, page()?.protocol);
    return new Uploader(id, file, options, shared, () => {
      const found = own ?? origin ?? page()?.origin ?? 'null';
      if (found === 'null') throw invalid('hostname', 'set before the start', null);
      return found;
    });
  }
  // A plain function, so that it works with and without `new`.
  create_uploader.prototype = Uploader.prototype;

  const { recall, unfinished, forget, visit } = create_recall(ports, create_uploader);
  const shared = { ...ports, visit };
  return { set_server_hostname, recall, unfinished, forget, Uploader: /** @type {import('./api.js').UploaderFactory} */ (/** @type {unknown} */ (create_uploader)), UploadError };
}

/** Location of the page; undefined outside of browsers. */
function page() {
  return /** @type {Location | undefined} */ (globalThis.location);
}

/**
 * The origin that a hostname stands for. `http://` and `https://` are kept; a bare `host` or `host:port` gets the scheme of
 * the page, or https if the page has neither (as on `file:`).
 * @param {string} hostname
 * @param {string | undefined} page_protocol such as `https:`
 * @throws {TypeError}
 */
export function origin_of(hostname, page_protocol) {
  try {
    const scheme = page_protocol === 'http:' ? page_protocol : 'https:';
    const { href, origin } = new URL(/^https?:\/\//i.test(hostname) ? hostname : `${scheme}//${hostname.trim()}`);
    // A path, a query or a user name is not part of an origin. Some browsers escape white space.
    if (href === `${origin}/` && !/\s|%20/.test(href)) return origin;
  } catch {
    // Not a URL, or not a string.
  }
  throw invalid('hostname', 'an origin', hostname);
}

/**
 * The origin that a script was loaded from, null if that has none (inline, blob:, data:, file:).
 * @param {string | null | undefined} script_url
 */
export function script_origin(script_url) {
  return /^https?:\/\/[^/]+/i.exec(script_url ?? '')?.[0] ?? null;
}

/**
 * @param {string} what
 * @param {string} expected
 * @param {unknown} value
 */
function invalid(what, expected, value) {
  return new TypeError(`incoming: ${what} must be ${expected}: "${sendable(value, 50)}"`);
}
