/**
 * The state of one upload and the steps between its phases. What to request is decided in `pump`, what an outcome
 * changes in `outcomes`; both work on this. It ends only in `finished`, `cancelled` or `failed`.
 */
import { Calls } from './calls.js';
import { cancelled_here, file_changed } from './failures.js';
import { tell_cancelled } from './farewell.js';
import { Hold } from './hold.js';
import { Ledger } from './ledger.js';
import { CLAIM_MS, CONTRADICTIONS, FILE_LOOKS, FILE_PAUSE_MS, OVERTAKEN_MS, PAUSE_LOOKS, PAUSE_LOOK_MS } from './limits.js';
import { upload_url } from './origin.js';
import { Pace } from './pace.js';
import { present } from './present.js';
import { Remembering } from './remembering.js';
import { cancel_request } from './requests.js';
import { backoff_ms } from './retry.js';
import { Rival } from './rival.js';

/** @typedef {import('./calls.js').Call} Call */
/** @typedef {import('./types.js').Failure} Failure */
/** @typedef {import('./types.js').Outcome} Outcome */

export class Upload {
  /** @type {import('./present.js').Phase} */
  phase = 'idle';
  /** Mark of the ledger when the phase began. */
  phase_mark = 0;
  /** @type {import('./present.js').Snapshot['ending']} */
  ending = null;
  /** @type {import('./types.js').Status | null} the newest */
  status = null;
  need_status = true;
  connected = false;
  chunks_acked = 0;
  /** Failures of chunks in a row, for the length of the next pause; and of all else since the server last answered. */
  failures = 0;
  misses = 0;
  /** Looks that did not wait at the server, for the length of the pause between them. */
  polls = 0;
  /** Times that the server had everything and then no longer, for the length of the pause after it. */
  falls = 0;
  /** Answers in a row that contradict earlier ones, and looks in a row at a file that could not be read. */
  contradictions = 0;
  unreadable = 0;
  /** The file is being looked at. */
  looking = false;
  /** When the youngest of the acknowledged chunks began. */
  acked_began_at = -1;
  /** @type {string | null} */
  cancel_msg = null;
  /** @type {Failure | null} */
  failure = null;
  /** @type {import('./types.js').Ending[]} not yet told */
  events = [];

  hostname = '';
  url = '';
  /** @type {import('./budget.js').Budget | null} */
  budget = null;
  ledger = new Ledger();
  rival = new Rival();
  /** @type {import('./present.js').Turn} */
  turn = 'asking';
  /** @type {import('./same.js').Check} */
  check = null;
  /** The last bytes, read before all others were compared. @type {Blob | null} */
  last = null;
  /** Bytes that are surely of this file: sent by this uploader or compared. @type {import('./ranges.js').Range[]} */
  own = [];
  verify_failures = 0;

  /** @type {(() => void) | null} */
  #stop_following = null;
  /** @type {(() => void) | null} */
  #stop_waking = null;
  /** @type {(() => void) | null} */
  #give_back = null;

  /**
   * @param {object} what
   * @param {string} what.upload_id
   * @param {File} what.file
   * @param {import('./types.js').Options} what.options
   * @param {import('./types.js').Ports} what.ports
   * @param {() => string} what.origin asked when the first request is due
   * @param {(call: Call, outcome: Outcome) => void} on_outcome
   * @param {() => void} on_settled it is time to look what to request, and to tell the page
   * @param {() => void} on_tell it is time to tell the page
   */
  constructor({ upload_id, file, options, ports, origin }, on_outcome, on_settled, on_tell) {
    this.upload_id = upload_id;
    this.file = file;
    this.ports = ports;
    this.origin = origin;
    this.pace = new Pace(options);
    this.calls = new Calls(ports, on_outcome, on_settled);
    this.hold = new Hold(ports.clock, on_settled, on_tell);
    this.memory = new Remembering(ports, upload_id, file, options);
    this.settle = on_settled;
    this.tell = on_tell;
  }

  /** @returns {import('./types.js').Properties} */
  properties() {
    return present({
      ...this,
      total: this.file.size,
      received: this.ledger.received,
      puts: this.calls.puts,
      rate: this.pace.rate,
      trouble: this.hold.text,
      retry_s: this.hold.seconds,
      note: this.status?.reason ?? null,
    });
  }

  // Waiting

  /**
   * Waits before the next try; failures that come while it waits already are the same trouble.
   * @param {string} text
   * @param {Call} call that failed
   * @param {number | null} retry_after what the server asks for
   */
  trouble(text, { kind }, retry_after = null) {
    if (this.hold.stands && retry_after === null) return;
    this.pace.flight.restart();
    if (!this.hold.stands) {
      if (kind === 'put' || kind === 'verify') this.failures += 1;
      else this.misses += 1;
    }
    const ms = retry_after ?? backoff_ms(this.failures + this.misses, this.ports.clock.random());
    this.hold.begin(ms, text, retry_after === null);
  }

  /** Paused: looks what has arrived of the chunks under way, some times at most. */
  look_later() {
    this.need_status = this.polls < PAUSE_LOOKS;
    if (this.need_status) this.hold.begin(PAUSE_LOOK_MS * 2 ** this.polls++, null, false);
  }

  /** A newer request took over: backs off, and leaves the sending to the other one when that goes on. */
  give_way() {
    this.need_status = true;
    // What arrived of one's own chunks cannot be told from the other one's.
    this.own = [];
    if (this.hold.stands) return;
    const { clock } = this.ports;
    if (!this.rival.took_over()) {
      const ms = backoff_ms(this.rival.superseded, clock.random());
      return this.hold.begin(ms, 'another uploader is sending this file, giving way', false);
    }
    this.stop();
    this.enter('watching');
  }

  /**
   * An answer that does not agree with what the server said before: something in between may be wrong for a while, so
   * the status is read after a pause. Believed when it comes again and again, and at once where nothing was known.
   * @param {Failure} failure
   * @param {Call} call
   * @param {number} [first_ms] of the first pause, where the usual ones are too short
   */
  contradict(failure, call, first_ms) {
    this.need_status = true;
    if (this.status && this.hold.stands) return;
    if (!this.status || this.contradictions >= CONTRADICTIONS) return this.fail(failure);
    this.trouble(failure.message, call, first_ms ? first_ms * 2 ** this.contradictions : null);
    this.contradictions += 1;
  }

  /** Gives up chunks on which nothing moves while later ones are acknowledged: their connection is dead. */
  drop_overtaken() {
    const before = this.ports.clock.now() - OVERTAKEN_MS;
    this.calls.abort_all(({ put }) => put && put.moved_at < Math.min(before, this.acked_began_at));
  }

  /** The file cannot be read: it may be on a drive that comes back. */
  cannot_read() {
    if (this.phase !== 'sending' && this.phase !== 'binding') return;
    this.unreadable += 1;
    if (!this.file.size || this.unreadable >= FILE_LOOKS) return this.fail(file_changed());
    this.stop();
    this.need_status = true;
    this.hold.begin(FILE_PAUSE_MS, 'the file cannot be read', false);
  }

  // Phases

  /**
   * Looks up the server on the first occasion, so that the page may name it until then.
   * @throws {TypeError} when there is none; nothing is changed then
   */
  open() {
    if (this.budget) return;
    const origin = (this.hostname = this.origin());
    this.url = upload_url(origin, this.upload_id);
    this.budget = this.ports.budget_for(origin);
    this.calls.open(this.budget);
    this.#stop_waking = this.ports.on_wake((online) => {
      if (online) this.failures = this.misses = 0;
      this.hold.wake();
    });
  }

  /**
   * Asks for this browser's turn, which is taken when no answer comes.
   * @param {boolean} [steal] takes it from a tab that makes no progress
   */
  join(steal) {
    if (this.#give_back && !steal) return;
    this.#give_back?.();
    const { clock, locks } = this.ports;
    const timer = clock.set_timer(() => on_turn('held'), CLAIM_MS);
    const on_turn = (/** @type {import('./present.js').Turn} */ turn) => {
      clock.clear_timer(timer);
      if (this.phase === 'over' || this.turn === turn) return;
      this.turn = turn;
      if (turn === 'waiting' && this.phase === 'sending') {
        this.stop();
        this.enter('watching');
      } else if (turn === 'held' && this.phase === 'watching') {
        this.calls.stop();
        this.need_status = true;
        this.enter('sending');
      }
      this.settle();
    };
    const end = locks.claim(`incoming ${this.url}`, on_turn, steal);
    this.#give_back = () => {
      clock.clear_timer(timer);
      end();
    };
  }

  /** @param {'sending' | 'watching' | 'following'} phase */
  enter(phase) {
    if (this.phase === phase) return;
    this.phase = phase;
    this.check = this.last = null;
    this.phase_mark = this.ledger.mark();
    this.#leave_following();
    if (phase === 'sending') return;
    this.hold.end();
    this.polls = this.failures = this.misses = 0;
    this.rival.watch(this.ports.clock.now());
    // With company a long poll gives the connection free, and all take short looks.
    const on_company = () => {
      this.calls.abort_all((call) => call.waits);
      this.settle();
    };
    this.#stop_following = this.budget?.follow(on_company) ?? null;
  }

  /** Ends all that runs or waits; the phase is the caller's to set. */
  stop() {
    this.hold.end();
    this.check = this.last = null;
    this.calls.stop();
    this.#leave_following();
  }

  /** @param {'finished' | 'cancelled' | 'failed'} ending */
  end(ending) {
    this.stop();
    this.phase = 'over';
    this.ending = ending;
    this.connected = false;
    this.events.push(ending === 'failed' ? 'error' : ending);
    this.#stop_waking?.();
    this.#give_back?.();
    // After a failure a second try may go better, with another file or another day.
    if (ending !== 'failed') this.memory.end();
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
      // Without a server there is none that knows of it.
      return this.end('cancelled');
    }
    const request = cancel_request(this.url, this.cancel_msg);
    if (!this.connected) {
      this.failure = cancelled_here();
      this.events.push('error');
    }
    this.end('cancelled');
    tell_cancelled(this.ports, request, () => {
      this.failure = null;
      this.settle();
    });
  }

  #leave_following() {
    this.#stop_following?.();
    this.#stop_following = null;
  }
}
