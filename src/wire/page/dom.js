// Making and changing elements. Texts are texts: nothing here reads markup. What has not changed is not touched, so that focus,
// selection and screen readers stay where they are.

/** An element with these properties and children; `class`, `aria-…`, `data-…` and `role` become attributes. */
export function make(name, given = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(given)) {
    if (key === 'class' || key === 'role' || key === 'scope' || key.includes('-')) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

export const by_id = (id) => document.getElementById(id);

export function set_text(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function set_attribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** A name from outside: in a direction of its own. */
export const foreign = (text) => make('bdi', {}, text);

/** A table whose rows stay the same elements while their keys do. `columns`: `{ title, cell, update(cell, item), class }`, where
 *  `cell()` makes what is in a cell, and `update` shows an item in it. */
export class Table {
  #rows = new Map();

  constructor(element, columns, key) {
    this.element = element;
    this.columns = columns;
    this.key = key;
    // In a narrow page they are no table to the eye; to a screen reader they stay one.
    const titles = columns.map(({ title, class: name = '' }) => make('th', { role: 'columnheader', scope: 'col', class: name }, title));
    this.body = make('tbody', { role: 'rowgroup' });
    element.setAttribute('role', 'table');
    element.append(make('thead', { role: 'rowgroup' }, make('tr', { role: 'row' }, ...titles)), this.body);
  }

  /** Shows these items. Rows change places only while no pointer or focus is in them. */
  show(items) {
    const in_use = this.element.matches(':hover') || this.element.contains(document.activeElement);
    const wanted = new Map(items.map((item) => [this.key(item), item]));
    this.#leave((key) => !wanted.has(key));
    for (const [key, item] of wanted) this.#row(key, item);
    if (!in_use) this.#order([...wanted.keys()]);
    this.element.parentElement.hidden = wanted.size === 0;
  }

  #row(key, item) {
    let row = this.#rows.get(key);
    if (!row) {
      const cells = this.columns.map(({ title, cell = () => [], class: name = '' }) => make('td', { role: 'cell', class: name, 'data-title': title }, ...cell(() => row.item)));
      row = { element: make('tr', { role: 'row' }, ...cells), item };
      this.#rows.set(key, row);
      this.body.append(row.element);
    }
    row.item = item;
    this.columns.forEach(({ update }, at) => update(row.element.children[at], item));
  }

  /** Removes rows. The focus goes on to the next row, or to where `lost` leads. */
  #leave(gone) {
    for (const [key, { element }] of this.#rows) {
      if (!gone(key)) continue;
      this.#rows.delete(key);
      if (element.contains(document.activeElement)) {
        const at = [...element.querySelectorAll('button')].indexOf(document.activeElement);
        const next = [element.nextElementSibling, element.previousElementSibling].filter(Boolean).flatMap((row) => [...row.querySelectorAll('button')].slice(Math.max(0, at)));
        element.remove();
        (next.find((button) => !button.hidden) ?? this.fallback)?.focus();
      } else element.remove();
    }
  }

  #order(keys) {
    keys.forEach((key, at) => {
      const { element } = this.#rows.get(key);
      if (this.body.children[at] !== element) this.body.insertBefore(element, this.body.children[at] ?? null);
    });
  }

  /** Where the focus goes when the last row goes: the heading of the table's section. */
  get fallback() {
    return this.element.closest('section').querySelector('h2[tabindex]');
  }
}
