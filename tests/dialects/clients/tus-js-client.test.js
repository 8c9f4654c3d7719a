// tus-js-client in Node, version 4 and the next one: every way in which it creates, sends, breaks off and goes on.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test as once } from 'node:test';
import * as tus4 from 'tus4';
import * as tus5 from 'tus5';
import { FileUrlStorage } from 'tus5/node/FileUrlStorage';
import { APP, MIB, RESUMABLE, TUS, arrived, cancelled, creations, file, id_of, outage, ticket } from './app.js';

const VERSIONS = { 'tus-js-client 4': tus4, 'tus-js-client 5': tus5 };
const DEADLINE_MS = 60_000;

/** Runs a test with each version. */
function test(name, body, versions = Object.keys(VERSIONS)) {
  for (const version of versions) once(`${version}: ${name}`, { timeout: DEADLINE_MS }, () => body(VERSIONS[version]));
}

/** Sends a file to its end; what happened. `during(upload, sent)` is told of progress. */
function send(tus, content, options, during = () => {}) {
  const requests = [];
  return new Promise((done, failed) => {
    const upload = new tus.Upload(content, {
      endpoint: TUS,
      retryDelays: [0, 100, 300, 1000, 2000, 2000],
      metadata: { filename: 'film – ü.mp4', filetype: 'video/mp4' },
      ...options,
      onProgress: (sent) => during(upload, sent),
      onSuccess: () => done({ upload, url: upload.url, requests }),
      onError: failed,
      onAfterResponse: (request, response) => {
        requests.push(`${request.getMethod()} ${response.getStatus()}`);
        return options?.onAfterResponse?.(request, response);
      },
    });
    upload.start();
  });
}

test('a file in one PATCH, its name and type with it', async (tus) => {
  const one = file(3 * MIB + 7);
  const { url, requests } = await send(tus, one.content);
  assert.ok(url.startsWith(`${TUS}/`), url);
  assert.deepEqual(requests, ['POST 201', 'PATCH 204']);
  const call = await arrived(url, one);
  assert.deepEqual([call.filenameFromBrowser, call.type], ['film – ü.mp4', 'video/mp4']);
  assert.equal(call.uploadMetadata, 'filename ZmlsbSDigJMgw7wubXA0,filetype dmlkZW8vbXA0');
  const asked = (await creations()).at(-1);
  assert.deepEqual([asked.dialect, asked.length, asked.name, asked.type], ['tus', String(one.bytes), 'film – ü.mp4', 'video/mp4']);
  assert.match(asked.client, /^127\./);
});

test('chunks of 1 MiB', async (tus) => {
  const one = file(3 * MIB + 7);
  const { url, requests } = await send(tus, one.content, { chunkSize: MIB });
  assert.deepEqual(requests, ['POST 201', 'PATCH 204', 'PATCH 204', 'PATCH 204', 'PATCH 204']);
  await arrived(url, one);
});

test('the first chunk with the creation', async (tus) => {
  for (const chunkSize of [MIB, Infinity]) {
    const one = file(2 * MIB + 1);
    const { url, requests } = await send(tus, one.content, { chunkSize, uploadDataDuringCreation: true });
    assert.deepEqual(requests, chunkSize === MIB ? ['POST 201', 'PATCH 204', 'PATCH 204'] : ['POST 201']);
    await arrived(url, one);
  }
});

test('POST in place of PATCH', async (tus) => {
  const one = file(2 * MIB);
  const { url, requests } = await send(tus, one.content, { chunkSize: MIB, overridePatchMethod: true });
  assert.deepEqual(requests, ['POST 201', 'POST 204', 'POST 204']);
  await arrived(url, one);
});

test('a stream whose length is not known', async (tus) => {
  const one = file(2 * MIB + 5);
  const pieces = function* () {
    for (let at = 0; at < one.bytes; at += 300_000) yield one.content.subarray(at, at + 300_000);
  };
  const { url } = await send(tus, Readable.from(pieces(), { objectMode: false }), { chunkSize: MIB, uploadLengthDeferred: true });
  await arrived(url, one);
});

test('an empty file', async (tus) => {
  const one = file(0);
  const { url } = await send(tus, one.content);
  await arrived(url, one);
});

test('paused and continued', async (tus) => {
  const one = file(8 * MIB);
  let paused = 0;
  const { url, requests } = await send(tus, one.content, { chunkSize: 2 * MIB }, (upload, sent) => {
    if (paused > 0 || sent < 3 * MIB) return;
    paused = sent;
    upload.abort().then(() => setTimeout(() => upload.start(), 50));
  });
  assert.ok(paused > 0 && requests.includes('HEAD 200'), requests.join());
  await arrived(url, one);
});

test('aborted for good: the web app is told, and the URL is gone', async (tus) => {
  const one = file(8 * MIB);
  const url = await new Promise((done, failed) => {
    send(tus, one.content, { chunkSize: MIB }, (upload, sent) => {
      if (sent < 2 * MIB || upload.over) return;
      upload.over = true;
      upload.abort(true).then(() => done(upload.url), failed);
    }).catch(failed);
  });
  assert.equal((await cancelled(url)).cancelled, 'yes');
  const after = await fetch(url, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0' } });
  assert.equal(after.status, 404);
});

test('the server is killed in the middle', async (tus) => {
  const one = file(24 * MIB);
  let killed;
  const { url, requests } = await send(tus, one.content, { chunkSize: 4 * MIB }, (_, sent) => {
    if (sent > 9 * MIB) killed ??= outage();
  });
  await killed;
  assert.ok(killed && requests.includes('HEAD 200'), requests.join());
  await arrived(url, one);
});

test('an upload that was forgotten is begun anew', async (tus) => {
  const one = file(MIB);
  const { tus_url: gone } = await ticket();
  const ended = await fetch(gone, { method: 'DELETE', headers: { 'Tus-Resumable': '1.0.0' } });
  assert.equal(ended.status, 204);
  const { url } = await send(tus, one.content, { uploadUrl: gone });
  assert.notEqual(id_of(url), id_of(gone));
  await arrived(url, one);
});

test('the URL of a ticket as endpoint, and as upload URL', async (tus) => {
  const one = file(2 * MIB + 3);
  const as_endpoint = await ticket();
  const { url } = await send(tus, one.content, { endpoint: as_endpoint.tus_url, chunkSize: MIB });
  assert.equal(id_of(url), as_endpoint.id);
  assert.equal((await arrived(url, one)).filenameFromBrowser, 'film – ü.mp4');
  const known = await ticket({ length: one.bytes, name: 'from the ticket' });
  await send(tus, one.content, { endpoint: null, uploadUrl: known.tus_url });
  assert.equal((await arrived(known.tus_url, one)).filenameFromBrowser, 'from the ticket');
});

test("the web app's own route as endpoint", async (tus) => {
  const one = file(2 * MIB + 3);
  const { url } = await send(tus, one.content, { endpoint: `${APP}/uploads` });
  assert.ok(url.startsWith(`${TUS}/`), url);
  const call = await arrived(url, one);
  assert.deepEqual([call.filenameFromBrowser, call.type], ['film – ü.mp4', 'video/mp4']);
});

test('found again by another process and continued', async (tus) => {
  const one = file(4 * MIB);
  const folder = await mkdtemp(join(tmpdir(), 'tus-'));
  const options = {
    chunkSize: MIB,
    urlStorage: new (tus.FileUrlStorage ?? FileUrlStorage)(join(folder, 'urls')),
    fingerprint: async () => 'this file',
  };
  const stopped = await new Promise((done, failed) => {
    send(tus, one.content, options, (upload, sent) => {
      if (sent >= 2 * MIB) upload.abort().then(() => done(upload), failed);
    }).catch(failed);
  });
  const found = await new tus.Upload(one.content, { endpoint: TUS, ...options }).findPreviousUploads();
  assert.deepEqual(found.map(({ uploadUrl }) => uploadUrl), [stopped.url]);
  const { requests } = await send(tus, one.content, { ...options, uploadUrl: found[0].uploadUrl });
  assert.equal(requests[0], 'HEAD 200');
  assert.ok(requests.length < 5, `all was sent again: ${requests}`);
  await arrived(stopped.url, one);
  await rm(folder, { recursive: true });
});

for (const [way, endpoint] of [['the web app is asked', TUS], ["the web app's own route", `${APP}/uploads`]]) {
  test(`parts in parallel, ${way}`, async (tus) => {
    // Also one with parts that have no byte.
    for (const bytes of [8 * MIB + 3, 3]) {
      const one = file(bytes);
      const before = (await creations()).length;
      const { url, requests } = await send(tus, one.content, { endpoint, parallelUploads: 4, chunkSize: MIB });
      assert.ok(url.startsWith(`${TUS}/`), url);
      const call = await arrived(url, one);
      assert.deepEqual([call.filenameFromBrowser, call.type], ['film – ü.mp4', 'video/mp4']);
      assert.equal(requests.filter((request) => request === 'POST 201').length, 5, requests.join());
      const asked = (await creations()).slice(before);
      assert.equal(asked.length, endpoint === TUS ? 5 : 0);
      for (const { uploadConcat } of asked.slice(0, 4)) assert.equal(uploadConcat, 'partial');
      for (const { uploadConcat, length } of asked.slice(4)) {
        assert.match(uploadConcat, /^final;http/);
        assert.equal(length, String(bytes));
      }
    }
  });

  test(`parts in parallel, ${way}: the server is killed in the middle`, async (tus) => {
    const one = file(24 * MIB);
    let killed;
    const options = { endpoint, parallelUploads: 4, chunkSize: MIB };
    const { url, requests } = await send(tus, one.content, options, (_, sent) => {
      if (sent > 9 * MIB) killed ??= outage();
    });
    await killed;
    assert.ok(killed && requests.includes('HEAD 200'), requests.join());
    await arrived(url, one);
  });
}

test('parts in parallel: given up, and gone', async (tus) => {
  const one = file(8 * MIB);
  const gone = await new Promise((done, failed) => {
    const urls = new Set();
    const onAfterResponse = (_, response) => {
      const url = response.getHeader('Location');
      if (url) urls.add(url);
    };
    send(tus, one.content, { parallelUploads: 3, chunkSize: MIB, onAfterResponse }, (upload, sent) => {
      if (urls.size < 3 || sent < 2 * MIB || upload.over) return;
      upload.over = true;
      upload.abort(true).then(() => done([...urls]), failed);
    }).catch(failed);
  });
  assert.equal(gone.length, 3);
  for (const url of gone) {
    // Version 4 does not wait for the requests that remove them; the deadline of the test ends this.
    const status = async () => (await fetch(url, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0' } })).status;
    while ((await status()) !== 404) await new Promise((done) => setTimeout(done, 20));
  }
});

test("a ticket's own URL has no parts, in words that say what to do", async (tus) => {
  const { tus_url: endpoint } = await ticket();
  const error = await send(tus, file(10).content, { endpoint, parallelUploads: 2 }).then(() => assert.fail('taken'), (why) => why);
  assert.match(error.message, /set parallelUploads to 1/);
});

for (const protocol of ['ietf-draft-03', 'ietf-draft-05']) {
  test(`${protocol}: whole, in chunks, through a kill`, async (tus) => {
    for (const chunkSize of [Infinity, MIB]) {
      const one = file(4 * MIB + 3);
      const { url } = await send(tus, one.content, { endpoint: RESUMABLE, protocol, chunkSize });
      assert.ok(url.startsWith(`${RESUMABLE}/`), url);
      assert.equal((await arrived(url, one)).filenameFromBrowser, 'film – ü.mp4');
    }
    const one = file(24 * MIB);
    let killed;
    const { url } = await send(tus, one.content, { endpoint: RESUMABLE, protocol, chunkSize: 4 * MIB }, (_, sent) => {
      if (sent > 9 * MIB) killed ??= outage();
    });
    assert.ok(killed, 'it was too quick');
    await killed;
    await arrived(url, one);
  });
}

test('a refusal of the web app ends it at once, in its words', async (tus) => {
  const metadata = { filename: 'refused.mp4' };
  const error = await send(tus, file(10).content, { metadata }).then(() => assert.fail('it was taken'), (why) => why);
  const answer = error.originalResponse;
  assert.equal(answer.getStatus(), 403);
  assert.match(answer.getBody(), /the web app refuses this name/);
});
