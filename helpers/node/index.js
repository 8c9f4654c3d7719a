/**
 * Incoming!! for web apps in Node: tickets, handovers with a verified signature, files moved in safely. See `index.d.ts`.
 *
 *     const server = new Incoming('http://localhost:4001', { signingSecrets: process.env.UPLOAD_SECRET });
 *     const { id } = await server.newUpload({ signalFinishURL: 'https://app.example.org/handover' });
 *     ...
 *     const handover = await server.handover(rawBody, request.headers);   // rejects with BadSignature
 *     await handover.moveTo('/srv/files');                                // repeat-proof
 *     return DONE;
 *
 * One file without dependencies. But for `moveTo` and `unix:` it also runs where there is no Node.
 */

export const DONE = 'done';
export const WAIT = 'wait';

const TOLERANCE_S = 300;
// Two secrets are given while one replaces the other.
const MAX_SIGNATURES = 16;

export class BadSignature extends Error {}

export class Refused extends Error {
  constructor(status, code, detail) {
    super(`${status} ${code}: ${detail}`);
    Object.assign(this, { status, code });
  }
}

export class Unavailable extends Error {
  constructor(why, retryAfter = null, cause = undefined) {
    super(why, { cause });
    this.retryAfter = retryAfter;
  }
}

class Handover {
  constructor(form) {
    const number = (text) => (text ? Number(text) : null);
    const object = form.has('bucket')
      ? { bucket: form.get('bucket'), key: form.get('key'), etag: form.get('etag'), version: form.get('versionId') || null, url: form.get('url') } : null;
    Object.assign(this, {
      id: form.get('id'), cancelled: form.get('cancelled') === 'yes', reason: form.get('cancelReason'),
      path: object ? null : form.get('filename') || null, object, name: form.get('filenameFromBrowser'), length: number(form.get('length')), metadata: form.get('metadata'), digest: form.get('digest'),
      attempt: Number(form.get('attempt')),
    });
  }

  json() {
    return JSON.parse(this.metadata);
  }

  async moveTo(directory) {
    if (!this.path) throw new TypeError(`upload ${this.id} is cancelled, or an object in a bucket: there is no file`);
    const [fs, { dirname, join }] = await Promise.all([import('node:fs/promises'), import('node:path')]);
    const sync = async (path) => {
      const file = await fs.open(path, 'r');
      await file.sync().finally(() => file.close());
    };
    const folder = join(directory, this.id);
    const target = join(folder, safePath(this.name).split('/').pop() || 'unnamed');
    const there = await fs.access(target).then(() => true, () => false);
    await fs.mkdir(folder, { recursive: true });
    if (!there) await fs.rename(this.path, target).catch(async (error) => {
      if (error.code === 'ENOENT') throw error;
      // Another file system, or no right to move. The server removes its file after `done`.
      const part = join(folder, `.part-${hex(random(8))}`);
      try {
        await fs.copyFile(this.path, part);
        await sync(part);
        await fs.rename(part, target);
      } finally {
        await fs.rm(part, { force: true });
      }
    });
    // Also where it was moved before: that call may have ended in between.
    for (const changed of [target, folder, dirname(folder)]) await sync(changed);
    return target;
  }
}

export class Incoming {
  #url;
  #token;
  #timeout;
  #secrets;
  #keys;

  constructor(url, { token, signingSecrets = [], timeout = 10_000 } = {}) {
    if (!/^(https?:\/\/|unix:)/.test(url)) throw new TypeError(`url "${url}": expected http://HOST:PORT, https://HOST or unix:/PATH`);
    this.#url = url.replace(/\/$/, '');
    this.#token = token;
    this.#timeout = timeout;
    this.#secrets = [signingSecrets].flat();
    this.#keys = this.#secrets.map(keyOf);
  }

  async newUpload({ signalFinishURL, length, maxBytes, digest = false, metadata = '', idleTimeout, name, removeFile }) {
    const { id, url, expires } = await this.#post('new_upload', {
      signalFinishURL, length, maxBytes, digest: digest ? 'sha-256' : undefined, metadata: typeof metadata === 'string' ? metadata : JSON.stringify(metadata),
      idleTimeout, name, removeFileWhenFinished: removeFile, signingSecret: this.#secrets[0],
    });
    return { id, url, expires };
  }

  async handover(body, headers, { now = Date.now() } = {}) {
    if (this.#keys.length === 0) throw new BadSignature('no signing secret is set: calls cannot be told from forged ones');
    const given = new Map((headers instanceof globalThis.Headers ? [...headers] : Object.entries(headers)).map(([name, value]) => [name.toLowerCase(), String(value ?? '')]));
    const [id, at, signatures] = ['id', 'timestamp', 'signature'].map((name) => given.get(`webhook-${name}`) ?? '');
    if (!id || !signatures || !/^\d{1,12}$/.test(at)) throw new BadSignature('the call has no signature');
    if (Math.abs(now / 1000 - Number(at)) > TOLERANCE_S) throw new BadSignature('the call is more than 5 minutes old, or a clock is wrong');
    const bytes = typeof body === 'string' ? encode(body) : body;
    const signed = new Uint8Array([...encode(`${id}.${at}.`), ...bytes]);
    // Each costs an HMAC over the body.
    const sent = signatures.split(' ').filter((one) => one.startsWith('v1,')).slice(0, MAX_SIGNATURES).map((one) => fromBase64(one.slice(3)));
    let good = false;
    for (const key of this.#keys) {
      const hmac = await crypto.subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, ['verify']);
      // `verify` compares in constant time.
      for (const signature of sent) good = (signature !== null && (await crypto.subtle.verify('HMAC', hmac, signature, signed))) || good;
    }
    if (!good) throw new BadSignature('the signature is wrong');
    const form = new URLSearchParams(new TextDecoder().decode(bytes));
    if (form.get('id') !== id) throw new BadSignature('the signature is of another upload');
    return new Handover(form);
  }

  async finish(id) {
    await this.#post('finish_upload', { id });
  }

  async cancel(id) {
    await this.#post('cancel_upload', { id });
  }

  async retry(id) {
    await this.#post('retry_handover', { id });
  }

  show(id) {
    return this.#call('GET', `uploads/${encodeURIComponent(id)}`);
  }

  async *uploads({ state } = {}) {
    for (let after = null; ;) {
      const query = new URLSearchParams(Object.entries({ state, after }).filter(([, value]) => value));
      const page = await this.#call('GET', `uploads?${query}`);
      yield* page.uploads;
      after = page.next;
      if (after === null) return;
    }
  }

  #post(call, parameters) {
    const given = Object.entries(parameters).filter(([, value]) => value !== undefined);
    return this.#call('POST', call, new URLSearchParams(given).toString());
  }

  async #call(method, path, body) {
    const headers = { Accept: 'application/json', ...(body !== undefined && { 'Content-Type': 'application/x-www-form-urlencoded' }), ...(this.#token && { Authorization: `Bearer ${this.#token}` }) };
    const { status, text, retryAfter } = await this.#send(method, `/incoming/backend/${path}`, headers, body).catch((error) => {
      throw new Unavailable(`the upload server does not answer: ${error.cause?.message ?? error.message}`, null, error);
    });
    const said = parsed(text);
    if (status === 200 && said) return said;
    const detail = said?.detail ?? text.slice(0, 200);
    if (status === 408 || status === 429 || status >= 500) throw new Unavailable(`${status} ${detail}`, /^\d+$/.test(retryAfter ?? '') ? Number(retryAfter) : null);
    throw new Refused(status, said?.code ?? '', detail);
  }

  async #send(method, path, headers, body) {
    const signal = AbortSignal.timeout(this.#timeout);
    if (!this.#url.startsWith('unix:')) {
      const answer = await fetch(this.#url + path, { method, headers, body, signal, redirect: 'manual' });
      return { status: answer.status, text: await answer.text(), retryAfter: answer.headers.get('Retry-After') };
    }
    const { request } = await import('node:http');
    return new Promise((resolve, reject) => {
      const asking = request({ socketPath: this.#url.slice('unix:'.length), method, path, headers: { ...headers, ...(body !== undefined && { 'Content-Length': encode(body).length }) }, signal }, (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (part) => (text += part)).on('error', reject)
          .on('end', () => resolve({ status: answer.statusCode, text, retryAfter: answer.headers['retry-after'] ?? null }));
      });
      asking.on('error', reject).end(body);
    });
  }
}

export function newSecret() {
  return `whsec_${btoa(String.fromCharCode(...random(32)))}`;
}

// Control characters, and those that turn the direction of text or end a line.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\p{Surrogate}]/gu;

export function safePath(text) {
  const parts = text.split(/[/\\]/).map((part) => {
    const kept = encode(part.replace(HIDDEN, '').trim()).slice(0, 255);
    // A character that was cut through becomes U+FFFD.
    return new TextDecoder().decode(kept).replace(/\ufffd$/, '');
  });
  return parts.filter((part) => !['', '.', '..'].includes(part)).join('/');
}

function keyOf(secret) {
  const key = secret.startsWith('whsec_') ? fromBase64(secret.slice('whsec_'.length)) : null;
  if (!key) throw new TypeError('a signing secret is whsec_ and base64: make one with newSecret()');
  if (key.length < 24 || key.length > 64) throw new RangeError(`the signing secret has ${key.length} bytes, expected 24 to 64`);
  return key;
}

function fromBase64(text) {
  try {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  } catch {
    return null;
  }
}

function parsed(text) {
  try {
    const value = JSON.parse(text);
    return value && typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}

const encode = (text) => new TextEncoder().encode(text);
const random = (count) => crypto.getRandomValues(new Uint8Array(count));
const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
