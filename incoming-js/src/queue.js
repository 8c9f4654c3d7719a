/**
 * A list of files that are uploaded in turn: order, slots, tickets, totals. It knows no page and no framework.
 *
 * At most `concurrent` uploads transfer at a time. A slot is free again when every byte is acknowledged, not when the web app
 * has taken the file, so that a slow handover does not slow the rest. Tickets are asked for when a turn is near, since a
 * ticket that lies idle expires and counts against the server's limit. Every sum is kept, never computed over the list.
 */
import { file_refusal, item_key } from './files.js';
import { Entry, NOT_ENDED, OPEN } from './queue-entry.js';
import { EntryList } from './queue-list.js';
import { TicketGate, find_ticket, found_again, read_source } from './queue-ticket.js';
import { is_transient, random_id } from './ticket.js';

/** @typedef {import('./queue-entry.js').EntryState} EntryState */
/** @typedef {import('./queue-entry.js').Item} Item */
/** @typedef {import('./queue-ticket.js').QueueOptions} QueueOptions */

/** Tickets that are asked for before a slot is free. */
const AHEAD = 2;
/** Uploads that wait for the web app at one time; more would only wait longer. */
const MOST_HANDING_OVER = 64;

export class UploadQueue extends EventTarget {
  /** May be changed at any time; what runs goes on. @type {QueueOptions} */
  options;
  /** One for all tickets of this queue. */
  batch = random_id();
  /** Go before those that wait. @type {Set<Entry>} */
  #urgent = new Set();
  /** Have a ticket and wait for a slot. @type {Set<Entry>} */
  #ready = new Set();
  /** @type {Set<Entry>} */
  #asking = new Set();
  /** @type {Set<Entry>} */
  #transfers = new Set();
  #started;
  #last = 0;
  #was_busy = false;
  #gate;
  /** @type {EntryList} */
  #list;

  /** Nothing starts before `start()`, if it is false from the beginning. */
  set auto(/** @type {boolean} */ on) { this.#started ||= on; }

  /** @param {QueueOptions} options */
  constructor(options) {
    super();
    this.options = options;
    this.#started = options.auto !== false;
    this.#list = new EntryList(this);
    this.#gate = new TicketGate(() => this.start());
  }

  /** All in the order of adding. The same array until one comes or goes. */
  get entries() { return this.#list.all; }
  /** By state, in the order in which they entered it. To read. */
  get states() { return this.#list.states; }
  /** The last 50 to finish, oldest first. */
  get recent() { return this.#list.recent; }
  get files_total() { return this.#list.size; }

  /** Without what was cancelled; files of folders count when they are read. */
  get bytes_total() { return this.#list.bytes_total; }
  get bytes_acked() { return this.#list.bytes_acked; }

  /** Why no ticket is asked for: the wait in seconds, or the status that refused the visitor. */
  get blocked() { return this.#gate.blocked; }

  /** How many are not done, failed ones not among them. */
  get pending() {
    return this.#list.count(this.options.done_when === 'stored' ? OPEN : NOT_ENDED);
  }

  get busy() { return this.pending > 0; }

  /** Of all that transfer now; null while none does. @type {number | null} */
  get bytes_per_s() {
    let sum = null;
    for (const { bytes_per_s } of this.#transfers) if (bytes_per_s !== null) sum = (sum ?? 0) + bytes_per_s;
    return sum;
  }

  /** Entries whose id may be used, in the order of adding: finished, kept, and with `stored` those that the web app has not taken yet. */
  done() {
    const states = this.#done_states();
    return this.entries.filter(({ state }) => states.includes(state));
  }

  get files_done() { return this.#list.count(this.#done_states()); }
  /** @returns {EntryState[]} */
  #done_states() { return ['kept', 'finished', ...(this.options.done_when === 'stored' ? /** @type {const} */ (['handing_over']) : [])]; }

  /**
   * Adds files. What breaks a limit becomes no entry but an event `reject` (`file`, `code`).
   * @param {Iterable<File | Item>} items
   * @returns {Entry[]}
   */
  add(items) {
    const added = [];
    for (const given of items) {
      const item = 'slice' in given ? { file: given, path: given.webkitRelativePath || null } : given;
      const key = item_key(item);
      const code = this.#list.has(key) ? 'duplicate' : this.files_total - this.states.lost.size >= (this.options.limits?.max_files ?? Infinity) ? 'count'
        : item.file ? file_refusal(item.file, this.options.limits) : null;
      if (code) {
        this.#list.emit('reject', { file: item.file ?? item.source, code });
        continue;
      }
      const entry = this.#entry(item);
      // The file of an earlier visit was chosen again.
      for (const lost of this.states.lost) if (item.file && lost.name === entry.name && lost.size === entry.size) this.#list.drop(lost);
      this.#list.insert(key, entry, 'waiting');
      added.push(entry);
    }
    if (added.length > 0) this.#list.emit('add', { entries: added });
    this.#was_busy ||= this.busy;
    this.#pump();
    return added;
  }

  /**
   * Adds files that the web app has already.
   * @param {{ id: string, name?: string, size?: number }[]} known
   */
  keep(known) {
    for (const { id, name = id, size = 0 } of known) {
      const key = `kept ${id}`;
      if (this.#list.has(key)) continue;
      this.#list.insert(key, this.#entry({}, { id, name, size, bytes_acked: size }), 'kept');
    }
  }

  /**
   * Lists what earlier visits left unfinished in this scope. Those with a file handle can be resumed in a click; those that the
   * web app has taken meanwhile are `kept`.
   */
  async restore() {
    const found = await this.options.library.unfinished({ scope: this.options.scope ?? '' });
    await Promise.all(found.map((one) => !one.active && this.#recover(one)));
  }

  /** @param {import('./api.js').Unfinished} one */
  async #recover(one) {
    const state = await found_again(one, this.options.library);
    if (!state || this.entries.some(({ id }) => id === one.upload_id)) return;
    const { upload_id: id, hostname, name, size, bytes_acked, resume: reopen } = one;
    const entry = this.#entry(one, { id, hostname, name, size, bytes_acked: state === 'kept' ? size : bytes_acked, reopen });
    this.#list.insert(`lost ${id}`, entry, 'lost');
    this.#list.move(entry, state);
  }

  /** @param {Item} item @param {object} [known] */
  #entry(item, known) {
    return Object.assign(new Entry((this.#last += 1), item, this), known);
  }

  /** Begins, if `auto` is false; goes on after an event `auth`; ends a wait. */
  start() {
    this.#started = true;
    this.#gate.open();
    this.#list.changed();
    this.#pump();
  }

  pause() {
    for (const entry of this.#list.in('waiting', 'ticket', 'uploading', 'stalled')) this.pause_entry(entry);
  }

  resume() {
    for (const entry of this.#list.in('paused')) this.resume_entry(entry, false);
  }

  /** Tries all again that failed and may succeed. */
  retry() {
    for (const entry of this.#list.in('failed')) if (!entry.error?.final) this.retry_entry(entry);
  }

  /** @param {string} [reason] for the web app */
  cancel(reason) {
    for (const entry of this.#list.in(...NOT_ENDED)) this.cancel_entry(entry, reason);
  }

  /**
   * Takes entries off the list: `finished` those that are finished or cancelled; `all` cancels the rest.
   * @param {'finished' | 'all'} what
   */
  clear(what) {
    for (const entry of what === 'all' ? this.entries : this.#list.in('finished', 'cancelled')) this.remove_entry(entry);
  }

  /** Resolves when nothing is pending. @returns {Promise<{ finished: Entry[], failed: Entry[] }>} */
  whenIdle() {
    const result = () => ({ finished: this.done(), failed: [...this.states.failed] });
    if (!this.busy) return Promise.resolve(result());
    return new Promise((resolve) => this.addEventListener('idle', () => resolve(result()), { once: true }));
  }

  /**
   * Calls `fn` after changes, once for those of one moment. For stores of frameworks, with `snapshot`.
   * @param {() => void} fn
   * @returns {() => void} ends it
   */
  subscribe = (fn) => this.#list.subscribe(fn);

  /** State as it is now: the same object until something changes. */
  snapshot = () => /** @type {import('./api-queue.js').Snapshot} */ (/** @type {unknown} */ (this.#list.snapshot()));

  // Turns

  #pump() {
    while (this.#started && !this.blocked && this.states.handing_over.size < MOST_HANDING_OVER
      && this.#asking.size + this.#ready.size + this.#transfers.size < this.#concurrent() + AHEAD) {
      const [entry = this.states.waiting.values().next().value] = this.#urgent;
      if (!entry) break;
      this.#urgent.delete(entry);
      void this.#prepare(entry);
    }
    for (const entry of this.#ready) {
      if (this.#transfers.size >= this.#concurrent()) break;
      this.#ready.delete(entry);
      this.#transfer(entry);
    }
    const idle = this.#was_busy && !this.busy;
    this.#was_busy = this.busy;
    if (idle) this.#list.emit('idle');
  }

  #concurrent() { return Math.min(16, Math.max(1, this.options.concurrent ?? 4)); }

  /** Reads the file of a folder, finds an upload of an earlier visit, else asks for a ticket. @param {Entry} entry */
  async #prepare(entry) {
    const attempt = (entry.attempt = new AbortController());
    const { signal } = attempt;
    this.#asking.add(entry);
    this.#list.move(entry, 'ticket');
    let failure = null;
    try {
      await this.#file(entry, signal);
      if (!signal.aborted) {
        await find_ticket(entry, this.options, this.batch, signal, (id) => this.#uses(id, entry));
        this.#gate.passed();
      }
    } catch (error) {
      failure = /** @type {any} */ (error);
    } finally {
      if (entry.attempt === attempt) this.#asking.delete(entry);
    }
    // What ended the attempt has set the entry's state.
    if (signal.aborted) return;
    if (failure) this.#no_ticket(entry, failure);
    else this.#ready.add(entry);
    this.#pump();
  }

  /** Reads a file of a folder. @param {Entry} entry @param {AbortSignal} signal */
  async #file(entry, signal) {
    if (entry.file) return;
    const file = await read_source(entry);
    if (signal.aborted) return;
    Object.assign(entry, { file, type: file.type, size: file.size });
    this.#list.bytes_total += file.size;
    const code = file_refusal(file, this.options.limits);
    if (!code) return;
    this.#list.emit('reject', { file, code });
    this.remove_entry(entry);
  }

  /** Another entry has this ticket; one of an earlier visit gives it up. @param {string} id @param {Entry} entry */
  #uses(id, entry) {
    for (const lost of this.states.lost) if (lost.id === id) this.#list.drop(lost);
    return this.#list.in(...NOT_ENDED.slice(1)).some((other) => other !== entry && other.id === id);
  }

  /** @param {Entry} entry @param {any} error */
  #no_ticket(entry, error) {
    const { status } = error;
    if (status === 401 || status === 403 || is_transient(error)) {
      this.#list.move(entry, 'waiting');
      this.#urgent.add(entry);
      if (this.#gate.close(error)) this.#list.emit('auth', { status, retry: () => this.start() });
      this.#list.changed();
    } else this.#fail(entry, { code: error.code ?? 'no-ticket', message: error.message, final: error.code !== 'unreadable' });
  }

  /** @param {Entry} entry */
  #transfer(entry) {
    this.#transfers.add(entry);
    this.#list.move(entry, 'uploading');
    if (entry.uploader) return void entry.uploader.pause('unpause');
    const { library, uploader: options, scope } = this.options;
    const { signal } = (entry.attempt = new AbortController());
    try {
      const more = { hostname: entry.hostname ?? options?.hostname, handle: entry.handle ?? undefined, scope: scope ?? undefined, signal };
      const uploader = new library.Uploader(/** @type {string} */ (entry.id), /** @type {File} */ (entry.file), { ...options, ...entry.options, ...more });
      this.#follow(entry, uploader, signal);
      uploader.start();
    } catch (error) {
      this.#fail(entry, { code: 'invalid', message: String(/** @type {any} */ (error).message), final: true });
    }
  }

  /** @param {Entry} entry @param {import('./api.js').UploaderObject} uploader @param {AbortSignal} [signal] */
  #follow(entry, uploader, signal) {
    entry.uploader = uploader;
    uploader.onprogress = () => entry.uploader === uploader && this.#progress(entry, uploader);
    uploader.done.then(() => entry.uploader === uploader && this.#finish(entry), (error) => {
      if (entry.uploader !== uploader || signal?.aborted) return;
      // With another ticket it may succeed; not with this one.
      this.#fail(entry, { code: error.code ?? 'cancelled', message: error.message, final: error.code === 'FILE_CHANGED' });
    });
  }

  /** @param {Entry} entry @param {import('./api.js').UploaderObject} uploader */
  #progress(entry, uploader) {
    const { bytes_acked, bytes_total, bytes_per_s, eta_s, retry_in_s } = uploader;
    this.#list.acked(entry, bytes_acked);
    Object.assign(entry, { bytes_per_s, eta_s, retry_in_s });
    if (entry.pause_wanted && uploader.can_pause && !uploader.paused) uploader.pause('pause');
    // An empty file has no byte to acknowledge.
    const stored = bytes_acked === bytes_total && (bytes_total > 0 || uploader.connected) && !uploader.paused;
    // `done` says how it ended, a moment later.
    if (uploader.finished || uploader.cancelled || uploader.error_code !== null) return;
    if (stored && entry.state !== 'handing_over') {
      this.#list.move(entry, 'handing_over');
      this.#free(entry);
    } else if (uploader.paused) {
      this.#list.move(entry, 'paused');
      this.#free(entry);
    } else if (!stored) {
      this.#transfers.add(entry);
      this.#list.move(entry, retry_in_s === null ? 'uploading' : 'stalled');
    }
    this.#list.emit('progress', { entry });
  }

  /** @param {Entry} entry */
  #free(entry) {
    for (const some of [this.#ready, this.#urgent, this.#asking, this.#transfers]) some.delete(entry);
    this.#pump();
  }

  /** Thousands of entries must not keep what they needed. @param {Entry} entry */
  #rest(entry) {
    Object.assign(entry, { uploader: null, attempt: null, bytes_per_s: null, eta_s: null, retry_in_s: null, pause_wanted: false });
  }

  /** @param {Entry} entry */
  #finish(entry) {
    this.#list.acked(entry, entry.size ?? 0);
    this.#rest(entry);
    this.#list.move(entry, 'finished');
    this.#list.emit('finish', { entry, id: entry.id });
    this.#free(entry);
  }

  /** @param {Entry} entry @param {import('./queue-entry.js').EntryError} error */
  #fail(entry, error) {
    this.#rest(entry);
    entry.error = error;
    this.#list.move(entry, 'failed');
    this.#list.emit('error', { entry, error, final: error.final });
    this.#free(entry);
  }

  // What functions of entries ask for

  /** @param {Entry} entry */
  pause_entry(entry) {
    const { state, uploader } = entry;
    if (state === 'uploading' || state === 'stalled') {
      entry.pause_wanted = true;
      if (uploader?.can_pause) uploader.pause('pause');
    } else if (state === 'waiting' || state === 'ticket') {
      if (!uploader) entry.attempt?.abort();
      this.#list.move(entry, 'paused');
      this.#free(entry);
    }
  }

  /** @param {Entry} entry @param {boolean} [next] before those that wait */
  resume_entry(entry, next = true) {
    entry.pause_wanted = false;
    if (entry.state === 'lost') return void this.#reopen(entry);
    if (entry.state !== 'paused') return;
    // An upload that has begun needs a slot alone.
    this.#list.move(entry, entry.uploader ? 'ticket' : 'waiting');
    if (entry.uploader) this.#ready = new Set([entry, ...this.#ready]);
    else if (next) this.#urgent.add(entry);
    this.#pump();
  }

  /** Goes on with the file of an earlier visit, in a click. @param {Entry} entry */
  async #reopen(entry) {
    const { reopen } = entry;
    if (!reopen) return;
    const { scope, uploader: options } = this.options;
    const controller = new AbortController();
    try {
      const uploader = await reopen({ ...options, hostname: entry.hostname ?? undefined, scope: scope ?? undefined, signal: controller.signal });
      if (entry.state !== 'lost') return void uploader.cancel();
      entry.attempt = controller;
      this.#transfers.add(entry);
      this.#list.move(entry, 'uploading');
      this.#follow(entry, uploader, controller.signal);
    } catch (error) {
      const { name, code, message } = /** @type {any} */ (error);
      // Without permission it stays as it is.
      if (name !== 'NotAllowedError' && entry.state === 'lost') this.#fail(entry, { code: code ?? 'lost', message, final: true });
    }
  }

  /** @param {Entry} entry */
  retry_entry(entry) {
    if (entry.state === 'stalled') entry.uploader?.start();
    if (entry.state !== 'failed') return;
    this.#list.acked(entry, 0);
    Object.assign(entry, { error: null, id: null, hostname: null, options: {} });
    this.#list.move(entry, 'waiting');
    this.#pump();
  }

  /** @param {Entry} entry @param {string} [reason] */
  cancel_entry(entry, reason = 'cancelled by the user') {
    if (!NOT_ENDED.includes(entry.state)) return;
    entry.attempt?.abort(new Error(reason));
    this.#rest(entry);
    this.#list.move(entry, 'cancelled');
    this.#free(entry);
  }

  /** @param {Entry} entry */
  remove_entry(entry) {
    this.cancel_entry(entry);
    if (entry.state === 'lost' && entry.id) void this.options.library.forget(entry.id);
    this.#list.drop(entry);
    this.#pump();
  }
}
