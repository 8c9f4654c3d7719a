/**
 * Puts the public object `incoming` together: one per place the script was loaded from.
 */
import { budget_for } from './budget.js';
import { sha256 } from './digest.js';
import { browser_locks } from './locks.js';
import { origin_of } from './origin.js';
import { create_memory } from './recall.js';
import { browser_store } from './store.js';
import { wrong } from './text.js';
import { xhr_transport } from './transport.js';
import { Uploader as UploaderClass, UploadError } from './uploader.js';
import { on_wake } from './wake.js';

/** @typedef {import('./types.js').Options} Options */
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
  budget_for,
  sha256,
  store: browser_store(),
  locks: browser_locks,
};

/**
 * What `incoming.Uploader` is: a function that works with and without `new`.
 * @typedef {object} UploaderFactory
 * @property {UploaderClass} prototype
 */
/** @typedef {UploaderFactory & ((upload_id: string, file: File, options?: Options) => UploaderClass) & (new (upload_id: string, file: File, options?: Options) => UploaderClass)} UploaderFunction */

/**
 * @param {string | null} from_origin where the script was loaded from, null when unknown
 * @param {Ports} ports
 */
export function create_library(from_origin, ports = browser_ports) {
  /** @type {string | null} */
  let origin = from_origin;

  /**
   * Names the Incoming!! server for all uploaders that have not started yet.
   * @param {string} hostname `host`, `host:port` or a whole `https://` origin
   * @throws {TypeError} when it is nothing of these
   */
  function set_server_hostname(hostname) {
    origin = origin_of(hostname, page()?.protocol);
  }

  /**
   * @param {string} upload_id
   * @param {File} file
   * @param {Options} [options]
   * @throws {TypeError} when this is no id, no file, or an option is impossible
   */
  function create_uploader(upload_id, file, options = {}) {
    const id = typeof upload_id === 'string' ? upload_id.trim() : '';
    // What is no ticket: the text of an error page, a promise.
    if (!/^[\w-]{1,100}$/.test(id)) throw wrong('upload_id', 'a ticket id', upload_id);
    if (!(file?.size >= 0 && file.slice)) throw wrong('file', 'a File', file);
    for (const key of /** @type {const} */ (['chunk_size', 'send_ahead'])) {
      const value = options[key] ?? 1;
      if (!(Number.isSafeInteger(value) && value > 0)) throw wrong(key, 'an integer > 0', value);
    }
    const own = options.hostname === undefined ? null : origin_of(options.hostname, page()?.protocol);
    return new UploaderClass(id, file, options, shared, () => {
      const found = own ?? origin ?? page()?.origin ?? 'null';
      if (found === 'null') throw wrong('hostname', 'set before the start', null);
      return found;
    });
  }
  create_uploader.prototype = UploaderClass.prototype;

  const { recall, unfinished, forget, visit } = create_memory(ports, create_uploader);
  const shared = { ...ports, visit };
  return { set_server_hostname, recall, unfinished, forget, Uploader: /** @type {UploaderFunction} */ (/** @type {unknown} */ (create_uploader)), UploadError };
}

/** Where the page is; nothing outside of browsers. */
function page() {
  return /** @type {Location | undefined} */ (globalThis.location);
}
