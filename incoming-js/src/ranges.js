/**
 * Sets of bytes as lists of half-open ranges, sorted and merged. Pure.
 */

/** @typedef {[number, number]} Range from inclusive, to exclusive */

/**
 * The same bytes, sorted and merged; empty ranges are dropped.
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
 * The bytes that are in either.
 * @param {readonly Range[]} a
 * @param {readonly Range[]} b
 */
export function union(a, b) {
  return merged([...a, ...b]);
}

/**
 * What of [from, to) is not in `ranges`, which must be merged.
 * @param {readonly Range[]} ranges
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
 * Number of bytes in merged `ranges`.
 * @param {readonly Range[]} ranges
 */
export function size_of(ranges) {
  return ranges.reduce((sum, [from, to]) => sum + to - from, 0);
}
