/**
 * What the server holds, as far as its answers tell. Pure but for its own memory.
 *
 * Every answer carries the whole truth of its moment, yet answers to requests in parallel overtake each other. An
 * answer is surely newer than everything known when its request began, and it wins over that: so it is seen when a
 * server that restarted has fallen back. Over answers that came in meanwhile it cannot win; those are added to it.
 */
import { union } from './ranges.js';

/** @typedef {import('./ranges.js').Range} Range */

export class Ledger {
  /** @type {Range[]} acknowledged ranges */
  received = [];
  #answers = 0;
  /** @type {{ at: number, ranges: readonly Range[] }[]} */
  #recent = [];

  /** The present moment, to be kept with a request that begins now. */
  mark() {
    return this.#answers;
  }

  /**
   * @param {readonly Range[]} ranges what the answer says
   * @param {number} since the mark of its request
   * @param {number} oldest the lowest mark of the requests still running; Infinity without any
   */
  learn(ranges, since, oldest) {
    let truth = union(ranges, []);
    for (const answer of this.#recent) if (answer.at > since) truth = union(truth, answer.ranges);
    this.received = truth;
    this.#answers += 1;
    this.#recent.push({ at: this.#answers, ranges });
    this.#recent = this.#recent.filter((answer) => answer.at > oldest);
  }
}
