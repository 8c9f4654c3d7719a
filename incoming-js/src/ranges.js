/**
 * Sets of bytes as lists of half-open ranges, sorted and merged, and the set that the server holds. Pure, but for the
 * memory of `ServerRanges`.
 */

/** @typedef {[number, number]} Range from inclusive, to exclusive */

/**
 * The same bytes, sorted and merged. Drops empty ranges.
 * @param {readonly Range[]} ranges
 * @returns {Range[]}
 */
export function merged(ranges) {
  const sorted = ranges.filter(([from, to]) => from < to).sort((a, b) => a[0] - b[0]);
  /** @type {Range[]} */
  const out = [];
  for (const [from, to] of sorted) {
    const last = out[out.length - 1];
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else out.push([from, to]);
  }
  return out;
}

/**
 * The bytes in `a` or `b`.
 * @param {readonly Range[]} a
 * @param {readonly Range[]} b
 */
export function union(a, b) {
  return merged([...a, ...b]);
}

/**
 * The bytes of [from, to) that are not in `ranges`.
 * @param {readonly Range[]} ranges merged
 * @param {number} from
 * @param {number} to
 * @returns {Range[]}
 */
export function missing(ranges, from, to) {
  /** @type {Range[]} */
  const out = [];
  let at = from;
  for (const [start, end] of ranges) {
    if (end <= at) continue;
    if (start >= to) break;
    if (start > at) out.push([at, start]);
    at = end;
  }
  if (at < to) out.push([at, to]);
  return out;
}

/**
 * Number of bytes in `ranges`.
 * @param {readonly Range[]} ranges merged
 */
export function size_of(ranges) {
  return ranges.reduce((sum, [from, to]) => sum + to - from, 0);
}

/**
 * The bytes that the server holds, as reported by its answers.
 *
 * Each answer is the full state at one moment, but answers to parallel requests overtake each other. An answer is newer
 * than everything that was known when its request began, and replaces it: this shows when a restarted server has lost
 * bytes. It cannot replace answers that arrived in the meantime; those are added to it.
 */
export class ServerRanges {
  /** @type {Range[]} acknowledged, merged */
  received = [];
  #answers = 0;
  /** @type {{ version: number, ranges: readonly Range[] }[]} */
  #recent = [];

  /** Number of answers so far. A request keeps the number at which it began. */
  get version() {
    return this.#answers;
  }

  /**
   * @param {readonly Range[]} ranges of the answer
   * @param {number} since version at which its request began
   * @param {number} oldest lowest such version of the requests that still run; Infinity if none does
   */
  learn(ranges, since, oldest) {
    let received = union(ranges, []);
    for (const answer of this.#recent) if (answer.version > since) received = union(received, answer.ranges);
    this.received = received;
    this.#answers += 1;
    this.#recent.push({ version: this.#answers, ranges });
    this.#recent = this.#recent.filter((answer) => answer.version > oldest);
  }
}
