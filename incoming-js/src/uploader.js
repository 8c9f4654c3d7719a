/**
 * The uploader object the page holds: plain properties, assignable callbacks, events, a promise. What a callback
 * throws is reported as any uncaught error is, and does not touch the upload.
 */
import { Engine } from './engine.js';
import { Notifier } from './notify.js';
import { prepared } from './prepare.js';

/** @typedef {import('./types.js').Properties} Properties */
/** @typedef {((uploader: Uploader) => void) | null} Callback */

/** Why an upload failed; `done` is rejected with it. */
export class UploadError extends Error {
  /** @param {import('./types.js').Failure} failure */
  constructor({ code, error_code, message }) {
    super(message);
    this.name = 'UploadError';
    /** A word such as `length-changed`, `unknown-upload` or `FILE_CHANGED`. */
    this.code = code;
    /** The number of the same, as in the uploader's `error_code`. */
    this.error_code = error_code;
  }
}

/** Its properties are set by every change. @type {new () => EventTarget & Properties} */
const Observable = /** @type {any} */ (EventTarget);

/**
 * Uploads one file with one ticket. Treat all but the callbacks as read-only.
 *
 * Events, besides the callbacks of the same meaning: `progress`, `finished`, `cancelled`, `error`.
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
   * @param {import('./types.js').Options} options
   * @param {import('./types.js').Ports} ports
   * @param {() => string} origin
   */
  constructor(upload_id, file, options, ports, origin) {
    super();
    /** Name of the file, without a path. */
    this.filename = file.name ?? '';
    this.bytes_total = file.size;

    /** @type {(uploader: Uploader) => void} */
    let resolve;
    /** @type {(error: Error) => void} */
    let reject;
    /**
     * Resolves to the uploader when the web app has the file; rejects with an UploadError, with an error named
     * AbortError when the upload was cancelled, with the signal's reason when it was aborted.
     * @type {Promise<Uploader>}
     */
    this.done = new Promise((on_done, on_failed) => {
      resolve = on_done;
      reject = on_failed;
    });
    // A page that uses the callbacks and not the promise shall hear of no unhandled rejection.
    this.done.catch(() => {});

    const fire = (/** @type {'progress' | import('./types.js').Ending} */ event) => {
      try {
        this[/** @type {const} */ (`on${event}`)]?.(this);
      } catch (error) {
        report(error);
      }
      this.dispatchEvent(new Event(event));
    };

    const { signal } = options;
    const on_abort = () => engine.abort(signal?.reason?.message ?? signal?.reason ?? 'aborted');
    signal?.addEventListener('abort', on_abort);

    const own_ports = { ...ports, transport: prepared(ports, options) };
    const engine = new Engine({ upload_id, file, options, ports: own_ports, origin }, (properties, events) => {
      Object.assign(this, properties);
      if (events.includes('finished')) resolve(this);
      else if (events.includes('cancelled')) reject((signal?.aborted ? signal.reason : null) ?? Object.assign(new Error(this.cancel_msg ?? ''), { name: 'AbortError' }));
      else if (engine.failure) reject(new UploadError(engine.failure));
      if (events.length > 0) signal?.removeEventListener('abort', on_abort);
      notifier.note(properties);
      events.forEach(fire);
    });
    const notifier = new Notifier(ports.clock, engine.properties(), () => fire('progress'));
    Object.assign(this, engine.properties());

    // Own functions that need no `this`, so that `button.onclick = uploader.start` works.
    this.start = () => {
      if (signal?.aborted) on_abort();
      engine.start();
      return this;
    };

    /** @param {'pause' | 'unpause' | 'toggle'} what */
    this.pause = (what) => {
      const paused = what === 'toggle' ? !this.paused : what === 'pause';
      if (!['pause', 'unpause', 'toggle'].includes(what)) {
        console.error(`incoming: pause takes 'pause', 'unpause' or 'toggle', not '${what}'`);
      } else if (paused) engine.pause();
      else if (this.paused) engine.start();
      return this;
    };

    /** @param {string} [reason] for the web app and for people */
    this.cancel = (reason) => {
      engine.cancel(reason);
      return this;
    };
  }
}

/** @param {unknown} error thrown by the page's own code */
function report(error) {
  setTimeout(() => (globalThis.reportError ?? console.error)(error));
}
