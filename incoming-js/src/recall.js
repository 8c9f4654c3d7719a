/**
 * Finds uploads again that a reload, a crash or a restart of the browser has interrupted. What cannot be looked up is
 * not there; nothing here ever rejects, but for `resume`.
 */
import { file_changed } from './failures.js';
import { RECALL_MS, REMEMBER_ASK, REMEMBER_LAST_MS, REMEMBER_MOST } from './limits.js';
import { mark_of } from './mark.js';
import { upload_url } from './origin.js';
import { is_over, read_outcome, verdict } from './reply.js';
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
  /** @type {Promise<Entry[]> | null} */
  let reading = null;
  /** @type {Promise<number> | null} */
  let visiting = null;

  /**
   * One reading for all who ask at the same time.
   * @returns {Promise<Entry[]>} those of the latest visit first
   */
  function entries() {
    return (reading ??= read().finally(() => (reading = null)));
  }

  async function read() {
    const all = (await store?.all()) ?? [];
    // Other scripts of the page's origin can write here too.
    const good = all.filter(({ when, hostname }) => when < Infinity && /^http/i.test(hostname));
    for (const entry of all) if (!good.includes(entry)) await store?.remove(entry.upload_id);
    good.sort((a, b) => (b.visit ?? 0) - (a.visit ?? 0) || b.when - a.when);
    // One of the two clocks was wrong, or they are old: the server knows.
    const old = good.filter(({ when }) => Math.abs(clock.date() - when) > REMEMBER_LAST_MS).slice(-REMEMBER_ASK);
    const gone = await Promise.all(old.map(async (entry) => ((await stands(entry)) === 'known' ? null : entry)));
    for (const entry of gone) if (entry) await store?.remove(entry.upload_id);
    return good.filter((entry) => !gone.includes(entry));
  }

  /**
   * Number of this page among those that remembered an upload: it counts uses without a clock. The first time those of
   * the oldest visits that are too many are forgotten.
   */
  function visit() {
    return (visiting ??= entries().then(async (all) => {
      for (const { upload_id } of all.slice(REMEMBER_MOST)) await store?.remove(upload_id);
      return (all[0]?.visit ?? 0) + 1;
    }).catch(() => 1));
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
      if (!same) throw new UploadError(file_changed());
      return create_uploader(upload_id, file, { hostname, handle, ...options }).start();
    };
    return { upload_id, hostname, name, size, bytes_acked, when, active, handle: handle ?? null, resume: handle ? resume : null };
  }

  /**
   * How the upload stands: `over`, `absent`, else, and where the server says nothing, `known`.
   * @param {Entry} entry
   * @returns {Promise<'known' | 'over' | 'absent'>}
   */
  function stands({ hostname, upload_id }) {
    return new Promise((resolve) => {
      const request = transport.send(status_request(upload_url(hostname, upload_id)), (raw) => {
        clock.clear_timer(timer);
        const outcome = read_outcome(raw, clock.date());
        const meaning = outcome.kind === 'refused' ? verdict(outcome.refusal) : outcome.kind === 'status' && is_over(outcome.status) && 'over';
        resolve(meaning === 'over' || meaning === 'absent' ? meaning : 'known');
      });
      const timer = clock.set_timer(() => {
        resolve('known');
        request.abort();
      }, RECALL_MS);
    });
  }

  return {
    visit,

    /**
     * An unfinished upload of these very bytes that the server still knows: by size, first and last bytes. Where there are
     * more, one of the same name and time is taken, else the latest.
     * @param {File} file
     * @returns {Promise<Unfinished | null>}
     */
    async recall(file) {
      try {
        const { name, size, lastModified } = file;
        const alike = (await entries()).filter((one) => one.size === size);
        const mark = alike.length > 0 ? await mark_of(file) : 0;
        const same = (/** @type {Entry} */ one) => Number(one.name === name && one.last_modified === lastModified);
        for (const entry of alike.sort((a, b) => same(b) - same(a))) {
          if (entry.mark !== mark) continue;
          const answer = await stands(entry);
          if (answer === 'known') return shown(entry, await locks.held());
          // A server that does not know it may be the wrong one, for a while.
          if (answer === 'over') await store?.remove(entry.upload_id);
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
        const held = await locks.held();
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
