/**
 * Tells when a waiting retry has better prospects: the network is back, the tab is looked at again, the page came out
 * of the browser's back-forward cache.
 */

/**
 * @param {() => void} fn
 * @returns {() => void} ends it
 */
export function on_wake(fn) {
  if (typeof window === 'undefined') return () => {};
  const on_visible = () => {
    if (document.visibilityState === 'visible') fn();
  };
  window.addEventListener('online', fn);
  window.addEventListener('pageshow', fn);
  document.addEventListener('visibilitychange', on_visible);
  return () => {
    window.removeEventListener('online', fn);
    window.removeEventListener('pageshow', fn);
    document.removeEventListener('visibilitychange', on_visible);
  };
}
