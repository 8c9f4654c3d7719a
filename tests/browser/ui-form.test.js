// `<incoming-upload>` as a field of a form that a server rendered: what is posted, when, and what holds it back.

import assert from 'node:assert/strict';
import { file, test, until } from './harness.js';
import { choose, finished, forms, look, visit, wait } from './ui-site.js';

const MB = 1_000_000;
const posted = async ({ posts }, page) => {
  await until('the form is posted', () => posts.length > 0);
  await until('its page is there', () => page.title().then((title) => title === 'thank you', () => false));
};
const click = (page, selector) => page.evaluate((which) => document.querySelector(which).click(), selector);
const press = (page, label) => page.evaluate((name) => {
  const found = [...document.querySelector('incoming-upload').shadowRoot.querySelectorAll('button')].find((one) => (one.getAttribute('aria-label') ?? one.textContent) === name);
  if (!found) throw new Error(`no button ${name}`);
  found.click();
}, label);

test('a submit is held until the files are there, then posted once with its submitter and the ids', async (t) => {
  const here = await forms(t, { bytes_per_second: 8 * MB });
  const { page } = await visit(here);
  const files = [await file(here.dir, 'a.bin', 4 * MB), await file(here.dir, 'b.bin', 3 * MB), await file(here.dir, 'empty.bin', 0)];
  await choose(page, ...files);
  await click(page, '#draft');
  const held = await wait(page, 'it is held', (now) => now.held !== null);
  assert.match(held.held, /Will be sent when \d files? (are|is) there\. Not now/);
  await click(page, '#send');
  await posted(here, page);
  const [form] = here.posts;
  assert.deepEqual(form.map(([name]) => name), ['files', 'files', 'files', 'what']);
  assert.equal(form.at(-1)[1], 'draft');
  for (const [, id] of form.slice(0, 3)) assert.ok(files.some(({ sha256 }) => sha256 === here.app.calls.get(id)[0].sha256), id);
  assert.deepEqual(new Set(form.slice(0, 3).map(([, id]) => id)).size, 3);
  assert.equal(here.posts.length, 1);
  assert.deepEqual(here.tickets.map(({ name, field }) => [name, field]), files.map(({ name }) => [name, 'files']));
});

test('"Not now" keeps the page; a submit after the end is posted at once', async (t) => {
  const here = await forms(t, { bytes_per_second: 4 * MB });
  const { page } = await visit(here);
  await choose(page, await file(here.dir, 'a.bin', 4 * MB));
  await click(page, '#send');
  await wait(page, 'it is held', (now) => now.held !== null);
  await press(page, 'Not now');
  const end = await finished(page, 1);
  assert.deepEqual([end.held, here.posts.length, end.violations], [null, 0, []]);
  await click(page, '#send');
  await posted(here, page);
  assert.deepEqual(here.posts, [[['files', end.entries[0].id], ['what', 'send']]]);
});

test('a file that fails keeps the page and gets the focus; removed, the form goes', async (t) => {
  const here = await forms(t);
  here.behave.refuse = ({ name }) => (name === 'bad.bin' ? { status: 422, body: { detail: 'no such letter' } } : null);
  const { page } = await visit(here);
  await choose(page, await file(here.dir, 'bad.bin', 10), await file(here.dir, 'good.bin', 10));
  const now = await wait(page, 'one failed, one is there', ({ entries }) => entries.map(({ state }) => state).join() === 'failed,finished');
  assert.deepEqual([now.valid, now.rows[0].state, now.rows[0].buttons], [false, 'failed: no such letter', ['Remove bad.bin']]);
  await wait(page, 'it is told', ({ alert }) => alert === 'bad.bin failed: no such letter.');
  await page.evaluate(() => (document.querySelector('form').noValidate = true));
  await click(page, '#send');
  await wait(page, 'the row has the focus', ({ focus }) => focus === 'Remove bad.bin');
  assert.equal(here.posts.length, 0);
  await press(page, 'Remove bad.bin');
  await wait(page, 'the next row has the focus', ({ focus, valid }) => valid && focus === 'Remove good.bin');
  await click(page, '#send');
  await posted(here, page);
});

test('required, reset, a disabled fieldset, json, a re-rendered value', async (t) => {
  const here = await forms(t);
  here.page.attributes = `multiple required format="json" value='[{"id":"old","name":"old.pdf","size":7}]'`;
  const { page } = await visit(here);
  let now = await wait(page, 'the old file is there', ({ entries }) => entries[0]?.state === 'kept');
  assert.equal(now.valid, true);
  await choose(page, await file(here.dir, 'a.bin', 10));
  now = await finished(page, 1);
  await click(page, '#send');
  await posted(here, page);
  const [[name, json]] = here.posts[0];
  assert.deepEqual([name, JSON.parse(json).map(({ id, name: file_name, size }) => [id, file_name, size])], ['files', [['old', 'old.pdf', 7], [now.entries[1].id, 'a.bin', 10]]]);

  here.page.attributes = 'required';
  const second = await visit(here);
  assert.deepEqual([(await look(second.page)).valid, (await look(second.page)).message], [false, 'Choose a file.']);
  await click(second.page, '#send');
  await wait(second.page, 'the button has the focus', ({ focus }) => focus === 'Choose a file, Papers');
  await choose(second.page, await file(here.dir, 'first.bin', 10));
  await finished(second.page, 1);
  await choose(second.page, await file(here.dir, 'second.bin', 11));
  now = await wait(second.page, 'the new file took the place of the old one', ({ entries }) => entries.length === 1 && entries[0].name === 'second.bin' && entries[0].state === 'finished');
  await second.page.evaluate(() => {
    const fieldset = document.createElement('fieldset');
    document.querySelector('form').prepend(fieldset);
    fieldset.append(document.querySelector('incoming-upload'));
    fieldset.disabled = true;
  });
  await choose(second.page, await file(here.dir, 'third.bin', 12));
  await until('the button is disabled', () => second.page.evaluate(() => document.querySelector('incoming-upload').shadowRoot.querySelector('button').disabled));
  now = await look(second.page);
  assert.deepEqual(now.entries.map(({ name: file_name }) => file_name), ['second.bin']);
  await second.page.evaluate(() => (document.querySelector('fieldset').disabled = false));
  await second.page.evaluate(() => document.querySelector('form').reset());
  await wait(second.page, 'it is empty', ({ entries, valid }) => entries.length === 0 && !valid);
});

const DIALECTS = [
  ['Django', '', '<input type="hidden" name="csrfmiddlewaretoken" value="tok">', 'x-csrftoken'],
  ['Rails', '<meta name="csrf-token" content="tok">', '', 'x-csrf-token'],
  ['Laravel', '', '<input type="hidden" name="_token" value="tok">', 'x-csrf-token'],
  ['Spring', '<meta name="_csrf" content="tok"><meta name="_csrf_header" content="X-SPRING">', '', 'x-spring'],
  ['ASP.NET', '', '<input type="hidden" name="__RequestVerificationToken" value="tok">', 'requestverificationtoken'],
];

test('the tokens of five frameworks go with the ticket request', async (t) => {
  const here = await forms(t);
  const one = await file(here.dir, 'a.bin', 10);
  for (const [name, head, form, header] of DIALECTS) {
    Object.assign(here.page, { head, form });
    const { page } = await visit(here);
    await choose(page, one);
    await finished(page, 1);
    assert.equal(here.tickets.at(-1).headers[header], 'tok', name);
    await page.close();
  }
});

test('a visitor who is logged out goes on after the login; limits are told', async (t) => {
  const here = await forms(t);
  here.page.attributes = 'multiple accept=".bin" max-size="1kB"';
  let status = 401;
  here.behave.refuse = () => (status ? { status } : null);
  const { page, console_errors } = await visit(here);
  await page.evaluate(() => {
    const alert = document.querySelector('incoming-upload').shadowRoot.querySelector('[role=alert]');
    window.read = [];
    new MutationObserver(() => window.read.push(alert.textContent)).observe(alert, { childList: true });
  });
  await choose(page, await file(here.dir, 'a.bin', 10), await file(here.dir, 'large.bin', 2000), await file(here.dir, 'larger.bin', 3000), await file(here.dir, 'b.txt', 10));
  // An answer that comes late is read by itself.
  const told = await until('problems are told', () => page.evaluate(() => /logged in\.$/.test(window.read.at(-1)) && window.read.join(' ')));
  assert.equal(told, '2 files are too large (1 kB at most). b.txt is of a type that is not allowed. You are no longer logged in.');
  await wait(page, 'the login is asked for', ({ seen }) => seen.some(([type, code]) => type === 'auth' && code === 401));
  status = 0;
  await press(page, 'Try again');
  await finished(page, 1);
  assert.deepEqual(console_errors, []);
});

test('reload in the middle: the file is listed, chosen again it goes on with its ticket', async (t) => {
  const here = await forms(t, { bytes_per_second: 4 * MB });
  here.page.attributes = 'multiple restore="letter-1"';
  const { page } = await visit(here);
  const one = await file(here.dir, 'long.bin', 16 * MB);
  await choose(page, one);
  await wait(page, 'a part is there', ({ entries }) => entries[0]?.bytes_acked > 4 * MB);
  await page.goto('about:blank');
  here.line.rate = 40 * MB;
  const again = await visit(here);
  const lost = await wait(again.page, 'it is listed', ({ rows }) => rows.length === 1);
  assert.match(lost.rows[0].state, /^interrupted at \d+%: choose the file again to go on$/);
  await choose(again.page, one);
  const end = await finished(again.page, 1);
  assert.deepEqual([here.tickets.length, end.entries.length], [1, 1]);
  assert.equal((await here.app.taken(end.entries[0].id)).sha256, one.sha256);
  here.page.attributes = 'multiple restore="letter-2"';
  assert.deepEqual((await look((await visit(here)).page)).entries, []);
});

test('a page in German: texts, sizes and percentages', async (t) => {
  const here = await forms(t, { bytes_per_second: 2 * MB });
  Object.assign(here.page, { attributes: 'multiple lang="de-AT" max-size="1.5GB"', head: '<script src="/de.js" defer></script>' });
  here.app.more.set('/de.js', async (answer) => answer.writeHead(200, { 'Content-Type': 'text/javascript' }).end(await (await fetch(`${here.app.origin}/incoming/frontend/locales/de.js`)).text()));
  const { page } = await visit(here);
  await choose(page, await file(here.dir, 'a.bin', 6 * MB));
  const now = await wait(page, 'it is on its way', ({ rows }) => /^\d+\s%/.test(rows[0]?.state ?? ''));
  assert.deepEqual(now.rows[0].buttons, ['a.bin: Anhalten', 'a.bin: Abbrechen']);
  const hint = await page.evaluate(() => document.querySelector('incoming-upload').shadowRoot.querySelector('.hint').textContent);
  assert.equal(hint.replace(/\s/g, ' '), 'bis 1,5 GB je Datei');
});

test('listeners of Turbo, htmx and React see one submit, when the files are there', async (t) => {
  const here = await forms(t, { bytes_per_second: 4 * MB });
  const { page } = await visit(here);
  await page.evaluate(() => {
    window.submits = [];
    const note = (who) => (event) => window.submits.push([who, event.submitter?.value ?? null, new FormData(event.target).getAll('files').length]);
    // Turbo listens on the document in the capture phase, React at its root, htmx at the form.
    document.addEventListener('submit', note('Turbo'), true);
    document.querySelector('main').addEventListener('submit', note('React'));
    document.querySelector('form').addEventListener('submit', note('htmx'));
    document.addEventListener('submit', (event) => event.preventDefault());
  });
  await choose(page, await file(here.dir, 'a.bin', 3 * MB), await file(here.dir, 'b.bin', MB));
  await click(page, '#draft');
  await wait(page, 'it is held', ({ held }) => held);
  await click(page, '#send');
  assert.deepEqual(await page.evaluate(() => window.submits), []);
  await until('they are told', () => page.evaluate(() => window.submits.length > 0));
  assert.deepEqual(await page.evaluate(() => window.submits), [['Turbo', 'draft', 2], ['htmx', 'draft', 2], ['React', 'draft', 2]]);
  await wait(page, 'the message is gone', ({ held }) => held === null);
});

test('moved in the document nothing happens; out of it for long everything pauses, and goes on when it is back', async (t) => {
  const here = await forms(t, { bytes_per_second: 2 * MB });
  const { page } = await visit(here);
  await choose(page, await file(here.dir, 'a.bin', 12 * MB));
  await wait(page, 'it is on its way', ({ entries }) => entries[0]?.bytes_acked > 0);
  await page.evaluate(() => {
    window.element = document.querySelector('incoming-upload');
    window.states = [];
    element.queue.addEventListener('state', ({ detail }) => window.states.push(detail.to));
    document.querySelector('form').prepend(element);
  });
  await page.evaluate(() => new Promise((next) => setTimeout(next, 1500)));
  assert.deepEqual(await page.evaluate(() => window.states), []);
  await page.evaluate(() => element.remove());
  await until('it is paused', () => page.evaluate(() => element.entries[0].state === 'paused'));
  await page.evaluate(() => document.querySelector('form').append(element));
  await wait(page, 'it goes on', ({ entries }) => entries[0].state === 'uploading');
  here.line.rate = 40 * MB;
  await finished(page, 1);
});

test('a wrong attribute name is named in the console, with the right one', async (t) => {
  const here = await forms(t);
  here.page.attributes = 'multiple chunk_size="64KiB" maxsize="1MB" min-size="1" class="max-size"';
  const { page } = await visit(here, (blank) => blank.evaluateOnNewDocument(() => {
    window.warned = [];
    console.warn = (text) => window.warned.push(text);
  }));
  assert.deepEqual(await page.evaluate(() => window.warned), ['incoming-upload: chunk_size is chunk-size', 'incoming-upload: maxsize is max-size']);
});

test('chunk-size fixes the bytes of a chunk', async (t) => {
  const here = await forms(t);
  here.page.attributes = 'chunk-size="250kB"';
  const { page } = await visit(here);
  await choose(page, await file(here.dir, 'a.bin', MB));
  await finished(page, 1);
  const sent = await page.evaluate(() => performance.getEntriesByType('resource').filter(({ name, initiatorType }) => initiatorType === 'xmlhttprequest' && /frontend\/uploads\//.test(name)).length);
  assert.ok(sent >= 5, String(sent));
});
