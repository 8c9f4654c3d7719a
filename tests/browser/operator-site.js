// A server with a web app that takes files, or does not, and the operator's page of it in a browser.

import { createServer } from 'node:http';
import { join } from 'node:path';
import { Server, browser, folder, freePort, open, until } from './harness.js';

export const OPERATOR = 'operator+/=%';
const WEB_APP = 'web-app';

/** Starts both. `answer` is what the web app does with a call: `(response, count)`. `tokens` false: the server has none. */
export async function operated(t, { tokens = true, args = [], min_free_space = '0', backend: wanted = null, answer = (response) => response.end('done') } = {}) {
  const [dir, front, backend] = [await folder(t), await freePort(), wanted ?? await freePort()];
  const secrets = tokens ? ['--backend-token', WEB_APP, '--operator-token', OPERATOR] : [];
  const server = new Server(t, ['serve', '--listen', `127.0.0.1:${front}`, '--backend-listen', `127.0.0.1:${backend}`, '--storage-dir', join(dir, 'data'),
    '--min-free-space', min_free_space, '--ack', 'written', '--log-format', 'json', '--shutdown-grace', '0', ...secrets, ...args], `http://127.0.0.1:${backend}/healthz`);
  await server.start();
  const app = { answer, calls: 0 };
  const web = createServer((request, response) => request.resume().on('end', () => app.answer(response, (app.calls += 1))));
  await new Promise((done) => web.listen(0, '127.0.0.1', done));
  t.after(() => (web.closeAllConnections(), web.close()));
  const finish = `http://127.0.0.1:${web.address().port}/handover`;
  const api = `http://127.0.0.1:${backend}/incoming/backend/`;
  const call = async (name, fields = {}) => {
    const answered = await fetch(`${api}${name}`, { method: 'POST', headers: { Authorization: `Bearer ${WEB_APP}` }, body: new URLSearchParams(fields) });
    const text = await answered.text();
    if (!answered.ok) throw new Error(`${name}: ${answered.status} ${text}`);
    return text;
  };
  const at = (id) => `http://127.0.0.1:${front}/incoming/frontend/uploads/${id}`;
  return {
    server, app, api, backend, upload_url: at, url: `http://localhost:${backend}/incoming/backend/`,
    /** Bytes from there on of a file of that length. */
    put: async (id, from, bytes, length) => {
      const answered = await fetch(at(id), { method: 'PUT', headers: { 'Content-Range': `bytes ${from}-${from + bytes.length - 1}/${length}` }, body: bytes });
      if (!answered.ok) throw new Error(`PUT: ${answered.status} ${await answered.text()}`);
    },
    /** A ticket whose client has named the file. */
    begin: async (name, length) => {
      const id = await call('new_upload', { signalFinishURL: finish, backendSecret: 's3cret' });
      const bound = await fetch(at(id), { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ name, length }) });
      if (!bound.ok) throw new Error(`bind: ${bound.status} ${await bound.text()}`);
      return id;
    },
    state: async (id) => (await (await fetch(`${api}uploads/${id}`, { headers: { Authorization: `Bearer ${OPERATOR}` } })).json()).state,
    /** What the server has logged with this message. */
    logged: (message) => server.log.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line)).filter((entry) => entry.message === message),
  };
}

/** Opens the page with this token in its address, if with one; `before` gets it while it is blank. */
export async function visit(t, { url }, token = OPERATOR, before = async () => {}) {
  const opened = await open(await browser(t), 'about:blank');
  const { page } = opened;
  await before(page);
  await page.evaluateOnNewDocument(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', ({ violatedDirective, sample }) => window.violations.push(`${violatedDirective} ${sample}`));
  });
  await page.goto(token === null ? url : `${url}#token=${encodeURIComponent(token)}`, { waitUntil: 'load' });
  await until('the page says how the server is', async () => (await look(page)).health !== '');
  return opened;
}

/** Has the page see these servers beside its own, as where several share a database; `own` changes what it sees of itself. */
export const beside = (page, others, own = {}) => page.evaluateOnNewDocument((more, changed) => {
  const asked = window.fetch;
  window.fetch = async (path, ...rest) => {
    const answer = await asked(path, ...rest);
    if (path !== 'overview' || !answer.ok) return answer;
    const overview = await answer.json();
    overview.shared = true;
    Object.assign(overview.servers[0], changed);
    overview.servers.push(...more);
    return new Response(JSON.stringify(overview), answer);
  };
}, others, own);

/** What a person sees. */
export const look = (page) => page.evaluate(() => {
  const seen = (element) => Boolean(element?.offsetParent);
  const text = (id) => {
    const element = document.getElementById(id);
    return seen(element) ? element.innerText.trim() : null;
  };
  const rows = (id) => [...document.querySelectorAll(`#${id} tbody tr`)].filter(seen).map((row) => [...row.children].map((cell) => cell.innerText.replace(/\s+/g, ' ').trim()));
  return {
    health: document.getElementById('health').textContent, state: document.getElementById('health').dataset.state, title: document.title,
    login: seen(document.getElementById('login')), why: text('login-why'), view: seen(document.getElementById('view')),
    problems: text('problems'), results: [...document.querySelectorAll('#results p')].map((line) => line.textContent),
    counts: Object.fromEntries([...document.querySelectorAll('#counts div')].map((one) => [one.dataset.count, Number(one.lastChild.textContent.replaceAll(',', ''))])),
    live: rows('live'), live_line: text('live-line'), pending: rows('pending'), failed: rows('failed'), found: rows('found-table'), found_line: text('found-line'),
    servers: rows('servers'), servers_line: text('servers-line'), server: text('server'), rates: text('rates-now'), log: text('log-line'), settings: text('settings'), settings_line: text('settings-line'),
    dialog: document.getElementById('confirm').open ? document.getElementById('confirm').innerText : null,
    focus: document.activeElement === document.body ? null : document.activeElement.getAttribute('aria-label') ?? (document.activeElement.innerText || document.activeElement.id),
    violations: window.violations,
  };
});

/** Waits until the page looks so. */
export const wait = (page, what, check) => until(what, async () => {
  const now = await look(page);
  return check(now) && now;
}, async () => `\n${JSON.stringify(await look(page), null, 1)}`);

/** Presses the button with this label or text. */
export const press = (page, label) => until(`${label} can be pressed`, () => page.evaluate((wanted) => {
  const found = [...document.querySelectorAll('button')].find((one) => one.offsetParent && (one.getAttribute('aria-label') ?? one.textContent) === wanted);
  found?.focus();
  found?.click();
  return Boolean(found);
}, label));

/** Types into the field with this id, in place of what is there. */
export async function type(page, id, text) {
  await page.evaluate((field) => {
    const element = document.getElementById(field);
    element.value = '';
    element.focus();
  }, id);
  await page.keyboard.type(text);
}
