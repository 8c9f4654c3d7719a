/**
 * Decides when `onprogress` is called: at once when a flag changes or nothing was told for a while, else at most every
 * 16 ms, by a timer; the last change is always told. Never when nothing changed.
 */
import { PROGRESS_MS } from './limits.js';

/** @typedef {import('./types.js').Properties} Properties */

/** Names of what is told at once, besides all that is true or false. */
const URGENT = /^(error|cancel)_/;

export class Notifier {
  #clock;
  #tell;
  #told;
  #latest;
  #told_at = -Infinity;
  /** @type {unknown} */
  #timer = null;

  /**
   * @param {import('./types.js').Clock} clock
   * @param {Properties} initial what counts as told
   * @param {() => void} tell must not throw
   */
  constructor(clock, initial, tell) {
    this.#clock = clock;
    this.#told = this.#latest = initial;
    this.#tell = tell;
  }

  /** @param {Properties} properties as they are now */
  note(properties) {
    this.#latest = properties;
    const changed = changes(this.#told, properties);
    if (changed.length === 0) return;
    const wait = this.#told_at + PROGRESS_MS - this.#clock.now();
    if (wait <= 0 || changed.some((key) => typeof properties[key] === 'boolean' || URGENT.test(key))) this.#fire();
    else this.#timer ??= this.#clock.set_timer(() => this.#fire(), wait);
  }

  #fire() {
    if (this.#timer !== null) this.#clock.clear_timer(this.#timer);
    this.#timer = null;
    this.#told = this.#latest;
    this.#told_at = this.#clock.now();
    this.#tell();
  }
}

/**
 * @param {Properties} a
 * @param {Properties} b
 */
function changes(a, b) {
  return /** @type {(keyof Properties)[]} */ (Object.keys(b)).filter((key) => a[key] !== b[key]);
}
