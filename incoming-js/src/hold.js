/**
 * The pause of an upload during which it sends nothing new: one at a time, with its reason for people.
 */

export class Hold {
  #clock;
  #on_end;
  /** @type {{ text: string | null, wakeable: boolean, timer: unknown } | null} */
  #now = null;

  /**
   * @param {import('./types.js').Clock} clock
   * @param {() => void} on_end called when a pause has run its time or was woken
   */
  constructor(clock, on_end) {
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

  /**
   * Begins a pause in place of any other.
   * @param {number} ms
   * @param {string | null} text
   * @param {boolean} wakeable ends early when prospects are better
   */
  begin(ms, text, wakeable) {
    this.end();
    const timer = this.#clock.set_timer(() => this.#run_out(), ms);
    this.#now = { text, wakeable, timer };
  }

  /** Prospects are better now. */
  wake() {
    if (this.#now?.wakeable) this.#run_out();
  }

  /** Ends it without a word. */
  end() {
    if (this.#now) this.#clock.clear_timer(this.#now.timer);
    this.#now = null;
  }

  #run_out() {
    this.end();
    this.#on_end();
  }
}
