/**
 * Makes nodes without markup, as strict pages demand.
 */

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} name class and part; empty for none
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, name, ...children) {
  const node = document.createElement(tag);
  if (name) {
    node.className = name;
    node.setAttribute('part', name);
  }
  node.append(...children);
  return node;
}

/** Writes only what differs: a screen reader notices each change. @param {Node} node @param {string} text */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** @param {Element} node @param {string} name @param {string} value */
export function put(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** @param {string} part @param {() => void} on_click */
export function button(part, on_click) {
  const node = make('button', part);
  node.type = 'button';
  node.addEventListener('click', on_click);
  return node;
}
