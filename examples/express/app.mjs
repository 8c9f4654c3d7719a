// A form that takes large files, in Express 5: npm install, node app.mjs, then http://localhost:8000/. The page has no script of its own.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import express from 'express';
import { BadSignature, DONE, Incoming, newSecret } from '../../helpers/node/index.js';

const UPLOADS = process.env.UPLOADS ?? 'http://localhost:4000'; // browsers go there
const PORT = Number(process.env.PORT ?? 8000);
const POLICY = `default-src 'none'; script-src ${UPLOADS}; connect-src 'self' ${UPLOADS}; img-src data:; form-action 'self'; base-uri 'none'; require-trusted-types-for 'script'`;
if (!existsSync('secret')) writeFileSync('secret', newSecret(), { mode: 0o600 }); // kept: a handover may come after a restart
const SECRET = readFileSync('secret', 'utf8');
const server = new Incoming(process.env.BACKEND ?? 'http://localhost:4001', { signingSecrets: SECRET });

mkdirSync('issued', { recursive: true, mode: 0o700 });
/** What is known of a file whose ticket was issued to someone. */
const issued = (id) => (/^[0-9a-f-]{36}$/.test(id) && existsSync(`issued/${id}`) ? JSON.parse(readFileSync(`issued/${id}`, 'utf8')) : null);
const keep = (id, known) => {
  writeFileSync(`issued/${id}.new`, JSON.stringify(known), { flush: true });
  renameSync(`issued/${id}.new`, `issued/${id}`);
};
const text = (value) => String(value).replace(/[&<>"']/g, (c) => `&#${c.codePointAt()};`);
const same = (a, b) => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

const app = express();

// The body as it came: before any parser of forms.
app.post('/handover', express.raw({ type: '*/*' }), async (request, response) => {
  const call = await server.handover(request.body, request.headers).catch((error) => {
    if (!(error instanceof BadSignature)) throw error;
    return null; // not from Incoming!!: a forged call could name any file
  });
  if (!call) return response.sendStatus(401);
  const known = issued(call.id);
  // The same call may come twice.
  if (!call.cancelled && known) keep(call.id, { ...known, path: await call.moveTo('received') });
  return response.type('text').send(DONE);
});

app.use(express.json(), express.urlencoded());
app.use((request, response, next) => { // stands for a login
  const user = /(?:^|; )user=([0-9a-f]{32})/.exec(request.headers.cookie ?? '')?.[1] ?? randomBytes(16).toString('hex');
  response.cookie('user', user, { httpOnly: true, sameSite: 'lax' });
  request.user = user;
  request.token = createHmac('sha256', SECRET).update(user).digest('hex');
  if (request.method === 'POST' && !same(request.get('X-CSRF-Token') ?? request.body?._token ?? '', request.token)) return response.sendStatus(403);
  return next();
});

app.post('/ticket', async (request, response) => {
  const { name, size } = request.body;
  const { id } = await server.newUpload({ signalFinishURL: `http://localhost:${PORT}/handover`, length: size });
  keep(id, { user: request.user, name, size });
  response.json({ id });
});

app.all('/', (request, response) => {
  const { subject = '', papers = [] } = request.body ?? {};
  const posted = request.method === 'POST';
  // An id in a form is a claim: it counts if it was issued to this user, has arrived and is in no letter yet.
  const files = [papers].flat().map((id) => ({ id, ...issued(String(id)) })).filter(({ user, path, letter }) => user === request.user && path && !letter);
  response.set({ 'Content-Security-Policy': POLICY, 'Cache-Control': 'no-store' }).type('html');
  if (posted && subject && files.length > 0) {
    for (const { id, ...known } of files) keep(id, { ...known, letter: subject });
    return response.send(`<!doctype html><title>Sent</title><link rel=icon href=data:,><p>Sent: ${text(files.map(({ name }) => name).join(', '))}`);
  }
  const error = !posted ? '' : files.length > 0 ? 'Say what it is about.' : 'Choose a file.';
  const value = JSON.stringify(files.map(({ id, name, size }) => ({ id, name, size })));
  return response.send(`<!doctype html><html lang="en"><meta charset="utf-8"><title>Send a letter</title><link rel="icon" href="data:,">
<meta name="csrf-token" content="${request.token}"><script src="${UPLOADS}/incoming/frontend/incoming-ui.js" defer></script>
<h1>Send a letter</h1><p>${error}</p>
<form method="post"><input type="hidden" name="_token" value="${request.token}">
<label>Subject <input name="subject" value="${text(subject)}"></label>
<p><label for="papers">Papers</label>
<incoming-upload id="papers" name="papers" ticket-url="/ticket" multiple required restore="letter" value="${text(value)}"></incoming-upload></p>
<button>Send</button></form></html>`);
});

app.listen(PORT, '127.0.0.1', () => console.log(`http://localhost:${PORT}/`));
