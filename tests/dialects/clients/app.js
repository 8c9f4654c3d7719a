// What a test needs of the web app and the server that run beside it (../web_app.py).

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';

const { APP, TUS, RESUMABLE } = process.env;
assert.ok(APP && TUS && RESUMABLE, 'run by tests/dialects/run');

export { APP, RESUMABLE, TUS };
export const MIB = 1 << 20;

async function ask(path, form) {
  const body = form && new URLSearchParams(form);
  const answer = await fetch(`${APP}/${path}`, { method: 'POST', body });
  const text = await answer.text();
  assert.equal(answer.status, 200, text);
  return text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text;
}

/** A new upload as `new_upload` answers it. */
export const ticket = (parameters = {}) => ask('ticket', parameters);

/** The call with which the web app got the upload, or was told of its end. */
export const taken = (url) => ask(`taken/${id_of(url)}`);
export const cancelled = (url) => ask(`cancelled/${id_of(url)}`);

/** Kills the server without notice and starts it again. */
export const outage = () => ask('outage');

/** What the web app was asked when clients created uploads. */
export const creations = () => ask('creations');

export const id_of = (url) => url.split('/').at(-1);

/** A file of random bytes. */
export function file(bytes) {
  const content = randomBytes(bytes);
  return { content, bytes, sha256: createHash('sha256').update(content).digest('hex') };
}

/** The web app has the file, whole and right; its call. */
export async function arrived(url, { bytes, sha256 }) {
  const call = await taken(url);
  assert.deepEqual([call.length, call.sha256], [String(bytes), sha256]);
  return call;
}
