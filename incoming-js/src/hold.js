/**
 * The pause of an upload during which it sends nothing new: one at a time, with its reason for people. One with a
 * reason counts down.
 */
import { COUNTDOWN_MS } from './limits.js';

export class Hold {
  #clock;
  #on_end;
  #on_count;
  /** @type {{ text: string | null, wakeable: boolean, until: number, timer: unknown } | null} */
  #now = null;

  /**
   * @param {import('./types.js').Clock} clock
   * @param {() => void} on_end called when a pause has run its time or was woken
   * @param {() => void} on_count called while a reason is shown and another second has gone by
   */
  constructor(clock, on_end, on_count) {
    this.#on_count = on_count;
    this.#clock = clock;
    this.#on_end = on_end;
  }

  get stands() {
    return this.#now !== null;
  }

  /** Why, for people; null when it is no trouble or there is no pause. */
  get text() {
    return this.#now?.text ?? null;
  }

  /** Seconds left of a pause with a reason, rounded up; else null. */
  get seconds() {
    return this.#now && this.text !== null ? Math.max(1, Math.ceil((this.#now.until - this.#clock.now()) / 1000)) : null;
  }

  /**
   * Begins a pause in place of any other.
   * @param {number} ms
   * @param {string | null} text
   * @param {boolean} wakeable ends early when prospects are better
   */
  begin(ms, text, wakeable) {
    this.end();
    this.#now = { text, wakeable, until: this.#clock.now() + ms, timer: null };
    this.#tick();
  }

  /** Prospects are better now. */
  wake() {
    if (this.#now?.wakeable) this.#run_out();
  }

  /** The page wants no more waiting. */
  cut() {
    if (this.seconds !== null) this.#run_out();
  }

  /** Ends it without a word. */
  end() {
    if (this.#now) this.#clock.clear_timer(this.#now.timer);
    this.#now = null;
  }

  /** By steps, each as long as what is shown stays true. */
  #tick() {
    const now = this.#now;
    if (!now) return;
    const left_ms = now.until - this.#clock.now();
    if (left_ms <= 0) return this.#run_out();
    now.timer = this.#clock.set_timer(() => {
      this.#tick();
      this.#on_count();
    }, now.text === null ? left_ms : left_ms % COUNTDOWN_MS || COUNTDOWN_MS);
  }

  #run_out() {
    this.end();
    this.#on_end();
  }
}
