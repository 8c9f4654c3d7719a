export type Store = import('./types.js').Store;
/** What this browser has; even to look may be forbidden. */
export declare function browser_store(): import("./types.js").Store | null;
