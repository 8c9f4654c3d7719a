/**
 * What went wrong, for the eye and the ear: files with the same problem make one sentence, read once.
 */

/** What comes together is read together. */
const JOIN_MS = 300;

export class Problems {
  /** For the eye; stays until files are added. */
  text = '';
  #alert;
  /** Not read yet, by code. @type {Map<string, { names: string[], sentence: (names: string[]) => string }>} */
  #open = new Map();

  /** @param {{ textContent: string | null }} alert live region */
  constructor(alert) {
    this.#alert = alert;
  }

  /** @param {string} code @param {string} name of the file @param {(names: string[]) => string} sentence */
  add(code, name, sentence) {
    if (this.#open.size === 0) {
      setTimeout(() => {
        this.#alert.textContent = `${this.text}.`;
        this.#open.clear();
      }, JOIN_MS);
    }
    const { names = /** @type {string[]} */ ([]) } = this.#open.get(code) ?? {};
    names.push(name);
    this.#open.set(code, { names, sentence });
    this.text = [...this.#open.values()].map((one) => one.sentence(one.names)).join('. ');
  }

  /** Files are added: what was read is over. */
  rest() {
    if (this.#open.size === 0) this.text = '';
  }
}
