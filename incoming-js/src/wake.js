/**
 * Tells when a waiting retry has better prospects: the network is back, the tab is looked at again, the page came out
 * of the browser's back-forward cache.
 */

/**
 * @param {(online: boolean) => void} fn
 * @returns {() => void} ends it
 */
export function on_wake(fn) {
  if (typeof window === 'undefined') return () => {};
  const end = new AbortController();
  const until = { signal: end.signal };
  window.addEventListener('online', () => fn(true), until);
  window.addEventListener('pageshow', () => fn(false), until);
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') fn(false);
  }, until);
  return () => end.abort();
}
