/**
 * The live region for what goes on: at most one text in ten seconds, where the newest replaces the one that waits. Old figures are
 * never read after the end.
 */

const PAUSE_MS = 10_000;

export class Announcer {
  #status;
  #last = -Infinity;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {{ textContent: string | null }} status */
  constructor(status) {
    this.#status = status;
  }

  /** @param {() => string} text asked for when it is read */
  say(text) {
    const read = () => {
      this.#last = performance.now();
      this.#status.textContent = text();
    };
    const wait = this.#last + PAUSE_MS - performance.now();
    clearTimeout(this.#timer);
    if (wait <= 0) read();
    else this.#timer = setTimeout(read, wait);
  }

  /** At once, in place of what waits. @param {() => string} text empty: nothing is left to read */
  now(text) {
    this.#last = -Infinity;
    this.say(text);
  }
}
