/**
 * What the outcome of a request changes in an upload. Whatever a retry can fix is retried without limit.
 */
import { check_readable, check_untrusted, on_verified, retry_verify } from './file.js';
import { ABSENT_MS, MAX_PATIENCE } from './limits.js';
import { ceiling_after_refusal } from './pace.js';
import { failed_on_server, is_terminal, length_changed, meaning_of } from './protocol.js';
import { missing, size_of } from './ranges.js';
import { backoff_ms, poll_pause_ms } from './timers.js';

/** @typedef {import('./types.js').Call} Call */
/** @typedef {import('./types.js').Refusal} Refusal */
/** @typedef {import('./types.js').Status} Status */
/** @typedef {import('./upload.js').Upload} Upload */

const NOT_KEPT = 'chunk was not kept';

/** Reasons for a lost chunk that say nothing about the file. */
const NOT_SENT = ['abort', 'headers', 'file'];

/**
 * @param {Upload} upload
 * @param {Call} call
 * @param {import('./types.js').Outcome} outcome
 */
export function on_outcome(upload, call, outcome) {
  const now = upload.ports.clock.now();
  const before = size_of(upload.server_ranges.received);
  const { chunk } = call;
  // If the browser did not send a chunk to its end, a proxy may answer for it in its own words.
  if (chunk && outcome.kind !== 'status' && !NOT_SENT.includes(outcome.why ?? '')) void check_readable(upload, chunk.to - 1);
  if (outcome.kind === 'status') {
    upload.connected = true;
    if (call.kind === 'cancel') return upload.end('cancelled');
    upload.request_failures = 0;
    if (learn(upload, outcome.status, call)) {
      // The part of a broken chunk that arrived is progress too.
      if (size_of(upload.server_ranges.received) > before) upload.chunk_failures = upload.contradictions = 0;
      on_success(upload, call, outcome.status, now);
    }
    if (upload.phase === 'paused' && size_of(upload.server_ranges.received) <= before) upload.poll_paused();
  } else if (upload.phase === 'paused') {
    // Only the status is read while paused. A failure will show after the pause.
    upload.poll_paused();
  } else if (call.kind === 'verify' && !retry_verify(upload, outcome)) {
    // The upload goes on without the comparison.
  } else if (chunk && upload.phase !== 'sending') {
    // Another answer acknowledged the chunk already.
  } else if (outcome.kind === 'lost') {
    on_lost(upload, call, outcome, now);
  } else {
    upload.connected = outcome.refusal.from_server;
    on_refused(upload, call, outcome.refusal);
  }
  if (upload.phase === 'paused') upload.connected = false;
  if (upload.status) upload.pace.rate.sample(size_of(upload.server_ranges.received), now);
}

/**
 * Takes over the server's status. False if it is impossible.
 * @param {Upload} upload
 * @param {Status} status
 * @param {Call} call whose answer carried it
 */
function learn(upload, status, call) {
  const { file, server_ranges, calls } = upload;
  const total = file.size;
  if (status.length !== null && status.length !== total) {
    upload.contradict(length_changed(total, status.length), call);
    return false;
  }
  /** @param {Status['received']} received */
  const learn_ranges = (received) => server_ranges.learn(received.filter(([, to]) => to <= total), call.since, calls.oldest);
  const { state, reason } = status;
  if (state === 'cancelled') {
    upload.cancel_msg = reason ?? 'cancelled on the server';
    upload.end(state);
  } else if (state === 'failed') {
    upload.fail(failed_on_server(reason));
    upload.record.remove();
  } else if (state === 'finished' || state === 'handing_over') {
    learn_ranges([[0, total]]);
    if (state === 'finished') upload.end(state);
    else upload.enter('awaiting_handover');
  } else {
    if (upload.phase === 'awaiting_handover') {
      // The answer of the chunk that completed the file may have overtaken this one.
      if (call.since < upload.phase_version) return true;
      // Else the server has lost bytes.
      upload.retry_timer.start(backoff_ms(++upload.regressions, upload.ports.clock.random()), NOT_KEPT, true);
    }
    learn_ranges(status.received);
    if (upload.phase !== 'observing' && upload.phase !== 'paused') upload.enter(upload.lock === 'waiting' ? 'observing' : 'sending');
  }
  upload.status = status;
  return true;
}

/**
 * @param {Upload} upload
 * @param {Call} call
 * @param {Status} status its answer, which was taken over
 * @param {number} now
 */
function on_success(upload, call, status, now) {
  const { chunk } = call;
  const { received } = upload.server_ranges;
  if (chunk) upload.chunks_acked += 1;
  if (upload.phase === 'ended') return;
  if (chunk) {
    if (missing(received, chunk.from, chunk.to).length > 0) return upload.retry_later(NOT_KEPT, call);
    upload.chunk_failures = upload.contradictions = upload.read_failures = 0;
    upload.contention.reset();
    if (upload.status) upload.pace.acked(chunk, now - call.began_at, now, upload.status);
    if (upload.pool && chunk.reports_progress) upload.pool.patience = 1;
    upload.acked_began_at = Math.max(upload.acked_began_at, call.began_at);
    upload.drop_overtaken();
  } else if (call.kind === 'sync') {
    upload.need_status = false;
    upload.chunks_acked = 0;
    const refused = upload.pace.hidden_limits.find((at) => missing(received, at, at + 1).length === 0);
    if (refused !== null) lower_ceiling(upload, refused, null);
    if (upload.phase === 'sending') check_untrusted(upload);
  } else if (call.kind === 'verify') {
    if (upload.phase === 'sending') on_verified(upload, status);
  } else {
    upload.chunk_failures = upload.contradictions = 0;
    after_poll(upload, call, now);
  }
}

/**
 * @param {Upload} upload
 * @param {Call} call
 * @param {number} now
 */
function after_poll(upload, call, now) {
  if (upload.phase === 'observing') {
    if (upload.contention.is_stale(size_of(upload.server_ranges.received), now)) {
      // A frozen tab keeps the lock for ever.
      return upload.lock === 'held' ? upload.enter('sending') : upload.claim_lock(true);
    }
  } else if (upload.phase !== 'awaiting_handover') return;
  const waited = call.waits && now - call.began_at >= 1000;
  if (!waited) upload.retry_timer.start(poll_pause_ms(upload.polls++, upload.pool?.pollers ?? 1), null, true);
}

/**
 * No answer: part of a chunk may have arrived, so the status is read before anything is sent again.
 * @param {Upload} upload
 * @param {Call} call
 * @param {import('./types.js').Lost} lost
 * @param {number} now
 */
function on_lost(upload, call, { why, text }, now) {
  const { chunk } = call;
  upload.connected = false;
  if (call.kind === 'cancel') return upload.cancel_here();
  if (why === 'file') return upload.read_failed();
  upload.need_status = true;
  const otherwise = upload.phase === 'binding' ? 'cannot reach upload server' : 'lost connection';
  upload.retry_later(text ?? (why === 'stall' ? 'connection stalled' : otherwise), call);
  // Browsers retry over another connection by themselves, and sometimes never do. Aborting a chunk of which no byte has
  // moved loses nothing.
  if (why === 'network') upload.calls.abort_all((other) => other.chunk?.sent === 0);
  if (!chunk) return;
  upload.pace.lost(chunk, now - call.began_at, why);
  if (why === 'stall' && !chunk.reports_progress && upload.pool) upload.pool.patience = Math.min(MAX_PATIENCE, upload.pool.patience * 2);
}

/**
 * @param {Upload} upload
 * @param {Call} call
 * @param {Refusal} refusal
 */
function on_refused(upload, call, refusal) {
  const { chunk } = call;
  const { status } = refusal;
  const meaning = meaning_of(refusal);
  if (call.kind === 'cancel') return on_cancel_refused(upload, call, refusal);
  if (meaning === 'retry' || (meaning === 'superseded' && chunk)) {
    if (status) learn(upload, status, call);
    else upload.need_status = true;
    if (call.kind === 'verify') upload.need_status = true;
    if (upload.phase === 'ended' || (chunk && upload.phase === 'awaiting_handover')) return;
    if (refusal.http === 429) upload.pace.in_flight.decrease();
    if (meaning === 'superseded') upload.yield_to_other();
    else upload.retry_later(refusal.message, call, refusal.retry_after_ms);
  } else if (status && is_terminal(status)) {
    learn(upload, status, call);
  } else if (meaning !== 'too_large' || !chunk || !lower_ceiling(upload, chunk.to - chunk.from, status?.max_chunk_size ?? null)) {
    if (status && upload.status) learn(upload, status, call);
    if (upload.phase !== 'ended') upload.contradict(refusal, call, meaning === 'absent' ? ABSENT_MS : 0);
  }
}

/**
 * A chunk was too large. All uploads to this server learn from it. False if it cannot be smaller.
 * @param {Upload} upload
 * @param {number} bytes of that chunk
 * @param {number | null} max limit that the server stated
 */
function lower_ceiling({ pool }, bytes, max) {
  const ceiling = ceiling_after_refusal(bytes, max);
  if (pool && ceiling !== null) pool.ceiling = Math.min(pool.ceiling, ceiling);
  return ceiling !== null;
}

/**
 * @param {Upload} upload
 * @param {Call} call
 * @param {Refusal} refusal
 */
function on_cancel_refused(upload, call, refusal) {
  const meaning = meaning_of(refusal);
  if (meaning === 'retry' && refusal.from_server) upload.retry_later(refusal.message, call, refusal.retry_after_ms);
  else if (meaning === 'too_late') {
    upload.cancel_msg = null;
    upload.enter('awaiting_handover');
    if (refusal.status) learn(upload, refusal.status, { ...call, since: Infinity });
  } else if (meaning === 'ended' && refusal.status && is_terminal(refusal.status)) {
    if (refusal.status.state !== 'cancelled') upload.cancel_msg = null;
    learn(upload, refusal.status, call);
  } else if (meaning === 'ended' || meaning === 'absent') upload.end('cancelled');
  else {
    // The server does not take the request, or something else answers in its place: treat it as unreachable.
    upload.connected = false;
    upload.cancel_here();
  }
}
