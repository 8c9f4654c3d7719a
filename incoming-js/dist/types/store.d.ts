/**
 * Entries in IndexedDB. The database is opened for each call and closed again, so that nothing stands in the way of the
 * browser's back-forward cache. Private windows, full or forbidden storage: the promise rejects.
 */
export type Store = import('./types.js').Store;
/** What this browser has; even to look may be forbidden. */
export declare function browser_store(): import("./types.js").Store | null;
