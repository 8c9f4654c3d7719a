/**
 * The ways in which files come: choosers, a drop, a paste. The drop area has no role: the button does the same.
 */
import { dropped } from '../files.js';
import { button, make, put, write } from './dom.js';

/** @typedef {import('../queue-entry.js').Item} Item */

/**
 * @typedef {object} Host
 * @property {Element & { multiple: boolean }} element its attributes say which ways are open
 * @property {() => boolean} disabled
 * @property {(items: Iterable<File | Item>) => Promise<void>} add
 * @property {(one: { name: string, code: string }) => void} refuse
 * @property {(on: boolean) => void} dragging
 */

export class Intake {
  choose = button('main button', () => this.open());
  #folder = button('folder button', () => this.#folder_input.click());
  #camera = button('camera button', () => this.#camera_input.click());
  #file_input = this.#input();
  #folder_input = this.#input();
  #camera_input = this.#input();
  #text = make('span', 'drop-text');
  #hint = make('span', 'hint');
  area;
  #host;
  /** @type {AbortController | null} */
  #listening = null;

  /** @param {Host} host */
  constructor(host) {
    this.#host = host;
    const [label, icon, hint] = ['label', 'icon', 'hint'].map((name) => Object.assign(make('slot', ''), { name }));
    this.#folder_input.webkitdirectory = true;
    this.#hint.id = 'hint';
    hint.append(this.#hint);
    this.choose.setAttribute('aria-describedby', 'hint');
    this.area = make('div', 'drop', icon, label, this.choose, this.#folder, this.#camera, this.#text, hint, this.#file_input, this.#folder_input, this.#camera_input);
  }

  #input() {
    const input = document.createElement('input');
    input.type = 'file';
    input.hidden = true;
    input.addEventListener('change', () => {
      void this.#host.add([...(input.files ?? [])]);
      // The same file can be chosen again.
      input.value = '';
    });
    return input;
  }

  open() {
    if (!this.#host.disabled()) this.#file_input.click();
  }

  /** @param {import('./strings.js').Speaker} speaker @param {string} label of the page @param {string} hint */
  paint(speaker, label, hint) {
    const { element } = this.#host;
    const disabled = this.#host.disabled();
    const camera = element.getAttribute('camera');
    this.#file_input.multiple = element.multiple;
    const choose = speaker.say('choose', { n: element.multiple ? 2 : 1 });
    for (const input of [this.#file_input, this.#camera_input]) put(input, 'accept', element.getAttribute('accept') ?? '');
    if (camera) put(this.#camera_input, 'capture', camera);
    if (!this.#camera_input.accept) this.#camera_input.accept = 'image/*';
    write(this.choose, choose);
    put(this.choose, 'aria-label', label ? `${choose}, ${label}` : choose);
    write(this.#folder, speaker.say('folder'));
    write(this.#camera, speaker.say('camera'));
    this.#folder.hidden = !element.hasAttribute('directory');
    this.#camera.hidden = !camera || !('capture' in this.#camera_input);
    for (const one of [this.choose, this.#folder, this.#camera]) one.disabled = disabled;
    write(this.#text, element.getAttribute('drop') === 'off' ? '' : speaker.say('drop'));
    write(this.#hint, hint);
  }

  /** Listens until `rest`. */
  listen() {
    this.rest();
    const { element, dragging, disabled } = this.#host;
    const drop = element.getAttribute('drop') || 'self';
    const paste = element.getAttribute('paste');
    const { signal } = (this.#listening = new AbortController());
    const target = drop === 'page' ? document.documentElement : drop === 'self' ? element : drop === 'off' ? null : document.querySelector(drop);
    let depth = 0;
    const has_files = (/** @type {DragEvent} */ event) => !disabled() && event.dataTransfer?.types.includes('Files');
    const on = (/** @type {string} */ type, /** @type {(event: any) => void} */ fn) => target?.addEventListener(type, fn, { signal });
    on('dragenter', (event) => has_files(event) && (depth += 1) && dragging(true));
    on('dragleave', (event) => has_files(event) && (depth = Math.max(0, depth - 1)) === 0 && dragging(false));
    on('dragover', (event) => has_files(event) && event.preventDefault());
    on('drop', (event) => {
      depth = 0;
      dragging(false);
      if (!has_files(event)) return;
      event.preventDefault();
      void this.take(dropped(event.dataTransfer));
    });
    const from = paste === 'page' ? document : paste === 'off' ? null : element;
    from?.addEventListener('paste', (event) => {
      const data = /** @type {ClipboardEvent} */ (event).clipboardData;
      if (!data || data.files.length === 0 || disabled()) return;
      event.preventDefault();
      void this.take(dropped(data));
    }, { signal });
  }

  rest() {
    this.#listening?.abort();
  }

  /** @param {ReturnType<typeof dropped>} portions */
  async take(portions) {
    for await (const { items, refused } of portions) {
      for (const one of refused) this.#host.refuse(one);
      await this.#host.add(items);
    }
  }
}
