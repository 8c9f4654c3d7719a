/**
 * The state machine of one upload: what to request next, and what each outcome changes. It touches neither network,
 * clock nor page; those come in as ports.
 *
 * It ends only in `finished`, `cancelled` or `failed`. What a retry can cure is retried for ever. Every event is
 * handled to the end before the page is told, so callbacks may call back in.
 */
import { Calls } from './calls.js';
import { is_due } from './due.js';
import { cancelled_here, failed_on_server, file_changed, length_changed } from './failures.js';
import { tell_cancelled } from './farewell.js';
import { Hold } from './hold.js';
import { Ledger } from './ledger.js';
import { upload_url } from './origin.js';
import { next_chunks } from './plan.js';
import { present } from './present.js';
import { missing, size_of } from './ranges.js';
import { is_readable } from './readable.js';
import { is_over, verdict } from './reply.js';
import { bind_request, cancel_request, chunk_request, long_poll_request, status_request } from './requests.js';
import { backoff_ms, poll_pause_ms } from './retry.js';
import { Rival } from './rival.js';
import { ceiling_after_refusal, chunk_bytes } from './size.js';

/** @typedef {import('./budget.js').Lane} Lane */
/** @typedef {import('./budget.js').Slot} Slot */
/** @typedef {import('./calls.js').Call} Call */
/** @typedef {import('./present.js').Put} Put */
/** @typedef {import('./types.js').Status} Status */
/** @typedef {import('./types.js').Refusal} Refusal */
/** @typedef {import('./types.js').Failure} Failure */

/** @type {Lane[]} */
const LANES = ['control', 'poll', 'chunk'];

export class Engine {
  #upload_id;
  #file;
  #options;
  #ports;
  #origin;
  #on_change;

  /** @type {import('./present.js').Phase} */
  #phase = 'idle';
  /** @type {import('./present.js').Snapshot['ending']} */
  #ending = null;
  #url = '';
  /** @type {import('./budget.js').Budget | null} */
  #budget = null;
  #ledger = new Ledger();
  /** @type {Status | null} the newest */
  #status = null;
  #need_status = true;
  #phase_mark = 0;
  #ceiling = Infinity;
  #connected = false;
  #chunks_acked = 0;

  #calls;
  #hold;
  #failures = 0;
  #rival = new Rival();
  #polls = 0;

  /** @type {string | null} */
  #cancel_msg = null;
  /** @type {Failure | null} */
  #failure = null;
  /** @type {import('./types.js').Ending[]} not yet told */
  #events = [];
  /** @type {(() => void) | null} */
  #stop_following = null;
  /** @type {(() => void) | null} */
  #stop_waking = null;

  /**
   * @param {object} upload
   * @param {string} upload.upload_id
   * @param {File} upload.file
   * @param {import('./types.js').Options} upload.options
   * @param {import('./types.js').Ports} upload.ports
   * @param {() => string} upload.origin asked when the first request is due
   * @param {(properties: import('./types.js').Properties, events: import('./types.js').Ending[]) => void} upload.on_change
   *   must not throw
   */
  constructor({ upload_id, file, options, ports, origin, on_change }) {
    this.#upload_id = upload_id;
    this.#file = file;
    this.#options = options;
    this.#ports = ports;
    this.#origin = origin;
    this.#on_change = on_change;
    this.#calls = new Calls(ports, (call, outcome) => this.#on_outcome(call, outcome), () => this.#settle());
    this.#hold = new Hold(ports.clock, () => this.#settle());
  }

  /** @returns {import('./types.js').Properties} */
  properties() {
    return present({
      phase: this.#phase,
      ending: this.#ending,
      total: this.#file.size,
      received: this.#ledger.received,
      puts: this.#calls.puts,
      chunks_acked: this.#chunks_acked,
      connected: this.#connected,
      need_status: this.#need_status,
      trouble: this.#hold.text,
      note: this.#status?.reason ?? null,
      cancel_msg: this.#cancel_msg,
      failure: this.#failure,
    });
  }

  /** Begins, or goes on when paused; else does nothing. */
  start() {
    if (this.#phase !== 'idle' && this.#phase !== 'paused') return;
    this.#open();
    this.#phase = 'binding';
    this.#need_status = true;
    this.#failures = this.#chunks_acked = 0;
    this.#rival.forget();
    this.#settle();
  }

  /** Stops sending and keeps what is acknowledged; does nothing where pausing is not possible. */
  pause() {
    if (this.#phase === 'paused' || !this.properties().can_pause) return;
    this.#stop();
    this.#phase = 'paused';
    this.#connected = false;
    this.#settle();
  }

  /**
   * Cancels, where possible: by the server when it is there, else here and now, and the server is told later.
   * @param {string} reason
   */
  cancel(reason) {
    if (!this.properties().can_cancel) return;
    this.#open();
    this.#stop();
    this.#cancel_msg = reason;
    if (this.#connected) this.#phase = 'cancelling';
    else this.#cancel_here();
    this.#settle();
  }

  // What to request

  #settle() {
    this.#pump();
    this.#tell();
  }

  #tell() {
    const events = this.#events;
    this.#events = [];
    this.#on_change(this.properties(), events);
  }

  /** Starts every request that is due and possible. */
  #pump() {
    for (const lane of LANES) this.#calls.fill(lane, () => this.#wants(lane), (slot) => this.#use(lane, slot));
    if (this.#hold.stands) return;
    if (this.#phase === 'cancelling' && !this.#calls.runs('cancel')) {
      this.#begin({ kind: 'cancel', slot: null }, cancel_request(this.#url, this.#cancel_msg));
    }
    // Everything is acknowledged, yet the server does not hand over: looks again later.
    if (this.#phase === 'sending' && this.#calls.idle) {
      this.#need_status = true;
      this.#hold.begin(poll_pause_ms(this.#polls++, 1), null, true);
    }
  }

  /** @param {Lane} lane */
  #wants(lane) {
    return !this.#hold.stands && is_due(lane, {
      phase: this.#phase,
      need_status: this.#need_status,
      runs: (kind) => this.#calls.runs(kind),
      has_chunk: () => this.#next_chunk() !== null,
    });
  }

  /**
   * @param {Lane} lane
   * @param {Slot} slot
   */
  #use(lane, slot) {
    if (lane === 'control') {
      const bound = this.#status !== null && this.#status.length !== null;
      this.#begin({ kind: 'sync', slot }, bound ? status_request(this.#url) : bind_request(this.#url, this.#file));
    } else if (lane === 'poll') {
      const state = this.#phase === 'following' ? 'handing_over' : (this.#status?.state ?? 'uploading');
      // A long poll only when the connection is this upload's alone.
      const waits = this.#budget?.followers === 1;
      this.#begin({ kind: 'poll', slot, waits }, waits ? long_poll_request(this.#url, state) : status_request(this.#url));
    } else {
      const [from, to] = this.#next_chunk() ?? [0, 0];
      const put = { from, to, sent: 0, handed: false };
      this.#begin({ kind: 'put', slot, put }, chunk_request(this.#url, this.#file, put, () => this.#tell()));
    }
  }

  #next_chunk() {
    const status = this.#status;
    if (!status) return null;
    const [next] = next_chunks({
      received: this.#ledger.received,
      in_flight: this.#calls.puts.map((put) => [put.from, put.to]),
      length: this.#file.size,
      chunk_bytes: chunk_bytes(status, this.#options.chunk_size, this.#ceiling),
      send_ahead: this.#options.send_ahead ?? status.send_ahead,
    });
    return next ?? null;
  }

  /**
   * @param {Pick<Call, 'kind' | 'slot'> & Partial<Call>} what
   * @param {import('./types.js').Request} request
   */
  #begin(what, request) {
    this.#calls.begin({ ...what, since: this.#ledger.mark() }, request);
  }

  // What outcomes change

  /**
   * @param {Call} call
   * @param {import('./types.js').Outcome} outcome
   */
  #on_outcome(call, outcome) {
    if (outcome.kind === 'status') {
      this.#connected = true;
      if (call.kind === 'cancel') return this.#end('cancelled');
      this.#learn(outcome.status, call);
      this.#on_success(call);
    } else if (call.kind === 'put' && this.#phase !== 'sending') {
      // The chunk was acknowledged by a later answer; nothing hangs on this one any more.
    } else if (outcome.kind === 'lost') {
      this.#on_lost(call, outcome.why);
    } else {
      this.#connected = outcome.refusal.from_server;
      this.#on_refused(call, outcome.refusal);
    }
  }

  /**
   * Takes over what the server says about the upload.
   * @param {Status} status
   * @param {Call} call whose answer it came with
   */
  #learn(status, call) {
    const total = this.#file.size;
    if (status.length !== null && status.length !== total) {
      return this.#fail(length_changed(total, status.length));
    }
    /** @param {Status['received']} received */
    const note = (received) => this.#ledger.learn(received, call.since, this.#calls.oldest);
    switch (status.state) {
      case 'new':
      case 'uploading':
        // An answer may be overtaken by that of the chunk which completed the file.
        if (this.#phase === 'following' && call.since < this.#phase_mark) return;
        note(status.received);
        if (this.#phase !== 'watching') this.#enter('sending');
        break;
      case 'handing_over':
        note([[0, total]]);
        this.#enter('following');
        break;
      case 'finished':
        note([[0, total]]);
        this.#end('finished');
        break;
      case 'cancelled':
        this.#cancel_msg = status.reason ?? 'cancelled on the server';
        this.#end('cancelled');
        break;
      case 'failed':
        this.#fail(failed_on_server(status.reason));
        break;
    }
    this.#status = status;
  }

  /** @param {Call} call answered with a status that was learnt */
  #on_success(call) {
    const { put } = call;
    if (put) this.#chunks_acked += 1;
    if (this.#phase === 'over') return;
    if (put) {
      if (missing(this.#ledger.received, put.from, put.to).length > 0) return this.#trouble('chunk was not kept');
      this.#failures = 0;
      this.#rival.forget();
    } else if (call.kind === 'sync') {
      this.#need_status = false;
      this.#chunks_acked = 0;
    } else {
      this.#failures = 0;
      this.#after_poll(call);
    }
  }

  /** @param {Call} call */
  #after_poll(call) {
    const now = this.#ports.clock.now();
    if (this.#phase === 'watching') {
      if (this.#rival.is_gone(size_of(this.#ledger.received), now)) return this.#enter('sending');
    } else if (this.#phase !== 'following') return;
    const waited = call.waits && now - call.began_at >= 1000;
    if (!waited) this.#hold.begin(poll_pause_ms(this.#polls++, this.#budget?.followers ?? 1), null, true);
  }

  /**
   * No answer: part of a chunk may have arrived, so the status is read before anything is sent again.
   * @param {Call} call
   * @param {'network' | 'stall'} why
   */
  #on_lost(call, why) {
    this.#connected = false;
    if (call.kind === 'cancel') return this.#cancel_here();
    this.#need_status = true;
    if (why === 'stall') this.#trouble('connection stalled');
    else this.#trouble(this.#phase === 'binding' ? 'cannot reach upload server' : 'lost connection');
    if (call.put && why === 'network') void this.#check_file(call.put);
  }

  /**
   * @param {Call} call
   * @param {Refusal} refusal
   */
  #on_refused(call, refusal) {
    const { put } = call;
    const meaning = verdict(refusal);
    if (call.kind === 'cancel') return this.#on_cancel_refused(call, refusal);
    if (meaning === 'retry' || (meaning === 'superseded' && put)) {
      if (refusal.status) this.#learn(refusal.status, call);
      else this.#need_status = true;
      if (this.#phase === 'over' || (put && this.#phase === 'following')) return;
      if (meaning === 'superseded') this.#give_way();
      else this.#trouble(refusal.message, refusal.retry_after_ms);
    } else if (meaning === 'over' && refusal.status && is_over(refusal.status)) {
      this.#learn(refusal.status, call);
    } else {
      const sent = put ? put.to - put.from : 0;
      const ceiling = meaning === 'too_large' && put ? ceiling_after_refusal(sent, refusal.status?.max_chunk_size ?? null) : null;
      if (ceiling === null) this.#fail(refusal);
      else this.#ceiling = Math.min(this.#ceiling, ceiling);
    }
  }

  /**
   * @param {Call} call
   * @param {Refusal} refusal
   */
  #on_cancel_refused(call, refusal) {
    const meaning = verdict(refusal);
    if (meaning === 'retry') this.#trouble(refusal.message, refusal.retry_after_ms);
    else if (meaning === 'too_late') {
      this.#cancel_msg = null;
      this.#enter('following');
      if (refusal.status) this.#learn(refusal.status, { ...call, since: Infinity });
    } else if (meaning === 'over' && refusal.status && is_over(refusal.status)) {
      if (refusal.status.state !== 'cancelled') this.#cancel_msg = null;
      this.#learn(refusal.status, call);
    } else if (meaning === 'over' || refusal.http === 404) this.#end('cancelled');
    else this.#cancel_here();
  }

  // Waiting

  /**
   * Waits before the next try; failures that come while it waits already are the same trouble.
   * @param {string} text
   * @param {number | null} retry_after what the server asks for
   */
  #trouble(text, retry_after = null) {
    if (this.#hold.stands && retry_after === null) return;
    if (!this.#hold.stands) this.#failures += 1;
    const ms = retry_after ?? backoff_ms(this.#failures, this.#ports.clock.random());
    this.#hold.begin(ms, `${text}, trying again in ${Math.ceil(ms / 1000)} s`, retry_after === null);
  }

  /** A newer request took over: backs off, and leaves the sending to the other one when that goes on. */
  #give_way() {
    this.#need_status = true;
    if (this.#hold.stands) return;
    if (!this.#rival.took_over()) {
      const ms = backoff_ms(this.#rival.superseded, this.#ports.clock.random());
      return this.#hold.begin(ms, 'another uploader sends this file too, giving way', false);
    }
    this.#stop();
    this.#rival.watch(this.#ports.clock.now());
    this.#enter('watching');
  }

  // Phases

  /** Looks up the server on the first occasion, so that the page may name it until then. */
  #open() {
    if (this.#budget) return;
    const origin = this.#origin();
    this.#url = upload_url(origin, this.#upload_id);
    this.#budget = this.#ports.budget_for(origin);
    this.#calls.open(this.#budget);
    this.#stop_waking = this.#ports.on_wake(() => this.#hold.wake());
  }

  /** @param {'sending' | 'watching' | 'following'} phase */
  #enter(phase) {
    if (this.#phase === phase) return;
    this.#phase = phase;
    this.#phase_mark = this.#ledger.mark();
    this.#stop_following?.();
    this.#stop_following = null;
    if (phase === 'sending') return;
    this.#hold.end();
    this.#polls = this.#failures = 0;
    // With company a long poll gives the connection free, and all take short looks.
    const on_company = () => {
      this.#calls.abort_waiting();
      this.#settle();
    };
    this.#stop_following = this.#budget?.follow(on_company) ?? null;
  }

  /** Ends all that runs or waits; the phase is the caller's to set. */
  #stop() {
    this.#hold.end();
    this.#calls.stop();
    this.#stop_following?.();
    this.#stop_following = null;
  }

  /** @param {'finished' | 'cancelled' | 'failed'} ending */
  #end(ending) {
    this.#stop();
    this.#phase = 'over';
    this.#ending = ending;
    this.#connected = false;
    this.#events.push(ending === 'failed' ? 'error' : ending);
    this.#stop_waking?.();
  }

  /** @param {Failure} failure */
  #fail({ code, error_code, message }) {
    this.#failure = { code, error_code, message };
    this.#end('failed');
  }

  /** Cancels without the server, which is told as soon as it can be reached. */
  #cancel_here() {
    this.#failure = cancelled_here();
    this.#events.push('error');
    this.#end('cancelled');
    tell_cancelled(this.#ports, cancel_request(this.#url, this.#cancel_msg));
  }

  // Small questions

  /** @param {Put} put that failed */
  async #check_file(put) {
    if (await is_readable(this.#file, put.to - 1)) return;
    if (this.#phase !== 'sending' && this.#phase !== 'binding') return;
    this.#fail(file_changed());
    this.#settle();
  }

  /** @returns {Failure | null} */
  get failure() {
    return this.#failure;
  }
}
