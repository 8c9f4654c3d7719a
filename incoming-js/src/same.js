/**
 * Whether the file is the one that the upload began with: pieces of what the server holds are compared with the file.
 *
 * Before an upload goes on over bytes that this uploader has not sent itself, those are compared. Before the last bytes
 * go out, all that is acknowledged is, since browsers may read on in a file that is written over: the last bytes are
 * read first, so that whatever was sent was read before the comparison. Only a plain no of the server ends the upload;
 * where nothing can be compared, it goes on.
 */
import { file_changed } from './failures.js';
import { MIN_PIECE_BYTES, PIECES, PIECE_BYTES, VERIFY_TRIES } from './limits.js';
import { missing, size_of, union } from './ranges.js';
import { in_memory, is_readable } from './readable.js';
import { verdict } from './reply.js';

/** @typedef {import('./ranges.js').Range} Range */
/** @typedef {import('./upload.js').Upload} Upload */

/**
 * Nothing to compare, pieces being read (a value of its own, since a later check takes its place), or the text to send.
 * @typedef {null | object | string} Check
 */

/**
 * Pieces of `ranges` to compare, in order: all of it where that is little; else the first, the last, and one from each
 * of equal parts between, by chance, so that every change over more than two parts is met.
 * @param {readonly Range[]} ranges merged
 * @param {() => number} random in [0, 1)
 */
export function pieces(ranges, random) {
  const large = ranges.filter(([from, to]) => to - from >= MIN_PIECE_BYTES);
  const total = size_of(large);
  const count = Math.min(PIECES, Math.ceil(total / PIECE_BYTES));
  /** @type {Map<number, Range>} by start, so that none comes twice */
  const out = new Map();
  for (let i = 0; i < count; i += 1) {
    const chance = i === 0 ? 0 : i === count - 1 ? 1 : random();
    let place = Math.floor((i * total) / count + chance * Math.max(0, total / count - PIECE_BYTES));
    for (const [from, to] of large) {
      if (place < to - from) {
        const start = Math.max(from, Math.min(from + place, to - PIECE_BYTES));
        out.set(start, [start, Math.min(to, start + PIECE_BYTES)]);
        break;
      }
      place -= to - from;
    }
  }
  return [...out.values()].sort((a, b) => a[0] - b[0]);
}

/**
 * Begins to compare what is not surely of this file, if there is any; until it is done no chunk is sent.
 * @param {Upload} upload whose status was just read
 */
export function check_foreign(upload) {
  const { ledger, own } = upload;
  begin_check(upload, ledger.received.flatMap(([from, to]) => missing(own, from, to)), null);
}

/**
 * Begins to compare whatever is acknowledged, and holds the last bytes ready.
 * @param {Upload} upload that lacks these only
 * @param {Range} last
 */
export function check_all(upload, last) {
  begin_check(upload, upload.ledger.received, last);
}

/**
 * @param {Upload} upload
 * @param {Range[]} ranges
 * @param {Range | null} last
 */
function begin_check(upload, ranges, last) {
  const { file, ports } = upload;
  const chosen = upload.verify_failures < VERIFY_TRIES ? pieces(ranges, ports.clock.random) : [];
  upload.check = upload.last = null;
  if (chosen.length === 0 && !last) return;
  const check = (upload.check = {});
  /**
   * Does nothing when another phase came in between.
   * @template T
   * @param {(value: T) => void} act
   */
  const meanwhile = (act) => (/** @type {T} */ value) => {
    if (upload.check !== check) return;
    act(value);
    upload.settle();
  };
  const read = async () => {
    const bytes = last && (await in_memory(file.slice(...last)));
    return { bytes, body: await read_pieces(file, chosen, ports.sha256) };
  };
  read().then(
    meanwhile(({ bytes, body }) => {
      upload.last = bytes;
      if (body === null) trust(upload);
      else upload.check = body;
    }),
    meanwhile(() => upload.cannot_read()),
  );
}

/**
 * One after the other, so that little is in memory; null where there is nothing that can be hashed.
 * @param {File} file
 * @param {Range[]} ranges
 * @param {import('./types.js').Ports['sha256']} sha256
 */
async function read_pieces(file, ranges, sha256) {
  const asked = [];
  for (const range of ranges) {
    const hash = await sha256(file.slice(...range));
    if (hash === null) return null;
    asked.push({ range, 'sha-256': hash });
  }
  return asked.length ? JSON.stringify({ ranges: asked }) : null;
}

/**
 * @param {Upload} upload
 * @param {import('./types.js').Status} status
 */
export function on_verdicts(upload, { verified }) {
  upload.verify_failures = 0;
  if (!verified.includes(false)) return trust(upload);
  upload.fail(file_changed());
  // Else the same file would be led to the same upload again.
  upload.memory.end();
}

/**
 * The server cannot compare, or not now. Gives true when it is to be asked once more, later; one that is busy, as often as
 * it takes.
 * @param {Upload} upload
 * @param {import('./types.js').Outcome} outcome
 */
export function ask_again(upload, outcome) {
  const refusal = outcome.kind === 'refused' ? outcome.refusal : null;
  if (refusal?.http !== 429) upload.verify_failures += 1;
  const later = !refusal || verdict(refusal) === 'retry';
  if (later && upload.verify_failures < VERIFY_TRIES) return true;
  trust(upload);
  return false;
}

/** @param {Upload} upload */
function trust(upload) {
  upload.check = null;
  upload.own = union(upload.own, upload.ledger.received);
}

/**
 * Looks whether the file can still be read, one look at a time.
 * @param {Upload} upload
 * @param {number} at offset of a byte that is being sent, or was
 */
export async function look_at_file(upload, at) {
  if (upload.looking) return;
  upload.looking = true;
  const readable = await is_readable(upload.file, at);
  upload.looking = false;
  if (readable) return;
  upload.cannot_read();
  upload.settle();
}
