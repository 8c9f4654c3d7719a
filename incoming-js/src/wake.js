/**
 * Tells when a waiting retry has better prospects: the network is back, the tab is looked at again, the page came out
 * of the browser's back-forward cache.
 */

/** @type {Set<(online: boolean) => void> | null} */
let wakers = null;

/** @param {boolean} online */
function wake_all(online) {
  for (const wake of wakers ?? []) wake(online);
}

/**
 * @param {(online: boolean) => void} fn
 * @returns {() => void} ends it
 */
export function on_wake(fn) {
  const { window, document } = globalThis;
  if (!wakers) {
    wakers = new Set();
    // Once for all uploaders of the page; a worker has none.
    window?.addEventListener('online', () => wake_all(true));
    window?.addEventListener('pageshow', () => wake_all(false));
    document?.addEventListener('visibilitychange', () => document.hidden || wake_all(false));
  }
  wakers.add(fn);
  return () => void wakers?.delete(fn);
}
