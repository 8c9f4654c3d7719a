/**
 * SHA-256, computed by the browser, off the main thread, for the server to compare.
 */
import { HASH_BYTES } from './limits.js';

/**
 * The digest in base64; null outside of secure contexts. What cannot be read rejects.
 * @param {Blob} blob held in memory meanwhile
 * @returns {Promise<string | null>}
 */
export async function sha256(blob) {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle) return null;
  const hash = await subtle.digest('SHA-256', await blob.arrayBuffer());
  return btoa(String.fromCharCode(...new Uint8Array(hash)));
}

/**
 * Value of a `Content-Digest` header; null where there can be none: outside of secure contexts, for a chunk too large
 * to be held in memory, and for one that cannot be read, of which the request itself will tell.
 * @param {Blob | string | undefined} body
 * @returns {Promise<string | null>}
 */
export async function content_digest(body) {
  if (typeof body !== 'object' || body.size > HASH_BYTES) return null;
  try {
    const hash = await sha256(body);
    return hash && `sha-256=:${hash}:`;
  } catch {
    return null;
  }
}
