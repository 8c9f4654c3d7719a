/**
 * Keeps the browser's record of one upload: written when it starts, now and then while it gets on, removed when it is
 * over. The upload never waits for it, and does without where nothing can be kept.
 */
import { REMEMBER_MS } from './limits.js';
import { mark_of } from './mark.js';

export class Remembering {
  #store;
  #clock;
  #file;
  #handle;
  #upload_id = '';
  #bytes = 0;
  #written_at = 0;
  /** One after the other, so that the last word is written last. */
  #writes = Promise.resolve();

  /**
   * @param {import('./types.js').Ports} ports
   * @param {File} file
   * @param {import('./types.js').Options} options
   */
  constructor({ store, clock }, file, { remember, handle }) {
    this.#store = remember === false ? null : store;
    this.#clock = clock;
    this.#file = file;
    this.#handle = handle;
  }

  /**
   * @param {string} upload_id
   * @param {string} hostname
   */
  begin(upload_id, hostname) {
    this.#upload_id = upload_id;
    this.#written_at = this.#clock.now();
    this.#write(async (store) => {
      const { name, size, lastModified } = this.#file;
      const mark = await mark_of(this.#file);
      const handle = this.#handle ? { handle: this.#handle } : {};
      await store.put({ upload_id, hostname, name, size, last_modified: lastModified, mark, bytes_acked: this.#bytes, when: this.#clock.now(), ...handle });
    });
  }

  /**
   * @param {number} bytes_acked
   * @param {boolean} now the upload stands still
   */
  note(bytes_acked, now) {
    const when = this.#clock.now();
    if (bytes_acked === this.#bytes || (!now && when - this.#written_at < REMEMBER_MS)) return;
    this.#bytes = bytes_acked;
    this.#written_at = when;
    this.#write((store) => store.change(this.#upload_id, { bytes_acked, when }));
  }

  /** It is over. */
  end() {
    if (this.#upload_id) this.#write((store) => store.remove(this.#upload_id));
  }

  /** @param {(store: import('./types.js').Store) => Promise<void>} write */
  #write(write) {
    const store = this.#store;
    if (store) this.#writes = this.#writes.then(() => write(store)).catch(() => {});
  }
}
