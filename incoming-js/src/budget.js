/**
 * Shares the few connections a browser opens to one origin between all uploaders of the page.
 *
 * Chunks take four at most. One long poll runs at a time. All together take five, and the small requests are served
 * first. Cancelling asks for nothing: the sixth connection is kept free for it. Who waits is served in turn, one slot
 * each time, so that no upload starves beside a bigger one.
 */
import { CHUNK_CONNECTIONS, SHARED_CONNECTIONS } from './limits.js';

/** @typedef {'chunk' | 'poll' | 'control'} Lane */
/** @typedef {{ release: () => void }} Slot to be given back exactly once; giving it back again does nothing */

export class Budget {
  /** Bytes of the largest chunk that passes on the way to this server, as far as refusals have taught. */
  ceiling = Infinity;
  #used = { chunk: 0, poll: 0, control: 0 };
  /** @type {Record<Lane, ((slot: Slot) => void)[]>} */
  #waiting = { chunk: [], poll: [], control: [] };
  /** @type {Set<() => void>} */
  #followers = new Set();

  /**
   * A slot if one is free and nobody waits for it.
   * @param {Lane} lane
   * @returns {Slot | null}
   */
  take(lane) {
    return this.#waiting[lane].length === 0 && this.#is_free(lane) ? this.#slot(lane) : null;
  }

  /**
   * Calls `grant` with a slot when it is this one's turn; never before `wait` has returned.
   * @param {Lane} lane
   * @param {(slot: Slot) => void} grant
   * @returns {() => void} stops waiting
   */
  wait(lane, grant) {
    const queue = this.#waiting[lane];
    queue.push(grant);
    return () => {
      const at = queue.indexOf(grant);
      if (at >= 0) queue.splice(at, 1);
    };
  }

  /** Uploaders that follow their upload by status requests. */
  get followers() {
    return this.#followers.size;
  }

  /**
   * Counts an uploader among those that follow by status; the others are told, since one of them may sit on the
   * connection with a long poll.
   * @param {() => void} on_more called when another one joins
   * @returns {() => void} ends it
   */
  follow(on_more) {
    const others = [...this.#followers];
    const follower = () => on_more();
    this.#followers.add(follower);
    for (const tell of others) tell();
    return () => void this.#followers.delete(follower);
  }

  /** @param {Lane} lane */
  #is_free(lane) {
    const { chunk, poll, control } = this.#used;
    if (chunk + poll + control >= SHARED_CONNECTIONS) return false;
    return lane === 'control' || (lane === 'poll' ? poll < 1 : chunk < CHUNK_CONNECTIONS);
  }

  /**
   * @param {Lane} lane
   * @returns {Slot}
   */
  #slot(lane) {
    this.#used[lane] += 1;
    let held = true;
    const release = () => {
      if (!held) return;
      held = false;
      this.#used[lane] -= 1;
      this.#serve();
    };
    return { release };
  }

  #serve() {
    for (const lane of /** @type {Lane[]} */ (['control', 'poll', 'chunk'])) {
      while (this.#is_free(lane)) {
        const grant = this.#waiting[lane].shift();
        if (!grant) break;
        grant(this.#slot(lane));
      }
    }
  }
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
