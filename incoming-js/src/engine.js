/**
 * One upload, as the page steers it. It touches neither network, clock nor page; those come in as ports.
 *
 * Every event is handled to the end before the page is told, so callbacks may call back in.
 */
import { REASON_CHARS } from './limits.js';
import { on_outcome } from './outcomes.js';
import { pump } from './pump.js';
import { size_of } from './ranges.js';
import { sendable } from './text.js';
import { Upload } from './upload.js';

export class Engine {
  #upload;
  #on_change;

  /**
   * @param {ConstructorParameters<typeof Upload>[0]} what
   * @param {(properties: import('./types.js').Properties, events: import('./types.js').Ending[]) => void} on_change
   *   must not throw
   */
  constructor(what, on_change) {
    this.#upload = new Upload(what, (call, outcome) => on_outcome(this.#upload, call, outcome), () => this.#settle(), () => this.#tell());
    this.#on_change = on_change;
  }

  properties() {
    return this.#upload.properties();
  }

  /** Why it failed, or what went wrong with the cancelling. */
  get failure() {
    return this.#upload.failure;
  }

  /**
   * Begins, or goes on when paused, or tries now what waits to be tried again; else does nothing.
   * @throws {TypeError} when there is no server
   */
  start() {
    const upload = this.#upload;
    if (upload.phase !== 'idle' && upload.phase !== 'paused') return upload.hold.cut();
    upload.open();
    upload.stop();
    upload.phase = 'binding';
    upload.need_status = true;
    upload.failures = upload.misses = upload.contradictions = upload.unreadable = upload.chunks_acked = 0;
    upload.rival.forget();
    // What was measured before has nothing to do with what comes.
    upload.pace.rate.forget();
    upload.pace.flight.restart();
    this.#settle();
  }

  /** Stops sending and keeps what is acknowledged; does nothing where pausing is not possible. */
  pause() {
    const upload = this.#upload;
    if (upload.phase === 'paused' || !upload.properties().can_pause) return;
    // Some of what was aborted has arrived: a look at it shows what is kept.
    const look = upload.calls.puts.some(({ sent }) => sent > 0);
    upload.stop();
    upload.phase = 'paused';
    upload.connected = false;
    upload.polls = 0;
    if (look) upload.look_later();
    else upload.need_status = false;
    this.#settle();
  }

  /**
   * Cancels, where possible: by the server when it is there, else here and now, and the server is told later.
   * @param {unknown} reason
   */
  cancel(reason) {
    const upload = this.#upload;
    if (!upload.properties().can_cancel) return;
    upload.cancel_msg = sendable(reason, REASON_CHARS);
    upload.stop();
    if (upload.connected) upload.phase = 'cancelling';
    else upload.cancel_here();
    this.#settle();
  }

  /**
   * Cancels here and now, in every phase, and tells the server.
   * @param {unknown} reason
   */
  abort(reason) {
    const upload = this.#upload;
    if (upload.phase === 'over') return;
    upload.cancel_msg = sendable(reason, REASON_CHARS);
    upload.cancel_here();
    this.#settle();
  }

  #settle() {
    const upload = this.#upload;
    pump(upload);
    // Not before it is sure that the file is the one: what is remembered is of that.
    if (upload.status && upload.phase !== 'over' && upload.check === null) upload.memory.note(upload.hostname, size_of(upload.ledger.received), upload.phase === 'paused' || upload.hold.stands);
    this.#tell();
  }

  #tell() {
    const { events } = this.#upload;
    this.#upload.events = [];
    this.#on_change(this.properties(), events);
  }
}
