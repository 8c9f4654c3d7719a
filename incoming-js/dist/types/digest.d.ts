/**
 * The digest in base64; null outside of secure contexts. What cannot be read rejects.
 * @param {Blob} blob held in memory meanwhile
 * @returns {Promise<string | null>}
 */
export declare function sha256(blob: Blob): Promise<string | null>;
/**
 * Value of a `Content-Digest` header; null where there can be none: outside of secure contexts, for a chunk too large
 * to be held in memory, and for one that cannot be read, of which the request itself will tell.
 * @param {Blob | string | undefined} body
 * @returns {Promise<string | null>}
 */
export declare function content_digest(body: Blob | string | undefined): Promise<string | null>;
