/**
 * Shares the connections that a browser opens to one origin among all uploaders of the page.
 *
 * Four are for chunks, one long poll runs at a time, and all requests together use five; the sixth stays free for
 * cancelling, which takes no slot. Free connections go to small requests first. Uploads that begin come last, and wait
 * while enough others wait to send a chunk: a page may start thousands at once. Within one priority the order is first
 * come, first served, one slot at a time, so that no upload starves beside a larger one.
 */
import { CHUNK_CONNECTIONS, MAX_WAITING_CHUNKS, SHARED_CONNECTIONS } from './limits.js';

/** @typedef {'control' | 'poll' | 'chunk' | 'bind'} Priority highest first */
/** @type {Priority[]} */
export const PRIORITIES = ['control', 'poll', 'chunk', 'bind'];

/** @typedef {{ release: () => void }} Slot one connection; a second `release` does nothing */

export class ConnectionPool {
  /** Largest chunk that passes on the way to this server, learnt from refusals. In bytes. */
  ceiling = Infinity;
  /** Factor on the timeouts of a chunk, learnt from stalls. */
  patience = 1;
  #all = 0;
  /** @type {Record<Priority, number>} */
  #used = by_priority(() => 0);
  /** @type {Record<Priority, Set<(slot: Slot) => void>>} */
  #waiting = by_priority(() => new Set());
  /** @type {Set<() => void>} */
  #pollers = new Set();

  /**
   * A slot if one is free and no one waits for it.
   * @param {Priority} priority
   * @returns {Slot | null}
   */
  take(priority) {
    return this.#waiting[priority].size === 0 && this.#is_free(priority) ? this.#slot(priority) : null;
  }

  /**
   * Queues for a slot.
   * @param {Priority} priority
   * @param {(slot: Slot) => void} grant never called before `wait` has returned
   * @returns {() => void} leaves the queue
   */
  wait(priority, grant) {
    this.#waiting[priority].add(grant);
    return () => {
      // A shorter queue of chunks may let another upload begin.
      if (this.#waiting[priority].delete(grant)) this.#serve();
    };
  }

  /** Number of uploaders that poll the status. */
  get pollers() {
    return this.#pollers.size;
  }

  /**
   * Counts an uploader among those that poll the status. If it was alone it may hold the connection with a long poll, so
   * it is called when the second one joins.
   * @param {() => void} on_company a function of this uploader's own
   * @returns {() => void} ends it
   */
  add_poller(on_company) {
    const [alone, second] = this.#pollers;
    this.#pollers.add(on_company);
    if (alone && !second) alone();
    return () => void this.#pollers.delete(on_company);
  }

  /** @param {Priority} priority */
  #is_free(priority) {
    if (this.#all >= SHARED_CONNECTIONS) return false;
    if (priority === 'bind') return this.#waiting.chunk.size < MAX_WAITING_CHUNKS;
    return priority === 'control' || this.#used[priority] < (priority === 'poll' ? 1 : CHUNK_CONNECTIONS);
  }

  /**
   * @param {Priority} priority
   * @returns {Slot}
   */
  #slot(priority) {
    this.#used[priority] += 1;
    this.#all += 1;
    let taken = true;
    const release = () => {
      if (!taken) return;
      taken = false;
      this.#used[priority] -= 1;
      this.#all -= 1;
      this.#serve();
    };
    return { release };
  }

  #serve() {
    for (const priority of PRIORITIES) {
      for (const grant of this.#waiting[priority]) {
        if (!this.#is_free(priority)) break;
        this.#waiting[priority].delete(grant);
        grant(this.#slot(priority));
      }
    }
  }
}

/**
 * @template T
 * @param {() => T} make
 * @returns {Record<Priority, T>}
 */
function by_priority(make) {
  return /** @type {Record<Priority, T>} */ (Object.fromEntries(PRIORITIES.map((priority) => [priority, make()])));
}

/** @type {Map<string, ConnectionPool>} */
const pools = new Map();

/**
 * The one pool of an origin.
 * @param {string} origin
 */
export function pool_for(origin) {
  let pool = pools.get(origin);
  if (!pool) pools.set(origin, (pool = new ConnectionPool()));
  return pool;
}
