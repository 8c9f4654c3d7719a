/**
 * What went wrong, for the eye and the ear: files with the same problem make one sentence, read once.
 */

export class Problems {
  /** For the eye; stays until files are added. */
  text = '';
  #announcer;
  /** Not read yet, by code. @type {Map<string, { names: string[], sentence: () => string, read: () => string }>} */
  #open = new Map();

  /** @param {import('./announcer.js').Announcer} announcer */
  constructor(announcer) {
    this.#announcer = announcer;
  }

  /** @param {string} code @param {string} name of the file @param {(names: string[]) => string} sentence */
  add(code, name, sentence) {
    let one = this.#open.get(code);
    if (!one) {
      const names = /** @type {string[]} */ ([]);
      const all = () => sentence(names);
      one = { names, sentence: all, read: () => (this.#open.delete(code), all()) };
      this.#open.set(code, one);
    }
    one.names.push(name);
    this.#announcer.alert(one.read);
    this.text = [...this.#open.values()].map((each) => each.sentence()).join('. ');
  }

  /** Files are added: what was read is over. */
  rest() {
    if (this.#open.size === 0) this.text = '';
  }
}
