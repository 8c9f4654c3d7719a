/**
 * Types of `incoming-js/queue`. The source is checked against them, and the build copies this file to `dist/incoming-queue.d.mts`.
 */
import type { Incoming, Options, Unfinished, UploaderObject } from './api.js';

/** What the web app is asked with, for one file. */
export interface TicketRequest {
  name: string;
  size: number;
  type: string;
  /** With its folders, if it was in one. It is what the browser says. */
  path: string | null;
  /** In ms as of `Date.now()`. */
  last_modified: number;
  /** Name of the form field, else empty. */
  field: string;
  /** A UUID, the same for all files of one queue. */
  batch: string;
}

/** The id, or the id with options of its uploader. */
export type Ticket = string | ({ id: string } & Pick<Options, 'hostname' | 'headers' | 'digest' | 'chunk_size'>);
export type GetTicket = (request: TicketRequest, signal: AbortSignal) => Ticket | Promise<Ticket>;

/**
 * For `getTicket` to throw: `status` 401 and 403 stop the queue until `start()`; 0, 408, 425, 429 and 5xx are waited for, at least
 * `retry_after_ms`; with every other one the file has failed, and `message` is shown.
 */
export class TicketError extends Error {
  constructor(message: string, status: number, retry_after_ms?: number | null);
  code: string;
  status: number;
  retry_after_ms: number | null;
}

export type EntryState = 'waiting' | 'ticket' | 'uploading' | 'stalled' | 'paused' | 'handing_over' | 'finished' | 'failed' | 'cancelled' | 'lost' | 'kept';

/** A file to add that is not a `File` alone. */
export interface Item {
  file?: File;
  /** A `FileSystemFileEntry`, read when its turn comes. */
  source?: { name: string; file: (done: (file: File) => void, failed: (error: unknown) => void) => void };
  path?: string | null;
  handle?: FileSystemFileHandle | null;
}

export interface EntryError {
  code: string;
  message: string;
  /** Trying again cannot succeed. */
  final: boolean;
}

/** One file of a queue. Its properties are read-only. */
export interface Entry {
  /** Unique in the queue. */
  key: string;
  /** Counts up in the order of adding. */
  number: number;
  state: EntryState;
  name: string;
  /** Bytes; null until a file of a folder is read. */
  size: number | null;
  type: string;
  path: string | null;
  file: File | null;
  /** Its ticket, once there is one. */
  id: string | null;
  bytes_acked: number;
  bytes_per_s: number | null;
  eta_s: number | null;
  retry_in_s: number | null;
  error: EntryError | null;
  pause(): void;
  /** Goes on after `pause`, before those that wait. A `lost` one with a file handle goes on too: call it in a click. */
  resume(): void;
  /** Tries a failed one again, after those that wait; a stalled one now. */
  retry(): void;
  /** The web app gets `reason`. */
  cancel(reason?: string): void;
  /** Cancels it if need be and takes it off the list. */
  remove(): void;
}

export interface Limits {
  /** As of `<input type=file>`. */
  accept?: string;
  /** Bytes. */
  max_size?: number;
  min_size?: number;
  max_files?: number;
}

export interface QueueOptions {
  /** Default: the library of this package. */
  library?: Pick<Incoming, 'Uploader' | 'recall' | 'unfinished' | 'forget'>;
  /** Asks the web app for a ticket. */
  getTicket?: GetTicket;
  /** In place of `getTicket`: a URL that is asked as `tickets_from` says. */
  ticket_url?: string;
  /** Uploads that transfer at a time, 1 to 16. Default 4. */
  concurrent?: number;
  /** `false`: nothing starts before `start()`. */
  auto?: boolean;
  /** Only uploads of the same scope are resumed. */
  scope?: string | null;
  /** `stored`: an entry is done when every byte is acknowledged. Default: when the web app has taken the file. */
  done_when?: 'finished' | 'stored';
  /** For the ticket request. */
  field?: string;
  limits?: Limits;
  /** Options of every uploader. */
  uploader?: Options;
}

/** The queue at one moment. */
export interface Snapshot {
  readonly entries: readonly Entry[];
  readonly files_total: number;
  readonly files_done: number;
  readonly bytes_total: number;
  readonly bytes_acked: number;
  readonly bytes_per_s: number | null;
  readonly pending: number;
  readonly busy: boolean;
  readonly blocked: { retry_in_s: number } | { status: number } | null;
  readonly counts: Readonly<Record<EntryState, number>>;
}

/**
 * Files that are uploaded in turn. Events, with a `detail`: `add` (`entries`), `reject` (`file`, `code`), `state` (`entry`, `from`, `to`),
 * `progress` (`entry`), `finish` (`entry`, `id`), `error` (`entry`, `error`, `final`), `auth` (`status`, `retry`), `remove` (`entry`), `idle`.
 */
export class UploadQueue extends EventTarget {
  constructor(options: QueueOptions & { library: NonNullable<QueueOptions['library']>; getTicket: GetTicket });
  /** One UUID for all tickets of this queue. */
  batch: string;
  /** All, in the order of adding. The same array until one comes or goes. */
  get entries(): readonly Entry[];
  /** By state, in the order in which they entered it. */
  get states(): Record<EntryState, Set<Entry>>;
  /** The last 50 to finish, oldest first. */
  get recent(): Entry[];
  get files_total(): number;
  get files_done(): number;
  /** Without what was cancelled; files of folders count when they are read. */
  get bytes_total(): number;
  get bytes_acked(): number;
  /** Of all that transfer; null while none does. */
  get bytes_per_s(): number | null;
  /** How many are not done; failed ones are not among them. */
  get pending(): number;
  get busy(): boolean;
  /** Why no ticket is asked for: a wait, or the status that refused the visitor. */
  get blocked(): Snapshot['blocked'];
  /** Those whose id the web app may have. */
  done(): Entry[];
  /** Refused ones become an event `reject`: `type`, `size`, `small`, `count`, `duplicate`. */
  add(items: Iterable<File | Item>): Entry[];
  /** Adds files that the web app has already. */
  keep(known: { id: string; name?: string; size?: number }[]): void;
  /** Lists what earlier visits left unfinished in this scope as `lost`, and as `kept` what has finished since. */
  restore(): Promise<void>;
  /** Begins; goes on after an event `auth`; ends a wait. */
  start(): void;
  pause(): void;
  resume(): void;
  /** All that failed and may succeed. */
  retry(): void;
  cancel(reason?: string): void;
  /** Takes entries off the list: those that are finished or cancelled, or all. */
  clear(what: 'finished' | 'all'): void;
  whenIdle(): Promise<{ finished: Entry[]; failed: Entry[] }>;
  /** Calls `fn` after changes, once for those of one moment. Returns a function that ends it. */
  subscribe: (fn: () => void) => () => void;
  /** The same object until something changes. */
  snapshot: () => Snapshot;
}

/** A queue on the library of this package. */
export function create_queue(options: QueueOptions): UploadQueue;
/** A `getTicket` that POSTs the request as JSON. `headers` is called for each request. */
export function tickets_from(url: string, options?: { credentials?: RequestCredentials; headers?: () => Record<string, string> }): GetTicket;

type Found = AsyncGenerator<{ items: Item[]; refused: { name: string; code: 'empty-folder' | 'unreadable' }[] }>;
/** Files of a drop or a paste, with those in folders. Call it in the event. */
export function dropped(data: DataTransfer): Found;
export function from_handles(handles: Iterable<FileSystemHandle>): Found;
/** Bytes of a text such as `2GB` or `1.5 MiB`. */
export function parse_size(text: string | null | undefined): number | undefined;

export type { Unfinished, UploaderObject };
