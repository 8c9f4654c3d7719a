/**
 * Whether the file is the one that the upload began with: before an upload goes on over bytes that this uploader has
 * not sent itself, a few pieces of them are compared with the file. Only a plain no of the server ends the upload; where
 * nothing can be compared, it goes on.
 */
import { file_changed, other_file } from './failures.js';
import { MIN_PIECE_BYTES, PIECE_BYTES, RANDOM_PIECES, VERIFY_TRIES } from './limits.js';
import { missing, size_of, union } from './ranges.js';
import { verdict } from './reply.js';

/** @typedef {import('./ranges.js').Range} Range */
/** @typedef {import('./upload.js').Upload} Upload */

/**
 * Nothing to compare, pieces being read (a value of its own, since a later check takes its place), or the text to send.
 * @typedef {null | object | string} Check
 */

/**
 * Pieces of `ranges` to compare: the first, the last and some by chance, in order.
 * @param {readonly Range[]} ranges merged
 * @param {() => number} random in [0, 1)
 */
export function pieces(ranges, random) {
  const large = ranges.filter(([from, to]) => to - from >= MIN_PIECE_BYTES);
  const total = size_of(large);
  const places = total === 0 ? [] : [0, total - 1];
  if (total > 2 * PIECE_BYTES) for (let i = 0; i < RANDOM_PIECES; i += 1) places.push(Math.floor(random() * total));
  /** @type {Map<number, Range>} by start, so that none comes twice */
  const out = new Map();
  for (let place of places) {
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
 * Begins to compare if there is anything to compare; until it is done no chunk is sent.
 * @param {Upload} upload whose status was just read
 */
export function begin_check(upload) {
  const { ledger, own, file, ports } = upload;
  const foreign = ledger.received.flatMap(([from, to]) => missing(own, from, to));
  const chosen = upload.verify_failures < VERIFY_TRIES ? pieces(foreign, ports.clock.random) : [];
  upload.check = null;
  if (chosen.length === 0) return;
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
  read_pieces(file, chosen, ports.sha256).then(
    meanwhile((body) => (body === null ? trust(upload) : (upload.check = body))),
    meanwhile(() => upload.fail(file_changed())),
  );
}

/**
 * One after the other, so that little is in memory; null where nothing can be hashed.
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
  return JSON.stringify({ ranges: asked });
}

/**
 * @param {Upload} upload
 * @param {import('./types.js').Status} status
 */
export function on_verdicts(upload, { verified }) {
  if (verified.includes(false)) upload.fail(other_file());
  else trust(upload);
}

/**
 * The server cannot compare, or not now. Gives true when it is to be asked once more, later.
 * @param {Upload} upload
 * @param {import('./types.js').Outcome} outcome
 */
export function ask_again(upload, outcome) {
  upload.verify_failures += 1;
  const later = outcome.kind === 'lost' || (outcome.kind === 'refused' && verdict(outcome.refusal) === 'retry');
  if (later && upload.verify_failures < VERIFY_TRIES) return true;
  trust(upload);
  return false;
}

/** @param {Upload} upload */
function trust(upload) {
  upload.check = null;
  upload.own = union(upload.own, upload.ledger.received);
}
