/**
 * When to try again: lengths of pauses, the timer of an upload that waits, and events that end a wait early.
 */
import { COUNTDOWN_MS, RETRY_FIRST_MS, RETRY_LAST_MS } from './limits.js';

/**
 * Pause after `failures` failures in a row: doubled each time, with jitter between half of it and the whole, so that
 * clients that were cut off together do not return together.
 * @param {number} failures at least 1
 * @param {number} random in [0, 1)
 */
export function backoff_ms(failures, random) {
  const whole = Math.min(RETRY_LAST_MS, RETRY_FIRST_MS * 2 ** failures);
  return Math.round(whole / 2 + (whole / 2) * random);
}

/**
 * Pause between two status requests that do not wait at the server, because several uploaders share one connection.
 * Short at first, since most handovers take no time, then longer; at most twenty requests a second in all.
 * @param {number} polls made so far
 * @param {number} pollers uploaders that share the connection
 */
export function poll_pause_ms(polls, pollers) {
  return Math.max(Math.min(5_000, 200 * 1.5 ** polls), 50 * pollers);
}

/** The wait of one upload, during which it starts no request. One at a time. A wait with a reason counts down. */
export class RetryTimer {
  #clock;
  #on_end;
  #on_count;
  /** @type {{ reason: string | null, wakeable: boolean, until: number, timer: unknown } | null} */
  #wait = null;

  /**
   * @param {import('./types.js').Clock} clock
   * @param {() => void} on_end called when a wait is over or was ended early by `wake` or `skip`
   * @param {() => void} on_count called after each second of a wait with a reason
   */
  constructor(clock, on_end, on_count) {
    this.#clock = clock;
    this.#on_end = on_end;
    this.#on_count = on_count;
  }

  get running() {
    return this.#wait !== null;
  }

  /** Why the upload waits, for people; null if it does not wait or the wait is routine. */
  get reason() {
    return this.#wait?.reason ?? null;
  }

  /** Seconds left of a wait with a reason, rounded up; else null. */
  get seconds() {
    return this.#wait && this.reason !== null ? Math.max(1, Math.ceil((this.#wait.until - this.#clock.now()) / 1000)) : null;
  }

  /**
   * Starts a wait; it replaces any other.
   * @param {number} ms
   * @param {string | null} reason
   * @param {boolean} wakeable whether `wake` ends it
   */
  start(ms, reason, wakeable) {
    this.stop();
    this.#wait = { reason, wakeable, until: this.#clock.now() + ms, timer: null };
    this.#tick();
  }

  /** A retry is more likely to succeed now. */
  wake() {
    if (this.#wait?.wakeable) this.#run_out();
  }

  /** The page asks to retry now. */
  skip() {
    if (this.seconds !== null) this.#run_out();
  }

  /** Ends the wait without calling `on_end`. */
  stop() {
    if (this.#wait) this.#clock.clear_timer(this.#wait.timer);
    this.#wait = null;
  }

  /** Each step lasts as long as the shown countdown stays the same. */
  #tick() {
    const wait = this.#wait;
    if (!wait) return;
    const left_ms = wait.until - this.#clock.now();
    if (left_ms <= 0) return this.#run_out();
    wait.timer = this.#clock.set_timer(() => {
      this.#tick();
      this.#on_count();
    }, wait.reason === null ? left_ms : left_ms % COUNTDOWN_MS || COUNTDOWN_MS);
  }

  #run_out() {
    this.stop();
    this.#on_end();
  }
}

/** @type {Set<(online: boolean) => void> | null} */
let listeners = null;

/** @param {boolean} online */
function wake_all(online) {
  for (const listener of listeners ?? []) listener(online);
}

/**
 * Calls `fn` when a retry is more likely to succeed: the network is back (`online`), the tab becomes visible, the page
 * returns from the back-forward cache.
 * @param {(online: boolean) => void} fn
 * @returns {() => void} removes it
 */
export function on_wake(fn) {
  const { window, document } = globalThis;
  if (!listeners) {
    listeners = new Set();
    // Once for all uploaders of the page. A worker has no window.
    window?.addEventListener('online', () => wake_all(true));
    window?.addEventListener('pageshow', () => wake_all(false));
    document?.addEventListener('visibilitychange', () => document.hidden || wake_all(false));
  }
  listeners.add(fn);
  return () => void listeners?.delete(fn);
}
