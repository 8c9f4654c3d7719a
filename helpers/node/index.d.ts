/** Answers to a handover: the file is taken; the app works on it and calls `finish`. */
export const DONE: 'done';
export const WAIT: 'wait';

/** The call is not from the upload server, or too old. Answer 401. */
export class BadSignature extends Error {}

/** The upload server said no, and will say so again. */
export class Refused extends Error {
  status: number;
  code: string;
}

/** No answer, or 429, 503, 507 or another 5xx: try again after `retryAfter` seconds, if it is known. */
export class Unavailable extends Error {
  retryAfter: number | null;
}

/** An upload that may begin. The page needs `id`; `url` is a path on the upload server. */
export interface Ticket { id: string; url: string; expires: string }

/** Where a server with `store = "s3"` keeps a file. `version` is null in a bucket without versions, `url` without `s3_presign`. */
export interface StoredObject { bucket: string; key: string; etag: string; version: string | null; url: string | null }

/** What the server says of an upload that is complete, or cancelled. A complete one has a `path`, or an `object` in a bucket. */
export interface Handover {
  id: string;
  cancelled: boolean;
  reason: string;
  path: string | null;
  object: StoredObject | null;
  name: string;
  length: number | null;
  metadata: string;
  digest: string | null;
  attempt: number;
  /** `metadata`, where `newUpload` was given an object. */
  json(): unknown;
  /** Moves the file to `directory/ID/NAME`, durably, and says where it is. Called again it finds the file there. Needs Node. */
  moveTo(directory: string): Promise<string>;
}

export interface NewUpload {
  signalFinishURL: string;
  length?: number;
  maxBytes?: number;
  /** The handover says the file's SHA-256. */
  digest?: boolean;
  metadata?: string | object;
  /** Such as `12h`. */
  idleTimeout?: string;
  name?: string;
  /** Whether the server removes the file after `done`. Where it is not given, files go and objects in a bucket stay. */
  removeFile?: boolean;
}

type Headers_ = Headers | Record<string, string | string[] | undefined>;

/** The backend API of one upload server. All calls reject with Refused or Unavailable. */
export class Incoming {
  /**
   * @param url `http://HOST:PORT`, `https://...`, or in Node `unix:/run/incoming/backend.sock`
   * @param options `signingSecrets`: the first one signs the calls about new uploads, all of them are accepted; `timeout` in ms
   */
  constructor(url: string, options?: { token?: string; signingSecrets?: string | string[]; timeout?: number });
  newUpload(parameters: NewUpload): Promise<Ticket>;
  /** Reads a call of the server: the body as it came, and its headers. Rejects with BadSignature. `now` in ms. */
  handover(body: string | Uint8Array, headers: Headers_, options?: { now?: number }): Promise<Handover>;
  /** The app that answered `wait` has the file. */
  finish(id: string): Promise<void>;
  /** Ends an upload that is not complete; no handover follows. */
  cancel(id: string): Promise<void>;
  /** Has a failed handover made again, or one that waits made now. */
  retry(id: string): Promise<void>;
  show(id: string): Promise<Record<string, unknown>>;
  /** All uploads, or those in one state, page by page. */
  uploads(which?: { state?: string }): AsyncGenerator<Record<string, unknown>>;
}

/** A signing secret, to be kept where the app's other secrets are. */
export function newSecret(): string;

/** A path of a browser, such as of a folder that was dropped, without what could lead elsewhere: `a/../b\c.txt` is `a/b/c.txt`. */
export function safePath(text: string): string;
