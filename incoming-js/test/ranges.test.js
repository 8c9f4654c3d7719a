/**
 * Byte ranges, and the ranges that the server holds.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ServerRanges, merged, missing, size_of, union } from '../src/ranges.js';
import { table } from './fakes.js';

table('merged', merged, [
  [[], []],
  [[[5, 9], [0, 5]], [[0, 9]]],
  [[[0, 10], [2, 3], [20, 30]], [[0, 10], [20, 30]]],
  [[[4, 4]], []],
]);

test('merged leaves its argument alone', () => {
  const given = [[5, 9], [0, 6]];
  merged(given);
  assert.deepEqual(given, [[5, 9], [0, 6]]);
});

table('missing', missing, [
  [[], 0, 10, [[0, 10]]],
  [[[0, 10]], 0, 10, []],
  [[[2, 4], [6, 8]], 0, 10, [[0, 2], [4, 6], [8, 10]]],
  [[[2, 4], [6, 8]], 3, 7, [[4, 6]]],
  [[[0, 5]], 0, 0, []],
]);

test('union and size', () => assert.equal(size_of(union([[0, 4]], [[2, 6], [8, 9]])), 7));

test('server ranges: answers that overtake each other lose nothing', () => {
  const server_ranges = new ServerRanges();
  const early = server_ranges.version;
  const late = server_ranges.version;
  server_ranges.learn([[0, 20]], late, early);
  server_ranges.learn([[0, 10]], early, Infinity);
  assert.deepEqual(server_ranges.received, [[0, 20]]);
});

test('server ranges: an answer to a request begun later may take back', () => {
  const server_ranges = new ServerRanges();
  server_ranges.learn([[0, 20]], server_ranges.version, Infinity);
  server_ranges.learn([[0, 10]], server_ranges.version, Infinity);
  assert.deepEqual(server_ranges.received, [[0, 10]]);
});
