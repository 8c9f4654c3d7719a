/**
 * A short mark of a file's first and last bytes, to tell apart files that agree in name, size and time. It finds
 * mistakes, also where browsers have no SHA-256 (outside of secure contexts); it is no proof.
 */
import { PIECE_BYTES } from './limits.js';

/**
 * @param {Blob} file
 * @returns {Promise<number>} of 53 bits; rejects when it cannot be read
 */
export async function mark_of(file) {
  const { size } = file;
  const ends = [file.slice(0, Math.min(size, PIECE_BYTES)), file.slice(Math.max(0, size - PIECE_BYTES), size)];
  // Two multiplicative hashes that are mixed at the end (cyrb53).
  let [a, b] = [0xdeadbeef, 0x41c6ce57];
  for (const end of ends) {
    for (const byte of new Uint8Array(await end.arrayBuffer())) {
      a = Math.imul(a ^ byte, 2654435761);
      b = Math.imul(b ^ byte, 1597334677);
    }
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return 4294967296 * (2097151 & b) + (a >>> 0);
}
