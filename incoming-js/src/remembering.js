/**
 * Keeps the browser's record of one upload: written when the server knows it, now and then while it gets on, removed when it
 * is over. The upload never waits for it, and does without where nothing can be kept.
 */
import { REMEMBER_MS } from './limits.js';
import { mark_of } from './mark.js';

export class Remembering {
  #store;
  #visit;
  #clock;
  #upload_id;
  #file;
  #handle;
  #bytes = -1;
  #written_at = 0;
  /** One after the other, so that the last word is written last. */
  #writes = Promise.resolve();

  /**
   * @param {import('./types.js').Ports} ports
   * @param {string} upload_id
   * @param {File} file
   * @param {import('./types.js').Options} options
   */
  constructor({ store, clock, visit }, upload_id, file, { remember, handle }) {
    this.#store = remember === false ? null : store;
    this.#visit = visit;
    this.#clock = clock;
    this.#upload_id = upload_id;
    this.#file = file;
    this.#handle = handle;
  }

  /**
   * How far it is; for the first time once the server knows it.
   * @param {string} hostname
   * @param {number} bytes_acked
   * @param {boolean} now the upload stands still
   */
  note(hostname, bytes_acked, now) {
    const first = this.#bytes < 0;
    const at = this.#clock.now();
    if (bytes_acked === this.#bytes || !(first || now || at - this.#written_at >= REMEMBER_MS)) return;
    this.#bytes = bytes_acked;
    this.#written_at = at;
    const when = this.#clock.date();
    this.#write(async (store) => {
      if (!first) return store.change(this.#upload_id, { bytes_acked, when });
      const { name, size, lastModified } = this.#file;
      const mark = await mark_of(this.#file);
      const handle = this.#handle ? { handle: this.#handle } : {};
      const visit = await this.#visit?.();
      return store.put({ upload_id: this.#upload_id, hostname, name, size, last_modified: lastModified, mark, bytes_acked, when, visit, ...handle });
    });
  }

  /** Nothing can come of it any more. */
  end() {
    this.#write((store) => store.remove(this.#upload_id));
  }

  /** @param {(store: import('./types.js').Store) => Promise<void>} write */
  #write(write) {
    const store = this.#store;
    if (store) this.#writes = this.#writes.then(() => write(store)).catch(() => {});
  }
}
