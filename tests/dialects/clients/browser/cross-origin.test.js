// What a page of another origin can read of answers: a client that misses one header there fails in browsers alone.

import assert from 'node:assert/strict';
import { request as ask } from 'node:http';
import { browser, open, test } from '../../../browser/harness.js';
import { site } from '../../../browser/site.js';

const APPEND = 'application/offset+octet-stream';
/** Headers that clients read, whether or not the server lists them as exposed. */
const READ = /^(upload-.*|tus-.*|location|retry-after|x-request-id)$/;
/** Their values differ from request to request. */
const NOT_COMPARED = /^(x-request-id|upload-expires)$/;

/** Sends the request as no browser does: all headers of the answer can be seen. */
function plainly({ method, url, headers, body }) {
  return new Promise((done, failed) => {
    const request = ask(url, { method, headers }, (answer) => {
      answer.resume().on('end', () => done({ status: answer.statusCode, headers: answer.headers }));
    });
    request.on('error', failed).end(body);
  });
}

/** Sends it from the page, by fetch or XMLHttpRequest: what the page can read of the answer. */
function from_page(page, how) {
  return (request) => page.evaluate(async (one, by) => {
    const { method, url, headers, body } = one;
    if (by === 'fetch') {
      const answer = await fetch(url, { method, headers, body });
      return { status: answer.status, headers: Object.fromEntries(answer.headers) };
    }
    const xhr = new XMLHttpRequest();
    xhr.open(method, url);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    await new Promise((done) => {
      xhr.onloadend = done;
      xhr.send(body ?? null);
    });
    const lines = xhr.getAllResponseHeaders().trim().split('\r\n').filter(Boolean);
    return { status: xhr.status, headers: Object.fromEntries(lines.map((line) => line.split(': ', 2))) };
  }, request, how);
}

/** Every kind of answer that clients of the dialects get, each with the status that it must have. */
async function answers(app, send) {
  const found = {};
  const does = async (status, what, method, path, headers = {}, body = undefined) => {
    const answer = await send({ method, url: `${app.origin}/incoming/frontend/${path}`, headers, body });
    assert.equal(answer.status, status, what);
    found[what] = answer.headers;
  };
  const tus = { 'Tus-Resumable': '1.0.0' };
  const append = (offset, more = {}) => ({ ...tus, 'Content-Type': APPEND, 'Upload-Offset': offset, ...more });
  const [T, untouched, U, R, old] = await Promise.all([1, 2, 3, 4, 5].map(() => app.ticket()));
  const part = await app.ticket({ uploadConcat: 'partial', length: '20' });
  const nobody = '00000000-0000-4000-8000-000000000000';

  await does(200, 'tus: OPTIONS', 'OPTIONS', `tus/${T}`, { 'X-Of-A-Page': '1' });
  await does(413, 'tus: too large', 'POST', `tus/${T}`, { ...tus, 'Upload-Length': '2000' });
  await does(201, 'tus: created', 'POST', `tus/${T}`, { ...tus, 'Upload-Length': '20', 'Upload-Metadata': 'filename YQ==' });
  await does(204, 'tus: appended', 'PATCH', `tus/${T}`, append('0'), '0123456789');
  await does(200, 'tus: offset', 'HEAD', `tus/${T}`, tus);
  await does(200, 'tus: offset without a length', 'HEAD', `tus/${untouched}`, tus);
  await does(200, 'tus: offset of a part', 'HEAD', `tus/${part}`, tus);
  await does(409, 'tus: another offset', 'PATCH', `tus/${T}`, append('3'), 'x');
  await does(412, 'tus: no version', 'PATCH', `tus/${T}`, { 'Content-Type': APPEND, 'Upload-Offset': '10' }, 'x');
  await does(413, 'tus: past the length', 'PATCH', `tus/${T}`, append('10'), 'x'.repeat(11));
  await does(415, 'tus: another type', 'PATCH', `tus/${T}`, append('10', { 'Content-Type': 'text/plain' }), 'x');
  await does(460, 'tus: another checksum', 'PATCH', `tus/${T}`, append('10', { 'Upload-Checksum': `sha1 ${'A'.repeat(27)}=` }), 'x');
  await does(404, 'tus: unknown', 'HEAD', `tus/${nobody}`, tus);
  await does(404, 'tus: append to nothing', 'PATCH', `tus/${nobody}`, append('0'), 'x');
  await does(503, 'tus: the web app does not answer', 'POST', 'tus', { ...tus, 'Upload-Length': '1' });

  const draft = { 'Upload-Draft-Interop-Version': '6', 'Content-Type': 'application/partial-upload' };
  await does(201, 'draft: created', 'POST', `resumable/${R}`, { ...draft, 'Upload-Complete': '?0', 'Upload-Length': '20' }, 'x');
  await does(204, 'draft: offset', 'HEAD', `resumable/${R}`, { 'Upload-Draft-Interop-Version': '6' });
  await does(409, 'draft: another offset', 'PATCH', `resumable/${R}`, { ...draft, 'Upload-Complete': '?0', 'Upload-Offset': '9' }, 'x');
  await does(415, 'draft: another type', 'PATCH', `resumable/${R}`, { ...draft, 'Content-Type': 'text/plain', 'Upload-Complete': '?0', 'Upload-Offset': '1' }, 'x');
  await does(404, 'draft: unknown', 'HEAD', `resumable/${nobody}`, { 'Upload-Draft-Interop-Version': '6' });
  const first = { 'Upload-Draft-Interop-Version': '3', 'Upload-Incomplete': '?1' };
  await does(201, 'draft 01: created', 'POST', `resumable/${old}`, first, 'x');

  await does(200, 'native: a chunk', 'PUT', `uploads/${U}`, { 'Content-Range': 'bytes 0-0/10' }, 'x');
  await does(409, 'native: another length', 'PUT', `uploads/${U}`, { 'Content-Range': 'bytes 0-0/11' }, 'x');
  await does(416, 'native: outside', 'PUT', `uploads/${U}`, { 'Content-Range': 'bytes 5-6/10' }, 'x');
  await does(404, 'native: unknown', 'GET', `uploads/${nobody}`);
  await does(200, 'native: status', 'GET', `uploads/${U}`);
  return found;
}

test('issue 15: every header that a client reads can be read by a page of another origin, on errors too', async (t) => {
  const app = await site(t, { serve: ['--max-upload-size', '1000', '--create-url', 'http://127.0.0.1:9/'] });
  const sent = await answers(app, plainly);
  const { page } = await open(await browser(t), app.page);
  const seen = new Set();
  for (const how of ['fetch', 'XMLHttpRequest']) {
    const readable = await answers(app, from_page(page, how));
    for (const [what, headers] of Object.entries(sent)) {
      for (const [name, value] of Object.entries(headers).filter(([name]) => READ.test(name))) {
        seen.add(name);
        const read = readable[what][name];
        assert.ok(read, `${how}, ${what}: the page cannot read ${name}`);
        const same = (text) => text.replace(/[0-9a-f-]{36}/, 'ID');
        if (!NOT_COMPARED.test(name)) assert.equal(same(read), same(value), `${how}, ${what}: ${name}`);
      }
    }
  }
  // And these are all that the server says it has.
  const exposed = sent['tus: created']['access-control-expose-headers'].toLowerCase().split(/,\s*/);
  assert.deepEqual(exposed.filter((name) => !seen.has(name)), []);
  assert.ok(exposed.length > 15, exposed.join());
});
