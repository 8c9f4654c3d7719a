/**
 * Two live regions: `status` for what goes on, at most one text in ten seconds, where the newest replaces the one that waits; and
 * `alert` for what went wrong, joined. Old figures are never read after the end.
 */

const PAUSE_MS = 10_000;
/** What comes together is read together. */
const JOIN_MS = 300;

export class Announcer {
  #status;
  #alert;
  /** @type {(() => string) | null} */
  #next = null;
  #last = -Infinity;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {(() => string)[]} */
  #alerts = [];

  /** @param {{ textContent: string | null }} status @param {{ textContent: string | null }} alert */
  constructor(status, alert) {
    this.#status = status;
    this.#alert = alert;
  }

  /** @param {() => string} text asked for when it is read */
  say(text) {
    this.#next = text;
    const wait = this.#last + PAUSE_MS - performance.now();
    clearTimeout(this.#timer);
    if (wait <= 0) this.#flush();
    else this.#timer = setTimeout(() => this.#flush(), wait);
  }

  /** At once, in place of what waits. @param {() => string} text empty: nothing is left to read */
  now(text) {
    this.#next = text;
    clearTimeout(this.#timer);
    this.#flush();
  }

  /** @param {() => string} text asked for when it is read; the same function joins */
  alert(text) {
    if (this.#alerts.length === 0) {
      setTimeout(() => {
        const texts = this.#alerts.map((one) => one());
        this.#alerts = [];
        this.#alert.textContent = `${texts.join('. ')}.`;
      }, JOIN_MS);
    }
    if (!this.#alerts.includes(text)) this.#alerts.push(text);
  }

  #flush() {
    this.#last = performance.now();
    this.#status.textContent = this.#next?.() ?? '';
    this.#next = null;
  }
}
