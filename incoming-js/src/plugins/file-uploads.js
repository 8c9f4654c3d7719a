/**
 * An `UploadQueue` for user interfaces that have a list of their own: each file has callbacks, and leaves the queue at its end.
 */
import { create_queue } from '../queue-index.js';
import { TicketError, tickets_from } from '../ticket.js';

/** @typedef {import('../api-queue.js').Entry} Entry */
/** @typedef {import('../api-plugins.js').Options} Options */

/**
 * @typedef {object} Handlers
 * @property {(entry: Entry) => void} progress
 * @property {(entry: Entry) => void} [stored] every byte is acknowledged, the web app takes the file
 * @property {(id: string) => void} finish
 * @property {(error: Error & { code: string }) => void} error
 */

/** Answers of the web app that a page with a login would wait for; here the user tries again. */
const REFUSED = [401, 403];

export class FileUploads {
  queue;
  #last = 0;
  /** What goes with the ticket request, by the key that stands in for the path. @type {Map<string, object>} */
  #more = new Map();

  /** @param {Options} options */
  constructor({ getTicket, ticketUrl, limit, scope, library, hostname, headers, digest }) {
    const ask = getTicket ?? tickets_from(ticketUrl ?? '');
    this.queue = create_queue({
      ...(library ? { library } : {}), concurrent: limit, scope, uploader: { hostname, headers, digest },
      getTicket: async (request, signal) => {
        try {
          return await ask({ ...request, path: null, ...this.#more.get(request.path ?? '') }, signal);
        } catch (error) {
          const { status, message } = /** @type {any} */ (error);
          throw REFUSED.includes(status) ? new TicketError(message, 400) : error;
        }
      },
    });
  }

  /**
   * @param {File} file
   * @param {object} more for the ticket request
   * @param {Handlers} handlers none is called after `remove()` of the entry
   * @returns {Entry}
   */
  add(file, more, { progress, stored, finish, error }) {
    const key = String((this.#last += 1));
    this.#more.set(key, more);
    const [entry] = this.queue.add([{ file, path: key }]);
    const controller = new AbortController();
    const on = (/** @type {string} */ type, /** @type {(detail: any) => void} */ fn) => this.queue.addEventListener(type, (event) => {
      const { detail } = /** @type {CustomEvent} */ (event);
      if (detail.entry === entry) fn(detail);
    }, { signal: controller.signal });
    const end = () => {
      controller.abort();
      this.#more.delete(key);
      entry.remove();
    };
    on('progress', () => progress(entry));
    on('state', ({ to }) => to === 'handing_over' && stored?.(entry));
    on('remove', end);
    on('finish', ({ id }) => (end(), finish(id)));
    on('error', ({ error: { message, code } }) => (end(), error(Object.assign(new Error(message), { code }))));
    return entry;
  }
}

/** @param {Blob} data @param {string} name @returns {File} */
export function named_file(data, name) {
  if ('name' in data && data.name === name) return /** @type {File} */ (data);
  return new File([data], name, { type: data.type, lastModified: /** @type {Partial<File>} */ (data).lastModified ?? 0 });
}
