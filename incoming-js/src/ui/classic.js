/**
 * Entry point of the script that a page loads: one file without imports, as a classic or a module script. It uses the library of the
 * page, if there is one, since two would have two budgets of connections.
 */
import { create_library, script_origin } from '../library.js';
import { element_class } from './element.js';
import { add_language } from './strings.js';

const page = /** @type {any} */ (globalThis);

if (page.customElements && !customElements.get('incoming-upload')) {
  // A module script does not know itself.
  const script = /** @type {HTMLScriptElement | null} */ (document.currentScript ?? document.querySelector('script[src*="incoming-ui"]'));
  page.incoming ??= create_library(script_origin(script?.src));
  page.incoming.add_language = add_language;
  customElements.define('incoming-upload', element_class(page.incoming));
}
