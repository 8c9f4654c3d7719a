/**
 * Files as people give them: chosen, dropped with folders, pasted. What is taken, and why another one is not.
 */

/** @typedef {import('./queue-entry.js').Item} Item */

/**
 * @typedef {object} Limits
 * @property {string} [accept] as of `<input type=file>`
 * @property {number} [max_size] bytes
 * @property {number} [min_size] bytes
 * @property {number} [max_files]
 */

/** Files that systems leave in folders. */
const JUNK = /^(\.DS_Store|Thumbs\.db|desktop\.ini)$/i;
/** Of a folder, at a time: a task stays short, and the first files start before the last are found. */
const BATCH = 500;

/** Bytes of a text such as `2GB` or `1.5 MiB`; undefined if it is none. @param {string | null | undefined} text */
export function parse_size(text) {
  const [, number, unit = '', binary] = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*$/i.exec(text ?? '') ?? [];
  return number ? Math.round(Number(number) * (binary ? 1024 : 1000) ** ' kmgt'.indexOf(unit.toLowerCase() || ' ')) : undefined;
}

/** What makes a file the same as another one of the list. @param {Item} item */
export function item_key({ file, source, path }) {
  return file ? [path ?? '', file.name, file.size, file.lastModified].join('\n') : `${path ?? ''}\n${source?.name}`;
}

/**
 * Whether `accept` names this file. Phones and some systems give no type: then the extension decides.
 * @param {{ name: string, type: string }} file
 * @param {string | undefined} accept
 */
export function is_accepted({ name, type }, accept) {
  const rules = (accept ?? '').toLowerCase().split(',').map((rule) => rule.trim()).filter(Boolean);
  const [lower_name, lower_type] = [name.toLowerCase(), type.toLowerCase()];
  return rules.length === 0 || rules.some((rule) => {
    if (rule.startsWith('.')) return lower_name.endsWith(rule);
    if (!lower_type) return (EXTENSIONS[rule] ?? '').split(' ').includes(/[^.]*$/.exec(lower_name)?.[0] ?? '');
    return rule.endsWith('/*') ? lower_type.startsWith(rule.slice(0, -1)) : lower_type === rule;
  });
}

/** For files without a type. @type {Record<string, string>} */
const EXTENSIONS = {
  'image/*': 'jpg jpeg png gif webp avif heic heif bmp svg tif tiff',
  'video/*': 'mp4 m4v mov webm mkv avi',
  'audio/*': 'mp3 m4a wav ogg flac aac',
  'application/pdf': 'pdf',
};

/**
 * @param {File} file
 * @param {Limits} [limits]
 * @returns {'type' | 'size' | 'small' | null} null: it is taken
 */
export function file_refusal(file, { accept, max_size = Infinity, min_size = 0 } = {}) {
  if (!is_accepted(file, accept)) return 'type';
  return file.size > max_size ? 'size' : file.size < min_size ? 'small' : null;
}

/**
 * What a drop or a paste holds. Everything is taken before this returns: after an `await` the browser has emptied it.
 * @param {DataTransfer} data
 * @returns {AsyncGenerator<{ items: Item[], refused: { name: string, code: 'empty-folder' | 'unreadable' }[] }>} in portions
 */
export function dropped(data) {
  const items = [...(data.items ?? [])].filter(({ kind }) => kind === 'file');
  const entries = items.map((item) => item.webkitGetAsEntry?.() ?? null);
  const files = items.map((item) => item.getAsFile());
  // Elsewhere than in secure contexts the call has crashed browsers.
  const handles = items.map((item) => (globalThis.isSecureContext ? /** @type {any} */ (item).getAsFileSystemHandle?.()?.catch?.(() => null) : null));
  const loose = items.length > 0 ? [] : [...data.files].map((file) => ({ file }));
  return portions(async function* () {
    yield* loose;
    for (const [n, entry] of entries.entries()) {
      const file = files[n];
      if (entry?.isDirectory) yield* walk_entry(entry);
      else if (file) {
        const handle = await handles[n];
        yield { file, handle: handle?.kind === 'file' ? handle : null };
      }
    }
  }());
}

/** Files behind handles, folders with all that is in them. @param {Iterable<FileSystemHandle>} handles */
export function from_handles(handles) {
  return portions(async function* () {
    for (const handle of handles) yield* walk_handle(handle, '');
  }());
}

/** @param {AsyncGenerator<Item | { name: string, code: 'empty-folder' | 'unreadable' }>} found */
async function* portions(found) {
  /** @type {Item[]} */
  let items = [];
  /** @type {{ name: string, code: 'empty-folder' | 'unreadable' }[]} */
  let refused = [];
  for await (const one of found) {
    if ('code' in one) refused.push(one);
    else items.push(one);
    if (items.length < BATCH) continue;
    yield { items, refused };
    [items, refused] = [[], []];
  }
  if (items.length + refused.length > 0) yield { items, refused };
}

/** @param {any} entry `FileSystemEntry` @returns {AsyncGenerator<any>} */
async function* walk_entry(entry) {
  if (entry.isFile) {
    if (!JUNK.test(entry.name)) yield { source: entry, path: entry.fullPath.replace(/^\//, '') };
    return;
  }
  try {
    const reader = entry.createReader();
    let count = 0;
    for (;;) {
      // At most 100 at a time in some browsers: until there are none.
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (some.length === 0) break;
      count += some.length;
      for (const one of some) yield* walk_entry(one);
    }
    if (count === 0) yield { name: entry.name, code: 'empty-folder' };
  } catch {
    yield { name: entry.name, code: 'unreadable' };
  }
}

/** @param {any} handle `FileSystemHandle` @param {string} folder @returns {AsyncGenerator<any>} */
async function* walk_handle(handle, folder) {
  const path = folder + handle.name;
  try {
    if (handle.kind === 'directory') for await (const one of handle.values()) yield* walk_handle(one, `${path}/`);
    else if (!JUNK.test(handle.name)) yield { file: await handle.getFile(), path: folder ? path : null, handle };
  } catch {
    yield { name: handle.name, code: 'unreadable' };
  }
}
