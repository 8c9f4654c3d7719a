/**
 * The uploader object that the page holds: plain properties, assignable callbacks, events, a promise. What a callback throws
 * is reported like any uncaught error and does not affect the upload.
 */
import { preparing_transport } from './calls.js';
import { PROGRESS_MS } from './limits.js';
import { UploadError } from './protocol.js';
import { Upload } from './upload.js';

/** @typedef {import('./api.js').Properties} Properties */
/** @typedef {import('./api.js').Callback} Callback */
/** @typedef {import('./api.js').UploaderObject} UploaderObject */

/** Every change assigns the properties. @type {new () => EventTarget & Properties} */
const Observable = /** @type {any} */ (EventTarget);

/**
 * Uploads one file with one ticket.
 * @implements {UploaderObject}
 */
export class Uploader extends Observable {
  /** @type {Callback} */
  onprogress = () => {};
  /** @type {Callback} */
  onfinished = () => {};
  /** @type {Callback} */
  oncancelled = () => {};
  /** @type {Callback} */
  onerror = () => {};

  /**
   * @param {string} upload_id
   * @param {File} file
   * @param {import('./api.js').Options} options
   * @param {import('./types.js').Ports} ports
   * @param {() => string} origin
   */
  constructor(upload_id, file, options, ports, origin) {
    super();
    this.filename = file.name ?? '';
    this.bytes_total = file.size;

    /** @type {(uploader: Uploader) => void} */
    let resolve;
    /** @type {(error: Error) => void} */
    let reject;
    /** @type {Promise<Uploader>} */
    this.done = new Promise((on_done, on_failed) => {
      resolve = on_done;
      reject = on_failed;
    });
    // A page that uses only the callbacks must not see an unhandled rejection.
    this.done.catch(() => {});

    const fire = (/** @type {'progress' | import('./types.js').Ending} */ event) => {
      try {
        this[/** @type {const} */ (`on${event}`)]?.(this);
      } catch (error) {
        report_error(error);
      }
      this.dispatchEvent(new Event(event));
    };

    const { signal } = options;
    const on_abort = () => upload.abort(signal?.reason?.message ?? signal?.reason ?? 'aborted');
    signal?.addEventListener('abort', on_abort);

    const own_ports = { ...ports, transport: preparing_transport(ports, options) };
    const upload = new Upload({ upload_id, file, options, ports: own_ports, origin }, (properties, events) => {
      Object.assign(this, properties);
      if (events.includes('finished')) resolve(this);
      else if (events.includes('cancelled')) reject((signal?.aborted ? signal.reason : null) ?? Object.assign(new Error(this.cancel_msg ?? ''), { name: 'AbortError' }));
      else if (upload.failure) reject(new UploadError(upload.failure));
      if (events.length > 0) signal?.removeEventListener('abort', on_abort);
      notifier.update(properties);
      events.forEach(fire);
    });
    const notifier = new Notifier(ports.clock, upload.properties(), () => fire('progress'));
    Object.assign(this, upload.properties());

    // Own functions that need no `this`, so that `button.onclick = uploader.start` works.
    this.start = () => {
      if (signal?.aborted) on_abort();
      upload.start();
      return this;
    };

    /** @param {'pause' | 'unpause' | 'toggle'} what */
    this.pause = (what) => {
      const paused = what === 'toggle' ? !this.paused : what === 'pause';
      if (!['pause', 'unpause', 'toggle'].includes(what)) {
        console.error(`incoming: pause takes 'pause', 'unpause' or 'toggle', not '${what}'`);
      } else if (paused) upload.pause();
      else if (this.paused) upload.start();
      return this;
    };

    /** @param {string} [reason] for the web app and for people */
    this.cancel = (reason) => {
      upload.cancel(reason);
      return this;
    };
  }
}

/** @param {unknown} error thrown by the page's own code */
function report_error(error) {
  setTimeout(() => (globalThis.reportError ?? console.error)(error));
}

/** Properties that are reported at once when they change, besides the flags. */
const URGENT = /^(error|cancel)_/;

/**
 * Limits how often `onprogress` is called: at once for a flag or after a quiet time, else at most every 16 ms, by a timer. The
 * last change is always reported; nothing is reported twice.
 */
class Notifier {
  #clock;
  #notify;
  #reported;
  #latest;
  #reported_at = -Infinity;
  /** @type {unknown} */
  #timer = null;

  /**
   * @param {import('./types.js').Clock} clock
   * @param {Properties} initial counts as reported
   * @param {() => void} notify must not throw
   */
  constructor(clock, initial, notify) {
    this.#clock = clock;
    this.#reported = this.#latest = initial;
    this.#notify = notify;
  }

  /** @param {Properties} properties as they are now */
  update(properties) {
    this.#latest = properties;
    const changed = changes(this.#reported, properties);
    if (changed.length === 0) return;
    const wait = this.#reported_at + PROGRESS_MS - this.#clock.now();
    if (wait <= 0 || changed.some((key) => typeof properties[key] === 'boolean' || URGENT.test(key))) this.#fire();
    else this.#timer ??= this.#clock.set_timer(() => this.#fire(), wait);
  }

  #fire() {
    if (this.#timer !== null) this.#clock.clear_timer(this.#timer);
    this.#timer = null;
    this.#reported = this.#latest;
    this.#reported_at = this.#clock.now();
    this.#notify();
  }
}

/**
 * @param {Properties} a
 * @param {Properties} b
 */
function changes(a, b) {
  return /** @type {(keyof Properties)[]} */ (Object.keys(b)).filter((key) => a[key] !== b[key]);
}
