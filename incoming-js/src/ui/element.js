/**
 * `<incoming-upload>`: a form field that uploads. It connects an `UploadQueue` with the form, the list and the live regions. It
 * can be imported where there is no page.
 */
import { dropped, from_handles, parse_size } from '../files.js';
import { UploadQueue } from '../queue.js';
import { tickets_from } from '../ticket.js';
import { Announcer } from './announcer.js';
import { ATTRIBUTES, meant } from './attributes.js';
import { csrf_headers } from './csrf.js';
import { button, make, write } from './dom.js';
import { Intake } from './intake.js';
import { Problems } from './problems.js';
import { Rows } from './rows.js';
import { Speaker } from './strings.js';
import { style_sheet } from './style.js';
import { join, leave, release, settle } from './submit.js';
import { form_data, known_files, stored } from './value.js';
import { keep_awake } from './wake.js';

/** @typedef {import('../queue-entry.js').Entry} Entry */

/** Where there is no page the class is never made. */
const Base = /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {});

/** With more files `ids` may meet the limit for fields of a web app's framework. */
const MANY_FIELDS = 500;
const PROGRESS_MS = 250;
/** With many files the form's value follows that late. */
const VALUE_MS = 250;
/** Out of the document for longer, it has left the page. */
const GONE_MS = 1_000;

/** @param {Pick<import('../api.js').Incoming, 'Uploader' | 'recall' | 'unfinished' | 'forget'>} library */
export function element_class(library) {
  return class IncomingUpload extends Base {
    static formAssociated = true;
    static observedAttributes = ATTRIBUTES;

    // A page may have set properties before the script came.
    /** Asks for a ticket in place of `ticket-url`. @type {import('../ticket.js').GetTicket | null} */
    getTicket = /** @type {any} */ (this).getTicket ?? null;
    /** Sent along with the requests of uploads. @type {import('../api.js').Options['headers']} */
    headers = /** @type {any} */ (this).headers;
    /** Texts in place of the language's. @type {Record<string, import('./strings.js').Text>} */
    #strings = {};
    #internals = this.attachInternals();
    #queue = new UploadQueue({ library, auto: false, getTicket: (request, signal) => this.#ticket(request, signal) });
    #rows = new Rows(this.#queue, () => this.#paint_soon());
    #intake;
    #status = make('div', 'sr');
    #alert = make('div', 'sr');
    #announcer = new Announcer(this.#status);
    #problems = new Problems(this.#alert);
    #speaker = new Speaker('en');
    #summary = make('div', 'summary');
    #notice = make('span', '');
    #again = button('action', () => this.start());
    #held = make('div', 'held');
    #held_text = make('span', '');
    #not_now = button('action', () => release(this.form));
    #box;
    #frame = 0;
    #disabled = false;
    #is_held = false;
    #custom_error = '';
    #value = '';
    #quarter = 0;
    #progress_at = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #gone;
    /** Paused because it left the page. */
    #paused_away = false;
    #restored = false;
    /** Added, and not announced yet. */
    #added = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #value_timer;

    constructor() {
      super();
      const root = this.attachShadow({ mode: 'open', delegatesFocus: true });
      root.adoptedStyleSheets = [style_sheet()];
      this.#intake = new Intake({
        element: this,
        disabled: () => this.#disabled,
        add: (items) => this.#add([...items]),
        refuse: ({ name, code }) => this.#reject({ name }, code),
        dragging: (on) => (this.#box.classList.toggle('dragging', on), this.#state('dragging', on)),
      });
      this.#status.setAttribute('role', 'status');
      this.#alert.setAttribute('role', 'alert');
      this.#held.append(this.#held_text, ' ', this.#not_now);
      this.#box = make('div', 'box', this.#intake.area, this.#held, make('div', 'notice', this.#notice, ' ', this.#again), this.#summary, this.#rows.list);
      // Without a slot the fallback of pages without the script is not shown.
      root.append(this.#box, this.#status, this.#alert);
      this.#listen();
    }

    #listen() {
      const on = (/** @type {string} */ type, /** @type {(detail: any) => void} */ fn) => this.#queue.addEventListener(type, (event) => fn(/** @type {CustomEvent} */ (event).detail));
      on('add', ({ entries }) => {
        this.#added += entries.length;
        this.#announcer.say(() => {
          const n = this.#added;
          this.#added = 0;
          return this.#speaker.say('said_added', { n });
        });
      });
      on('reject', ({ file, code }) => this.#reject(file, code));
      on('state', (detail) => {
        this.#fire('state', detail);
        this.#on_state(detail);
      });
      on('progress', () => this.#on_progress());
      on('remove', () => this.#update());
      on('finish', (detail) => this.#fire('finish', detail));
      on('error', (detail) => {
        this.#fire('error', detail);
        this.#problems.add('failed', detail.entry.name, (names) => this.#speaker.say('said_failed', { n: names.length, name: names[0], message: detail.error.message }));
      });
      on('auth', (detail) => {
        this.#fire('auth', detail);
        this.#problems.add('auth', '', () => this.#speaker.say('auth'));
      });
      on('idle', () => {
        this.#update();
        this.#announce_end();
        this.#fire('idle');
        settle(this.form);
      });
      this.#queue.subscribe(() => this.#paint_soon());
    }

    // As a field

    get form() { return this.#internals.form; }
    get labels() { return this.#internals.labels; }
    get validity() { return this.#internals.validity; }
    get validationMessage() { return this.#internals.validationMessage; }
    get willValidate() { return this.#internals.willValidate; }
    get type() { return 'incoming-upload'; }
    get name() { return this.getAttribute('name') ?? ''; }
    set name(text) { this.setAttribute('name', text); }
    get multiple() { return this.hasAttribute('multiple') || this.hasAttribute('directory'); }
    set multiple(on) { this.toggleAttribute('multiple', Boolean(on)); }
    get required() { return this.hasAttribute('required'); }
    set required(on) { this.toggleAttribute('required', Boolean(on)); }
    get disabled() { return this.hasAttribute('disabled'); }
    set disabled(on) { this.toggleAttribute('disabled', Boolean(on)); }
    /** What a submit does while files upload. @returns {'wait' | 'block' | 'now'} */
    get submit() { return /** @type {any} */ (this.getAttribute('submit')) || 'wait'; }
    checkValidity() { return this.#internals.checkValidity(); }
    reportValidity() { return this.#internals.reportValidity(); }
    /** @param {string} text */
    setCustomValidity(text) {
      this.#custom_error = String(text);
      this.#update();
    }

    /** JSON of the files that are there: what the form posts. */
    get value() { return JSON.stringify(this.#queue.done().map(({ id, name, size }) => ({ id, name, size }))); }
    set value(text) { this.setAttribute('value', text); this.#reset(); }

    formResetCallback() { this.#reset(); }

    /** @param {boolean} disabled no more files are taken; what runs goes on */
    formDisabledCallback(disabled) {
      this.#disabled = disabled;
      this.#state('disabled', disabled);
      this.#paint_soon();
    }

    formAssociatedCallback() { this.#update(); }

    #reset() {
      release(this.form);
      this.#queue.clear('all');
      this.#queue.keep(known_files(this.getAttribute('value')));
      this.#update();
    }

    // As a queue

    get queue() { return this.#queue; }
    get entries() { return this.#queue.entries; }
    get files_total() { return this.#queue.files_total; }
    get bytes_total() { return this.#queue.bytes_total; }
    get bytes_acked() { return this.#queue.bytes_acked; }
    get busy() { return this.#queue.busy; }
    get has_failed() { return this.#queue.states.failed.size > 0; }
    get strings() { return this.#strings; }
    set strings(texts) {
      this.#strings = texts;
      this.#speak();
    }

    /** @param {Iterable<File | FileSystemHandle> | DataTransfer} files */
    async add(files) {
      if ('items' in files && !Array.isArray(files)) return this.#intake.take(dropped(/** @type {DataTransfer} */ (files)));
      const given = [...files];
      await this.#add(/** @type {File[]} */ (given.filter((one) => 'slice' in one)));
      await this.#intake.take(from_handles(/** @type {FileSystemHandle[]} */ (given.filter((one) => 'kind' in one))));
    }

    start() { this.#queue.start(); }
    pause() { this.#queue.pause(); }
    resume() { this.#queue.resume(); }
    retry() { this.#queue.retry(); }
    /** @param {string} [reason] */
    cancel(reason) { this.#queue.cancel(reason); }
    /** @param {'finished' | 'all'} what */
    clear(what) { this.#queue.clear(what); }
    open() { this.#intake.open(); }
    whenIdle() { return this.#queue.whenIdle(); }

    // In the page

    connectedCallback() {
      clearTimeout(this.#gone);
      join(this);
      this.attributeChangedCallback();
      if (this.#paused_away) this.#queue.resume();
      this.#paused_away = false;
      if (!this.#restored) {
        this.#restored = true;
        for (const { name } of this.attributes) if (meant(name)) console.warn(`incoming-upload: ${name} is ${meant(name)}`);
        for (const text of [this.getAttribute('value'), stored(this.getAttribute('restore'))]) this.#queue.keep(known_files(text));
        if (this.hasAttribute('restore')) void this.#queue.restore();
      }
      this.#update();
    }

    disconnectedCallback() {
      leave(this);
      this.#intake.rest();
      // Moved within the document it comes back at once.
      this.#gone = setTimeout(() => {
        keep_awake(this, false);
        this.#paused_away = this.busy;
        this.#queue.pause();
      }, GONE_MS);
    }

    attributeChangedCallback() {
      if (!this.isConnected) return;
      this.#settings();
      this.#speak();
      this.#intake.listen();
      this.#update();
    }

    #settings() {
      const text = (/** @type {string} */ name) => this.getAttribute(name);
      const max_files = (this.multiple && Number(text('max-files'))) || Infinity;
      const element = this;
      Object.assign(this.#queue.options, {
        concurrent: Number(text('concurrent')) || 4,
        scope: text('restore'),
        done_when: text('done-when'),
        field: this.name,
        limits: { accept: text('accept') ?? '', max_size: parse_size(text('max-size')), min_size: parse_size(text('min-size')), max_files },
        uploader: {
          hostname: text('hostname') || undefined,
          chunk_size: parse_size(text('chunk-size')),
          digest: this.hasAttribute('digest') ? text('digest') !== 'false' : undefined,
          get headers() { return element.headers; },
        },
      });
      this.#queue.auto = text('auto') !== 'false';
    }

    #speak() {
      const lang = this.getAttribute('lang') || /** @type {HTMLElement | null} */ (this.closest('[lang]'))?.lang || 'en';
      this.#speaker = new Speaker(lang, this.#strings);
      this.#paint_soon();
    }

    /** @param {import('../ticket.js').TicketRequest} request @param {AbortSignal} signal */
    #ticket(request, signal) {
      if (this.getTicket) return this.getTicket(request, signal);
      const url = this.getAttribute('ticket-url');
      if (!url) throw new TypeError('incoming-upload: ticket-url is missing');
      const credentials = /** @type {RequestCredentials} */ (this.getAttribute('ticket-credentials') || 'same-origin');
      return tickets_from(url, { credentials, headers: () => csrf_headers(this, this.form, url) })(request, signal);
    }

    /** @param {(File | import('../queue-entry.js').Item)[]} items */
    async #add(items) {
      const detail = { files: items };
      if (this.#disabled || items.length === 0 || !this.#fire('add', detail, true)) return;
      this.#problems.rest();
      let taken = [...detail.files];
      if (!this.multiple) {
        // As an input: the new file takes the place of the old one.
        for (const left of taken.splice(1)) this.#reject('slice' in left ? left : left.file ?? { name: '' }, 'count');
        for (const entry of this.entries) if (entry.state !== 'lost') entry.remove();
      }
      this.#queue.add(taken);
      this.#update();
    }

    // What happens

    /** @param {string} type @param {object} [detail] @param {boolean} [cancelable] */
    #fire(type, detail = {}, cancelable = false) {
      return this.dispatchEvent(new CustomEvent(`incoming-${type}`, { detail, cancelable, bubbles: true, composed: true }));
    }

    /** @param {{ entry: Entry, from: string, to: string }} change */
    #on_state({ from, to }) {
      if (to === 'finished' && this.busy) this.#announcer.say(() => this.#speaker.say('said_progress', { done: this.#queue.files_done, n: this.#countable() }));
      const counts = ['finished', 'failed', 'handing_over', 'kept'];
      if (counts.includes(to) || counts.includes(from) || this.submit === 'block') this.#update();
    }

    #on_progress() {
      const now = performance.now();
      if (now - this.#progress_at < PROGRESS_MS) return;
      this.#progress_at = now;
      this.#fire('progress');
      if (this.files_total !== 1 || !this.bytes_total) return;
      const quarter = Math.floor((4 * this.bytes_acked) / this.bytes_total);
      if (quarter > this.#quarter && quarter < 4) this.#announcer.say(() => this.#speaker.say('said_percent', { name: this.entries[0].name, percent: this.#speaker.percent(quarter / 4) }));
      this.#quarter = quarter;
    }

    #announce_end() {
      const n = this.#queue.states.finished.size;
      // Nothing is left of figures that waited.
      this.#announcer.now(() => (this.has_failed || n === 0 ? '' : this.#speaker.say('said_finished', { n })));
      this.#quarter = this.#added = 0;
    }

    /** @param {{ name: string }} file @param {string} code */
    #reject(file, code) {
      const limits = this.#queue.options.limits ?? {};
      const values = { max: this.#speaker.size(limits.max_size ?? 0), min: this.#speaker.size(limits.min_size ?? 0) };
      const sentence = (/** @type {string[]} */ names) => this.#speaker.say(`rejected_${code}`, { ...values, n: names.length, name: names[0] });
      this.#fire('reject', { file, code, message: sentence([file.name]) });
      this.#problems.add(code, file.name, sentence);
      this.#paint_soon();
    }

    // The form

    #countable() { return this.files_total - this.#queue.states.cancelled.size - this.#queue.states.lost.size; }

    /** Value, validity and states follow the queue; with many files not each of them makes a new value. */
    #update() {
      clearTimeout(this.#value_timer);
      if (this.busy && this.#queue.files_done > MANY_FIELDS) this.#value_timer = setTimeout(() => this.#update_value(), VALUE_MS);
      else this.#update_value();
      this.#validate();
      this.#paint_soon();
    }

    #update_value() {
      const done = this.#queue.done();
      const json = this.getAttribute('format') === 'json';
      if (!json && done.length === MANY_FIELDS + 1) console.warn('incoming-upload: over 500 files; format="json" posts one field');
      this.#internals.setFormValue(form_data(done, this.name, json));
      const value = done.map(({ id }) => id).join();
      if (value !== this.#value) {
        this.#value = value;
        stored(this.getAttribute('restore'), this.value);
        for (const type of ['input', 'change']) this.dispatchEvent(new Event(type, { bubbles: true, composed: type === 'input' }));
      }
    }

    #validate() {
      const failed = this.#queue.states.failed.size;
      const missing = this.required && this.#countable() === 0;
      const text = this.#custom_error || (failed > 0 ? this.#speaker.say('invalid_failed', { n: failed })
        : missing ? this.#speaker.say('invalid_missing') : this.submit === 'block' && this.busy ? this.#speaker.say('invalid_busy') : '');
      this.#internals.setValidity(text ? { valueMissing: missing, customError: !missing } : {}, text, this.#intake.choose);
    }

    /** @param {boolean} held */
    hold(held) {
      this.#is_held = held;
      this.#paint_soon();
      if (held) this.#announcer.now(() => this.#speaker.say('held', { n: this.#queue.pending }));
    }

    /** The form is sent. */
    on_sent() { stored(this.getAttribute('restore'), ''); }
    /** @param {HTMLElement | null} submitter */
    on_held(submitter) { this.#fire('submit-held', { submitter, pending: this.#queue.pending }); }
    focus_failed() {
      this.#paint();
      this.#rows.focus_failed();
    }

    // Painting, once a frame

    #paint_soon() {
      if (this.#frame === 0 && this.isConnected) this.#frame = requestAnimationFrame(() => this.#paint());
    }

    #paint() {
      cancelAnimationFrame(this.#frame);
      this.#frame = 0;
      const { states, options, blocked, pending, bytes_total, bytes_acked } = this.#queue;
      const say = this.#speaker.say.bind(this.#speaker);
      const { max_size, max_files = Infinity, accept } = options.limits ?? {};
      const hints = [accept?.replaceAll(/, ?/g, ', '), max_size && say('hint_size', { size: this.#speaker.size(max_size) }), max_files < Infinity && say('hint_count', { n: max_files })];
      this.#intake.paint(this.#speaker, [...(this.labels ?? [])].map((one) => one.textContent?.trim()).join(', '), hints.filter(Boolean).join(', '));
      const previews = this.getAttribute('previews') || 'auto';
      this.#rows.paint(this.#speaker, { previews: previews === 'always' || (previews === 'auto' && this.files_total <= MANY_FIELDS) });
      const n = this.#countable();
      write(this.#summary, n > 1 ? say('summary', { done: this.#queue.files_done, n, acked: this.#speaker.size(bytes_acked), total: this.#speaker.size(bytes_total) }) : '');
      write(this.#notice, !blocked ? this.#problems.text : 'retry_in_s' in blocked ? say('blocked', { n: blocked.retry_in_s }) : say('auth'));
      this.#again.hidden = !blocked;
      write(this.#again, say('retry'));
      this.#held.hidden = !this.#is_held;
      write(this.#held_text, this.#is_held ? say('held', { n: pending }) : '');
      write(this.#not_now, say('not_now'));
      this.#state('empty', this.files_total === 0);
      for (const name of /** @type {const} */ (['uploading', 'paused', 'stalled', 'failed'])) this.#state(name, states[name].size > 0);
      this.#state('finished', n > 0 && this.#queue.files_done === n);
      this.#state('held', this.#is_held);
      keep_awake(this, this.busy && this.getAttribute('wake-lock') !== 'off');
    }

    /** @param {string} name @param {boolean} on */
    #state(name, on) {
      const { states } = this.#internals;
      if (on) states?.add(name);
      else states?.delete(name);
    }
  };
}
