/**
 * Texts of the element, in English, and how values get into them. `{name}` stands for a value; a text with plurals has one form
 * for each category of `Intl.PluralRules` and counts `n`.
 */

/** @typedef {string | { one?: string, two?: string, few?: string, many?: string, zero?: string, other: string }} Text */

/** @type {Record<string, Text>} */
export const ENGLISH = {
  choose: { one: 'Choose a file', other: 'Choose files' },
  folder: 'Choose a folder',
  camera: 'Take a photo',
  drop: 'or drop here',
  hint_size: 'up to {size} each',
  hint_count: { one: 'one file', other: 'at most {n} files' },
  waiting: 'waiting',
  ticket: 'preparing',
  uploading: '{percent}',
  uploading_eta: '{percent}, {eta} left',
  stalled: 'no connection, next try in {n} s',
  paused: 'paused at {percent}',
  handing_over: 'being handed over',
  finished: 'done',
  failed: 'failed: {message}',
  cancelled: 'cancelled',
  lost: 'interrupted at {percent}: choose the file again to go on',
  lost_handle: 'interrupted at {percent}',
  kept: 'there',
  pause: 'Pause',
  resume: 'Resume',
  retry: 'Try again',
  cancel: 'Cancel',
  remove: 'Remove',
  action_name: '{action} {name}',
  progress_name: '{name}, {percent}',
  list_name: 'Files',
  summary: '{done} of {n} done, {acked} of {total}',
  more_waiting: '{n} more waiting',
  more_finished: '{n} more done',
  more_failed: '{n} more failed',
  more_other: '{n} more',
  show_more: 'Show {n} more',
  blocked: 'The server is busy; next try in {n} s.',
  auth: 'You are no longer logged in',
  said_added: { one: '{n} file added', other: '{n} files added' },
  said_progress: '{done} of {n} done',
  said_percent: '{name}: {percent}',
  said_finished: { one: 'The file is uploaded', other: 'All {n} files are uploaded' },
  said_failed: { one: '{name} failed: {message}', other: '{n} files failed' },
  rejected_type: { one: '{name} is of a type that is not allowed', other: '{n} files are of a type that is not allowed' },
  rejected_size: { one: '{name} is too large ({max} at most)', other: '{n} files are too large ({max} at most)' },
  rejected_small: { one: '{name} is too small ({min} at least)', other: '{n} files are too small ({min} at least)' },
  rejected_count: { one: '{name} is one file too many', other: '{n} files are too many' },
  rejected_duplicate: { one: '{name} is in the list already', other: '{n} files are in the list already' },
  'rejected_empty-folder': { one: 'The folder {name} is empty', other: '{n} folders are empty' },
  rejected_unreadable: { one: '{name} cannot be read', other: '{n} files cannot be read' },
  held: { one: 'Will be sent when {n} file is there.', other: 'Will be sent when {n} files are there.' },
  not_now: 'Not now',
  invalid_missing: 'Choose a file.',
  invalid_failed: { one: 'A file was not uploaded. Try again or remove it.', other: '{n} files were not uploaded. Try again or remove them.' },
  invalid_busy: 'Wait until the files are uploaded.',
};

/** By tag. Scripts of languages come before this one. @type {Record<string, Record<string, Text>>} */
const languages = (/** @type {any} */ (globalThis).incoming_languages ??= {});

/** @param {string} lang @param {Record<string, Text>} texts for all elements in this language */
export function add_language(lang, texts) {
  languages[lang] = texts;
}

/** Writes texts, numbers, sizes and times of one language. */
export class Speaker {
  #texts;
  #plurals;
  /** @type {Map<string, Intl.NumberFormat>} */
  #formats = new Map();
  #lang;

  /**
   * @param {string} lang a BCP 47 tag; one that the browser does not know counts as English
   * @param {Record<string, Text>} [texts] over the English ones
   */
  constructor(lang, texts = {}) {
    this.#texts = { ...ENGLISH, ...(languages[lang] ?? languages[lang.split('-')[0]]), ...texts };
    this.#lang = supported(lang);
    this.#plurals = new Intl.PluralRules(this.#lang);
  }

  /** @param {string} key @param {Record<string, string | number>} [values] numbers are written in the language @returns {string} */
  say(key, values = {}) {
    const text = this.#texts[key] ?? key;
    const form = typeof text === 'string' ? text : (text[this.#plurals.select(Number(values.n ?? 1))] ?? text.other);
    return form.replace(/\{(\w+)\}/g, (_, name) => {
      const value = values[name] ?? '';
      return typeof value === 'number' ? this.#format(value) : value;
    });
  }

  /** @param {number} share 0 to 1; never 100 % before 1 */
  percent(share) {
    return this.#format(share < 1 ? Math.min(0.99, Math.floor(share * 100) / 100) : 1, 'percent');
  }

  /** @param {number} bytes */
  size(bytes) {
    const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'];
    let power = 0;
    for (; bytes >= 1000 && power < 4; power += 1) bytes /= 1000;
    return this.#format(bytes, 'unit', units[power], power < 2 ? 0 : 1);
  }

  /** @param {number} seconds */
  time(seconds) {
    if (seconds < 60) return this.#format(Math.max(1, seconds), 'unit', 'second');
    return seconds < 5400 ? this.#format(seconds / 60, 'unit', 'minute') : this.#format(seconds / 3600, 'unit', 'hour', 1);
  }

  /** @param {number} value @param {'unit' | 'percent'} [style] @param {string} [unit] @param {number} [digits] */
  #format(value, style, unit, digits = 0) {
    const key = unit ?? style ?? '';
    let format = this.#formats.get(key);
    if (!format) {
      format = new Intl.NumberFormat(this.#lang, { style, unit, unitDisplay: unit === 'byte' ? 'long' : 'short', maximumFractionDigits: digits });
      this.#formats.set(key, format);
    }
    return format.format(value);
  }
}

/** @param {string} lang */
function supported(lang) {
  try {
    return Intl.NumberFormat.supportedLocalesOf(lang)[0] ?? 'en';
  } catch {
    return 'en';
  }
}
