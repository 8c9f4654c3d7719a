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
export declare function is_due(lane: import('./budget.js').Lane, { phase, need_status, runs, check, turn, has_chunk }: {
    phase: import('./present.js').Phase;
    need_status: boolean;
    runs: (kind: import('./calls.js').Call['kind']) => boolean;
    check: import('./same.js').Check;
    turn: import('./present.js').Turn;
    has_chunk: () => boolean;
}): boolean;
