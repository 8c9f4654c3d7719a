/**
 * Types of the package `incoming-js`. The source is checked against them, and the build copies this file to
 * `dist/incoming.d.mts`.
 */

/** Third argument of `Uploader`. Everything may be left out. */
export interface Options {
  /** Server of this upload alone, in the form that `set_server_hostname` takes. */
  hostname?: string;
  /** Bytes per chunk, fixed. Default: follows the speed of the line. */
  chunk_size?: number;
  /** Chunks in flight, fixed. Default: follows the line, up to the server's suggestion. */
  send_ahead?: number;
  /** Sent along with every request. A function is called anew for each, so that a token may change. */
  headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
  /** Cancels the upload when it is aborted. */
  signal?: AbortSignal;
  /** `true`: sends a SHA-256 with every chunk up to 16 MiB, in secure contexts. Default: if the web app asks for one. */
  digest?: boolean;
  /** `false`: the browser keeps nothing of this upload. */
  remember?: boolean;
  /** Kept with the record: `unfinished({ scope })` finds it again, and the one form knows its uploads from another's. */
  scope?: string;
  /** Handle of the file, kept in the browser, so that the file need not be chosen again. */
  handle?: FileSystemFileHandle;
}

/** Observable properties of an uploader. Read-only. */
export interface Properties {
  bytes_tx: number;
  bytes_acked: number;
  bytes_ahead: number;
  frac_complete: number;
  bytes_per_s: number | null;
  eta_s: number | null;
  chunks_tx_now: number;
  chunks_acked_now: number;
  chunks_ahead: number;
  state_msg: string;
  retry_in_s: number | null;
  cancel_msg: string | null;
  error_code: number | null;
  error_msg: string | null;
  connected: boolean;
  finished: boolean;
  paused: boolean;
  can_pause: boolean;
  cancelling: boolean;
  cancelled: boolean;
  can_cancel: boolean;
}

export type Callback = ((uploader: UploaderObject) => void) | null;

/** One upload. Events, besides the callbacks of the same meaning: `progress`, `finished`, `cancelled`, `error`. */
export interface UploaderObject extends EventTarget, Properties {
  onprogress: Callback;
  onfinished: Callback;
  oncancelled: Callback;
  onerror: Callback;
  /** Name of the file, without a path. */
  filename: string;
  bytes_total: number;
  /**
   * Resolves to the uploader when the web app has the file. Rejects with an `UploadError`; with an error named
   * `AbortError` when the upload was cancelled; with the signal's reason when that was aborted.
   */
  done: Promise<UploaderObject>;
  /** Begins, resumes after a pause, or retries now. Throws a `TypeError` if no server is known. */
  start: () => this;
  pause: (what: 'pause' | 'unpause' | 'toggle') => this;
  cancel: (reason?: string) => this;
}

/** Makes an uploader, with or without `new`. Throws a `TypeError` on an invalid id, file or option. */
export interface UploaderFactory {
  (upload_id: string, file: File, options?: Options): UploaderObject;
  new (upload_id: string, file: File, options?: Options): UploaderObject;
  prototype: UploaderObject;
}

/** Why an upload failed. */
export class UploadError extends Error {
  constructor(failure: { code: string; error_code: number; message: string });
  /** A word such as `length-changed`, `unknown-upload` or `FILE_CHANGED`. */
  code: string;
  /** The same as a number, as in the uploader's `error_code`. */
  error_code: number;
}

/** An upload that this browser remembers. Whoever knows `upload_id` may upload to it and cancel it. */
export interface Unfinished {
  upload_id: string;
  /** For the option of that name. */
  hostname: string;
  name: string;
  size: number;
  /** As last known. */
  bytes_acked: number;
  /** Time of that, in ms as of `Date.now()`. */
  when: number;
  /** An uploader has it at this moment, in this tab or another one; false if that is unknown. */
  active: boolean;
  handle: FileSystemFileHandle | null;
  /** The option of that name. */
  scope: string | null;
  /**
   * Asks for permission to read the file and starts; call it in a click. Null if the file has to be chosen again. Rejects
   * with `NotAllowedError` without permission, and with an `UploadError` `FILE_CHANGED` if the file is another one.
   */
  resume: ((options?: Options) => Promise<UploaderObject>) | null;
}

export interface Incoming {
  /** Names the server of all uploaders that start later: `host`, `host:port` or an origin. Throws a `TypeError` otherwise. */
  set_server_hostname(hostname: string): void;
  Uploader: UploaderFactory;
  UploadError: typeof UploadError;
  /** The unfinished upload of these very bytes that the server still knows, if there is one. */
  recall(file: File): Promise<Unfinished | null>;
  /** All that this browser remembers, or those with this `scope`, the latest first. */
  unfinished(which?: { scope?: string }): Promise<Unfinished[]>;
  /** Forgets one upload, or all of them. The server is not told. */
  forget(what?: string | { upload_id: string }): Promise<void>;
}

declare const incoming: Incoming;
export default incoming;
export const set_server_hostname: Incoming['set_server_hostname'];
export const Uploader: UploaderFactory;
export const recall: Incoming['recall'];
export const unfinished: Incoming['unfinished'];
export const forget: Incoming['forget'];
