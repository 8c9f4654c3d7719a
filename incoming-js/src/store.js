/**
 * Entries in IndexedDB. The database is opened for each call and closed again, so that nothing stands in the way of the
 * browser's back-forward cache. Private windows, full or forbidden storage: the promise rejects.
 */
import { RECALL_MS } from './limits.js';

/** @typedef {import('./types.js').Store} Store */

const NAME = 'incoming';
const TABLE = 'uploads';

/**
 * @template T
 * @param {(table: IDBObjectStore, give: (value: T) => void) => void} work
 * @returns {Promise<T>} settled when all of it is written
 */
function within(work) {
  return new Promise((resolve, reject) => {
    // A database that another page blocks, or that is being deleted, may never answer.
    setTimeout(reject, RECALL_MS);
    const opening = indexedDB.open(NAME, 1);
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
const idb_store = {
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

/** What this browser has; even to look may be forbidden. */
export function browser_store() {
  try {
    return globalThis.indexedDB ? idb_store : null;
  } catch {
    return null;
  }
}
