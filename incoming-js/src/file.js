/**
 * The file: reads and hashes it, and checks that it is still the one that the upload began with.
 *
 * Pieces of what the server holds are compared with the file: before an upload continues over bytes that this uploader did
 * not send, and, over everything, before the last bytes are sent, since a browser may go on reading a file that is being
 * overwritten. The last bytes are read before the pieces are, so everything that was sent was read before the comparison.
 * Only a definite mismatch ends the upload; if nothing can be compared, it goes on.
 */
import { HASH_BYTES, MIN_PIECE_BYTES, PIECES, PIECE_BYTES, VERIFY_TRIES } from './limits.js';
import { file_changed, meaning_of } from './protocol.js';
import { missing, size_of, union } from './ranges.js';

/** @typedef {import('./ranges.js').Range} Range */
/** @typedef {import('./upload.js').Upload} Upload */

// Reading and hashing

/**
 * A copy of the bytes in memory, which no longer follows the file. Rejects if not all of them can be read.
 * @param {Blob} piece small
 */
export async function in_memory(piece) {
  const bytes = await piece.arrayBuffer();
  if (bytes.byteLength !== piece.size) throw new RangeError();
  return new Blob([bytes]);
}

/**
 * SHA-256 in base64; null outside of secure contexts. Rejects if the blob cannot be read.
 * @param {Blob} blob is in memory meanwhile
 * @returns {Promise<string | null>}
 */
export async function sha256(blob) {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle) return null;
  const hash = await subtle.digest('SHA-256', await blob.arrayBuffer());
  return btoa(String.fromCharCode(...new Uint8Array(hash)));
}

/**
 * Value of a `Content-Digest` header; null outside of secure contexts, for a chunk too large for memory, and for one that
 * cannot be read (the request itself will fail then).
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

/**
 * A hash of a file's first and last bytes, to tell apart files with the same name, size and time. Detects mistakes, also
 * where browsers have no SHA-256; proves nothing. Stored in resume records, so it must not change.
 * @param {Blob} file
 * @returns {Promise<number>} 53 bits; rejects if the file cannot be read
 */
export async function fingerprint(file) {
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

/**
 * Checks that the file can still be read, one check at a time. If a file has changed or is gone, browsers report a network
 * error, or stop sending; only reading a byte tells it from the network.
 * @param {Upload} upload
 * @param {number} at offset of a byte that is or was being sent
 */
export async function check_readable(upload, at) {
  if (upload.reading) return;
  upload.reading = true;
  try {
    await in_memory(upload.file.slice(at, at + 1));
    upload.reading = false;
  } catch {
    upload.reading = false;
    upload.read_failed();
    upload.settle();
  }
}

// Comparing

/**
 * Pieces of `ranges` to compare, in order: everything if that is little; else the first, the last, and one at random from
 * each of equal parts between, so that every change longer than two parts is found.
 * @param {readonly Range[]} ranges merged
 * @param {() => number} random in [0, 1)
 */
export function sample_pieces(ranges, random) {
  const large = ranges.filter(([from, to]) => to - from >= MIN_PIECE_BYTES);
  const total = size_of(large);
  const count = Math.min(PIECES, Math.ceil(total / PIECE_BYTES));
  /** @type {Map<number, Range>} by start, so that none comes twice */
  const out = new Map();
  for (let i = 0; i < count; i += 1) {
    const chance = i === 0 ? 0 : i === count - 1 ? 1 : random();
    let offset = Math.floor((i * total) / count + chance * Math.max(0, total / count - PIECE_BYTES));
    for (const [from, to] of large) {
      if (offset < to - from) {
        const start = Math.max(from, Math.min(from + offset, to - PIECE_BYTES));
        out.set(start, [start, Math.min(to, start + PIECE_BYTES)]);
        break;
      }
      offset -= to - from;
    }
  }
  return [...out.values()].sort((a, b) => a[0] - b[0]);
}

/**
 * Begins to compare the acknowledged bytes that may be of another file, if there are any. No chunk is sent until that is
 * done.
 * @param {Upload} upload whose status was just read
 */
export function check_untrusted(upload) {
  const { server_ranges, trusted } = upload;
  begin_check(upload, server_ranges.received.flatMap(([from, to]) => missing(trusted, from, to)), null);
}

/**
 * Begins to compare all acknowledged bytes, and reads the last bytes.
 * @param {Upload} upload
 * @param {Range} last the only bytes that are not acknowledged
 */
export function check_all(upload, last) {
  begin_check(upload, upload.server_ranges.received, last);
}

/**
 * @param {Upload} upload
 * @param {Range[]} ranges
 * @param {Range | null} last
 */
function begin_check(upload, ranges, last) {
  const { file, ports } = upload;
  const pieces = upload.verify_failures < VERIFY_TRIES ? sample_pieces(ranges, ports.clock.random) : [];
  upload.check = upload.last_bytes = null;
  if (pieces.length === 0 && !last) return;
  const check = (upload.check = {});
  /**
   * Does nothing if the phase has changed in the meantime.
   * @template T
   * @param {(value: T) => void} act
   */
  const if_current = (act) => (/** @type {T} */ value) => {
    if (upload.check !== check) return;
    act(value);
    upload.settle();
  };
  const read = async () => {
    const bytes = last && (await in_memory(file.slice(...last)));
    return { bytes, body: await hash_pieces(file, pieces, ports.sha256) };
  };
  read().then(
    if_current(({ bytes, body }) => {
      upload.last_bytes = bytes;
      if (body === null) trust_received(upload);
      else upload.check = body;
    }),
    if_current(() => upload.read_failed()),
  );
}

/**
 * Body of a verify request; null if there is nothing to compare or no SHA-256. One piece at a time, to save memory.
 * @param {File} file
 * @param {Range[]} pieces
 * @param {import('./types.js').Ports['sha256']} sha256
 */
async function hash_pieces(file, pieces, sha256) {
  const ranges = [];
  for (const range of pieces) {
    const hash = await sha256(file.slice(...range));
    if (hash === null) return null;
    ranges.push({ range, 'sha-256': hash });
  }
  return ranges.length ? JSON.stringify({ ranges }) : null;
}

/**
 * @param {Upload} upload
 * @param {import('./types.js').Status} status answer to a comparison
 */
export function on_verified(upload, { verified }) {
  upload.verify_failures = 0;
  if (!verified.includes(false)) return trust_received(upload);
  upload.fail(file_changed());
  // Otherwise the same file would resume the same upload again.
  upload.record.remove();
}

/**
 * A comparison failed for another reason than the file. True if it is to be retried: some times, but without limit while the
 * server is busy.
 * @param {Upload} upload
 * @param {import('./types.js').Outcome} outcome
 */
export function retry_verify(upload, outcome) {
  const refusal = outcome.kind === 'refused' ? outcome.refusal : null;
  if (refusal?.http !== 429) upload.verify_failures += 1;
  const transient = !refusal || meaning_of(refusal) === 'retry';
  if (transient && upload.verify_failures < VERIFY_TRIES) return true;
  trust_received(upload);
  return false;
}

/** @param {Upload} upload */
function trust_received(upload) {
  upload.check = null;
  upload.trusted = union(upload.trusted, upload.server_ranges.received);
}
