/**
 * Resume records: which uploads this browser has begun, kept in IndexedDB so that a page can find them after a reload, a
 * crash or a restart. Uploads never wait for a record and work without any: every failure of the storage means that nothing
 * is recorded.
 */
import { fingerprint } from './file.js';
import { MAX_RECORDS, RECALL_MS, RECORD_AGE_MS, RECORD_CHECKS, RECORD_WRITE_MS } from './limits.js';
import { UploadError, file_changed, is_terminal, meaning_of, read_outcome, status_request, upload_url } from './protocol.js';

/** @typedef {import('./api.js').Options} Options */
/** @typedef {import('./api.js').Unfinished} Unfinished */
/** @typedef {import('./api.js').UploaderObject} Uploader */
/** @typedef {import('./types.js').Entry} Entry */
/** @typedef {import('./types.js').Ports} Ports */
/** @typedef {import('./types.js').Store} Store */

/** Writes the record of one upload: created when the server knows the upload, updated now and then, removed at its end. */
export class ResumeRecord {
  #store;
  #visit;
  #clock;
  #upload_id;
  #file;
  #kept;
  #bytes = -1;
  #written_at = 0;
  /** In order, so that the latest state is written last. */
  #writes = Promise.resolve();

  /**
   * @param {Ports} ports
   * @param {string} upload_id
   * @param {File} file
   * @param {Options} options
   */
  constructor({ store, clock, visit }, upload_id, file, { remember, handle, scope }) {
    this.#store = remember === false ? null : store;
    this.#visit = visit;
    this.#clock = clock;
    this.#upload_id = upload_id;
    this.#file = file;
    // Records of earlier versions have neither.
    this.#kept = { ...(handle && { handle }), ...(scope && { scope }) };
  }

  /**
   * @param {string} hostname
   * @param {number} bytes_acked
   * @param {boolean} now the upload waits or is paused: write at once
   */
  update(hostname, bytes_acked, now) {
    const first = this.#bytes < 0;
    const at = this.#clock.now();
    if (bytes_acked === this.#bytes || !(first || now || at - this.#written_at >= RECORD_WRITE_MS)) return;
    this.#bytes = bytes_acked;
    this.#written_at = at;
    const when = this.#clock.date();
    this.#write(async (store) => {
      if (!first) return store.change(this.#upload_id, { bytes_acked, when });
      const { name, size, lastModified } = this.#file;
      const mark = await fingerprint(this.#file);
      const visit = await this.#visit?.();
      return store.put({ upload_id: this.#upload_id, hostname, name, size, last_modified: lastModified, mark, bytes_acked, when, visit, ...this.#kept });
    });
  }

  /** The upload cannot be resumed any more. */
  remove() {
    this.#write((store) => store.remove(this.#upload_id));
  }

  /** @param {(store: Store) => Promise<void>} write */
  #write(write) {
    const store = this.#store;
    if (store) this.#writes = this.#writes.then(() => write(store)).catch(() => {});
  }
}

/**
 * What pages call to find their uploads again. Nothing rejects, except `resume`.
 * @param {Ports} ports
 * @param {(upload_id: string, file: File, options: Options) => Uploader} create_uploader
 */
export function create_recall({ store, locks, clock, transport }, create_uploader) {
  /** @type {Promise<Entry[]> | null} */
  let reading = null;
  /** @type {Promise<number> | null} */
  let visiting = null;

  /**
   * Simultaneous calls share one reading.
   * @returns {Promise<Entry[]>} those of the latest visit first
   */
  function entries() {
    return (reading ??= read().finally(() => (reading = null)));
  }

  async function read() {
    const all = (await store?.all()) ?? [];
    // Other scripts of the page's origin can write here too.
    const good = all.filter(({ when, hostname }) => when < Infinity && /^http/i.test(hostname));
    for (const entry of all) if (!good.includes(entry)) await store?.remove(entry.upload_id);
    good.sort((a, b) => (b.visit ?? 0) - (a.visit ?? 0) || b.when - a.when);
    // Either they are old or one of the clocks was wrong: ask the server.
    const old = good.filter(({ when }) => Math.abs(clock.date() - when) > RECORD_AGE_MS).slice(-RECORD_CHECKS);
    const gone = await Promise.all(old.map(async (entry) => ((await ask_server(entry)) === 'known' ? null : entry)));
    for (const entry of gone) if (entry) await store?.remove(entry.upload_id);
    return good.filter((entry) => !gone.includes(entry));
  }

  /**
   * Number of this page among those that recorded an upload: counts use without a clock. The first call removes the records
   * above the limit, those of the earliest visits.
   */
  function visit() {
    return (visiting ??= entries().then(async (all) => {
      for (const { upload_id } of all.slice(MAX_RECORDS)) await store?.remove(upload_id);
      return (all[0]?.visit ?? 0) + 1;
    }).catch(() => 1));
  }

  /**
   * An entry as the page sees it.
   * @param {Entry} entry
   * @param {string[]} held
   * @returns {Unfinished}
   */
  function unfinished_of({ upload_id, hostname, name, size, last_modified, mark, bytes_acked, when, handle, scope }, held) {
    const active = held.includes(`incoming ${upload_url(hostname, upload_id)}`);
    const resume = async (/** @type {Options} */ options = {}) => {
      const file = await open_file(/** @type {FileSystemFileHandle} */ (handle));
      const same = file.size === size && file.lastModified === last_modified && (await fingerprint(file)) === mark;
      if (!same) throw new UploadError(file_changed());
      return create_uploader(upload_id, file, { hostname, handle, ...options }).start();
    };
    return { upload_id, hostname, name, size, bytes_acked, when, active, handle: handle ?? null, scope: scope ?? null, resume: handle ? resume : null };
  }

  /**
   * State of the upload on the server. Without an answer it counts as `known`.
   * @param {Entry} entry
   * @returns {Promise<'known' | 'ended' | 'absent'>}
   */
  function ask_server({ hostname, upload_id }) {
    return new Promise((resolve) => {
      const request = transport.send(status_request(upload_url(hostname, upload_id)), (raw) => {
        clock.clear_timer(timer);
        const outcome = read_outcome(raw, clock.date());
        const meaning = outcome.kind === 'refused' ? meaning_of(outcome.refusal) : outcome.kind === 'status' && is_terminal(outcome.status) && 'ended';
        resolve(meaning === 'ended' || meaning === 'absent' ? meaning : 'known');
      });
      const timer = clock.set_timer(() => {
        resolve('known');
        request.abort();
      }, RECALL_MS);
    });
  }

  return {
    visit,

    /**
     * An unfinished upload of these very bytes (by size, first and last bytes) that the server still knows. Of several, one
     * with the same name and time, else the latest.
     * @param {File} file
     * @returns {Promise<Unfinished | null>}
     */
    async recall(file) {
      try {
        const { name, size, lastModified } = file;
        const alike = (await entries()).filter((one) => one.size === size);
        const mark = alike.length > 0 ? await fingerprint(file) : 0;
        const same = (/** @type {Entry} */ one) => Number(one.name === name && one.last_modified === lastModified);
        for (const entry of alike.sort((a, b) => same(b) - same(a))) {
          if (entry.mark !== mark) continue;
          const answer = await ask_server(entry);
          if (answer === 'known') return unfinished_of(entry, await locks.held());
          // A server that does not know it may be the wrong one for a while.
          if (answer === 'ended') await store?.remove(entry.upload_id);
        }
      } catch {
        // Nothing is recorded.
      }
      return null;
    },

    /**
     * All of them, or of one scope, the newest first, as last known to this browser.
     * @param {{ scope?: string }} [which]
     * @returns {Promise<Unfinished[]>}
     */
    async unfinished({ scope } = {}) {
      try {
        const all = await entries();
        const held = await locks.held();
        return all.filter((entry) => scope === undefined || (entry.scope ?? '') === scope).map((entry) => unfinished_of(entry, held));
      } catch {
        return [];
      }
    },

    /**
     * Forgets one upload, or all of them. The server is not told.
     * @param {string | { upload_id: string }} [what]
     */
    async forget(what) {
      try {
        for (const one of what ? [what] : await entries()) await store?.remove(typeof one === 'string' ? one : one.upload_id);
      } catch {
        // Nothing is recorded.
      }
    },
  };
}

/**
 * The file behind a handle, with the person's permission.
 * @param {FileSystemFileHandle} handle
 * @returns {Promise<File>}
 */
async function open_file(handle) {
  const { requestPermission } = /** @type {{ requestPermission?: (want: { mode: 'read' }) => Promise<string> }} */ (/** @type {unknown} */ (handle));
  if (requestPermission && (await requestPermission.call(handle, { mode: 'read' })) !== 'granted') {
    throw Object.assign(new Error('no leave to read the file'), { name: 'NotAllowedError' });
  }
  try {
    return await handle.getFile();
  } catch {
    throw new UploadError(file_changed());
  }
}

// The database

const DATABASE = 'incoming';
const TABLE = 'uploads';

/**
 * The database is opened and closed for each call, so that it does not keep the page out of the back-forward cache. Rejects
 * in private windows, and if the storage is full or forbidden.
 * @template T
 * @param {(table: IDBObjectStore, give: (value: T) => void) => void} work
 * @returns {Promise<T>} settled when everything is written
 */
function within(work) {
  return new Promise((resolve, reject) => {
    // A database that another page blocks, or that is being deleted, may never answer.
    setTimeout(reject, RECALL_MS);
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(TABLE, { keyPath: 'upload_id' });
    opening.onerror = opening.onblocked = reject;
    opening.onsuccess = () => {
      const db = opening.result;
      db.onversionchange = () => db.close();
      /** @type {T} */
      let result;
      try {
        const transaction = db.transaction(TABLE, 'readwrite');
        transaction.oncomplete = () => resolve(result);
        transaction.onabort = reject;
        work(transaction.objectStore(TABLE), (value) => (result = value));
      } catch (error) {
        reject(error);
      }
      // Takes effect when the transaction is done.
      db.close();
    };
  });
}

/** @type {Store} */
const indexed_db = {
  all: () => within((table, give) => {
    const reading = table.getAll();
    reading.onsuccess = () => give(reading.result);
  }),
  put: (entry) => within((table) => void table.put(entry)),
  change: (upload_id, changes) => within((table) => {
    const reading = table.get(upload_id);
    reading.onsuccess = () => {
      if (reading.result) table.put({ ...reading.result, ...changes });
    };
  }),
  remove: (upload_id) => within((table) => void table.delete(upload_id)),
};

/** The store of this browser; null if it has none. Even the check may be forbidden. */
export function browser_store() {
  try {
    return globalThis.indexedDB ? indexed_db : null;
  } catch {
    return null;
  }
}
