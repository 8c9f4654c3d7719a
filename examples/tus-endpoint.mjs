// A web app whose route /uploads is the endpoint of tus clients. Node 20 or later, no packages.
//
//     incoming serve --frontend-url http://localhost:4000/incoming/frontend
//     BACKEND_SECRET=... node tus-endpoint.mjs
//
// With the packages BACKEND is unix:/run/incoming/backend.sock.

import { timingSafeEqual } from 'node:crypto';
import { access, mkdir, open, rename } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';

const PORT = Number(process.env.PORT ?? 8000);
const BACKEND = process.env.BACKEND ?? 'http://localhost:4001/incoming/backend'; // only this program calls it
const TOKEN = process.env.BACKEND_TOKEN; // if the server has a backend_token
const SECRET = process.env.BACKEND_SECRET;
const INBOX = resolve('received');
if (!SECRET) {
  console.error('BACKEND_SECRET is not set');
  process.exit(1);
}

/** Check the session here; null refuses. */
const user = (headers) => 'somebody';

/** Answers the creation of an upload. */
async function create({ headers }, answer) {
  answer.setHeader('Tus-Resumable', '1.0.0');
  const owner = user(headers);
  if (owner === null) return answer.writeHead(401).end();
  const body = new URLSearchParams({
    signalFinishURL: `http://localhost:${PORT}/handover`, backendSecret: SECRET, metadata: owner,
    length: headers['upload-length'] ?? '', uploadMetadata: headers['upload-metadata'] ?? '',
    uploadConcat: headers['upload-concat'] ?? '',
  });
  const made = await newUpload(body.toString()).catch((error) => ({ status: 503, text: String(error) }));
  if (made.status === 200) return answer.writeHead(201, { Location: JSON.parse(made.text).tus_url }).end();
  console.error('new_upload:', made.status, made.text);
  if (made.status === 400 || made.status === 413) return answer.writeHead(made.status).end(made.text); // the client should not try again
  return answer.writeHead(503, { 'Retry-After': '5' }).end(); // clients try again on 5xx
}

/** Status and text of the answer to new_upload. */
function newUpload(body) {
  const socketPath = BACKEND.startsWith('unix:') ? BACKEND.slice(5) : undefined;
  const url = `${socketPath ? 'http://localhost/incoming/backend' : BACKEND}/new_upload`;
  const headers = {
    Accept: 'application/json', 'Content-Type': 'application/x-www-form-urlencoded',
    ...(TOKEN && { Authorization: `Bearer ${TOKEN}` }),
  };
  const signal = AbortSignal.timeout(600_000); // a file of parts is copied first
  const { request } = url.startsWith('https:') ? https : http;
  return new Promise((resolve, reject) => {
    const take = (answer) => text(answer).then((text) => resolve({ status: answer.statusCode, text }), reject);
    request(url, { method: 'POST', socketPath, headers, signal, agent: false }, take).on('error', reject).end(body);
  });
}

/** Takes a finished file. */
async function handover(request, answer) {
  let body = '';
  for await (const part of request) body += part;
  const form = Object.fromEntries(new URLSearchParams(body));
  const [given, expected] = [Buffer.from(form.backendSecret ?? ''), Buffer.from(SECRET)];
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return answer.writeHead(404).end();
  if (form.cancelled === 'no') {
    const home = join(INBOX, form.metadata, form.id);
    const mine = join(home, form.filenameFromBrowser); // one harmless name
    await mkdir(home, { recursive: true });
    const there = await access(mine).then(() => true, () => false); // the same call may come twice
    if (!there) await rename(form.filename, mine); // both lie on one disk
    for (const path of [home, join(home, '..'), INBOX]) { // "done" lets go of the only other copy
      const folder = await open(path);
      await folder.sync();
      await folder.close();
    }
  }
  return answer.end('done');
}

http.createServer((request, answer) => {
  const route = { '/uploads': create, '/uploads/': create, '/handover': handover }[request.method === 'POST' ? request.url : ''];
  if (!route) return answer.writeHead(404).end();
  return route(request, answer).catch(() => answer.writeHead(500).end());
}).listen(PORT, 'localhost');
