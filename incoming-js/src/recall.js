/**
 * Finds uploads again that a reload, a crash or a restart of the browser has interrupted. What cannot be looked up is
 * not there; nothing here ever rejects, but for `resume`.
 */
import { file_changed, other_file } from './failures.js';
import { RECALL_MS, REMEMBER_LAST_MS } from './limits.js';
import { mark_of } from './mark.js';
import { upload_url } from './origin.js';
import { is_over, read_outcome } from './reply.js';
import { status_request } from './requests.js';
import { UploadError } from './uploader.js';

/** @typedef {import('./types.js').Entry} Entry */
/** @typedef {import('./types.js').Options} Options */
/** @typedef {import('./types.js').Ports} Ports */
/** @typedef {import('./uploader.js').Uploader} Uploader */

/**
 * An upload that is not over, as the page is told of it. Who knows `upload_id` may upload to it and cancel it.
 * @typedef {object} Unfinished
 * @property {string} upload_id
 * @property {string} hostname for the option of that name
 * @property {string} name
 * @property {number} size
 * @property {number} bytes_acked as last known
 * @property {number} when that was, in ms as of `Date.now()`
 * @property {boolean} active an uploader has it at this moment, in this tab or another one; false where that is unknown
 * @property {FileSystemFileHandle | null} handle
 * @property {((options?: Options) => Promise<Uploader>) | null} resume to be called by a click: asks leave to read the file
 *   and starts. Null where the file has to be chosen again. Rejects without leave, and with an UploadError `FILE_CHANGED`
 */

/**
 * @param {Ports} ports
 * @param {(upload_id: string, file: File, options: Options) => Uploader} create_uploader
 */
export function create_memory({ store, locks, clock, transport }, create_uploader) {
  /** @returns {Promise<Entry[]>} the newest first */
  async function entries() {
    const all = (await store?.all()) ?? [];
    // Other scripts of the page's origin can write here too.
    const good = all.filter(({ when, hostname }) => clock.now() - when <= REMEMBER_LAST_MS && /^http/i.test(hostname));
    for (const entry of all) if (!good.includes(entry)) await store?.remove(entry.upload_id);
    return good.sort((a, b) => b.when - a.when);
  }

  /**
   * @param {Entry} entry
   * @param {string[]} held
   * @returns {Unfinished}
   */
  function shown({ upload_id, hostname, name, size, last_modified, mark, bytes_acked, when, handle }, held) {
    const active = held.includes(`incoming ${upload_url(hostname, upload_id)}`);
    const resume = async (/** @type {Options} */ options = {}) => {
      const file = await open_file(/** @type {FileSystemFileHandle} */ (handle));
      const same = file.size === size && file.lastModified === last_modified && (await mark_of(file)) === mark;
      if (!same) throw new UploadError(other_file());
      return create_uploader(upload_id, file, { hostname, handle, ...options }).start();
    };
    return { upload_id, hostname, name, size, bytes_acked, when, active, handle: handle ?? null, resume: handle ? resume : null };
  }

  /**
   * False when the server says that it is over or not known; true also when it says nothing.
   * @param {Entry} entry
   * @returns {Promise<boolean>}
   */
  function goes_on({ hostname, upload_id }) {
    return new Promise((resolve) => {
      const request = transport.send(status_request(upload_url(hostname, upload_id)), (raw) => {
        clock.clear_timer(timer);
        const outcome = read_outcome(raw, clock.now());
        if (outcome.kind === 'status') resolve(!is_over(outcome.status));
        else resolve(outcome.kind === 'lost' || !outcome.refusal.from_server || ![404, 410].includes(outcome.refusal.http));
      });
      const timer = clock.set_timer(() => {
        resolve(true);
        request.abort();
      }, RECALL_MS);
    });
  }

  return {
    /**
     * An unfinished upload of this very file that the server still knows: by name, size, time, first and last bytes.
     * @param {File} file
     * @returns {Promise<Unfinished | null>}
     */
    async recall(file) {
      try {
        const { name, size, lastModified } = file;
        const alike = (await entries()).filter((one) => one.name === name && one.size === size && one.last_modified === lastModified);
        const mark = alike.length > 0 ? await mark_of(file) : 0;
        for (const entry of alike) {
          if (entry.mark !== mark) continue;
          if (await goes_on(entry)) return shown(entry, await locks.held());
          await store?.remove(entry.upload_id);
        }
      } catch {
        // Nothing is remembered.
      }
      return null;
    },

    /**
     * All of them, the newest first, as last known to this browser.
     * @returns {Promise<Unfinished[]>}
     */
    async unfinished() {
      try {
        const all = await entries();
        const held = all.length > 0 ? await locks.held() : [];
        return all.map((entry) => shown(entry, held));
      } catch {
        return [];
      }
    },

    /**
     * Forgets an upload, or all of them; the server is not told.
     * @param {string | { upload_id: string }} [what]
     */
    async forget(what) {
      try {
        for (const one of what ? [what] : await entries()) await store?.remove(typeof one === 'string' ? one : one.upload_id);
      } catch {
        // Nothing is remembered.
      }
    },
  };
}

/**
 * The file behind a handle, with the person's leave.
 * @param {FileSystemFileHandle} handle
 * @returns {Promise<File>}
 */
async function open_file(handle) {
  const { requestPermission } = /** @type {{ requestPermission?: (want: { mode: 'read' }) => Promise<string> }} */ (/** @type {unknown} */ (handle));
  if (requestPermission && (await requestPermission.call(handle, { mode: 'read' })) !== 'granted') {
    throw Object.assign(new Error('no leave to read the file'), { name: 'NotAllowedError' });
  }
  try {
    return await handle.getFile();
  } catch {
    throw new UploadError(file_changed());
  }
}
