/**
 * The only module that uses the network. It uses XMLHttpRequest, because only that reports upload progress in all browsers.
 *
 * A body is a slice of the file, which the browser streams from disk. Every request ends: if no byte moves for too long it
 * is aborted as stalled. Time alone aborts nothing: a slow line goes on, and so does a hidden page or a machine that slept.
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
   * @param {number} late_ms a timer that fires later than this is restarted once: progress made while nothing ran here is
   *   reported next. Only once, or hidden tabs would wait for ever.
   */
  const restart_timer = (ms, late_ms = LATE_MS) => {
    clearTimeout(timer);
    clearTimeout(still);
    if (ended) return;
    if (request.on_still) still = setTimeout(request.on_still, STILL_MS);
    const due = performance.now() + ms;
    timer = setTimeout(() => {
      if (performance.now() - due > late_ms) return restart_timer(ms, Infinity);
      stall();
    }, ms);
  };
  const abort = () => {
    close();
    xhr.abort();
  };
  const stall = () => {
    abort();
    on_end({ kind: 'lost', why: 'stall' });
  };

  xhr.open(request.method, request.url);
  for (const [name, value] of Object.entries(request.headers ?? {})) xhr.setRequestHeader(name, value);
  xhr.onload = () => {
    const { status } = xhr;
    // Read only where it is expected: browsers warn in the console about headers that are not exposed.
    end({ kind: 'answer', status, body: xhr.responseText, retry_after: [429, 503].includes(status) ? xhr.getResponseHeader('Retry-After') : null });
  };
  xhr.onerror = () => end({ kind: 'lost', why: 'network' });
  // An abort by this module comes after `close`. This one is the browser's: the page is left, a person presses stop, or, in
  // Firefox, a link to a download is clicked, which only this event reports.
  xhr.onloadend = () => end({ kind: 'lost', why: 'abort' });
  let answering = false;
  xhr.onprogress = ({ loaded }) => {
    if (loaded > ANSWER_BYTES) stall();
    // Once for the whole answer.
    else if (!answering) restart_timer(ANSWER_MS);
    answering = true;
  };

  const { patience = 1 } = request;
  const answer_ms = request.answer_ms ?? (request.on_sent ? ANSWER_MS * patience : CONTROL_MS);
  if (request.on_sent) {
    let sent = 0;
    xhr.upload.onprogress = (event) => {
      if (event.loaded <= sent) return;
      sent = event.loaded;
      restart_timer(STALL_MS);
      request.on_sent?.(sent);
    };
    xhr.upload.onload = () => {
      restart_timer(answer_ms);
      request.on_handed?.();
    };
  }
  restart_timer(request.on_sent ? FIRST_BYTE_MS * patience : answer_ms);
  xhr.send(request.body ?? null);

  return { abort };
}
