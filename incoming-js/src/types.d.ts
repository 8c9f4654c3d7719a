/**
 * Internal types that more than one module uses. The public ones are in `api.d.ts`.
 */
import type { ConnectionPool, Slot } from './pool.js';
import type { Range } from './ranges.js';

/** The server's status object, checked. */
export interface Status {
  state: 'new' | 'uploading' | 'handing_over' | 'finished' | 'cancelled' | 'failed';
  length: number | null;
  /** Merged. */
  received: Range[];
  chunk_size: number;
  max_chunk_size: number | null;
  align: number;
  send_ahead: number;
  /** The web app asks for the file's digest. */
  digest: boolean;
  reason: string | null;
  /** Results of a comparison, if one was asked for. */
  verified: (boolean | null)[];
}

/** An answer that is not a status: a problem of the server's, or something that a proxy made up. */
export interface Refusal {
  /** Status code. */
  http: number;
  /** Kebab-case word. */
  code: string;
  /** The server's number, else the status code. */
  error_code: number;
  /** For people. */
  message: string;
  retry_after_ms: number | null;
  /** Of the upload, if the answer carries it. */
  status: Status | null;
  /** False if the answer is not in the server's form. */
  from_server: boolean;
}

/**
 * No answer. The network broke; no byte moved for too long; the browser aborted the request; the page failed to provide
 * its headers (`text` says how); the file could not be read before sending.
 */
export interface Lost {
  kind: 'lost';
  why: 'network' | 'stall' | 'abort' | 'headers' | 'file';
  text?: string;
}
export interface RawAnswer {
  kind: 'answer';
  status: number;
  body: string;
  retry_after: string | null;
}
export type RawOutcome = RawAnswer | Lost;
export type Outcome = { kind: 'status'; status: Status } | { kind: 'refused'; refusal: Refusal; why?: undefined } | Lost;

export interface Request {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  url: string;
  headers?: Record<string, string>;
  body?: Blob | string;
  /** Send a digest of the body along. */
  digest?: boolean;
  /** Read this before anything is sent. If it is the body, the bytes that were read are sent. */
  read_first?: Blob | null;
  /** Timeout for the answer once the request is sent. */
  answer_ms?: number;
  /** Factor on the timeouts until the first sign of progress. */
  patience?: number;
  /** How much of the body the network has taken. */
  on_sent?: (bytes: number) => void;
  /** The network has taken all of it. */
  on_handed?: () => void;
  /** No byte has moved for a while. */
  on_still?: () => void;
}

/** The network. `on_end` is called exactly once, never before `send` has returned and never after `abort`. */
export interface Transport {
  send: (request: Request, on_end: (raw: RawOutcome) => void) => { abort: () => void };
}

/** A chunk in flight. */
export interface Chunk {
  from: number;
  to: number;
  /** Bytes that the network has taken. */
  sent: number;
  /** It has taken all of them. */
  handed: boolean;
  /** The browser reports how many bytes are sent. */
  reports_progress: boolean;
  /** When bytes last moved, or the request began. */
  moved_at: number;
}

/** A running request. */
export interface Call {
  kind: 'sync' | 'verify' | 'put' | 'poll' | 'cancel';
  slot: Slot | null;
  chunk: Chunk | null;
  /** The server was asked to wait. */
  waits: boolean;
  /** Version of `ServerRanges` when it began. */
  since: number;
  began_at: number;
  abort: () => void;
}

/**
 * - `idle`: not started
 * - `binding`: asks the server for the upload's state
 * - `sending`: sends chunks
 * - `observing`: another uploader sends the file, this one shows its progress
 * - `awaiting_handover`: the server has all bytes and hands the file over
 * - `paused`, `cancelling`: as the page asked
 * - `ended`
 */
export type Phase = 'idle' | 'binding' | 'sending' | 'observing' | 'awaiting_handover' | 'paused' | 'cancelling' | 'ended';

/** The lock on an upload among the tabs of this browser: no answer yet, this tab has it, another tab has it. */
export type LockState = 'asking' | 'held' | 'waiting';

/** Comparison of the file: none; pieces are being read (an object, so that a later check can be told from it); the body to send. */
export type Check = null | object | string;

/** Time and randomness. */
export interface Clock {
  /** Monotonic, in ms. */
  now: () => number;
  /** Wall clock, in ms: for people, and for dates that others send. */
  date: () => number;
  set_timer: (fn: () => void, ms: number) => unknown;
  clear_timer: (timer: any) => void;
  /** In [0, 1). */
  random: () => number;
}

/** Everything outside that an upload needs. */
export interface Ports {
  transport: Transport;
  clock: Clock;
  /** Calls `fn` when a retry is more likely to succeed, with true if the network is back; returns a function that ends it. */
  on_wake: (fn: (online: boolean) => void) => () => void;
  pool_for: (origin: string) => ConnectionPool;
  /** In base64; null where the browser has no SHA-256. Rejects if the blob cannot be read. */
  sha256: (blob: Blob) => Promise<string | null>;
  store: Store | null;
  locks: Locks;
  /** Number of this page among those that recorded an upload. */
  visit?: () => Promise<number>;
}

/** The browser's record of an upload that has not ended. Stored as it is: renaming a field needs a new database version. */
export interface Entry {
  upload_id: string;
  /** Origin of the server. */
  hostname: string;
  name: string;
  size: number;
  last_modified: number;
  /** Fingerprint of the file. */
  mark: number;
  /** As last known. */
  bytes_acked: number;
  /** Time of that, by the wall clock, which may be wrong. */
  when: number;
  /** Number of the page that touched it last. Missing in entries of earlier versions. */
  visit?: number;
  handle?: FileSystemFileHandle;
  scope?: string;
}

/** Stored entries, by `upload_id`. Every call may reject. */
export interface Store {
  all: () => Promise<Entry[]>;
  put: (entry: Entry) => Promise<void>;
  /** Does nothing if there is no such entry. */
  change: (upload_id: string, changes: Partial<Entry>) => Promise<void>;
  remove: (upload_id: string) => Promise<void>;
}

/** Locks among the tabs of a browser. */
export interface Locks {
  /**
   * Asks for a lock. `on_change` is called with `held` when this tab has it, or when nothing better is known, and with
   * `waiting` when another tab has it or took it. `steal` takes it from a tab that counts as dead. Returns a function that
   * releases the lock.
   */
  claim: (name: string, on_change: (state: 'held' | 'waiting') => void, steal?: boolean) => () => void;
  /** Names of the locks that any tab holds; empty if that is unknown. */
  held: () => Promise<string[]>;
}

/** Why an upload failed, as the page is told. */
export interface Failure {
  code: string;
  error_code: number;
  message: string;
}

/** An event other than `progress`. */
export type Ending = 'finished' | 'cancelled' | 'error';
