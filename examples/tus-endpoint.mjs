// A web app whose route /uploads is the endpoint of tus clients. Node 20 or later, no packages.
//
//     incoming serve --frontend-url http://localhost:4000/incoming/frontend
//     BACKEND_SECRET=... node tus-endpoint.mjs

import { timingSafeEqual } from 'node:crypto';
import { access, mkdir, open, rename } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join, resolve } from 'node:path';

const PORT = Number(process.env.PORT ?? 8000);
const BACKEND = process.env.BACKEND ?? 'http://localhost:4001/incoming/backend'; // only this program calls it
const TOKEN = process.env.BACKEND_TOKEN; // if the server has a backend_token
const SECRET = process.env.BACKEND_SECRET;
const INBOX = resolve('received');
if (!SECRET) throw new Error('BACKEND_SECRET is not set');

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
  const asking = { Accept: 'application/json', ...(TOKEN && { Authorization: `Bearer ${TOKEN}` }) };
  const signal = AbortSignal.timeout(600_000); // a file of parts is copied first
  const made = await fetch(`${BACKEND}/new_upload`, { method: 'POST', body, headers: asking, signal })
    .catch((error) => new Response(String(error.cause ?? error), { status: 503 }));
  if (made.status === 200) return answer.writeHead(201, { Location: (await made.json()).tus_url }).end();
  const why = await made.text();
  console.error('new_upload:', made.status, why);
  if (made.status === 400 || made.status === 413) return answer.writeHead(made.status).end(why); // the client should not try again
  return answer.writeHead(503, { 'Retry-After': '5' }).end(); // clients try again on 5xx
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

createServer((request, answer) => {
  const route = { '/uploads': create, '/handover': handover }[request.method === 'POST' ? request.url : ''];
  if (!route) return answer.writeHead(404).end();
  return route(request, answer).catch(() => answer.writeHead(500).end());
}).listen(PORT, 'localhost');
