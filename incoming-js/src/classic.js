/**
 * Entry of the classic script: makes the global `incoming`.
 */
import { create_library } from './library.js';
import { script_origin } from './origin.js';

const script = typeof document === 'undefined' ? null : document.currentScript;

Object.assign(globalThis, { incoming: create_library(script_origin(script?.getAttribute('src') ? /** @type {HTMLScriptElement} */ (script).src : null)) });
