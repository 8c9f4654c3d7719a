/**
 * The entries of an `UploadQueue` by state, their sums, and the subscribers to changes. Sums are kept, never computed over the
 * list: an event costs the same with ten thousand entries.
 */
import { STATES } from './queue-entry.js';

/** @typedef {import('./queue-entry.js').Entry} Entry */
/** @typedef {import('./queue-entry.js').EntryState} EntryState */

/** Finished ones that `recent` gives. */
const RECENT = 50;

export class EntryList {
  bytes_total = 0;
  bytes_acked = 0;
  /** By state, in the order in which they entered it. @type {Record<EntryState, Set<Entry>>} */
  states = /** @type {any} */ (Object.fromEntries(STATES.map((state) => [state, new Set()])));
  /** The last to finish, oldest first. @type {Entry[]} */
  recent = [];

  /** @type {Map<string, Entry>} */
  #entries = new Map();
  /** @type {readonly Entry[] | null} */
  #all = null;
  #queue;
  /** @type {Readonly<Record<string, unknown>> | null} */
  #snapshot = null;
  /** @type {Set<() => void>} */
  #subscribers = new Set();
  #notice_due = false;

  /** @param {import('./queue.js').UploadQueue} queue gets the events, and is what a snapshot shows */
  constructor(queue) {
    this.#queue = queue;
  }

  /** In the order of adding. The same array until one comes or goes. @type {readonly Entry[]} */
  get all() {
    return (this.#all ??= Object.freeze([...this.#entries.values()]));
  }

  get size() {
    return this.#entries.size;
  }

  /** @param {string} key */
  has(key) {
    return this.#entries.has(key);
  }

  /** @param {EntryState[]} states @returns {Entry[]} a copy, so that the caller may change their state */
  in(...states) {
    return states.flatMap((state) => [...this.states[state]]);
  }

  /** @param {readonly EntryState[]} states */
  count(states) {
    return states.reduce((sum, state) => sum + this.states[state].size, 0);
  }

  /** @param {string} key what makes a second one a duplicate @param {Entry} entry @param {EntryState} state */
  insert(key, entry, state) {
    entry.key = key;
    entry.state = state;
    this.#entries.set(key, entry);
    this.states[state].add(entry);
    this.#all = null;
    this.bytes_total += entry.size ?? 0;
    this.bytes_acked += entry.bytes_acked;
    this.changed();
  }

  /** @param {Entry} entry */
  drop(entry) {
    if (this.#entries.get(entry.key) !== entry) return;
    this.#entries.delete(entry.key);
    this.states[entry.state].delete(entry);
    this.recent = this.recent.filter((one) => one !== entry);
    this.#all = null;
    this.#exclude(entry);
    this.emit('remove', { entry });
  }

  /** @param {Entry} entry @param {EntryState} to */
  move(entry, to) {
    const from = entry.state;
    if (from === to || this.#entries.get(entry.key) !== entry) return;
    this.states[from].delete(entry);
    if (to === 'cancelled') this.#exclude(entry);
    entry.state = to;
    this.states[to].add(entry);
    if (to === 'finished' && this.recent.push(entry) > RECENT) this.recent.shift();
    this.emit('state', { entry, from, to });
  }

  /** Sums do not count what was cancelled. @param {Entry} entry */
  #exclude(entry) {
    if (entry.state === 'cancelled') return;
    this.bytes_total -= entry.size ?? 0;
    this.bytes_acked -= entry.bytes_acked;
  }

  /** @param {Entry} entry @param {number} bytes */
  acked(entry, bytes) {
    this.bytes_acked += bytes - entry.bytes_acked;
    entry.bytes_acked = bytes;
  }

  /** @param {string} type @param {object} [detail] */
  emit(type, detail = {}) {
    this.changed();
    this.#queue.dispatchEvent(new CustomEvent(type, { detail }));
  }

  changed() {
    this.#snapshot = null;
    if (this.#notice_due || this.#subscribers.size === 0) return;
    this.#notice_due = true;
    queueMicrotask(() => {
      this.#notice_due = false;
      for (const fn of this.#subscribers) fn();
    });
  }

  /** @param {() => void} fn */
  subscribe(fn) {
    this.#subscribers.add(fn);
    return () => void this.#subscribers.delete(fn);
  }

  snapshot() {
    const { entries, files_total, files_done, bytes_total, bytes_acked, bytes_per_s, pending, busy, blocked } = this.#queue;
    return (this.#snapshot ??= Object.freeze({
      entries, files_total, files_done, bytes_total, bytes_acked, bytes_per_s, pending, busy, blocked,
      counts: Object.freeze(Object.fromEntries(STATES.map((state) => [state, this.states[state].size]))),
    }));
  }
}
