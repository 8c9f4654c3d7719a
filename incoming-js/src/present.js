/**
 * What the page sees of an upload, computed from the engine's state. Pure, so that flags and figures always agree.
 */
import { missing, size_of, union } from './ranges.js';

/** @typedef {import('./ranges.js').Range} Range */
/** @typedef {import('./types.js').Properties} Properties */

/**
 * A chunk on its way.
 * @typedef {object} Put
 * @property {number} from
 * @property {number} to
 * @property {number} sent bytes the network has taken
 * @property {boolean} handed it has taken all of them
 * @property {boolean} watched the browser tells how many are sent
 * @property {number} moved_at when bytes moved last, or it began
 */

/**
 * - `idle`: not started
 * - `binding`: asks the server what it has
 * - `sending`: sends chunks
 * - `watching`: another uploader sends the file, this one looks on
 * - `following`: the server has everything and hands it over
 * - `paused`, `cancelling`: as the page wished
 * - `over`
 * @typedef {'idle' | 'binding' | 'sending' | 'watching' | 'following' | 'paused' | 'cancelling' | 'over'} Phase
 */

/**
 * Among the tabs of this browser: nobody has answered yet, it is this one's turn, another one has the upload.
 * @typedef {'asking' | 'held' | 'waiting'} Turn
 */

/**
 * @typedef {object} Snapshot
 * @property {Phase} phase
 * @property {'finished' | 'cancelled' | 'failed' | null} ending
 * @property {number} total
 * @property {readonly Range[]} received
 * @property {readonly Put[]} puts
 * @property {import('./rate.js').Rate} rate
 * @property {number} chunks_acked
 * @property {boolean} connected
 * @property {boolean} need_status
 * @property {Turn} turn
 * @property {import('./same.js').Check} check
 * @property {string | null} trouble why it waits
 * @property {number | null} retry_s seconds left of that
 * @property {string | null} note what the server says for people
 * @property {string | null} cancel_msg
 * @property {import('./types.js').Failure | null} failure
 */

/**
 * @param {Snapshot} now
 * @returns {Properties}
 */
export function present(now) {
  const { phase, ending, total, puts } = now;
  const acked = size_of(now.received);
  const ahead = puts.reduce((sum, put) => sum + size_of(missing(now.received, put.from, put.from + put.sent)), 0);
  const sending = phase === 'sending' && !all_handed(now);
  const arriving = phase === 'sending' || phase === 'watching';
  return {
    bytes_tx: acked + ahead,
    bytes_acked: acked,
    bytes_ahead: ahead,
    frac_complete: total === 0 ? 1 : acked / total,
    bytes_per_s: arriving ? now.rate.bytes_per_s : null,
    eta_s: arriving ? now.rate.eta_s(total - acked) : null,
    chunks_tx_now: now.chunks_acked + puts.length,
    chunks_acked_now: now.chunks_acked,
    chunks_ahead: puts.length,
    state_msg: state_msg(now),
    retry_in_s: now.retry_s,
    cancel_msg: now.cancel_msg,
    error_code: now.failure?.error_code ?? null,
    error_msg: now.failure?.message ?? null,
    connected: now.connected,
    finished: ending === 'finished',
    paused: phase === 'paused',
    can_pause: sending || phase === 'paused',
    cancelling: phase === 'cancelling',
    cancelled: ending === 'cancelled',
    can_cancel: sending || phase === 'idle' || phase === 'binding' || phase === 'watching',
  };
}

/**
 * Every byte is acknowledged or with the network: too late to pause or cancel, unless a chunk fails.
 * @param {Pick<Snapshot, 'received' | 'puts' | 'total'>} now
 */
function all_handed({ received, puts, total }) {
  const handed = puts.flatMap(({ from, to, handed }) => (handed ? [/** @type {Range} */ ([from, to])] : []));
  return missing(union(received, handed), 0, total).length === 0;
}

/** @param {Snapshot} now */
function state_msg(now) {
  if (now.trouble) return `${now.trouble}, trying again in ${now.retry_s} s`;
  switch (now.phase) {
    case 'idle': return 'not yet started';
    case 'binding': return 'connecting to upload server';
    case 'sending':
      if (now.need_status) return 'asking upload server what it has';
      return now.check ? 'comparing file with what upload server has' : 'transfer file chunks to upload server';
    case 'watching': return `another ${now.turn === 'waiting' ? 'tab' : 'uploader'} is sending this file, looking on`;
    case 'following': return now.note ? `handing file to app: ${now.note}` : 'handing file to app';
    case 'paused': return 'paused';
    case 'cancelling': return `cancelling: ${now.cancel_msg}`;
    case 'over':
      if (now.ending === 'finished') return 'all done';
      if (now.ending === 'cancelled') return `cancelled: ${now.cancel_msg}`;
      return `upload failed: ${now.failure?.message}`;
  }
}
