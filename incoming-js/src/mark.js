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
  // Two multiplicative hashes.
  let [a, b] = [1, 2];
  for (const end of ends) {
    for (const byte of new Uint8Array(await end.arrayBuffer())) {
      a = Math.imul(a ^ byte, 2654435761);
      b = Math.imul(b ^ byte, 1597334677);
    }
  }
  return 2 ** 32 * (b >>> 11) + (a >>> 0);
}
