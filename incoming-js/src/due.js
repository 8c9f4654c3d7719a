/**
 * Which kind of request an upload should make now. Pure.
 */

/**
 * @param {import('./budget.js').Lane} lane
 * @param {object} now
 * @param {import('./present.js').Phase} now.phase
 * @param {boolean} now.need_status
 * @param {(kind: import('./calls.js').Call['kind']) => boolean} now.runs whether such a request runs already
 * @param {import('./same.js').Check} now.check
 * @param {import('./present.js').Turn} now.turn
 * @param {() => boolean} now.has_chunk whether there is a chunk that may be sent
 */
export function is_due(lane, { phase, need_status, runs, check, turn, has_chunk }) {
  switch (lane) {
    case 'control':
      return phase === 'sending' && !need_status
        ? typeof check === 'string' && !runs('verify')
        : (phase === 'binding' || ((phase === 'sending' || phase === 'paused') && need_status)) && !runs('sync');
    case 'poll':
      return (phase === 'following' || phase === 'watching') && !runs('poll');
    case 'chunk':
      return phase === 'sending' && !need_status && check === null && turn === 'held' && has_chunk();
  }
}
