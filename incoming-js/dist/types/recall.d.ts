export type Entry = import('./types.js').Entry;
export type Options = import('./types.js').Options;
export type Ports = import('./types.js').Ports;
export type Uploader = import('./uploader.js').Uploader;
export type Unfinished = {
    upload_id: string;
    /**
     * for the option of that name
     */
    hostname: string;
    name: string;
    size: number;
    /**
     * as last known
     */
    bytes_acked: number;
    /**
     * that was, in ms as of `Date.now()`
     */
    when: number;
    /**
     * an uploader has it at this moment, in this tab or another one; false where that is unknown
     */
    active: boolean;
    handle: FileSystemFileHandle | null;
    /**
     * to be called by a click: asks leave to read the file
     * and starts. Null where the file has to be chosen again. Rejects without leave, and with an UploadError `FILE_CHANGED`
     */
    resume: ((options?: Options) => Promise<Uploader>) | null;
};
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
export declare function create_memory({ store, locks, clock, transport }: Ports, create_uploader: (upload_id: string, file: File, options: Options) => Uploader): {
    visit: () => Promise<number>;
    /**
     * An unfinished upload of these very bytes that the server still knows: by size, first and last bytes. Where there are
     * more, one of the same name and time is taken, else the latest.
     * @param {File} file
     * @returns {Promise<Unfinished | null>}
     */
    recall(file: File): Promise<Unfinished | null>;
    /**
     * All of them, the newest first, as last known to this browser.
     * @returns {Promise<Unfinished[]>}
     */
    unfinished(): Promise<Unfinished[]>;
    /**
     * Forgets an upload, or all of them; the server is not told.
     * @param {string | { upload_id: string }} [what]
     */
    forget(what?: string | {
        upload_id: string;
    }): Promise<void>;
};
