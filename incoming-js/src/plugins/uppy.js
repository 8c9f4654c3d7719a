/**
 * Uploader plugin for Uppy: `uppy.use(Incoming, { ticketUrl: '/tickets' })`.
 *
 * Paused files give their place to others. An upload that was interrupted, by a failure, a reload or a restart of the browser, goes on
 * with its ticket when the same file is added or brought back by Golden Retriever.
 */
import { BasePlugin } from '@uppy/core';
import { FileUploads, named_file } from './file-uploads.js';

const PROGRESS_MS = 250;

/** @typedef {import('@uppy/core').UppyFile<any, any>} UppyFile */

/** @extends {BasePlugin<any, any, any>} */
export default class Incoming extends BasePlugin {
  static VERSION = '0.1.0';
  #uploads;
  /** By id of the file. @type {Map<string, { entry: import('../api-queue.js').Entry, settle: () => void }>} */
  #running = new Map();

  /** @param {any} uppy @param {import('../api-plugins.js').IncomingOptions<any>} opts */
  constructor(uppy, opts) {
    super(uppy, { limit: 4, allowedMetaFields: true, ...opts });
    this.type = 'uploader';
    this.id = this.opts.id || 'Incoming';
    this.defaultLocale = { strings: { handingOver: 'Handing over', noRemote: 'Files of remote providers need @uppy/tus and Companion', noData: 'The file is missing: add it again' } };
    this.i18nInit();
    this.#uploads = new FileUploads(this.opts);
  }

  install() {
    this.#resumable(true);
    this.uppy.addUploader(this.#upload);
    for (const [event, fn] of this.#events) this.uppy.on(/** @type {any} */ (event), fn);
  }

  /** What runs is paused; the server keeps what it has. */
  uninstall() {
    this.#resumable(false);
    this.uppy.removeUploader(this.#upload);
    for (const [event, fn] of this.#events) this.uppy.off(/** @type {any} */ (event), fn);
    this.#uploads.queue.pause();
    for (const { settle } of this.#running.values()) settle();
    this.#running.clear();
  }

  /** @type {[string, (...what: any[]) => void][]} */
  #events = [
    ['upload-pause', (file, is_paused) => is_paused ? this.#running.get(file?.id)?.entry.pause() : this.#running.get(file?.id)?.entry.resume()],
    ['pause-all', () => this.#uploads.queue.pause()],
    ['resume-all', () => this.#uploads.queue.resume()],
    ['cancel-all', () => { for (const id of this.#running.keys()) this.#cancel(id); }],
    ['file-removed', ({ id }) => this.#cancel(id)],
  ];

  /** @param {boolean} on */
  #resumable(on) {
    const { capabilities } = this.uppy.getState();
    this.uppy.setState({ capabilities: { ...capabilities, resumableUploads: on } });
  }

  /** @param {string} id */
  #cancel(id) {
    const running = this.#running.get(id);
    this.#running.delete(id);
    running?.entry.remove();
    running?.settle();
  }

  /** Settles when every file has ended; errors go by `upload-error`. @param {string[]} ids */
  #upload = async (ids) => {
    const files = this.uppy.getFilesByIds(ids).filter(({ error, progress }) => !error && !progress.uploadComplete);
    // Golden Retriever's have been announced before.
    this.uppy.emit('upload-start', files.filter(({ isRestored, progress }) => !progress.uploadStarted || !isRestored));
    await Promise.all(files.map((file) => this.#one(file)));
  };

  /** @param {UppyFile} file @returns {Promise<void>} */
  async #one(file) {
    const { uppy } = this;
    const { id, meta, size } = file;
    const refused = file.isRemote ? 'noRemote' : file.data ? null : 'noData';
    if (refused) return void uppy.emit('upload-error', file, new Error(this.i18n(refused)));
    const allowed = this.opts.allowedMetaFields;
    const more = { path: meta.relativePath ?? null, meta: Object.fromEntries(Object.entries(meta).filter(([key]) => allowed === true || (Array.isArray(allowed) && allowed.includes(key)))) };
    return new Promise((settle) => {
      let reported_at = -Infinity;
      /** The state of Uppy is immutable: the file as it is now. @param {(file: UppyFile) => void} tell */
      const now = (tell) => {
        const current = uppy.getFile(id);
        if (current) tell(current);
      };
      const progress = (/** @type {number} */ bytes) => now((current) => uppy.emit('upload-progress', current, { uploadStarted: current.progress.uploadStarted ?? Date.now(), bytesUploaded: bytes, bytesTotal: size }));
      const end = (/** @type {(file: UppyFile) => void} */ tell) => {
        this.#running.delete(id);
        now(tell);
        settle();
      };
      const entry = this.#uploads.add(named_file(/** @type {Blob} */ (file.data), meta.name ?? file.name), more, {
        progress: ({ bytes_acked }) => {
          if (performance.now() - reported_at < PROGRESS_MS) return;
          reported_at = performance.now();
          progress(bytes_acked);
        },
        stored: ({ bytes_acked }) => {
          progress(bytes_acked);
          now((current) => uppy.emit('postprocess-progress', current, { mode: 'indeterminate', message: this.i18n('handingOver') }));
        },
        finish: (upload_id) => end((current) => uppy.emit('upload-success', current, { status: 200, body: { id: upload_id }, uploadURL: undefined })),
        error: (error) => end((current) => uppy.emit('upload-error', current, error)),
      });
      this.#running.set(id, { entry, settle });
      if (file.isPaused) entry.pause();
    });
  }
}
