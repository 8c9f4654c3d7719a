/**
 * The origin a hostname stands for. With `http://` or `https://` it is taken as it is; a bare `host` or `host:port`
 * gets the scheme of the page, and https where the page has neither (as on `file:`).
 * @param {string} hostname
 * @param {string | undefined} page_protocol such as `https:`
 * @throws {TypeError} when it cannot be one
 */
export declare function origin_of(hostname: string, page_protocol: string | undefined): string;
/**
 * The origin a script was loaded from, null where that says nothing (inline, blob:, data:, file:).
 * @param {string | null | undefined} script_url
 */
export declare function script_origin(script_url: string | null | undefined): string | null;
/**
 * @param {string} origin
 * @param {string} upload_id
 */
export declare function upload_url(origin: string, upload_id: string): string;
