/**
 * One upload: its state, the steps between its phases, and what the page can do with it. The network, the clock and the page
 * come in as ports. `scheduler` decides what to request, `outcomes` what an outcome changes.
 *
 * Every event is processed to the end before the page is told, so callbacks may call back in. An upload ends only as
 * `finished`, `cancelled` or `failed`.
 */
import { Calls, cancel_later } from './calls.js';
import { CONTRADICTIONS, LOCK_MS, OVERTAKEN_MS, PAUSED_POLLS, PAUSED_POLL_MS, READ_PAUSE_MS, READ_TRIES, REASON_CHARS } from './limits.js';
import { on_outcome } from './outcomes.js';
import { Pace } from './pace.js';
import { cancel_request, cancelled_offline, file_changed, sendable, upload_url } from './protocol.js';
import { ServerRanges, size_of } from './ranges.js';
import { ResumeRecord } from './resume.js';
import { start_due } from './scheduler.js';
import { Contention } from './tabs.js';
import { RetryTimer, backoff_ms } from './timers.js';
import { present } from './view.js';

/** @typedef {import('./types.js').Call} Call */
/** @typedef {import('./types.js').Failure} Failure */
/** @typedef {import('./types.js').LockState} LockState */
/** @typedef {import('./api.js').Properties} Properties */

export class Upload {
  /** @type {import('./types.js').Phase} */
  phase = 'idle';
  /** Version of `server_ranges` when the phase began. */
  phase_version = 0;
  /** @type {'finished' | 'cancelled' | 'failed' | null} */
  ending = null;
  /** @type {import('./types.js').Status | null} the newest */
  status = null;
  need_status = true;
  connected = false;
  chunks_acked = 0;
  /** Failed chunks in a row, and failures of other requests since the last answer. Both lengthen the next pause. */
  chunk_failures = 0;
  request_failures = 0;
  /** Status requests that did not wait at the server. They lengthen the pause between them. */
  polls = 0;
  /** Times that the server lost bytes after it had all of them. */
  regressions = 0;
  /** Answers in a row that contradict earlier ones. */
  contradictions = 0;
  /** Tries in a row to read the file that failed. */
  read_failures = 0;
  /** A byte of the file is being read. */
  reading = false;
  /** Start of the youngest chunk that is acknowledged. */
  acked_began_at = -1;
  /** @type {string | null} */
  cancel_msg = null;
  /** Why it failed, or what went wrong with the cancelling. @type {Failure | null} */
  failure = null;
  /** Not yet reported. @type {import('./types.js').Ending[]} */
  events = [];

  hostname = '';
  url = '';
  /** @type {import('./pool.js').ConnectionPool | null} */
  pool = null;
  server_ranges = new ServerRanges();
  contention = new Contention();
  /** @type {LockState} */
  lock = 'asking';
  /** @type {import('./types.js').Check} */
  check = null;
  /** The last bytes of the file, read before all others were compared. @type {Blob | null} */
  last_bytes = null;
  /** Bytes that are certainly of this file: sent by this uploader, or compared. @type {import('./ranges.js').Range[]} */
  trusted = [];
  verify_failures = 0;

  #on_change;
  /** @type {(() => void) | null} */
  #stop_polling = null;
  /** @type {(() => void) | null} */
  #stop_waking = null;
  /** @type {(() => void) | null} */
  #release_lock = null;

  /**
   * @param {object} what
   * @param {string} what.upload_id
   * @param {File} what.file
   * @param {import('./api.js').Options} what.options
   * @param {import('./types.js').Ports} what.ports
   * @param {() => string} what.origin asked when the first request is due
   * @param {(properties: Properties, events: import('./types.js').Ending[]) => void} on_change must not throw
   */
  constructor({ upload_id, file, options, ports, origin }, on_change) {
    const settle = () => this.settle();
    this.upload_id = upload_id;
    this.file = file;
    this.ports = ports;
    this.origin = origin;
    this.pace = new Pace(options);
    this.calls = new Calls(ports, (call, outcome) => on_outcome(this, call, outcome), settle);
    this.retry_timer = new RetryTimer(ports.clock, settle, () => this.report());
    this.record = new ResumeRecord(ports, upload_id, file, options);
    this.#on_change = on_change;
  }

  // What the page can do

  /**
   * Begins, resumes after a pause, or retries now if it waits; else does nothing.
   * @throws {TypeError} if there is no server
   */
  start() {
    if (this.phase !== 'idle' && this.phase !== 'paused') return this.retry_timer.skip();
    this.open();
    this.stop();
    this.phase = 'binding';
    this.need_status = true;
    this.chunk_failures = this.request_failures = this.contradictions = this.read_failures = this.chunks_acked = 0;
    this.contention.reset();
    // Earlier measurements say nothing about what follows.
    this.pace.rate.reset();
    this.pace.in_flight.restart();
    this.settle();
  }

  /** Stops sending and keeps what is acknowledged. Does nothing if pausing is not possible. */
  pause() {
    if (this.phase === 'paused' || !this.properties().can_pause) return;
    // Part of the aborted chunks has arrived; the status shows how much.
    const arrived = this.calls.chunks.some(({ sent }) => sent > 0);
    this.stop();
    this.phase = 'paused';
    this.connected = false;
    this.polls = 0;
    if (arrived) this.poll_paused();
    else this.need_status = false;
    this.settle();
  }

  /**
   * Cancels, if possible: by the server if it is connected, else at once, and the server is told later.
   * @param {unknown} reason
   */
  cancel(reason) {
    if (!this.properties().can_cancel) return;
    this.cancel_msg = sendable(reason, REASON_CHARS);
    this.stop();
    if (this.connected) this.phase = 'cancelling';
    else this.cancel_here();
    this.settle();
  }

  /**
   * Cancels at once, in every phase, and tells the server.
   * @param {unknown} reason
   */
  abort(reason) {
    if (this.phase === 'ended') return;
    this.cancel_msg = sendable(reason, REASON_CHARS);
    this.cancel_here();
    this.settle();
  }

  /** @returns {Properties} */
  properties() {
    return present({
      ...this,
      total: this.file.size,
      received: this.server_ranges.received,
      chunks: this.calls.chunks,
      rate: this.pace.rate,
      retry_reason: this.retry_timer.reason,
      retry_s: this.retry_timer.seconds,
      note: this.status?.reason ?? null,
    });
  }

  /** To be called after every change: starts what is due, updates the resume record, and reports to the page. */
  settle() {
    start_due(this);
    // The record describes the file, so not before the comparison is done.
    if (this.status && this.phase !== 'ended' && this.check === null) this.record.update(this.hostname, size_of(this.server_ranges.received), this.phase === 'paused' || this.retry_timer.running);
    this.report();
  }

  /** To be called when only figures have changed. */
  report() {
    const { events } = this;
    this.events = [];
    this.#on_change(this.properties(), events);
  }

  // Waiting

  /**
   * Waits before the next try. A failure during a wait does not lengthen it.
   * @param {string} reason
   * @param {Call} call that failed
   * @param {number | null} retry_after that the server asks for, in ms
   */
  retry_later(reason, { kind }, retry_after = null) {
    if (this.retry_timer.running && retry_after === null) return;
    this.pace.in_flight.restart();
    if (!this.retry_timer.running) {
      if (kind === 'put' || kind === 'verify') this.chunk_failures += 1;
      else this.request_failures += 1;
    }
    const ms = retry_after ?? backoff_ms(this.chunk_failures + this.request_failures, this.ports.clock.random());
    this.retry_timer.start(ms, reason, retry_after === null);
  }

  /** While paused: reads how much of the aborted chunks has arrived, a limited number of times. */
  poll_paused() {
    this.need_status = this.polls < PAUSED_POLLS;
    if (this.need_status) this.retry_timer.start(PAUSED_POLL_MS * 2 ** this.polls++, null, false);
  }

  /** A newer request superseded one of this uploader: waits, and observes if that happens several times in a row. */
  yield_to_other() {
    this.need_status = true;
    // What arrived of this uploader's chunks cannot be told from the other's.
    this.trusted = [];
    if (this.retry_timer.running) return;
    const { clock } = this.ports;
    if (!this.contention.lost_range()) {
      const ms = backoff_ms(this.contention.superseded, clock.random());
      return this.retry_timer.start(ms, 'another uploader is sending this file, giving way', false);
    }
    this.stop();
    this.enter('observing');
  }

  /**
   * An answer contradicts earlier ones: something in between may be wrong for a while, so the status is read after a pause.
   * Believed when it is repeated several times, and at once if nothing was known.
   * @param {Failure} failure
   * @param {Call} call
   * @param {number} [first_ms] length of the first pause, if the usual ones are too short
   */
  contradict(failure, call, first_ms) {
    this.need_status = true;
    if (this.status && this.retry_timer.running) return;
    if (!this.status || this.contradictions >= CONTRADICTIONS) return this.fail(failure);
    this.retry_later(failure.message, call, first_ms ? first_ms * 2 ** this.contradictions : null);
    this.contradictions += 1;
  }

  /** Aborts chunks that stand still while later ones are acknowledged: their connection is dead. */
  drop_overtaken() {
    const before = this.ports.clock.now() - OVERTAKEN_MS;
    this.calls.abort_all(({ chunk }) => chunk && chunk.moved_at < Math.min(before, this.acked_began_at));
  }

  /** The file cannot be read. It may be on a drive that comes back. */
  read_failed() {
    if (this.phase !== 'sending' && this.phase !== 'binding') return;
    this.read_failures += 1;
    if (!this.file.size || this.read_failures >= READ_TRIES) return this.fail(file_changed());
    this.stop();
    this.need_status = true;
    this.retry_timer.start(READ_PAUSE_MS, 'the file cannot be read', false);
  }

  // Phases

  /**
   * Looks up the server on first use; the page may name it until then.
   * @throws {TypeError} if there is none; changes nothing then
   */
  open() {
    if (this.pool) return;
    const origin = (this.hostname = this.origin());
    this.url = upload_url(origin, this.upload_id);
    this.pool = this.ports.pool_for(origin);
    this.calls.open(this.pool);
    this.#stop_waking = this.ports.on_wake((online) => {
      if (online) this.chunk_failures = this.request_failures = 0;
      this.retry_timer.wake();
    });
  }

  /**
   * Asks for the lock among the tabs of this browser. Without an answer in time this tab takes it as its own.
   * @param {boolean} [steal] takes it from a tab that makes no progress
   */
  claim_lock(steal) {
    if (this.#release_lock && !steal) return;
    this.#release_lock?.();
    const { clock, locks } = this.ports;
    const timer = clock.set_timer(() => on_lock('held'), LOCK_MS);
    const on_lock = (/** @type {LockState} */ lock) => {
      clock.clear_timer(timer);
      if (this.phase === 'ended' || this.lock === lock) return;
      this.lock = lock;
      if (lock === 'waiting' && this.phase === 'sending') {
        this.stop();
        this.enter('observing');
      } else if (lock === 'held' && this.phase === 'observing') {
        this.calls.stop();
        this.need_status = true;
        this.enter('sending');
      }
      this.settle();
    };
    const release = locks.claim(`incoming ${this.url}`, on_lock, steal);
    this.#release_lock = () => {
      clock.clear_timer(timer);
      release();
    };
  }

  /** @param {'sending' | 'observing' | 'awaiting_handover'} phase */
  enter(phase) {
    if (this.phase === phase) return;
    this.phase = phase;
    this.check = this.last_bytes = null;
    this.phase_version = this.server_ranges.version;
    this.#leave_polling();
    if (phase === 'sending') return;
    this.retry_timer.stop();
    this.polls = this.chunk_failures = this.request_failures = 0;
    this.contention.observe(this.ports.clock.now());
    // When another uploader joins, the long poll frees the connection and both use short polls.
    const on_company = () => {
      this.calls.abort_all((call) => call.waits);
      this.settle();
    };
    this.#stop_polling = this.pool?.add_poller(on_company) ?? null;
  }

  /** Ends everything that runs or waits. The caller sets the phase. */
  stop() {
    this.retry_timer.stop();
    this.check = this.last_bytes = null;
    this.calls.stop();
    this.#leave_polling();
  }

  /** @param {'finished' | 'cancelled' | 'failed'} ending */
  end(ending) {
    this.stop();
    this.phase = 'ended';
    this.ending = ending;
    this.connected = false;
    this.events.push(ending === 'failed' ? 'error' : ending);
    this.#stop_waking?.();
    this.#release_lock?.();
    // After a failure another try may succeed, with another file or on another day.
    if (ending !== 'failed') this.record.remove();
  }

  /** @param {Failure} failure */
  fail(failure) {
    this.failure = failure;
    this.end('failed');
  }

  /** Cancels without the server, which is told as soon as it can be reached. */
  cancel_here() {
    try {
      this.open();
    } catch {
      // There is no server to tell.
      return this.end('cancelled');
    }
    const request = cancel_request(this.url, this.cancel_msg);
    if (!this.connected) {
      this.failure = cancelled_offline();
      this.events.push('error');
    }
    this.end('cancelled');
    cancel_later(this.ports, request, () => {
      this.failure = null;
      this.settle();
    });
  }

  #leave_polling() {
    this.#stop_polling?.();
    this.#stop_polling = null;
  }
}
