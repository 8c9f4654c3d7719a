/**
 * Tells when a waiting retry has better prospects: the network is back, the tab is looked at again, the page came out
 * of the browser's back-forward cache.
 */
/**
 * @param {(online: boolean) => void} fn
 * @returns {() => void} ends it
 */
export declare function on_wake(fn: (online: boolean) => void): () => void;
