/**
 * Holds the submit of a form until the files of its elements are there, then sends it again with the same submitter: the app
 * sees one event. One listener on the window, in the capture phase, so that it comes before those of Turbo, htmx and React.
 */

/**
 * @typedef {object} Member an element of a form
 * @property {HTMLFormElement | null} form
 * @property {'wait' | 'block' | 'now'} submit
 * @property {boolean} busy
 * @property {boolean} has_failed
 * @property {() => void} start what waits for `start()` starts
 * @property {(held: boolean) => void} hold
 * @property {() => void} focus_failed
 * @property {(submitter: HTMLElement | null) => void} on_held
 * @property {() => void} on_sent
 */

/** @type {Set<Member>} */
const members = new Set();
/** @type {Map<HTMLFormElement, HTMLElement | null>} forms whose submit is held, with the submitter */
const held = new Map();

/** @param {Member} member */
export function join(member) {
  // The same listener is added once. The one for submits may stay, where it does nothing.
  window.addEventListener('submit', on_submit, true);
  window.addEventListener('beforeunload', on_unload);
  members.add(member);
}

/** @param {Member} member */
export function leave(member) {
  members.delete(member);
  for (const form of held.keys()) if (!form.isConnected || own(form).length === 0) held.delete(form);
  if (members.size === 0) window.removeEventListener('beforeunload', on_unload);
}

/** Sends a form whose files are there now. @param {HTMLFormElement | null} form */
export function settle(form) {
  if (!form || !held.has(form) || own(form).some(({ busy }) => busy)) return;
  const submitter = held.get(form);
  release(form);
  const failed = own(form).find(({ has_failed }) => has_failed);
  if (failed) failed.focus_failed();
  else form.requestSubmit(submitter?.isConnected && /** @type {any} */ (submitter).form === form && !submitter.matches(':disabled') ? submitter : null);
}

/** The visitor would rather not send it. @param {HTMLFormElement | null} form */
export function release(form) {
  if (!form || !held.has(form)) return;
  held.delete(form);
  for (const member of own(form)) member.hold(false);
}

/** @param {HTMLFormElement} form */
function own(form) {
  return [...members].filter((member) => member.form === form && member.submit === 'wait');
}

/** @param {SubmitEvent} event */
function on_submit(event) {
  const form = /** @type {HTMLFormElement} */ (event.target);
  const mine = own(form);
  const failed = mine.find(({ has_failed }) => has_failed);
  for (const member of mine) member.start();
  const busy = mine.some((member) => member.busy);
  if (!busy && !failed) return members.forEach((member) => member.form === form && member.on_sent());
  event.preventDefault();
  event.stopImmediatePropagation();
  if (!busy) return failed?.focus_failed();
  if (held.has(form)) return;
  held.set(form, event.submitter);
  for (const member of mine) {
    member.hold(true);
    member.on_held(event.submitter);
  }
}

/** @param {BeforeUnloadEvent} event */
function on_unload(event) {
  if ([...members].some(({ busy }) => busy)) event.preventDefault();
}
