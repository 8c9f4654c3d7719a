/**
 * What an entry needs before it can transfer: its file, and a ticket, of an earlier visit if there is one.
 */
import { is_transient, read_ticket, upload_state } from './ticket.js';

/** @typedef {import('./queue-entry.js').Entry} Entry */

/**
 * @typedef {object} QueueOptions
 * @property {Pick<import('./api.js').Incoming, 'Uploader' | 'recall' | 'unfinished' | 'forget'>} library
 * @property {import('./ticket.js').GetTicket} getTicket
 * @property {number} [concurrent] 1 to 16, default 4
 * @property {boolean} [auto] false: nothing starts before `start()`
 * @property {string | null} [scope] uploads of other scopes are not resumed
 * @property {'finished' | 'stored'} [done_when] `stored`: done when every byte is acknowledged
 * @property {string} [field] name of the form field, for the ticket
 * @property {import('./files.js').Limits} [limits]
 * @property {import('./api.js').Options} [uploader] options of every uploader
 */

/** Reads a file of a folder. @param {Entry} entry @returns {Promise<File>} */
export function read_source({ source }) {
  return new Promise((resolve, reject) => {
    source?.file(resolve, (error) => reject(Object.assign(new Error(String(/** @type {any} */ (error)?.message ?? error)), { code: 'unreadable' })));
  });
}

/**
 * Gives the entry its ticket, unless `signal` is aborted meanwhile.
 * @param {Entry} entry whose file is read
 * @param {QueueOptions} options
 * @param {string} batch
 * @param {AbortSignal} signal
 * @param {(id: string) => boolean} is_used by another entry
 */
export async function find_ticket(entry, { library, getTicket, scope, field, uploader }, batch, signal, is_used) {
  const { id, name, type, path } = entry;
  const file = /** @type {File} */ (entry.file);
  if (id) return;
  if (uploader?.remember !== false) {
    const known = await library.recall(file);
    const mine = known && !known.active && (known.scope ?? '') === (scope ?? '');
    if (signal.aborted) return;
    if (mine && !is_used(known.upload_id)) return void Object.assign(entry, { id: known.upload_id, hostname: known.hostname });
  }
  const request = { name, size: file.size, type, path, last_modified: file.lastModified, field: field ?? '', batch };
  const { id: upload_id, hostname = null, ...more } = read_ticket(await getTicket(request, signal));
  if (!signal.aborted) Object.assign(entry, { id: upload_id, hostname, options: more });
}

const ASK_AGAIN_MS = 2_000;

/**
 * What became of an upload of an earlier visit; waits while the web app takes it.
 * @param {import('./api.js').Unfinished} upload
 * @param {QueueOptions['library']} library
 * @returns {Promise<'lost' | 'kept' | null>} lost: it can go on; kept: the web app has it
 */
export async function found_again(upload, library) {
  let state;
  while ((state = await upload_state(upload)) === 'handing_over') await new Promise((next) => setTimeout(next, ASK_AGAIN_MS));
  if (state === null || state === 'new' || state === 'uploading') return 'lost';
  void library.forget(upload.upload_id);
  return state === 'finished' ? 'kept' : null;
}

const MIN_WAIT_MS = 1_000;
const MAX_WAIT_MS = 60_000;

/** Closed while the web app gives no tickets: for a time that grows, or until the visitor has logged in. */
export class TicketGate {
  /** @type {{ retry_in_s: number } | { status: number } | null} */
  blocked = null;
  #waits = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #on_open;

  /** @param {() => void} on_open at the end of a wait */
  constructor(on_open) {
    this.#on_open = on_open;
  }

  /** @param {{ status: number, retry_after_ms?: number | null }} error @returns {boolean} the visitor is refused, which was not known yet */
  close(error) {
    if (!is_transient(error)) {
      const news = !(this.blocked && 'status' in this.blocked);
      this.open();
      this.blocked = { status: error.status };
      return news;
    }
    if (this.blocked) return false;
    const ms = Math.min(MAX_WAIT_MS, Math.max(MIN_WAIT_MS, error.retry_after_ms ?? MIN_WAIT_MS * 2 ** this.#waits));
    this.#waits += 1;
    this.blocked = { retry_in_s: Math.ceil(ms / 1000) };
    this.#timer = setTimeout(this.#on_open, ms);
    globalThis.addEventListener?.('online', this.#on_open, { once: true });
    return false;
  }

  open() {
    clearTimeout(this.#timer);
    globalThis.removeEventListener?.('online', this.#on_open);
    this.blocked = null;
  }

  /** A ticket came: the next wait is short again. */
  passed() {
    this.#waits = 0;
  }
}
