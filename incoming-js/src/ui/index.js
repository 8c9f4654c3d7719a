/**
 * Entry point of `incoming-js/ui`: defines `<incoming-upload>` where there is a page.
 */
import incoming from '../index.js';
import { element_class } from './element.js';
import { add_language } from './strings.js';

export { add_language };
/** @type {typeof import('../api-ui.js').IncomingUpload} */
export const IncomingUpload = element_class(incoming);

if (globalThis.customElements && !customElements.get('incoming-upload')) customElements.define('incoming-upload', IncomingUpload);
