/**
 * One file of an `UploadQueue`: what it is, how far it is, what can be done with it. The queue alone changes it.
 */

/**
 * - `waiting`: its turn has not come
 * - `ticket`: the file is looked up, a ticket is asked for, or it waits for a free slot with one
 * - `uploading`, `stalled`: bytes flow; the upload waits to try again
 * - `paused`: by the page
 * - `handing_over`: every byte is acknowledged, the web app has not taken the file yet
 * - `finished`, `failed`, `cancelled`
 * - `lost`: an earlier visit left it unfinished, and the file has to be chosen again
 * - `kept`: the web app has it since before this page
 * @typedef {'waiting' | 'ticket' | 'uploading' | 'stalled' | 'paused' | 'handing_over' | 'finished' | 'failed' | 'cancelled' | 'lost' | 'kept'} EntryState
 */

/** Not done, but for `handing_over`. @type {EntryState[]} */
export const OPEN = ['waiting', 'ticket', 'uploading', 'stalled', 'paused'];

/** @type {EntryState[]} */
export const NOT_ENDED = [...OPEN, 'handing_over'];

/** @type {EntryState[]} */
export const STATES = [...NOT_ENDED, 'finished', 'failed', 'cancelled', 'lost', 'kept'];

/**
 * What is known of a file before it is an entry. `source` is read when its turn comes, so that a folder of thousands costs
 * nothing before.
 * @typedef {object} Item
 * @property {File} [file]
 * @property {{ name: string, file: (done: (file: File) => void, failed: (error: unknown) => void) => void }} [source] as `FileSystemFileEntry`
 * @property {string | null} [path] with folders, if it has any
 * @property {FileSystemFileHandle | null} [handle]
 */

/**
 * @typedef {object} EntryError
 * @property {string} code
 * @property {string} message for people
 * @property {boolean} final trying again cannot succeed
 */

export class Entry {
  /** For lists of frameworks; unique. */
  key = '';
  /** @type {EntryState} */
  state = 'waiting';
  /** Ticket, once there is one. @type {string | null} */
  id = null;
  /** @type {string | null} */
  hostname = null;
  /** Further options of its ticket. @type {import('./api.js').Options} */
  options = {};
  bytes_acked = 0;
  /** @type {number | null} */
  bytes_per_s = null;
  /** @type {number | null} */
  eta_s = null;
  /** @type {number | null} */
  retry_in_s = null;
  /** @type {EntryError | null} */
  error = null;
  /** @type {import('./api.js').UploaderObject | null} */
  uploader = null;
  /** Ends what runs for it. @type {AbortController | null} */
  attempt = null;
  /** The page paused it while the uploader could not. */
  pause_wanted = false;
  /** Begins an upload of an earlier visit again, in a click. @type {import('./api.js').Unfinished['resume']} */
  reopen = null;

  #queue;

  /**
   * @param {number} number counts up in the order of adding
   * @param {Item} item
   * @param {import('./queue.js').UploadQueue} queue
   */
  constructor(number, { file, source, path = null, handle = null }, queue) {
    this.number = number;
    this.file = file ?? null;
    this.source = source ?? null;
    this.handle = handle;
    this.name = file?.name ?? source?.name ?? '';
    /** Bytes; null until a file of a folder is read. @type {number | null} */
    this.size = file?.size ?? null;
    this.type = file?.type ?? '';
    this.path = path;
    this.#queue = queue;
  }

  pause() {
    this.#queue.pause_entry(this);
  }

  /** Goes on after `pause`; comes next, before those that wait. */
  resume() {
    this.#queue.resume_entry(this);
  }

  /** Tries a failed one again, after those that wait; a stalled one now. */
  retry() {
    this.#queue.retry_entry(this);
  }

  /** @param {string} [reason] for the web app */
  cancel(reason) {
    this.#queue.cancel_entry(this, reason);
  }

  /** Cancels it if need be and takes it off the list. */
  remove() {
    this.#queue.remove_entry(this);
  }
}
