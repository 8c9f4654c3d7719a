/**
 * The list: a row for each file that something happens to, and counted lines for the rest. Ten thousand rows would cost seconds;
 * real rows, a bounded number of them, keep find-in-page and screen readers working.
 */
import { OPEN } from '../queue-entry.js';
import { button, make, put, write } from './dom.js';
import { thumbnail } from './thumbs.js';

/** @typedef {import('../queue-entry.js').Entry} Entry */
/** @typedef {import('./strings.js').Speaker} Speaker */

/** Rows of files in a state that asks for attention. */
const MOST_ACTIVE = 200;
/** Waiting ones that are shown before anyone asks for more. */
const FIRST_WAITING = 20;
const MORE = 100;
/** @type {import('../queue-entry.js').EntryState[]} */
const ACTIVE = [...OPEN.slice(1), 'failed', 'lost', 'handing_over', 'kept', 'cancelled'];

export class Rows {
  list = make('ul', 'list');
  /** @type {Map<Entry, Row>} */
  #rows = new Map();
  /** @type {Record<string, Line>} */
  #more;
  /** @type {Entry[]} */
  #shown = [];
  #extra = 0;
  #queue;
  /** @type {IntersectionObserver | null} */
  #seen = null;

  /** @param {import('../queue.js').UploadQueue} queue @param {() => void} repaint */
  constructor(queue, repaint) {
    this.#queue = queue;
    const more = () => {
      this.#extra += MORE;
      repaint();
    };
    this.#more = { waiting: new Line(more), failed: new Line(), other: new Line(), finished: new Line() };
    // Firefox and Chromium give lists without markers no role otherwise, and Safari does not.
    this.list.setAttribute('role', 'list');
  }

  /** @param {Speaker} speaker @param {{ previews: boolean }} how */
  paint(speaker, how) {
    const { shown, hidden } = this.#choose();
    const wanted = new Set(shown);
    const root = /** @type {ShadowRoot} */ (this.list.getRootNode());
    const before = this.#shown;
    const focused = before.findIndex((entry) => this.#rows.get(entry)?.node.contains(root.activeElement));
    const focus_is_lost = focused >= 0 && !wanted.has(before[focused]);
    this.#shown = shown;
    for (const [entry, row] of this.#rows) {
      if (wanted.has(entry)) continue;
      row.node.remove();
      this.#seen?.unobserve(row.node);
      this.#rows.delete(entry);
    }
    /** @type {Element | null} */
    let at = this.list.firstElementChild;
    for (const entry of shown) {
      let row = this.#rows.get(entry);
      if (!row) {
        row = new Row(entry);
        this.#rows.set(entry, row);
      }
      // A file of a folder is read later.
      if (how.previews && entry.file && !row.is_observed) this.#observe(row);
      row.paint(speaker);
      if (row.node === at) at = at.nextElementSibling;
      else this.list.insertBefore(row.node, at);
    }
    for (const [key, n] of Object.entries(hidden)) this.#more[key].paint(this.list, speaker, key, n);
    put(this.list, 'aria-label', speaker.say('list_name'));
    this.list.hidden = !this.list.firstElementChild;
    if (!focus_is_lost) return;
    // To the next row, else to the one before.
    const next = [...before.slice(focused), ...before.slice(0, focused).reverse()].find((entry) => wanted.has(entry));
    if (next) this.#rows.get(next)?.focus();
    else root.querySelector('button')?.focus();
  }

  #choose() {
    const { states, recent } = this.#queue;
    /** @type {Entry[]} */
    const shown = [];
    let [failed, other] = [0, 0];
    for (const state of ACTIVE) {
      const some = [...states[state]].slice(0, MOST_ACTIVE - shown.length);
      shown.push(...some);
      const left = states[state].size - some.length;
      if (state === 'failed') failed = left;
      else other += left;
    }
    const next = [];
    for (const entry of states.waiting) {
      if (next.length >= FIRST_WAITING + this.#extra - states.ticket.size - states.uploading.size) break;
      next.push(entry);
    }
    shown.push(...next, ...recent);
    shown.sort((a, b) => a.number - b.number);
    return { shown, hidden: { waiting: states.waiting.size - next.length, failed, other, finished: states.finished.size - recent.length } };
  }

  /** @param {Row} row */
  #observe(row) {
    row.is_observed = true;
    this.#seen ??= new IntersectionObserver((changes) => {
      for (const { isIntersecting, target } of changes) {
        if (!isIntersecting) continue;
        this.#seen?.unobserve(target);
        for (const one of this.#rows.values()) if (one.node === target) one.show_picture();
      }
    });
    this.#seen.observe(row.node);
  }

  focus_failed() {
    for (const [entry, row] of this.#rows) {
      if (entry.state !== 'failed') continue;
      row.node.scrollIntoView({ block: 'nearest' });
      return row.focus();
    }
  }
}

/** A counted line in place of rows. */
class Line {
  node = make('li', 'more');
  #text = make('span', '');
  #button;

  /** @param {() => void} [on_more] */
  constructor(on_more) {
    this.#button = on_more && button('', on_more);
    this.node.append(this.#text, this.#button ?? '');
  }

  /** @param {Element} list @param {Speaker} speaker @param {string} key @param {number} n */
  paint(list, speaker, key, n) {
    if (n <= 0) return this.node.remove();
    if (this.node.parentNode !== list) list.append(this.node);
    write(this.#text, speaker.say(`more_${key}`, { n }));
    if (this.#button) write(this.#button, speaker.say('show_more', { n: Math.min(MORE, n) }));
  }
}

/** One file. */
class Row {
  node = make('li', 'item');
  is_observed = false;
  #thumb = make('span', 'thumb');
  #name = make('bdi', 'name');
  #meta = make('span', 'meta');
  #bar = make('progress', 'progress');
  #state = make('span', 'state');
  #main = button('action', () => this.#act());
  #end = button('action', () => this.#close());
  #actions = make('span', 'actions', this.#main, this.#end);

  /** @param {Entry} entry */
  constructor(entry) {
    this.entry = entry;
    this.#bar.max = 1;
    this.#thumb.setAttribute('aria-hidden', 'true');
    this.#thumb.textContent = (/[^.]{1,4}$/.exec(entry.name)?.[0] ?? '').toUpperCase();
    this.node.append(this.#thumb, make('span', 'text', this.#name, ' ', this.#meta, this.#bar, this.#state), this.#actions);
    this.node.addEventListener('keydown', (event) => {
      if (event.key === 'Delete') this.entry.remove();
    });
  }

  focus() {
    (this.#main.hidden ? this.#end : this.#main).focus();
  }

  /** What the first button does now. */
  #verb() {
    const { state, error, reopen } = this.entry;
    switch (state) {
      case 'waiting': case 'ticket': case 'uploading': return 'pause';
      case 'stalled': return 'retry';
      case 'paused': return 'resume';
      case 'lost': return reopen ? 'resume' : null;
      case 'failed': return error?.final ? null : 'retry';
      default: return null;
    }
  }

  #act() {
    const verb = this.#verb();
    if (verb) this.entry[verb]();
  }

  #close() {
    if (this.#is_open()) this.entry.cancel();
    else this.entry.remove();
  }

  #is_open() {
    return OPEN.includes(this.entry.state);
  }

  /** @param {Speaker} speaker */
  paint(speaker) {
    const { name, path, size, state, bytes_acked, error, retry_in_s, eta_s, reopen } = this.entry;
    const share = size ? bytes_acked / size : state === 'finished' ? 1 : 0;
    const percent = speaker.percent(share);
    const class_name = `item ${state}`;
    for (const name of ['class', 'part']) put(this.node, name, class_name);
    write(this.#name, path || name);
    write(this.#meta, size === null ? '' : speaker.size(size));
    this.#bar.value = share;
    this.#bar.hidden = ['finished', 'kept', 'cancelled', 'failed', 'waiting'].includes(state);
    put(this.#bar, 'aria-label', speaker.say('progress_name', { name, percent }));
    const key = state === 'uploading' && eta_s !== null ? 'uploading_eta' : state === 'lost' && reopen ? 'lost_handle' : state;
    write(this.#state, speaker.say(key, { percent, n: retry_in_s ?? 0, message: error?.message ?? '', eta: eta_s === null ? '' : speaker.time(eta_s) }));
    const verb = this.#verb();
    this.#main.hidden = !verb;
    if (verb) label(this.#main, speaker, verb, name);
    label(this.#end, speaker, this.#is_open() ? 'cancel' : 'remove', name);
  }

  show_picture() {
    const { file } = this.entry;
    if (file) thumbnail(file, (canvas) => this.#thumb.replaceChildren(canvas));
  }
}

/** @param {HTMLButtonElement} node @param {Speaker} speaker @param {string} verb @param {string} name */
function label(node, speaker, verb, name) {
  const action = speaker.say(verb);
  write(node, action);
  put(node, 'aria-label', speaker.say('action_name', { action, name }));
  put(node, 'part', `action ${verb}`);
}
