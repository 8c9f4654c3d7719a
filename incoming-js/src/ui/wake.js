/**
 * Keeps a phone awake while anything uploads: a phone that sleeps stops the upload.
 */

/** @type {Set<object>} */
const users = new Set();
/** @type {Promise<WakeLockSentinel | null> | null} */
let lock = null;

/** @param {object} user @param {boolean} on */
export function keep_awake(user, on) {
  if (on) users.add(user);
  else users.delete(user);
  if (users.size > 0 && !lock && matchMedia('(pointer: coarse)').matches && navigator.wakeLock) {
    lock = navigator.wakeLock.request('screen').catch(() => null);
    // A hidden page loses it.
    void lock.then((held) => held?.addEventListener('release', () => (lock = null)));
  } else if (users.size === 0 && lock) {
    void lock.then((held) => held?.release());
    lock = null;
  }
}
