/**
 * What the page sees of an upload, computed from its state. Pure, so that flags and figures always agree.
 */
import { missing, size_of, union } from './ranges.js';

/** @typedef {import('./ranges.js').Range} Range */

/**
 * @typedef {object} Snapshot
 * @property {import('./types.js').Phase} phase
 * @property {'finished' | 'cancelled' | 'failed' | null} ending
 * @property {number} total
 * @property {readonly Range[]} received
 * @property {readonly import('./types.js').Chunk[]} chunks in flight
 * @property {import('./pace.js').Rate} rate
 * @property {number} chunks_acked
 * @property {boolean} connected
 * @property {boolean} need_status
 * @property {import('./types.js').LockState} lock
 * @property {import('./types.js').Check} check
 * @property {string | null} retry_reason why it waits
 * @property {number | null} retry_s seconds left of the wait
 * @property {string | null} note the server's text for people
 * @property {string | null} cancel_msg
 * @property {import('./types.js').Failure | null} failure
 */

/**
 * @param {Snapshot} now
 * @returns {import('./api.js').Properties}
 */
export function present(now) {
  const { phase, ending, total, chunks } = now;
  const acked = size_of(now.received);
  const ahead = chunks.reduce((sum, chunk) => sum + size_of(missing(now.received, chunk.from, chunk.from + chunk.sent)), 0);
  const sending = phase === 'sending' && !all_handed(now);
  const arriving = phase === 'sending' || phase === 'observing';
  return {
    bytes_tx: acked + ahead,
    bytes_acked: acked,
    bytes_ahead: ahead,
    frac_complete: total === 0 ? 1 : acked / total,
    bytes_per_s: arriving ? now.rate.bytes_per_s : null,
    eta_s: arriving ? now.rate.eta_s(total - acked) : null,
    chunks_tx_now: now.chunks_acked + chunks.length,
    chunks_acked_now: now.chunks_acked,
    chunks_ahead: chunks.length,
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
    can_cancel: sending || phase === 'idle' || phase === 'binding' || phase === 'observing',
  };
}

/**
 * The network has taken every byte: too late to pause or cancel, unless a chunk fails.
 * @param {Pick<Snapshot, 'received' | 'chunks' | 'total'>} now
 */
function all_handed({ received, chunks, total }) {
  const handed = chunks.flatMap(({ from, to, handed }) => (handed ? [/** @type {Range} */ ([from, to])] : []));
  return missing(union(received, handed), 0, total).length === 0;
}

/** @param {Snapshot} now */
function state_msg(now) {
  if (now.retry_reason) return `${now.retry_reason}, trying again in ${now.retry_s} s`;
  switch (now.phase) {
    case 'idle': return 'not yet started';
    case 'binding': return 'connecting to upload server';
    case 'sending':
      if (now.need_status) return 'asking upload server what it has';
      return now.check ? 'comparing file with what upload server has' : 'transfer file chunks to upload server';
    case 'observing': return `another ${now.lock === 'waiting' ? 'tab' : 'uploader'} is sending this file, looking on`;
    case 'awaiting_handover': return now.note ? `handing file to app: ${now.note}` : 'handing file to app';
    case 'paused': return 'paused';
    case 'cancelling': return `cancelling: ${now.cancel_msg}`;
    case 'ended':
      if (now.ending === 'finished') return 'all done';
      if (now.ending === 'cancelled') return `cancelled: ${now.cancel_msg}`;
      return `upload failed: ${now.failure?.message}`;
  }
}
