// A form that takes large files, in Fastify 5: npm install, node app.mjs, then http://localhost:8000/. The page has no script of its own.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import Fastify from 'fastify';
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

const app = Fastify();
// The body of a form as it came: the signature is over its bytes.
app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'buffer' }, (request, body, done) => done(null, body));

app.post('/handover', async (request, reply) => {
  const call = await server.handover(request.body, request.headers).catch((error) => {
    if (!(error instanceof BadSignature)) throw error;
    return null; // not from Incoming!!: a forged call could name any file
  });
  if (!call) return reply.code(401).send();
  const known = issued(call.id);
  // The same call may come twice.
  if (!call.cancelled && known) keep(call.id, { ...known, path: await call.moveTo('received') });
  return DONE;
});

app.register(async (pages) => {
  pages.decorateRequest('user', '').decorateRequest('token', '').decorateRequest('form', null);
  pages.addHook('preHandler', async (request, reply) => { // stands for a login
    request.user = /(?:^|; )user=([0-9a-f]{32})/.exec(request.headers.cookie ?? '')?.[1] ?? randomBytes(16).toString('hex');
    request.token = createHmac('sha256', SECRET).update(request.user).digest('hex');
    request.form = new URLSearchParams(Buffer.isBuffer(request.body) ? request.body.toString() : '');
    reply.header('Set-Cookie', `user=${request.user}; HttpOnly; SameSite=Lax`);
    if (request.method === 'POST' && !same(request.headers['x-csrf-token'] ?? request.form.get('_token') ?? '', request.token)) return reply.code(403).send();
    return undefined;
  });

  pages.post('/ticket', async ({ body: { name, size }, user }) => {
    const { id } = await server.newUpload({ signalFinishURL: `http://localhost:${PORT}/handover`, length: size });
    keep(id, { user, name, size });
    return { id };
  });

  pages.route({ method: ['GET', 'POST'], url: '/', handler: async ({ form, user, token, method }, reply) => {
    const subject = form.get('subject') ?? '';
    // An id in a form is a claim: it counts if it was issued to this user, has arrived and is in no letter yet.
    const files = form.getAll('papers').map((id) => ({ id, ...issued(id) })).filter(({ user: owner, path, letter }) => owner === user && path && !letter);
    reply.headers({ 'Content-Security-Policy': POLICY, 'Cache-Control': 'no-store' }).type('text/html; charset=utf-8');
    if (subject && files.length > 0) {
      for (const { id, ...known } of files) keep(id, { ...known, letter: subject });
      return `<!doctype html><title>Sent</title><link rel=icon href=data:,><p>Sent: ${text(files.map(({ name }) => name).join(', '))}`;
    }
    const error = method === 'GET' ? '' : files.length > 0 ? 'Say what it is about.' : 'Choose a file.';
    const value = JSON.stringify(files.map(({ id, name, size }) => ({ id, name, size })));
    return `<!doctype html><html lang="en"><meta charset="utf-8"><title>Send a letter</title><link rel="icon" href="data:,">
<meta name="csrf-token" content="${token}"><script src="${UPLOADS}/incoming/frontend/incoming-ui.js" defer></script>
<h1>Send a letter</h1><p>${error}</p>
<form method="post"><input type="hidden" name="_token" value="${token}">
<label>Subject <input name="subject" value="${text(subject)}"></label>
<p><label for="papers">Papers</label>
<incoming-upload id="papers" name="papers" ticket-url="/ticket" multiple required restore="letter" value="${text(value)}"></incoming-upload></p>
<button>Send</button></form></html>`;
  } });
});

await app.listen({ port: PORT, host: '127.0.0.1' });
console.log(`http://localhost:${PORT}/`);
