// The web app of `tests/helpers`, with the helper for Node. PORT, SERVER, SECRETS, TOKEN and FILES are in the environment.
import { createServer } from 'node:http';
import { BadSignature, DONE, Incoming, Refused, Unavailable, WAIT } from './node/index.js';

const { PORT, SERVER, SECRETS, TOKEN, FILES } = process.env;
const server = new Incoming(SERVER, { token: TOKEN, signingSecrets: SECRETS.split(' ') });
const nowhere = new Incoming('http://127.0.0.1:20009', { timeout: 2000 });
const signalFinishURL = `http://127.0.0.1:${PORT}/handover`;
const taken = [];

async function handover(body, headers) {
  const call = await server.handover(body, headers);
  const { id, cancelled, reason, name, length, digest, attempt } = call;
  const about = { id, cancelled, reason, name, length, metadata: call.json(), digest, attempt };
  if (call.object) about.object = call.object;
  else if (!cancelled) about.path = await call.moveTo(FILES);
  taken.push(about);
  return call.json().wait && !cancelled ? WAIT : DONE;
}

async function act(path, argument) {
  switch (path) {
    case '/ticket': return server.newUpload({ signalFinishURL, metadata: argument, digest: true });
    case '/taken': return taken;
    case '/uploads': return ids(server.uploads({ state: 'new' }));
    case '/nowhere': return nowhere.show('x');
    case '/wrong': return server.newUpload({ signalFinishURL: 'ftp://x/' });
    default: return (await server[path.slice(1)](argument)) ?? null;
  }
}

async function ids(uploads) {
  const all = [];
  for await (const { id } of uploads) all.push(id);
  return all;
}

createServer(async (request, answer) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts);
  try {
    answer.end(request.url === '/handover' ? await handover(body, request.headers) : JSON.stringify(await act(request.url, JSON.parse(body.toString() || 'null'))));
  } catch (error) {
    if (error instanceof BadSignature) return answer.writeHead(401).end(error.message);
    if (!(error instanceof Refused || error instanceof Unavailable)) throw error;
    return answer.writeHead(400).end(JSON.stringify({ kind: error.constructor.name, status: error.status ?? null, text: error.message }));
  }
}).listen(Number(PORT), '127.0.0.1');
