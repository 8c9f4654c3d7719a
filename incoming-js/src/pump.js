/**
 * What an upload requests: everything that is due and for which there is a connection.
 */
import { LANES } from './budget.js';
import { end_before_last, next_chunk } from './plan.js';
import { bind_request, cancel_request, chunk_request, long_poll_request, status_request, verify_request } from './requests.js';
import { union } from './ranges.js';
import { poll_pause_ms } from './retry.js';
import { check_all, look_at_file } from './same.js';

/** @typedef {import('./budget.js').Lane} Lane */
/** @typedef {import('./budget.js').Slot} Slot */
/** @typedef {import('./calls.js').Call} Call */
/** @typedef {import('./upload.js').Upload} Upload */

/**
 * Starts every request that is due and possible.
 * @param {Upload} upload
 */
export function pump(upload) {
  const { calls, hold } = upload;
  for (const lane of LANES) calls.fill(lane, () => wants(upload, lane), (slot) => use(upload, lane, slot));
  if (hold.stands) return;
  if (upload.phase === 'cancelling' && !calls.runs('cancel')) {
    begin(upload, { kind: 'cancel', slot: null }, cancel_request(upload.url, upload.cancel_msg));
  }
  if (upload.phase !== 'sending' || upload.turn !== 'held' || upload.check !== null || !calls.idle) return;
  const last = !upload.need_status && planned(upload);
  if (last) return check_all(upload, last);
  // Everything is acknowledged, yet the server does not hand over: looks again later.
  upload.need_status = true;
  hold.begin(poll_pause_ms(upload.polls++, 1), null, true);
}

/**
 * Whether the upload should make a request of this kind now.
 * @param {Upload} upload
 * @param {Lane} lane
 */
function wants(upload, lane) {
  const { phase, need_status, status, calls, check, turn, hold } = upload;
  if (hold.stands) return false;
  const sending = phase === 'sending' && !need_status;
  switch (lane) {
    case 'control':
      if (sending) return typeof check === 'string' && !calls.runs('verify');
      return (phase === 'binding' ? status !== null : need_status && (phase === 'sending' || phase === 'paused')) && !calls.runs('sync');
    case 'poll':
      return (phase === 'following' || phase === 'watching') && !calls.runs('poll');
    case 'chunk':
      return sending && check === null && turn === 'held' && next_range(upload) !== undefined;
    case 'bind':
      return phase === 'binding' && status === null && !calls.runs('sync');
  }
}

/**
 * @param {Upload} upload
 * @param {Lane} lane
 * @param {Slot} slot
 */
function use(upload, lane, slot) {
  const { url, file, status, ports } = upload;
  if (lane === 'control' && typeof upload.check === 'string' && !upload.need_status) {
    begin(upload, { kind: 'verify', slot }, verify_request(url, upload.check));
  } else if (lane === 'control' || lane === 'bind') {
    const bound = status !== null && status.length !== null;
    begin(upload, { kind: 'sync', slot }, bound ? status_request(url) : bind_request(url, file));
    upload.join();
  } else if (lane === 'poll') {
    const state = upload.phase === 'following' ? 'handing_over' : (status?.state ?? 'uploading');
    // A long poll only when the connection is this upload's alone.
    const waits = upload.budget?.followers === 1;
    begin(upload, { kind: 'poll', slot, waits }, waits ? long_poll_request(url, state) : status_request(url));
  } else {
    const [from, to] = next_range(upload) ?? [0, 0];
    const put = { from, to, sent: 0, handed: false, watched: false, moved_at: ports.clock.now() };
    upload.own = union(upload.own, [[from, to]]);
    const digest = status !== null && upload.pace.hashes(status);
    const request = chunk_request(url, file, put, upload.last, digest, ports.clock.now, upload.tell);
    const on_still = () => {
      void look_at_file(upload, to - 1);
      upload.drop_overtaken();
      upload.settle();
    };
    begin(upload, { kind: 'put', slot, put }, { ...request, patience: upload.budget?.patience, on_still });
    upload.last = null;
  }
}

/**
 * The chunk to send now. The last bytes are one only when all else was compared.
 * @param {Upload} upload
 */
function next_range(upload) {
  const { calls, ledger, file, last } = upload;
  const next = planned(upload);
  if (!next) return undefined;
  const [from, to] = next;
  if (last?.size === to - from) return next;
  const end = end_before_last(union(ledger.received, calls.puts.map(range_of)), next, file.size);
  return end > from ? /** @type {const} */ ([from, end]) : undefined;
}

/** @param {Upload} upload */
function planned({ status, file, ledger, calls, pace, budget }) {
  if (!status) return undefined;
  return next_chunk({
    received: ledger.received,
    in_flight: calls.puts.map(range_of),
    length: file.size,
    ...pace.sizes(status, file.size, budget?.ceiling ?? Infinity),
  });
}

/**
 * @param {import('./present.js').Put} put
 * @returns {import('./ranges.js').Range}
 */
function range_of({ from, to }) {
  return [from, to];
}

/**
 * @param {Upload} upload
 * @param {Pick<Call, 'kind' | 'slot'> & Partial<Call>} what
 * @param {import('./types.js').Request} request
 */
function begin({ calls, ledger }, what, request) {
  calls.begin({ ...what, since: ledger.mark() }, request);
}
