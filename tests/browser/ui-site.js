// A web app with forms that hold `<incoming-upload>`: its pages have no script of their own and a Content-Security-Policy that allows
// nothing else. It gives tickets, and records what its forms post.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { Line, browser, folder, open, until } from './harness.js';
import { site } from './site.js';

const DIST = resolve(import.meta.dirname, '../../incoming-js/dist');

export async function body_of(request) {
  let body = '';
  for await (const part of request) body += part;
  return body;
}

/** The app, and a browser. `bytes_per_second` puts a line between the browser and the upload server. */
export async function forms(t, { bytes_per_second = null, host = 'localhost', driver = {}, ...more } = {}) {
  const app = await site(t, more);
  let server = app.origin;
  let line = null;
  if (bytes_per_second) {
    line = new Line(t, app.uploadPort, bytes_per_second);
    server = `http://${host}:${await line.open()}`;
  }
  /** What the element's attributes, the form and the head have besides. */
  const page = { attributes: 'multiple', form: '', head: '', html: '', element: '' };
  // An image is the icon that browsers ask for by themselves.
  const csp = `default-src 'none'; script-src 'self'; connect-src 'self' ${server}; img-src 'self'; form-action 'self'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'`;
  /** Ticket requests with their headers; forms that were posted. */
  const [tickets, posts] = [[], []];
  /** Answers a ticket request in place of a ticket: `{ status, body, headers }`. */
  const behave = { refuse: () => null };
  const html = (answer, text, policy = csp) => {
    answer.writeHead(200, { 'Content-Type': 'text/html', 'Cache-Control': 'no-store', 'Content-Security-Policy': policy });
    answer.end(text);
  };
  app.more.set('/form', (answer) => html(answer, `<!doctype html><html lang="en" ${page.html}><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>a form</title>${page.head}
    <script src="/incoming-ui.js" defer></script></head><body><main><h1>A form</h1><form method="post" action="/posted">
    <label for="up">Papers</label><incoming-upload id="up" name="files" ticket-url="/ticket" hostname="${server}" ${page.attributes}>${page.element}</incoming-upload>
    ${page.form}<button name="what" value="send" id="send">Send</button><button name="what" value="draft" id="draft">Draft</button></form></main></body></html>`));
  app.more.set('/incoming-ui.js', async (answer) => answer.writeHead(200, { 'Content-Type': 'text/javascript' }).end(await readFile(join(DIST, 'incoming-ui.js'))));
  app.more.set('/ticket', async (answer, request) => {
    const asked = { ...JSON.parse(await body_of(request)), headers: request.headers };
    tickets.push(asked);
    const refusal = behave.refuse(asked);
    if (refusal) return answer.writeHead(refusal.status, { 'Content-Type': 'application/json', ...refusal.headers }).end(JSON.stringify(refusal.body ?? {}));
    return answer.writeHead(200, { 'Content-Type': 'text/plain' }).end(await app.ticket());
  });
  app.more.set('/posted', async (answer, request) => {
    posts.push([...new URLSearchParams(await body_of(request))]);
    html(answer, '<!doctype html><title>thank you</title>');
  });
  return { app, line, page, tickets, posts, behave, server, on: await browser(t, driver), dir: await folder(t), url: `${app.page.replace('localhost', host)}form` };
}

/** Opens the form, and waits for the element. */
export async function visit({ on, url }, before = async () => {}) {
  const opened = await open(on, 'about:blank');
  const { page } = opened;
  await before(page);
  await page.evaluateOnNewDocument(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', ({ violatedDirective, sample }) => window.violations.push(`${violatedDirective} ${sample}`));
    window.seen = [];
    for (const type of ['add', 'reject', 'finish', 'error', 'auth', 'idle', 'submit-held']) document.addEventListener(`incoming-${type}`, ({ detail }) => window.seen.push([type, detail.code ?? detail.id ?? detail.status ?? null]));
  });
  await page.goto(url, { waitUntil: 'load' });
  await until('the element is there', () => page.evaluate(() => Boolean(document.querySelector('incoming-upload')?.queue)));
  return opened;
}

/** Chooses files as a person does, in the chooser that the button opens. */
export async function choose(page, ...files) {
  const input = await page.evaluateHandle(() => document.querySelector('incoming-upload').shadowRoot.querySelector('input[type=file]'));
  await input.uploadFile(...files.map(({ path }) => path));
}

/** Entries, and what the element shows; null while a page loads. */
export const look = (page) => page.evaluate(() => {
  const element = document.querySelector('incoming-upload');
  if (!element?.queue) return null;
  const { shadowRoot: root } = element;
  return {
    entries: element.entries.map(({ name, state, id, bytes_acked, size }) => ({ name, state, id, bytes_acked, size })),
    rows: [...root.querySelectorAll('li.item')].map((row) => ({ name: row.querySelector('.name').textContent, state: row.querySelector('.state').textContent, buttons: [...row.querySelectorAll('button')].filter((one) => !one.hidden).map((one) => one.getAttribute('aria-label')) })),
    status: root.querySelector('[role=status]').textContent, alert: root.querySelector('[role=alert]').textContent,
    held: root.querySelector('.held').hidden ? null : root.querySelector('.held').textContent,
    summary: root.querySelector('.summary').textContent, value: element.value, valid: element.validity.valid, message: element.validationMessage,
    busy: element.busy, focus: root.activeElement?.getAttribute('aria-label') ?? null,
    violations: window.violations, seen: window.seen,
  };
});

export function wait(page, what, check) {
  return until(what, async () => {
    const now = await look(page);
    return now && check(now) && now;
  }, async () => `\n${JSON.stringify(await look(page), null, 1)}`);
}

/** What axe-core finds. It runs in the page without the page's policy: it is the test's own. */
export async function violations(page) {
  await page.evaluate(await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'));
  return page.evaluate(async () => {
    const { violations: found } = await axe.run(document, { resultTypes: ['violations'] });
    return found.map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${JSON.stringify(target)} ${failureSummary}`).join('; ')}`);
  });
}

export const finished = (page, count) => wait(page, `${count} files are finished`, ({ entries }) => entries.filter(({ state }) => state === 'finished').length === count);
