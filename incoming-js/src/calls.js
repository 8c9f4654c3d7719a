/**
 * The requests of one upload that run, and the connections they hold or wait for. A connection is given back when its
 * request has ended and the outcome is dealt with, or when the request is aborted.
 */
import { read_outcome } from './reply.js';

/** @typedef {import('./budget.js').Lane} Lane */
/** @typedef {import('./budget.js').Slot} Slot */
/** @typedef {import('./present.js').Put} Put */
/** @typedef {import('./types.js').Outcome} Outcome */

/**
 * A request that runs.
 * @typedef {object} Call
 * @property {'sync' | 'verify' | 'put' | 'poll' | 'cancel'} kind
 * @property {Slot | null} slot
 * @property {Put | null} put
 * @property {boolean} waits the server was asked to wait
 * @property {number} since mark of the ledger when it began
 * @property {number} began_at
 * @property {() => void} abort
 */

export class Calls {
  #ports;
  #on_outcome;
  #on_settled;
  /** @type {import('./budget.js').Budget | null} */
  #budget = null;
  /** @type {Set<Call>} */
  #running = new Set();
  /** @type {Map<Lane, () => void>} */
  #waits = new Map();

  /**
   * @param {import('./types.js').Ports} ports
   * @param {(call: Call, outcome: Outcome) => void} on_outcome
   * @param {() => void} on_settled after an outcome was dealt with, or a connection came free
   */
  constructor(ports, on_outcome, on_settled) {
    this.#ports = ports;
    this.#on_outcome = on_outcome;
    this.#on_settled = on_settled;
  }

  /** @param {import('./budget.js').Budget} budget whose connections are used from now on */
  open(budget) {
    this.#budget = budget;
  }

  /** Nothing runs and nothing waits. */
  get idle() {
    return this.#running.size === 0 && this.#waits.size === 0;
  }

  /** @param {Call['kind']} kind */
  runs(kind) {
    return [...this.#running].some((call) => call.kind === kind);
  }

  /** @returns {Put[]} chunks on their way */
  get puts() {
    return [...this.#running].flatMap((call) => call.put ?? []);
  }

  /** The lowest mark among the running; Infinity when nothing runs. */
  get oldest() {
    return Math.min(Infinity, ...[...this.#running].map((call) => call.since));
  }

  /**
   * Uses connections of a lane while they are wanted and there are any; waits in line for the next one.
   * @param {Lane} lane
   * @param {() => boolean} wants
   * @param {(slot: Slot) => void} use begins a request
   */
  fill(lane, wants, use) {
    while (this.#budget && !this.#waits.has(lane) && wants()) {
      const slot = this.#budget.take(lane);
      if (slot) use(slot);
      else this.#waits.set(lane, this.#budget.wait(lane, (granted) => {
        this.#waits.delete(lane);
        if (wants()) use(granted);
        else granted.release();
        this.#on_settled();
      }));
    }
  }

  /**
   * @param {Pick<Call, 'kind' | 'slot' | 'since'> & Partial<Call>} what
   * @param {import('./types.js').Request} request
   */
  begin(what, request) {
    const { transport, clock } = this.#ports;
    /** @type {Call} */
    const call = { put: null, waits: false, abort: () => {}, ...what, began_at: clock.now() };
    this.#running.add(call);
    /** @param {import('./types.js').RawOutcome} raw */
    const end = (raw) => {
      this.#running.delete(call);
      try {
        this.#on_outcome(call, read_outcome(raw, clock.date()));
      } catch (error) {
        // An answer that this library stumbles over is none: tried again, after a pause.
        console.error(error);
        this.#on_outcome(call, { kind: 'lost', why: 'network' });
      } finally {
        // Only now: the slot may come straight back to this very upload.
        call.slot?.release();
        this.#on_settled();
      }
    };
    try {
      call.abort = transport.send(request, end).abort;
    } catch {
      // A request that this browser does not make at all ends like one that was lost.
      const timer = clock.set_timer(() => end({ kind: 'lost', why: 'network' }), 0);
      call.abort = () => clock.clear_timer(timer);
    }
  }

  /**
   * Aborts those of this kind.
   * @param {(call: Call) => unknown} which
   */
  abort_all(which) {
    for (const call of [...this.#running]) if (which(call)) this.#abort(call);
  }

  /** Aborts everything and leaves every line. */
  stop() {
    for (const leave of this.#waits.values()) leave();
    this.#waits.clear();
    this.abort_all(() => 1);
  }

  /** @param {Call} call */
  #abort(call) {
    this.#running.delete(call);
    call.abort();
    call.slot?.release();
  }
}
