/**
 * The pace of an upload: its parts alone, then a whole upload over a model of a line.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChunkSize, HiddenLimits, InFlight, Pace, Rate, ceiling_after_refusal } from '../src/pace.js';
import { fake_file, fake_page, fake_upload, settled, status_of, table } from './fakes.js';
import { NetworkModel } from './network-model.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

/** Size after these acknowledgements, each [bytes, ms]. */
function size_after(acks, { options = {}, chunk_size = 8 * MiB, max = null, length = 100 * MiB, ceiling = Infinity } = {}) {
  const size = new ChunkSize(options);
  for (const [bytes, ms] of acks) size.acked(bytes, ms);
  return size.next({ chunk_size, max_chunk_size: max }, length, ceiling);
}

const fast = (times, bytes = 512 * KiB) => Array.from({ length: times }, (_, i) => [bytes * 4 ** i, 10]);
for (const [what, acks, bounds, expected] of [
  ['the first is small', [], {}, 512 * KiB],
  ['grows fourfold at most', fast(1), {}, 2 * MiB],
  ['two fast ones of one size are one step', [[512 * KiB, 10], [512 * KiB, 10]], {}, 2 * MiB],
  ['aims at 1.5 s', [[512 * KiB, 750]], {}, 1 * MiB],
  ['what takes 1 to 2 s is right', [[512 * KiB, 1000], [512 * KiB, 2000]], {}, 512 * KiB],
  ['grows up to the suggestion', fast(5), {}, 8 * MiB],
  ['or to a 64th of a large file', fast(9), { length: 64 * GiB }, 1 * GiB],
  ['never over what the server takes', fast(5), { max: 3 * MiB }, 3 * MiB],
  ['nor what passes on the way', fast(5), { ceiling: 1 * MiB }, 1 * MiB],
  ['nor what can be hashed', fast(9), { length: 64 * GiB, options: { digest: true } }, 16 * MiB],
  ['a server with small chunks gets them', fast(5), { chunk_size: 10, length: 100 }, 10],
  ['a slow one halves at most', [...fast(2), [8 * MiB, 60_000]], {}, 4 * MiB],
  ['slow ones go down to 256 KiB', Array(20).fill([512 * KiB, 60_000]), {}, 256 * KiB],
  ['not below what takes 1.5 s', Array(20).fill([1 * MiB, 3_000]), {}, 512 * KiB],
  ['a short last piece that was fast shrinks nothing', [...fast(2), [3, 900]], {}, 8 * MiB],
  ['a fixed size is fixed', fast(3), { options: { chunk_size: 300 } }, 300],
  ['but for what the server takes', fast(3), { options: { chunk_size: 300 }, max: 200 }, 200],
]) test(`chunk size: ${what}`, () => assert.equal(size_after(acks, bounds), expected));

table('ceiling', ceiling_after_refusal, [
  [8192 * KiB, null, 4096 * KiB],
  [300 * KiB, null, 256 * KiB],
  [256 * KiB, null, null],
  [100 * KiB, null, null],
  [8192 * KiB, 1000 * KiB, 1000 * KiB],
  [100 * KiB, 10 * KiB, 10 * KiB],
  [1024 * KiB, 2048 * KiB, 512 * KiB],
]);

test('chunk size: a chunk that broke off late makes the next smaller, one that broke off early does not', () => {
  const size = new ChunkSize({});
  const next = () => size.next({ chunk_size: 8 * MiB, max_chunk_size: null }, 1 * GiB, Infinity);
  size.lost(1000, 500);
  assert.equal(next(), 512 * KiB);
  size.lost(100_000, 9000);
  assert.equal(next(), 256 * KiB);
});

/** Chunks in flight after so many seconds on a line where `rate(n)` bytes/s flow with n in flight. */
function in_flight_after(seconds, rate, limit = 4, bytes = 1 * MiB) {
  const in_flight = new InFlight();
  let now = 0;
  const seen = [];
  while (now < seconds * 1000) {
    const count = in_flight.within(limit);
    const ms = (bytes * count * 1000) / rate(count);
    now += ms;
    for (let i = 0; i < count; i += 1) in_flight.acked(bytes, ms, now, limit);
    seen.push(count);
  }
  return { last: seen.at(-1), share: (n) => seen.filter((count) => count === n).length / seen.length };
}

test('in flight: more where each one brings more', () => {
  assert.equal(in_flight_after(30, (n) => n * 1e6).last, 4);
  assert.equal(in_flight_after(30, (n) => n * 1e6, 3).last, 3);
  assert.equal(in_flight_after(30, (n) => n * 1e6, 1).last, 1);
});

test('in flight: no more where another brings nothing, and trials become rare', () => {
  const { last, share } = in_flight_after(600, () => 2e6);
  assert.equal(last, 2);
  assert.ok(share(3) > 0 && share(3) < 0.2, String(share(3)));
  assert.equal(share(4), 0);
});

test('in flight: a crawling line gets one, a busy server one less', () => {
  assert.equal(in_flight_after(60, () => 1e5, 4, 256 * KiB).last, 1);
  const in_flight = new InFlight();
  for (const expected of [1, 1]) {
    in_flight.decrease();
    assert.equal(in_flight.within(4), expected);
  }
});

test('in flight: a pause is not measured', () => {
  const in_flight = new InFlight();
  let now = 0;
  for (let i = 0; i < 200; i += 1) {
    const count = in_flight.within(4);
    now += count * 500;
    if (i % 9 === 8) {
      in_flight.restart();
      now += 1e6;
    }
    for (let k = 0; k < count; k += 1) in_flight.acked(1 * MiB, count * 500, now, 4);
    assert.ok(in_flight.within(4) <= 3);
  }
  assert.equal(in_flight.within(4), 2);
});

test('in flight: never more than the page has connections', () => {
  const pace = new Pace({});
  const status = { chunk_size: 1 * MiB, max_chunk_size: null, send_ahead: 50 };
  const in_flight = () => pace.sizes(status, 1 * GiB, Infinity).send_ahead;
  for (let now = 1500; now < 60_000; now += 1500) {
    for (let i = in_flight(); i > 0; i -= 1) pace.acked({ from: 0, to: 1 * MiB }, 1500, now, status);
    assert.ok(in_flight() <= 4);
  }
  assert.equal(in_flight(), 4);
});

test('hidden limits: a chunk is lost twice, nothing of it arrived, the server answers', () => {
  const nothing = () => false;
  const hidden_limits = new HiddenLimits();
  hidden_limits.lost(0, 100);
  assert.equal(hidden_limits.find(nothing), null);
  hidden_limits.lost(0, 100);
  assert.equal(hidden_limits.find((at) => at === 0), null);
  hidden_limits.lost(0, 100);
  assert.equal(hidden_limits.find(nothing), null);
  hidden_limits.lost(0, 80);
  assert.equal(hidden_limits.find(nothing), 80);
  assert.equal(hidden_limits.find(nothing), null);
  hidden_limits.lost(0, 100);
  hidden_limits.clear();
  hidden_limits.lost(0, 100);
  assert.equal(hidden_limits.find(nothing), null);
});

test('rate: from acknowledgements, null until known, falls while nothing comes, starts anew when bytes are lost', () => {
  const rate = new Rate();
  assert.deepEqual([rate.bytes_per_s, rate.eta_s(10)], [null, null]);
  rate.sample(5000, 0);
  assert.equal(rate.bytes_per_s, null);
  rate.sample(6000, 100);
  assert.equal(rate.bytes_per_s, null);
  rate.sample(7000, 1000);
  assert.deepEqual([rate.bytes_per_s, rate.eta_s(3001)], [2000, 2]);
  rate.sample(7000, 4000);
  assert.equal(rate.bytes_per_s, 500);
  for (let s = 5; s < 60; s += 1) rate.sample(7000 + s * 100, s * 1000);
  assert.equal(rate.bytes_per_s, 100);
  rate.sample(12_900, 200_000);
  assert.equal(rate.bytes_per_s, 0 || null);
  rate.sample(300, 201_000);
  assert.equal(rate.bytes_per_s, null);
  rate.sample(1300, 202_000);
  assert.equal(rate.bytes_per_s, 1000);
});

test('rate: chunks that end together count as one', () => {
  const rate = new Rate();
  for (const [bytes, at] of [[0, 0], [100, 50], [200, 1050], [300, 1100]]) rate.sample(bytes, at);
  assert.equal(rate.bytes_per_s, Math.round(200_000 / 1050));
});

test('the page sees rate and time left while chunks are transferred, and only then', () => {
  const { uploader, net, clock, begin, ack, reported } = fake_upload({ options: { send_ahead: 1 } });
  begin();
  assert.deepEqual([uploader.bytes_per_s, uploader.eta_s], [null, null]);
  clock.advance(1000);
  net.next('PUT').send(9);
  assert.equal(uploader.bytes_per_s, null);
  ack(net.next('PUT'));
  assert.deepEqual([uploader.bytes_per_s, uploader.eta_s], [10, 9]);
  clock.advance(16);
  const before = reported('progress');
  clock.advance(984);
  assert.equal(reported('progress'), before, 'time alone is not progress');
  net.next('PUT').lose();
  assert.deepEqual([uploader.bytes_per_s, uploader.eta_s], [5, 18]);
  uploader.pause('pause');
  assert.deepEqual([uploader.bytes_per_s, uploader.eta_s], [null, null]);
  clock.advance(100_000);
  uploader.pause('unpause');
  net.next('GET').reply(200, status_of({ received: [[0, 10]] }));
  assert.equal(uploader.bytes_per_s, null);
  clock.advance(500);
  ack(net.next('PUT'));
  assert.deepEqual([uploader.bytes_per_s, uploader.eta_s], [20, 4]);
});

test('a 413 limits the next upload to the same server too', () => {
  const page = fake_page();
  const options = { chunk_size: 4 * MiB, send_ahead: 1 };
  const first = fake_upload({ page, size: 8 * MiB, options, id: 'a' });
  first.begin();
  first.net.next('PUT').refuse(413, 'too-large');
  first.uploader.pause('pause');
  const second = fake_upload({ page, size: 8 * MiB, options, id: 'b' });
  second.begin();
  assert.deepEqual(page.net.next('PUT').range, [0, 2 * MiB]);
  second.uploader.pause('pause');
  const elsewhere = fake_upload({ page, size: 8 * MiB, options: { ...options, hostname: 'https://other' }, id: 'c' });
  elsewhere.begin();
  assert.deepEqual(page.net.next('PUT').range, [0, 4 * MiB]);
});

/** One chunk lost twice; `between` is what the server says it has after each loss. */
function lose_twice(between, why = 'network') {
  const upload = fake_upload({ size: 8 * MiB, options: { chunk_size: 4 * MiB, send_ahead: 1 } });
  upload.begin();
  for (const received of between) {
    upload.net.next('PUT').lose(why);
    upload.clock.advance(60_000);
    upload.net.next('GET').reply(200, status_of({ length: 8 * MiB, received }));
  }
  return upload.net.next('PUT').range;
}

test('a chunk lost twice while status requests work is taken for refused', () => {
  assert.deepEqual(lose_twice([[], []]), [0, 2 * MiB]);
  assert.deepEqual(lose_twice([[]]), [0, 4 * MiB]);
});

test('a chunk of which something arrived, or that timed out, is not taken for refused', () => {
  assert.deepEqual(lose_twice([[[0, 10]], [[0, 20]]]), [20, 4 * MiB + 20]);
  assert.deepEqual(lose_twice([[], []], 'stall'), [0, 4 * MiB]);
  assert.deepEqual(lose_twice([[], []], 'abort'), [0, 4 * MiB]);
});

test('pauses do not grow on a line that breaks all the time while something of each chunk arrives', () => {
  const { net, clock, begin } = fake_upload({ options: { send_ahead: 1, chunk_size: 100 } });
  begin();
  for (let kept = 10; kept < 90; kept += 10) {
    net.next('PUT').lose();
    clock.advance(1500);
    net.next('GET').reply(200, status_of({ received: [[0, kept]] }));
    assert.deepEqual(net.next('PUT').range, [kept, 100]);
  }
});

test('429 for a chunk: one less in flight after the pause', () => {
  const { net, clock, begin } = fake_upload({ options: {} });
  begin();
  assert.equal(net.all('PUT').length, 2);
  net.next('PUT').refuse(429, 'too-many', { upload: status_of() }, '1');
  clock.advance(1000);
  assert.equal(net.all('PUT').length, 1);
});

/** A whole upload over a model line; its figures. Reading and hashing take no time: what the model measures is the line. */
async function upload_over(length, what, options) {
  const page = fake_page({ sha256: async () => 'hash' });
  const line = new NetworkModel(page.clock, { length, ...what });
  page.net.send = line.send;
  const uploader = page.incoming.Uploader('id', fake_file(length), options);
  let errors = 0;
  uploader.onerror = () => (errors += 1);
  const began = page.clock.now();
  uploader.start();
  const rates = [];
  while (!uploader.finished && page.clock.now() - began < 3600_000) {
    page.clock.advance(10);
    await settled();
    if (uploader.bytes_per_s !== null) rates.push(uploader.bytes_per_s);
  }
  const seconds = (page.clock.now() - began) / 1000;
  assert.deepEqual([uploader.finished, errors], [true, 0]);
  return { line, seconds, share: length / seconds / what.bytes_per_s, rates };
}

test('100 Mbit/s, 100 ms round trip: 200 MB in all at 90% of the line', async (t) => {
  for (const server_ms of [5, 50]) {
    const { share, seconds, rates, line } = await upload_over(200e6, { bytes_per_s: 12.5e6, rtt_ms: 100, server_ms });
    t.diagnostic(`${(share * 100).toFixed(1)}% of the line, ${seconds} s, ${line.puts.length} chunks, ${line.most_in_flight} in flight at most`);
    assert.ok(share >= 0.9, String(share));
    const last = rates.at(-100);
    assert.ok(last > 0.9 * 12.5e6 && last < 1.1 * 12.5e6, String(last));
  }
});

test('a gigabit network is not starved by small chunks', async (t) => {
  const { share, line } = await upload_over(4e9, { bytes_per_s: 125e6, rtt_ms: 1, server_ms: 10 });
  t.diagnostic(`${(share * 100).toFixed(1)}% of the line, ${line.puts.length} chunks`);
  assert.ok(share >= 0.95, String(share));
  const small = await upload_over(200e6, { bytes_per_s: 125e6, rtt_ms: 1, server_ms: 10 });
  t.diagnostic(`200 MB: ${(small.share * 100).toFixed(1)}%`);
  assert.ok(small.share >= 0.8, String(small.share));
});

test('connections that are slow each: all that are allowed are used', async () => {
  const { line, share } = await upload_over(400e6, { bytes_per_s: 12.5e6, rtt_ms: 100, flow_bytes_per_s: 2e6 });
  assert.equal(line.most_in_flight, 4);
  assert.ok(share > 0.5, String(share));
});

test('1 Mbit/s: small chunks one after the other, at the speed of the line', async () => {
  const { line, share } = await upload_over(20e6, { bytes_per_s: 125e3, rtt_ms: 50 });
  assert.ok(share > 0.95, String(share));
  assert.ok(line.puts.slice(4).every(([from, to]) => to - from <= 256 * KiB));
});

test('1 Mbit/s that breaks every 10 s: each time it gets on, and little is lost', async (t) => {
  for (const options of [{}, { chunk_size: 8 * MiB }]) {
    const { line, share, seconds } = await upload_over(5e6, { bytes_per_s: 125e3, rtt_ms: 50, break_every_ms: 10_000 }, options);
    t.diagnostic(`5 MB in ${seconds} s, ${(share * 100).toFixed(1)}% of the line`);
    for (const [index, bytes] of line.breaks.entries()) assert.ok(bytes - (line.breaks[index - 1] ?? 0) > 500e3, line.breaks.join());
    assert.ok(share > 0.6, String(share));
  }
});

test('a proxy that refuses chunks over 1 MiB unreadably does not stop a fast upload', async () => {
  const { line, seconds } = await upload_over(100e6, { bytes_per_s: 12.5e6, rtt_ms: 30, refuse: (bytes) => bytes > 1 * MiB });
  assert.ok(seconds < 20, String(seconds));
  assert.ok(line.puts.slice(-50).every(([from, to]) => to - from <= 1 * MiB));
});

test('a tiny file is one request for the ticket and one for its bytes', async () => {
  const { line } = await upload_over(300e3, { bytes_per_s: 1.25e6, rtt_ms: 100 });
  assert.deepEqual(line.puts, [[0, 300e3]]);
});
