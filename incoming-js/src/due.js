/**
 * Which kind of request an upload should make now. Pure.
 */

/**
 * @param {import('./budget.js').Lane} lane
 * @param {object} now
 * @param {import('./present.js').Phase} now.phase
 * @param {boolean} now.need_status
 * @param {(kind: import('./calls.js').Call['kind']) => boolean} now.runs whether such a request runs already
 * @param {() => boolean} now.has_chunk whether there is a chunk that may be sent
 */
export function is_due(lane, { phase, need_status, runs, has_chunk }) {
  switch (lane) {
    case 'control':
      return (phase === 'binding' || (phase === 'sending' && need_status)) && !runs('sync');
    case 'poll':
      return (phase === 'following' || phase === 'watching') && !runs('poll');
    case 'chunk':
      return phase === 'sending' && !need_status && has_chunk();
  }
}
