// tus-js-client as it is published, in the ways that its users call it: over tus 1.0 and over the drafts of the IETF.
//
// usage: node clients.mjs FRONTEND WEBAPP

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import test from 'node:test';
import * as v4 from 'tus-js-client';
import * as v5 from 'tus-js-client-5';
import { FileUrlStorage } from 'tus-js-client-5/node/FileUrlStorage';

const [frontend, webapp] = process.argv.slice(-2);
const MIB = 1 << 20;
const metadata = { filename: 'film.mp4', filetype: 'video/mp4', relativePath: '' };

/** Resolves with the upload when it is done; rejects with the client's error. */
const uploaded = (tus, source, options) =>
  new Promise((resolve, reject) => {
    const upload = new tus.Upload(source, {
      metadata,
      retryDelays: [0, 100, 300],
      ...options,
      onError: reject,
      onSuccess: () => resolve(upload),
    });
    upload.start();
  });

/** What the web app was handed, which must be these bytes. */
const taken = async (url, bytes) => {
  const answer = await fetch(`${webapp}/taken/${url.split('/').pop()}`);
  assert.equal(answer.status, 200, 'the web app was called');
  const fields = await answer.json();
  assert.equal(fields.sha256, createHash('sha256').update(bytes).digest('hex'));
  return fields;
};

const ticket = async (parameters) => {
  const answer = await fetch(`${webapp}/ticket`, { method: 'POST', body: JSON.stringify(parameters) });
  return answer.json();
};

/** The bytes as a stream of unknown length. */
const stream = (bytes) =>
  Readable.from(
    (function* () {
      for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
    })(),
    { objectMode: false },
  );

for (const [name, tus] of Object.entries({ v4, v5: { ...v5, FileUrlStorage } })) {
  const bytes = randomBytes(5 * MIB + 17);

  for (const [how, options] of Object.entries({
    'one request': {},
    'chunks of 1 MiB': { chunkSize: MIB },
    'bytes with the creation': { uploadDataDuringCreation: true, chunkSize: MIB },
    'POST for PATCH': { overridePatchMethod: true, chunkSize: MIB },
  })) {
    for (const endpoint of [`${frontend}/tus`, `${webapp}/uploads`]) {
      // The web app's route takes no bytes.
      if (options.uploadDataDuringCreation && endpoint.startsWith(webapp)) continue;
      test(`${name}: ${how}, endpoint ${new URL(endpoint).pathname}`, async () => {
        const { url } = await uploaded(tus, bytes, { endpoint, ...options });
        const fields = await taken(url, bytes);
        assert.equal(fields.filenameFromBrowser, 'film.mp4');
      });
    }
  }

  test(`${name}: a ticket as endpoint`, async () => {
    const { tus_url: endpoint } = await ticket({});
    const { url } = await uploaded(tus, bytes, { endpoint, chunkSize: MIB });
    assert.equal(url, endpoint);
    await taken(url, bytes);
  });

  test(`${name}: a ticket as URL of the upload`, async () => {
    const { tus_url: uploadUrl } = await ticket({ length: bytes.length, name: 'a.bin' });
    await uploaded(tus, bytes, { uploadUrl, chunkSize: MIB });
    assert.equal((await taken(uploadUrl, bytes)).filenameFromBrowser, 'a.bin');
  });

  test(`${name}: a stream whose length is known at its end`, async () => {
    const options = { endpoint: `${frontend}/tus`, uploadLengthDeferred: true, chunkSize: MIB };
    const { url } = await uploaded(tus, stream(bytes), options);
    await taken(url, bytes);
  });

  test(`${name}: an empty file`, async () => {
    const { url } = await uploaded(tus, Buffer.alloc(0), { endpoint: `${frontend}/tus` });
    await taken(url, Buffer.alloc(0));
  });

  test(`${name}: aborted, found again and continued`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tus-'));
    try {
      const options = {
        endpoint: `${frontend}/tus`,
        chunkSize: MIB,
        urlStorage: new tus.FileUrlStorage(join(folder, 'urls')),
        metadata,
        fingerprint: async () => 'this file',
        storeFingerprintForResuming: true,
      };
      const first = await new Promise((resolve, reject) => {
        const upload = new tus.Upload(bytes, {
          ...options,
          onError: reject,
          onChunkComplete: async (_, accepted) => {
            if (accepted < 2 * MIB) return;
            await upload.abort();
            resolve(upload);
          },
        });
        upload.start();
      });
      const second = await new Promise((resolve, reject) => {
        const upload = new tus.Upload(bytes, { ...options, onError: reject, onSuccess: () => resolve(upload) });
        upload.findPreviousUploads().then((previous) => {
          assert.equal(previous.length, 1);
          upload.resumeFromPreviousUpload(previous[0]);
          upload.start();
        }, reject);
      });
      assert.equal(second.url, first.url);
      await taken(second.url, bytes);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test(`${name}: aborted for good`, async () => {
    const url = await new Promise((resolve, reject) => {
      const upload = new tus.Upload(bytes, {
        endpoint: `${frontend}/tus`,
        chunkSize: MIB,
        onError: reject,
        onChunkComplete: async () => {
          const { url } = upload;
          await upload.abort(true);
          resolve(url);
        },
      });
      upload.start();
    });
    assert.ok(url);
    assert.equal((await fetch(url, { method: 'HEAD' })).status, 404);
  });

  test(`${name}: parallel parts are refused with a clear word`, async () => {
    const options = { endpoint: `${frontend}/tus`, parallelUploads: 2 };
    await assert.rejects(uploaded(tus, bytes, options), /set parallelUploads to 1/);
  });

  for (const protocol of ['ietf-draft-03', 'ietf-draft-05']) {
    for (const chunkSize of [MIB, Infinity]) {
      test(`${name}: ${protocol}, chunks of ${chunkSize}`, async () => {
        const options = { endpoint: `${frontend}/resumable`, protocol, chunkSize };
        const { url } = await uploaded(tus, bytes, options);
        await taken(url, bytes);
      });
    }
  }
}
