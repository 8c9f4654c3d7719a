/**
 * Tells the server of an upload that was cancelled while it could not be reached: again and again, with growing
 * pauses, until it knows, has nothing left to cancel, or says that it is too late.
 */
import { read_outcome, verdict } from './reply.js';
import { backoff_ms } from './retry.js';

/**
 * @param {import('./types.js').Ports} ports
 * @param {import('./types.js').Request} request the cancel request
 * @param {() => void} on_known called when that is so
 */
export function tell_cancelled(ports, request, on_known) {
  const { transport, clock } = ports;
  let failures = 0;
  let wakeable = true;
  /** @type {unknown} */
  let timer = null;

  const stop_waking = ports.on_wake((online) => {
    if (online) failures = 0;
    if (timer !== null && wakeable) attempt();
  });

  const attempt = () => {
    if (timer !== null) clock.clear_timer(timer);
    timer = null;
    transport.send(request, (raw) => {
      const outcome = read_outcome(raw, clock.date());
      const refusal = outcome.kind === 'refused' ? outcome.refusal : null;
      if (outcome.kind === 'status' || (refusal && verdict(refusal) !== 'retry')) {
        stop_waking();
        return on_known();
      }
      failures += 1;
      wakeable = !refusal?.retry_after_ms;
      timer = clock.set_timer(attempt, refusal?.retry_after_ms ?? backoff_ms(failures, clock.random()));
    });
  };
  attempt();
}
