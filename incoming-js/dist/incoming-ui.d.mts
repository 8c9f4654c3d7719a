/**
 * Types of `incoming-js/ui`. The source is checked against them, and the build copies this file to `dist/incoming-ui.d.mts`.
 */
import type { Options } from './incoming.mjs';
import type { Entry, EntryError, EntryState, GetTicket, UploadQueue } from './incoming-queue.mjs';

/** A text with `{name}` for values, or one for each category of `Intl.PluralRules`. */
export type Text = string | { one?: string; two?: string; few?: string; many?: string; zero?: string; other: string };

/** Texts for all elements in this language, over the English ones. */
export function add_language(lang: string, texts: Record<string, Text>): void;

/** `<incoming-upload>`. Its attributes are in `docs/element.md`. */
export class IncomingUpload extends HTMLElement {
  static formAssociated: boolean;
  /** Asks for tickets in place of the attribute `ticket-url`. */
  getTicket: GetTicket | null;
  /** Sent along with every request of an upload. */
  headers: Options['headers'];
  /** Texts of this element, over those of its language. */
  strings: Record<string, Text>;
  name: string;
  multiple: boolean;
  required: boolean;
  disabled: boolean;
  /** JSON of the files that are there. Set: those that the web app has already. */
  value: string;
  get type(): string;
  get form(): HTMLFormElement | null;
  get labels(): NodeList;
  get validity(): ValidityState;
  get validationMessage(): string;
  get willValidate(): boolean;
  checkValidity(): boolean;
  reportValidity(): boolean;
  setCustomValidity(text: string): void;

  get queue(): UploadQueue;
  get entries(): readonly Entry[];
  get files_total(): number;
  get bytes_total(): number;
  get bytes_acked(): number;
  get busy(): boolean;
  add(files: Iterable<File | FileSystemHandle> | DataTransfer): Promise<void>;
  start(): void;
  pause(): void;
  resume(): void;
  retry(): void;
  cancel(reason?: string): void;
  clear(what: 'finished' | 'all'): void;
  /** Opens the chooser; call it in a click. */
  open(): void;
  whenIdle(): Promise<{ finished: Entry[]; failed: Entry[] }>;
}

/** Attributes of the element, for JSX. */
export interface IncomingUploadAttributes {
  'ticket-url'?: string;
  name?: string;
  required?: boolean;
  disabled?: boolean;
  form?: string;
  value?: string;
  format?: 'ids' | 'json';
  submit?: 'wait' | 'block' | 'now';
  'done-when'?: 'finished' | 'stored';
  multiple?: boolean;
  directory?: boolean;
  accept?: string;
  'max-size'?: string;
  'min-size'?: string;
  'max-files'?: number | string;
  auto?: 'false' | 'true';
  concurrent?: number | string;
  previews?: 'auto' | 'always' | 'off';
  camera?: 'environment' | 'user';
  drop?: string;
  paste?: 'focus' | 'page' | 'off';
  restore?: string;
  'wake-lock'?: 'auto' | 'off';
  hostname?: string;
  digest?: boolean | 'false' | 'true';
  'chunk-size'?: number | string;
  'csrf-token'?: string;
  'csrf-header'?: string;
  'ticket-credentials'?: RequestCredentials;
  lang?: string;
}

export interface IncomingUploadEventMap {
  'incoming-add': CustomEvent<{ files: Iterable<File | object> }>;
  'incoming-reject': CustomEvent<{ file: { name: string }; code: 'type' | 'size' | 'small' | 'count' | 'duplicate' | 'empty-folder' | 'unreadable'; message: string }>;
  'incoming-state': CustomEvent<{ entry: Entry; from: EntryState; to: EntryState }>;
  'incoming-progress': CustomEvent<object>;
  'incoming-finish': CustomEvent<{ entry: Entry; id: string }>;
  'incoming-error': CustomEvent<{ entry: Entry; error: EntryError; final: boolean }>;
  'incoming-auth': CustomEvent<{ status: number; retry: () => void }>;
  'incoming-submit-held': CustomEvent<{ submitter: HTMLElement | null; pending: number }>;
  'incoming-idle': CustomEvent<object>;
}

declare global {
  interface HTMLElementTagNameMap {
    'incoming-upload': IncomingUpload;
  }
  interface HTMLElementEventMap extends IncomingUploadEventMap {}
}
