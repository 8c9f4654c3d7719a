// What the demo page's doctor tells of time: what a probe took, and not how long the doctor had no time for it. The page's
// own file, with a clock and a server that the test holds.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import test from 'node:test';

const FILE = new URL('../../src/cli/demo/page/doctor.js', import.meta.url);

test('waits for a busy doctor do not count as time of the path', async (t) => {
  const text = await readFile(FILE, 'utf8');
  const { examine } = await import(`data:text/javascript,${encodeURIComponent(text)}`);
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  t.mock.method(globalThis, 'setTimeout', (next, pause) => {
    now += pause;
    queueMicrotask(next);
  });
  let [serial, report, largest] = [0, null, 0];
  // Probes that the doctor has no time for, and how often.
  const busy = new Map([['?wait=5', 2], ['PUT 65536', 2]]);
  t.mock.method(globalThis, 'fetch', async (path, { method = 'GET', body } = {}) => {
    const query = new URL(path, 'http://a').search;
    const bytes = body?.size ?? body?.length ?? 0;
    now += query === '?wait=5' ? 5000 : 10;
    if (path.endsWith('/findings')) {
      report = JSON.parse(body);
      return Response.json({ findings: [] });
    }
    const probe = query === '?wait=5' ? query : `${method} ${bytes}`;
    const left = busy.get(probe) ?? 0;
    if (left > 0) {
      busy.set(probe, left - 1);
      return Response.json({}, { status: 429, headers: { 'Incoming-Doctor': '1', 'Retry-After': '5' } });
    }
    largest = Math.max(largest, bytes);
    serial += 1;
    return Response.json({ doctor: 1, probe: Number(new URLSearchParams(query).get('probe')), serial, method, headers: {}, body: { bytes }, sent: {} });
  });
  await examine(() => {});
  assert.deepEqual([...busy.values()], [0, 0], 'the doctor was never busy: nothing was tried');
  assert.equal(report.silences[0].after_s, 5);
  assert.equal(largest, 2 ** 26, 'a busy doctor was taken for a slow line');
});
