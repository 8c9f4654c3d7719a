/**
 * Which tab of this browser sends an upload: by Web Locks; where there are none (outside of secure contexts), by asking
 * the other tabs; where that is not possible either, everybody, and the server lets the newer one win.
 */
import { CLAIM_AGAIN_MS, CLAIM_MS, CLAIM_WORD_MS } from './limits.js';

/** @typedef {import('./types.js').Locks} Locks */
/** @typedef {Parameters<Locks['claim']>[1]} OnTurn */

/** @type {Locks} */
export const browser_locks = {
  claim(name, on_turn, steal) {
    try {
      const locks = navigator.locks;
      if (locks) return claim_lock(locks, name, on_turn, steal);
      return claim_by_word(new BroadcastChannel(name), Math.random(), on_turn);
    } catch {
      on_turn('held');
      return () => {};
    }
  },
  async held() {
    try {
      /** @type {Promise<LockManagerSnapshot>} */
      const silence = new Promise((resolve) => setTimeout(resolve, CLAIM_MS, {}));
      const { held = [] } = await Promise.race([navigator.locks.query(), silence]);
      return held.map(({ name }) => name ?? '');
    } catch {
      return [];
    }
  },
};

/**
 * @param {LockManager} locks
 * @param {string} name
 * @param {OnTurn} on_turn
 * @param {boolean} [steal] takes it from a tab that has it
 */
export function claim_lock(locks, name, on_turn, steal) {
  const end = new AbortController();
  const { signal } = end;
  let held = false;
  /** @type {OnTurn} */
  const tell = (turn) => {
    held = turn === 'held';
    if (!signal.aborted) on_turn(turn);
  };
  const hold = () => {
    tell('held');
    return new Promise((resolve) => signal.aborted ? resolve(0) : signal.addEventListener('abort', resolve));
  };
  const wait = () => {
    tell('waiting');
    ask({ signal });
  };
  /** @param {LockOptions} how */
  const ask = (how) => {
    // Who held it and loses it was taken for dead, and waits like any other.
    locks.request(name, how, (lock) => (lock ? hold() : wait())).catch(() => held ? wait() : tell('held'));
  };
  ask(steal ? { steal } : { ifAvailable: true });
  return () => end.abort();
}

/**
 * Who has the upload says so when asked; of two who ask together, the one with the smaller number does.
 * @param {BroadcastChannel} channel of this upload alone
 * @param {number} me
 * @param {OnTurn} on_turn
 */
export function claim_by_word(channel, me, on_turn) {
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  /** @type {'asking' | 'held' | 'waiting'} */
  let state = 'asking';
  /** @param {Record<string, number>} word */
  const say = (word) => channel.postMessage(word);
  const ask = () => {
    state = 'asking';
    say({ ask: me });
    later(() => {
      state = 'held';
      on_turn('held');
    }, CLAIM_WORD_MS);
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
      if (state === 'held' || (state === 'asking' && me < other)) say({ mine: me });
    } else if (state !== 'held') {
      if (mine >= 0) on_turn((state = 'waiting'));
      later(ask, mine >= 0 ? CLAIM_AGAIN_MS : CLAIM_WORD_MS * me);
    }
  };
  ask();
  return () => {
    clearTimeout(timer);
    if (state === 'held') say({});
    channel.close();
  };
}
