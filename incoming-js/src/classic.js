/**
 * Entry point of the classic script: defines the global `incoming`.
 */
import { create_library, script_origin } from './library.js';

const script = typeof document === 'undefined' ? null : document.currentScript;

Object.assign(globalThis, { incoming: create_library(script_origin(script?.getAttribute('src') ? /** @type {HTMLScriptElement} */ (script).src : null)) });
