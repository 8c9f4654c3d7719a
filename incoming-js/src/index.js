/**
 * Entry point of the ES module.
 */
import { create_library, script_origin } from './library.js';

const incoming = create_library(script_origin(import.meta.url));

export default incoming;
export const { set_server_hostname, Uploader, UploadError, recall, unfinished, forget } = incoming;
