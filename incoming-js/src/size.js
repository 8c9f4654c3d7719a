/**
 * How large a chunk is. Pure. What is learnt about the line and the proxies on it comes in as an argument, so
 * that other rules of growth and shrinking are a matter of this file alone.
 */
import { MIN_CHUNK_BYTES } from './limits.js';

/**
 * Bytes of the next chunk.
 * @param {{ chunk_size: number, max_chunk_size: number | null }} status what the server suggests and takes
 * @param {number | undefined} wanted by the page
 * @param {number} ceiling learnt from refusals; Infinity at first
 */
export function chunk_bytes({ chunk_size, max_chunk_size }, wanted, ceiling) {
  return Math.max(1, Math.min(wanted ?? chunk_size, max_chunk_size ?? Infinity, ceiling));
}

/**
 * The new ceiling after a chunk of `sent` bytes was refused as too large; null when smaller makes no sense.
 * @param {number} sent
 * @param {number | null} max what the server said with the refusal that it takes
 */
export function ceiling_after_refusal(sent, max) {
  if (max !== null && max < sent) return max;
  if (sent <= MIN_CHUNK_BYTES) return null;
  return Math.max(MIN_CHUNK_BYTES, Math.floor(sent / 2));
}
