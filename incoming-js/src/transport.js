/**
 * The only file that touches the network: XMLHttpRequest, because it alone reports upload progress everywhere.
 *
 * A body is a slice of the file that the browser streams from disk; nothing is read into memory here. Every request
 * ends: when no byte moves for too long it is given up as stalled. The measure is bytes, not time that passed: a slow
 * line goes on, and so does one whose page was hidden or whose machine slept.
 */
import { ANSWER_BYTES, ANSWER_MS, CONTROL_MS, FIRST_BYTE_MS, LATE_MS, STALL_MS, STILL_MS } from './limits.js';

/** @typedef {import('./types.js').Request} Request */
/** @typedef {import('./types.js').RawOutcome} RawOutcome */

/** @type {import('./types.js').Transport} */
export const xhr_transport = { send };

/**
 * @param {Request} request
 * @param {(raw: RawOutcome) => void} on_end
 */
function send(request, on_end) {
  const xhr = new XMLHttpRequest();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @type {typeof timer} */
  let still;
  let ended = false;

  const close = () => {
    ended = true;
    clearTimeout(timer);
    clearTimeout(still);
  };
  /** @param {RawOutcome} raw */
  const end = (raw) => {
    if (ended) return;
    close();
    on_end(raw);
  };
  /**
   * @param {number} ms from now, in which bytes must move
   * @param {number} late_ms a timer that fires later than that gets another turn: what moved while nothing ran here is
   *   about to be told. One more turn only, or hidden tabs would wait for ever.
   */
  const be_patient = (ms, late_ms = LATE_MS) => {
    clearTimeout(timer);
    clearTimeout(still);
    if (ended) return;
    if (request.on_still) still = setTimeout(request.on_still, STILL_MS);
    const due = performance.now() + ms;
    timer = setTimeout(() => {
      if (performance.now() - due > late_ms) return be_patient(ms, Infinity);
      give_up();
    }, ms);
  };
  const abort = () => {
    close();
    xhr.abort();
  };
  const give_up = () => {
    abort();
    on_end({ kind: 'lost', why: 'stall' });
  };

  xhr.open(request.method, request.url);
  for (const [name, value] of Object.entries(request.headers ?? {})) xhr.setRequestHeader(name, value);
  xhr.onload = () => {
    const { status } = xhr;
    // Asked for only where it belongs: browsers complain in the console about headers that are not exposed.
    end({ kind: 'answer', status, body: xhr.responseText, retry_after: [429, 503].includes(status) ? xhr.getResponseHeader('Retry-After') : null });
  };
  xhr.onerror = () => end({ kind: 'lost', why: 'network' });
  // An abort of our own comes after the end; this one is the browser's: a page that is left, a person who presses stop, in
  // Firefox a link to a download as well, of which this event alone tells.
  xhr.onloadend = () => end({ kind: 'lost', why: 'abort' });
  let answering = false;
  xhr.onprogress = ({ loaded }) => {
    if (loaded > ANSWER_BYTES) give_up();
    // Once, for all of the answer.
    else if (!answering) be_patient(ANSWER_MS);
    answering = true;
  };

  const { patience = 1 } = request;
  const answer_ms = request.answer_ms ?? (request.on_sent ? ANSWER_MS * patience : CONTROL_MS);
  if (request.on_sent) {
    let sent = 0;
    xhr.upload.onprogress = (event) => {
      if (event.loaded <= sent) return;
      sent = event.loaded;
      be_patient(STALL_MS);
      request.on_sent?.(sent);
    };
    xhr.upload.onload = () => {
      be_patient(answer_ms);
      request.on_handed?.();
    };
  }
  be_patient(request.on_sent ? FIRST_BYTE_MS * patience : answer_ms);
  xhr.send(request.body ?? null);

  return { abort };
}
