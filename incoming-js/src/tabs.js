/**
 * Which uploader sends an upload when several have it: a lock among the tabs of this browser, and the rules between
 * browsers.
 *
 * The lock is a Web Lock. Without Web Locks (outside of secure contexts) the tabs ask each other over a BroadcastChannel.
 * Without that every tab sends, and the server lets the newest one win.
 */
import { CHANNEL_REPLY_MS, CHANNEL_RETRY_MS, LOCK_MS, OBSERVE_IDLE_MS, SUPERSEDED_LIMIT } from './limits.js';

/** @typedef {import('./types.js').Locks} Locks */
/** @typedef {Parameters<Locks['claim']>[1]} OnChange */

/** @type {Locks} */
export const browser_locks = {
  claim(name, on_change, steal) {
    try {
      const locks = navigator.locks;
      if (locks) return claim_lock(locks, name, on_change, steal);
      return claim_by_channel(new BroadcastChannel(name), Math.random(), on_change);
    } catch {
      on_change('held');
      return () => {};
    }
  },
  async held() {
    try {
      /** @type {Promise<LockManagerSnapshot>} */
      const timeout = new Promise((resolve) => setTimeout(resolve, LOCK_MS, {}));
      const { held = [] } = await Promise.race([navigator.locks.query(), timeout]);
      return held.map(({ name }) => name ?? '');
    } catch {
      return [];
    }
  },
};

/**
 * @param {LockManager} locks
 * @param {string} name
 * @param {OnChange} on_change
 * @param {boolean} [steal] takes it from the tab that has it
 */
export function claim_lock(locks, name, on_change, steal) {
  const end = new AbortController();
  const { signal } = end;
  let held = false;
  /** @type {OnChange} */
  const change = (state) => {
    held = state === 'held';
    if (!signal.aborted) on_change(state);
  };
  const hold = () => {
    change('held');
    return new Promise((resolve) => signal.aborted ? resolve(0) : signal.addEventListener('abort', resolve));
  };
  const wait = () => {
    change('waiting');
    ask({ signal });
  };
  /** @param {LockOptions} how */
  const ask = (how) => {
    // A holder whose lock was stolen waits like any other tab. Without access to locks every tab holds it.
    locks.request(name, how, (lock) => (lock ? hold() : wait())).catch(() => held ? wait() : change('held'));
  };
  ask(steal ? { steal } : { ifAvailable: true });
  return () => end.abort();
}

/**
 * The tab that has the lock answers when asked. Of two that ask together, the one with the smaller number gets it.
 * @param {BroadcastChannel} channel of this upload alone
 * @param {number} me in [0, 1)
 * @param {OnChange} on_change
 */
export function claim_by_channel(channel, me, on_change) {
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  /** @type {import('./types.js').LockState} */
  let state = 'asking';
  /** @param {Record<string, number>} message */
  const send = (message) => channel.postMessage(message);
  const ask = () => {
    state = 'asking';
    send({ ask: me });
    later(() => {
      state = 'held';
      on_change('held');
    }, CHANNEL_REPLY_MS);
  };
  /**
   * @param {() => void} fn
   * @param {number} ms
   */
  const later = (fn, ms) => {
    clearTimeout(timer);
    timer = setTimeout(fn, ms);
  };
  channel.onmessage = ({ data }) => {
    const { ask: other, mine } = data ?? {};
    if (other >= 0) {
      if (state === 'held' || (state === 'asking' && me < other)) send({ mine: me });
    } else if (state !== 'held') {
      if (mine >= 0) on_change((state = 'waiting'));
      // `{}` means released: the tabs ask one after the other.
      later(ask, mine >= 0 ? CHANNEL_RETRY_MS : CHANNEL_REPLY_MS * me);
    }
  };
  ask();
  return () => {
    clearTimeout(timer);
    if (state === 'held') send({});
    channel.close();
  };
}

/**
 * Whether to send or to observe while another uploader, perhaps in another browser, sends the same file. Pure, but for its
 * own memory.
 */
export class Contention {
  /** Times superseded in a row, without an acknowledged chunk in between. */
  superseded = 0;
  #bytes = -1;
  #grew_at = 0;

  /** A chunk of this uploader was acknowledged, or it starts. */
  reset() {
    this.superseded = 0;
  }

  /** A newer request took over. True if the sending is to be left to the other uploader. */
  lost_range() {
    this.superseded += 1;
    return this.superseded >= SUPERSEDED_LIMIT;
  }

  /**
   * Begins to observe the other uploader.
   * @param {number} now_ms
   */
  observe(now_ms) {
    this.#bytes = -1;
    this.#grew_at = now_ms;
  }

  /**
   * True if the other uploader has made no progress for so long that it counts as dead. If it comes back, this one yields at
   * once.
   * @param {number} bytes acknowledged
   * @param {number} now_ms
   */
  is_stale(bytes, now_ms) {
    if (bytes !== this.#bytes) this.#grew_at = now_ms;
    this.#bytes = bytes;
    if (now_ms - this.#grew_at <= OBSERVE_IDLE_MS) return false;
    this.superseded = SUPERSEDED_LIMIT - 1;
    // If this uploader makes no progress either, the next try comes as long after.
    this.#grew_at = now_ms;
    return true;
  }
}
