/**
 * Which requests an upload makes next, and which bytes.
 */
import { check_all, check_readable } from './file.js';
import { FINAL_BYTES, FIRST_CHUNK_BYTES, MIN_PIECE_BYTES } from './limits.js';
import { PRIORITIES } from './pool.js';
import { bind_request, cancel_request, chunk_request, long_poll_request, status_request, verify_request } from './protocol.js';
import { missing, size_of, union } from './ranges.js';
import { poll_pause_ms } from './timers.js';

/** @typedef {import('./pool.js').Priority} Priority */
/** @typedef {import('./pool.js').Slot} Slot */
/** @typedef {import('./ranges.js').Range} Range */
/** @typedef {import('./types.js').Call} Call */
/** @typedef {import('./upload.js').Upload} Upload */

/**
 * Starts every request that is due and for which there is a connection.
 * @param {Upload} upload
 */
export function start_due(upload) {
  const { calls, retry_timer } = upload;
  for (const priority of PRIORITIES) calls.fill(priority, () => wants(upload, priority), (slot) => use(upload, priority, slot));
  if (retry_timer.running) return;
  if (upload.phase === 'cancelling' && !calls.runs('cancel')) {
    begin(upload, { kind: 'cancel', slot: null }, cancel_request(upload.url, upload.cancel_msg));
  }
  if (upload.phase !== 'sending' || upload.lock !== 'held' || upload.check !== null || !calls.idle) return;
  const last = !upload.need_status && next_planned(upload);
  if (last) return check_all(upload, last);
  // Everything is acknowledged, but the server does not hand over: ask again later.
  upload.need_status = true;
  retry_timer.start(poll_pause_ms(upload.polls++, 1), null, true);
}

/**
 * Whether the upload should make a request of this priority now.
 * @param {Upload} upload
 * @param {Priority} priority
 */
function wants(upload, priority) {
  const { phase, need_status, status, calls, check, lock, retry_timer } = upload;
  if (retry_timer.running) return false;
  const sending = phase === 'sending' && !need_status;
  switch (priority) {
    case 'control':
      if (sending) return typeof check === 'string' && !calls.runs('verify');
      return (phase === 'binding' ? status !== null : need_status && (phase === 'sending' || phase === 'paused')) && !calls.runs('sync');
    case 'poll':
      return (phase === 'awaiting_handover' || phase === 'observing') && !calls.runs('poll');
    case 'chunk':
      return sending && check === null && lock === 'held' && next_range(upload) !== undefined;
    case 'bind':
      return phase === 'binding' && status === null && !calls.runs('sync');
  }
}

/**
 * @param {Upload} upload
 * @param {Priority} priority
 * @param {Slot} slot
 */
function use(upload, priority, slot) {
  const { url, file, status, ports } = upload;
  if (priority === 'control' && typeof upload.check === 'string' && !upload.need_status) {
    begin(upload, { kind: 'verify', slot }, verify_request(url, upload.check));
  } else if (priority === 'control' || priority === 'bind') {
    const bound = status !== null && status.length !== null;
    begin(upload, { kind: 'sync', slot }, bound ? status_request(url) : bind_request(url, file));
    upload.claim_lock();
  } else if (priority === 'poll') {
    const state = upload.phase === 'awaiting_handover' ? 'handing_over' : (status?.state ?? 'uploading');
    // A long poll only if no other upload needs the connection.
    const waits = upload.pool?.pollers === 1;
    begin(upload, { kind: 'poll', slot, waits }, waits ? long_poll_request(url, state) : status_request(url));
  } else {
    const [from, to] = next_range(upload) ?? [0, 0];
    const chunk = { from, to, sent: 0, handed: false, reports_progress: false, moved_at: ports.clock.now() };
    upload.trusted = union(upload.trusted, [[from, to]]);
    const digest = status !== null && upload.pace.hashes(status);
    const request = chunk_request(url, file, chunk, upload.last_bytes, digest, ports.clock.now, () => upload.report());
    const on_still = () => {
      void check_readable(upload, to - 1);
      upload.drop_overtaken();
      upload.settle();
    };
    begin(upload, { kind: 'put', slot, chunk }, { ...request, patience: upload.pool?.patience, on_still });
    upload.last_bytes = null;
  }
}

/**
 * @param {Upload} upload
 * @param {Pick<Call, 'kind' | 'slot'> & Partial<Call>} what
 * @param {import('./types.js').Request} request
 */
function begin({ calls, server_ranges }, what, request) {
  calls.begin({ ...what, since: server_ranges.version }, request);
}

/**
 * The chunk to send now. The last bytes of the file are a chunk only once everything else is compared.
 * @param {Upload} upload
 */
function next_range(upload) {
  const { calls, server_ranges, file, last_bytes } = upload;
  const next = next_planned(upload);
  if (!next) return undefined;
  const [from, to] = next;
  if (last_bytes?.size === to - from) return next;
  const end = end_before_last(union(server_ranges.received, calls.chunks.map(range_of)), next, file.size);
  return end > from ? /** @type {const} */ ([from, end]) : undefined;
}

/** @param {Upload} upload */
function next_planned({ status, file, server_ranges, calls, pace, pool }) {
  if (!status) return undefined;
  return next_chunk({
    received: server_ranges.received,
    in_flight: calls.chunks.map(range_of),
    length: file.size,
    align: status.align,
    ...pace.sizes(status, file.size, pool?.ceiling ?? Infinity),
  });
}

/**
 * @param {import('./types.js').Chunk} chunk
 * @returns {Range}
 */
function range_of({ from, to }) {
  return [from, to];
}

/**
 * The range to send next: the start of the first hole in what is acknowledged or in flight, at most one chunk long.
 * Undefined if there is none, or if `send_ahead` chunks are in flight. No two ranges in flight overlap. Pure.
 * @param {object} known
 * @param {readonly Range[]} known.received acknowledged, merged
 * @param {readonly Range[]} known.in_flight any order
 * @param {number} known.length of the file
 * @param {number} known.chunk_bytes
 * @param {number} known.send_ahead
 * @param {number} known.align the server's parts begin at multiples of it: chunks end there where they reach one. Any value
 * @returns {Range | undefined}
 */
export function next_chunk({ received, in_flight, length, chunk_bytes, send_ahead, align }) {
  if (in_flight.length >= send_ahead) return undefined;
  const [hole] = missing(union(received, in_flight), 0, length);
  if (!hole) return undefined;
  const over = (hole[0] + chunk_bytes) % align;
  return [hole[0], Math.min(hole[1], hole[0] + chunk_bytes - (over < chunk_bytes ? over : 0))];
}

/**
 * Where the next chunk ends so that the last bytes of the file stay behind, to be sent after the comparison; `from` if only
 * they are left. A small file is sent in one piece.
 * @param {readonly Range[]} known acknowledged or in flight, merged
 * @param {Range} next
 * @param {number} length of the file
 */
function end_before_last(known, [from, to], length) {
  const completes = size_of(union(known, [[from, to]])) === length;
  if (!completes || (known.every((range) => size_of([range]) < MIN_PIECE_BYTES) && to - from <= FIRST_CHUNK_BYTES)) return to;
  return Math.max(from, to - FINAL_BYTES);
}
