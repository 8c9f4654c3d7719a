/**
 * The digest of a chunk, for the server to compare: computed by the browser, off the main thread.
 */
import { HASH_BYTES } from './limits.js';

/**
 * Value of a `Content-Digest` header; null where there can be none: outside of secure contexts, for a chunk too large
 * to be held in memory, and for one that cannot be read, of which the request itself will tell.
 * @param {Blob | string | undefined} body
 * @returns {Promise<string | null>}
 */
export async function content_digest(body) {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle || typeof body !== 'object' || body.size > HASH_BYTES) return null;
  try {
    const hash = await subtle.digest('SHA-256', await body.arrayBuffer());
    return `sha-256=:${btoa(String.fromCharCode(...new Uint8Array(hash)))}:`;
  } catch {
    return null;
  }
}
