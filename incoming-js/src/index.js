/**
 * Entry of the ES module.
 */
import { create_library } from './library.js';
import { script_origin } from './origin.js';

const incoming = create_library(script_origin(import.meta.url));

export default incoming;
export const { set_server_hostname, Uploader, UploadError, recall, unfinished, forget } = incoming;

/** @typedef {import('./uploader.js').Uploader} UploaderObject */
/** @typedef {import('./types.js').Options} Options */
/** @typedef {import('./recall.js').Unfinished} Unfinished */
