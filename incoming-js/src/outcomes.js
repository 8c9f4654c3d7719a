/**
 * What the outcome of a request changes in an upload. What a retry can cure is retried for ever.
 */
import { failed_on_server, length_changed } from './failures.js';
import { missing, size_of } from './ranges.js';
import { is_over, verdict } from './reply.js';
import { ABSENT_MS, PATIENCE_MOST } from './limits.js';
import { ask_again, check_foreign, look_at_file, on_verdicts } from './same.js';
import { backoff_ms, poll_pause_ms } from './retry.js';
import { ceiling_after_refusal } from './size.js';

/** @typedef {import('./calls.js').Call} Call */
/** @typedef {import('./types.js').Refusal} Refusal */
/** @typedef {import('./types.js').Status} Status */
/** @typedef {import('./upload.js').Upload} Upload */

const NOT_KEPT = 'chunk was not kept';

/** How a chunk gets lost by no fault of its bytes. */
const NOT_SENT = ['abort', 'headers', 'file'];

/**
 * @param {Upload} upload
 * @param {Call} call
 * @param {import('./types.js').Outcome} outcome
 */
export function on_outcome(upload, call, outcome) {
  const now = upload.ports.clock.now();
  const before = size_of(upload.ledger.received);
  const { put } = call;
  // Proxies answer for a chunk that the browser did not send to its end, each in its own words.
  if (put && outcome.kind !== 'status' && !NOT_SENT.includes(outcome.why ?? '')) void look_at_file(upload, put.to - 1);
  if (outcome.kind === 'status') {
    upload.connected = true;
    if (call.kind === 'cancel') return upload.end('cancelled');
    upload.misses = 0;
    if (learn(upload, outcome.status, call)) {
      // What a broken chunk left behind is progress too: the line is bad, not dead.
      if (size_of(upload.ledger.received) > before) upload.failures = upload.contradictions = 0;
      on_success(upload, call, outcome.status, now);
    }
    if (upload.phase === 'paused' && size_of(upload.ledger.received) <= before) upload.look_later();
  } else if (upload.phase === 'paused') {
    // Looked what was kept; that it could not be told will show when it goes on.
    upload.look_later();
  } else if (call.kind === 'verify' && !ask_again(upload, outcome)) {
    // It goes on without.
  } else if (put && upload.phase !== 'sending') {
    // The chunk was acknowledged by a later answer; nothing hangs on this one any more.
  } else if (outcome.kind === 'lost') {
    on_lost(upload, call, outcome, now);
  } else {
    upload.connected = outcome.refusal.from_server;
    on_refused(upload, call, outcome.refusal);
  }
  if (upload.phase === 'paused') upload.connected = false;
  if (upload.status) upload.pace.rate.note(size_of(upload.ledger.received), now);
}

/**
 * Takes over what the server says about the upload. False when it cannot be so.
 * @param {Upload} upload
 * @param {Status} status
 * @param {Call} call whose answer it came with
 */
function learn(upload, status, call) {
  const { file, ledger, calls } = upload;
  const total = file.size;
  if (status.length !== null && status.length !== total) {
    upload.contradict(length_changed(total, status.length), call);
    return false;
  }
  /** @param {Status['received']} received */
  const note = (received) => ledger.learn(received.filter(([, to]) => to <= total), call.since, calls.oldest);
  const { state, reason } = status;
  if (state === 'cancelled') {
    upload.cancel_msg = reason ?? 'cancelled on the server';
    upload.end(state);
  } else if (state === 'failed') {
    upload.fail(failed_on_server(reason));
    upload.memory.end();
  } else if (state === 'finished' || state === 'handing_over') {
    note([[0, total]]);
    if (state === 'finished') upload.end(state);
    else upload.enter('following');
  } else {
    if (upload.phase === 'following') {
      // An answer may be overtaken by that of the chunk which completed the file.
      if (call.since < upload.phase_mark) return true;
      // Else the server has lost what it had in full.
      upload.hold.begin(backoff_ms(++upload.falls, upload.ports.clock.random()), NOT_KEPT, true);
    }
    note(status.received);
    if (upload.phase !== 'watching' && upload.phase !== 'paused') upload.enter(upload.turn === 'waiting' ? 'watching' : 'sending');
  }
  upload.status = status;
  return true;
}

/**
 * @param {Upload} upload
 * @param {Call} call answered with this status, which was learnt
 * @param {Status} status
 * @param {number} now
 */
function on_success(upload, call, status, now) {
  const { put } = call;
  const { received } = upload.ledger;
  if (put) upload.chunks_acked += 1;
  if (upload.phase === 'over') return;
  if (put) {
    if (missing(received, put.from, put.to).length > 0) return upload.trouble(NOT_KEPT, call);
    upload.failures = upload.contradictions = upload.unreadable = 0;
    upload.rival.forget();
    if (upload.status) upload.pace.acked(put, now - call.began_at, now, upload.status);
    if (upload.budget && put.watched) upload.budget.patience = 1;
    upload.acked_began_at = Math.max(upload.acked_began_at, call.began_at);
    upload.drop_overtaken();
  } else if (call.kind === 'sync') {
    upload.need_status = false;
    upload.chunks_acked = 0;
    const refused = upload.pace.suspects.convict((at) => missing(received, at, at + 1).length === 0);
    if (refused !== null) lower_ceiling(upload, refused, null);
    if (upload.phase === 'sending') check_foreign(upload);
  } else if (call.kind === 'verify') {
    if (upload.phase === 'sending') on_verdicts(upload, status);
  } else {
    upload.failures = upload.contradictions = 0;
    after_poll(upload, call, now);
  }
}

/**
 * @param {Upload} upload
 * @param {Call} call
 * @param {number} now
 */
function after_poll(upload, call, now) {
  if (upload.phase === 'watching') {
    if (upload.rival.is_gone(size_of(upload.ledger.received), now)) {
      // A tab that is frozen keeps its turn for ever.
      return upload.turn === 'held' ? upload.enter('sending') : upload.join(true);
    }
  } else if (upload.phase !== 'following') return;
  const waited = call.waits && now - call.began_at >= 1000;
  if (!waited) upload.hold.begin(poll_pause_ms(upload.polls++, upload.budget?.followers ?? 1), null, true);
}

/**
 * No answer: part of a chunk may have arrived, so the status is read before anything is sent again.
 * @param {Upload} upload
 * @param {Call} call
 * @param {import('./types.js').Lost} lost
 * @param {number} now
 */
function on_lost(upload, call, { why, text }, now) {
  const { put } = call;
  upload.connected = false;
  if (call.kind === 'cancel') return upload.cancel_here();
  if (why === 'file') return upload.cannot_read();
  upload.need_status = true;
  const otherwise = upload.phase === 'binding' ? 'cannot reach upload server' : 'lost connection';
  upload.trouble(text ?? (why === 'stall' ? 'connection stalled' : otherwise), call);
  // Browsers try again by themselves over another connection, and sometimes never get round to it: nothing is lost with
  // a chunk of which no byte has moved.
  if (why === 'network') upload.calls.abort_all((other) => other.put?.sent === 0);
  if (!put) return;
  upload.pace.lost(put, now - call.began_at, why);
  if (why === 'stall' && !put.watched && upload.budget) upload.budget.patience = Math.min(PATIENCE_MOST, upload.budget.patience * 2);
}

/**
 * @param {Upload} upload
 * @param {Call} call
 * @param {Refusal} refusal
 */
function on_refused(upload, call, refusal) {
  const { put } = call;
  const { status } = refusal;
  const meaning = verdict(refusal);
  if (call.kind === 'cancel') return on_cancel_refused(upload, call, refusal);
  if (meaning === 'retry' || (meaning === 'superseded' && put)) {
    if (status) learn(upload, status, call);
    else upload.need_status = true;
    if (call.kind === 'verify') upload.need_status = true;
    if (upload.phase === 'over' || (put && upload.phase === 'following')) return;
    if (refusal.http === 429) upload.pace.flight.fewer();
    if (meaning === 'superseded') upload.give_way();
    else upload.trouble(refusal.message, call, refusal.retry_after_ms);
  } else if (status && is_over(status)) {
    learn(upload, status, call);
  } else if (meaning !== 'too_large' || !put || !lower_ceiling(upload, put.to - put.from, status?.max_chunk_size ?? null)) {
    if (status && upload.status) learn(upload, status, call);
    if (upload.phase !== 'over') upload.contradict(refusal, call, meaning === 'absent' ? ABSENT_MS : 0);
  }
}

/**
 * A chunk was too large; all uploads to this server keep it in mind. False when it cannot be smaller.
 * @param {Upload} upload
 * @param {number} bytes of that chunk
 * @param {number | null} max what the server said that it takes
 */
function lower_ceiling({ budget }, bytes, max) {
  const ceiling = ceiling_after_refusal(bytes, max);
  if (budget && ceiling !== null) budget.ceiling = Math.min(budget.ceiling, ceiling);
  return ceiling !== null;
}

/**
 * @param {Upload} upload
 * @param {Call} call
 * @param {Refusal} refusal
 */
function on_cancel_refused(upload, call, refusal) {
  const meaning = verdict(refusal);
  if (meaning === 'retry' && refusal.from_server) upload.trouble(refusal.message, call, refusal.retry_after_ms);
  else if (meaning === 'too_late') {
    upload.cancel_msg = null;
    upload.enter('following');
    if (refusal.status) learn(upload, refusal.status, { ...call, since: Infinity });
  } else if (meaning === 'over' && refusal.status && is_over(refusal.status)) {
    if (refusal.status.state !== 'cancelled') upload.cancel_msg = null;
    learn(upload, refusal.status, call);
  } else if (meaning === 'over' || meaning === 'absent') upload.end('cancelled');
  else {
    // The server takes no such request, or something else answers in its place: as good as not being there.
    upload.connected = false;
    upload.cancel_here();
  }
}
