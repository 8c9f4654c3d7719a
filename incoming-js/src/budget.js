/**
 * Shares the few connections a browser opens to one origin between all uploaders of the page.
 *
 * Chunks take four at most. One long poll runs at a time. All together take five, and the small requests are served
 * first. Uploads that begin are served last, and not while enough others wait to send a chunk: a page may start
 * thousands at once. Cancelling asks for nothing: the sixth connection is kept free for it. Who waits is served in turn,
 * one slot each time, so that no upload starves beside a bigger one.
 */
import { BOUND_WAITING, CHUNK_CONNECTIONS, SHARED_CONNECTIONS } from './limits.js';

/** @typedef {'control' | 'poll' | 'chunk' | 'bind'} Lane in the order in which they are served */
/** @type {Lane[]} */
export const LANES = ['control', 'poll', 'chunk', 'bind'];

/** @typedef {{ release: () => void }} Slot to be given back exactly once; giving it back again does nothing */

export class Budget {
  /** Bytes of the largest chunk that passes on the way to this server, as far as refusals have taught. */
  ceiling = Infinity;
  /** How many times longer than usual a chunk may go without a sign of life, as stalls have taught. */
  patience = 1;
  #all = 0;
  /** @type {Record<Lane, number>} */
  #used = by_lane(() => 0);
  /** @type {Record<Lane, Set<(slot: Slot) => void>>} */
  #waiting = by_lane(() => new Set());
  /** @type {Set<() => void>} */
  #followers = new Set();

  /**
   * A slot if one is free and nobody waits for it.
   * @param {Lane} lane
   * @returns {Slot | null}
   */
  take(lane) {
    return this.#waiting[lane].size === 0 && this.#is_free(lane) ? this.#slot(lane) : null;
  }

  /**
   * Calls `grant` with a slot when it is this one's turn; never before `wait` has returned.
   * @param {Lane} lane
   * @param {(slot: Slot) => void} grant
   * @returns {() => void} stops waiting
   */
  wait(lane, grant) {
    this.#waiting[lane].add(grant);
    return () => {
      // One less that waits to send may let another one begin.
      if (this.#waiting[lane].delete(grant)) this.#serve();
    };
  }

  /** Uploaders that follow their upload by status requests. */
  get followers() {
    return this.#followers.size;
  }

  /**
   * Counts an uploader among those that follow by status. One that was alone is told, since it may sit on the
   * connection with a long poll.
   * @param {() => void} on_more called when another one joins; this one's own function
   * @returns {() => void} ends it
   */
  follow(on_more) {
    const [alone, second] = this.#followers;
    this.#followers.add(on_more);
    if (alone && !second) alone();
    return () => void this.#followers.delete(on_more);
  }

  /** @param {Lane} lane */
  #is_free(lane) {
    if (this.#all >= SHARED_CONNECTIONS) return false;
    if (lane === 'bind') return this.#waiting.chunk.size < BOUND_WAITING;
    return lane === 'control' || this.#used[lane] < (lane === 'poll' ? 1 : CHUNK_CONNECTIONS);
  }

  /**
   * @param {Lane} lane
   * @returns {Slot}
   */
  #slot(lane) {
    this.#used[lane] += 1;
    this.#all += 1;
    let held = true;
    const release = () => {
      if (!held) return;
      held = false;
      this.#used[lane] -= 1;
      this.#all -= 1;
      this.#serve();
    };
    return { release };
  }

  #serve() {
    for (const lane of LANES) {
      for (const grant of this.#waiting[lane]) {
        if (!this.#is_free(lane)) break;
        this.#waiting[lane].delete(grant);
        grant(this.#slot(lane));
      }
    }
  }
}

/**
 * @template T
 * @param {() => T} make
 * @returns {Record<Lane, T>}
 */
function by_lane(make) {
  return /** @type {Record<Lane, T>} */ (Object.fromEntries(LANES.map((lane) => [lane, make()])));
}

/** @type {Map<string, Budget>} */
const budgets = new Map();

/**
 * The one budget of an origin.
 * @param {string} origin
 */
export function budget_for(origin) {
  let budget = budgets.get(origin);
  if (!budget) budgets.set(origin, (budget = new Budget()));
  return budget;
}
