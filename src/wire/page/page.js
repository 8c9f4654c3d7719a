// The operator's page: asks for the overview again and again, and does what its buttons say.

import { Refused, find_token, has_token, post, read, set_token } from './api.js';
import { by_id, foreign, make, set_text } from './dom.js';
import { count, short_id } from './format.js';
import { health, prepare, show_failed, show_found, show_overview, toggle } from './sections.js';

const EVERY_MS = 2_000;
const HIDDEN_EVERY_MS = 30_000;
/** Lists are read from the disk: not with every overview. */
const FAILED_EVERY_MS = 30_000;
const FAILED_AT_MOST = 100;
/** Uploads of one call while searching, and what is found at most. */
const SEARCH_PAGE = 500;
const FOUND_AT_MOST = 50;
/** Results of actions that stay. */
const RESULTS = 5;
const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

const now = { overview: null, timer: null, turn: 0, failed_at: -Infinity, failed_count: null, search: null };

/** Asks now, and from then on again and again. An answer to an earlier question is not shown. */
async function poll() {
  clearTimeout(now.timer);
  const turn = (now.turn += 1);
  try {
    const overview = await read('overview');
    if (turn !== now.turn) return;
    now.overview = overview;
    shown(true);
    show_overview(overview);
    await failed(overview.uploads.failed);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (turn !== now.turn) return;
    if (error.status === 401) return refused_token();
    silent(error);
  }
  if (turn === now.turn) now.timer = setTimeout(poll, document.hidden ? HIDDEN_EVERY_MS : EVERY_MS);
}

/** There is something to show, or the page waits for a token. */
function shown(yes) {
  by_id('view').hidden = !yes;
  by_id('search').hidden = !yes;
  by_id('view').classList.remove('stale');
  if (yes) {
    const { operator } = now.overview;
    if (operator || !by_id('login').dataset.asked) by_id('login').hidden = true;
    by_id('log-in').hidden = operator || !by_id('login').hidden;
  } else by_id('log-in').hidden = true;
  by_id('forget').hidden = !has_token();
}

function silent(error) {
  health('silent', `No overview: ${error.message}. The page asks again.`);
  by_id('view').classList.add('stale');
}

/** The page waits for another token, and asks for nothing until then. */
function refused_token() {
  const why = has_token() ? 'The server refuses this token.' : '';
  set_token('');
  now.overview = null;
  shown(false);
  health('locked', 'The server asks for a token.');
  ask_token(why);
}

function ask_token(why, asked = false) {
  const form = by_id('login');
  if (asked) form.dataset.asked = 'yes';
  else delete form.dataset.asked;
  by_id('login-close').hidden = !asked;
  set_text(by_id('login-why'), why);
  if (!form.hidden) return;
  form.hidden = false;
  by_id('token').focus();
}

/** Shows failed handovers, when their number has changed or some time has passed. */
async function failed(number) {
  const passed = performance.now() - now.failed_at;
  if (number === now.failed_count && passed < FAILED_EVERY_MS) return;
  [now.failed_at, now.failed_count] = [performance.now(), number];
  try {
    const page = await read(`uploads?state=failed&limit=${FAILED_AT_MOST}`);
    show_failed(page.uploads, page.next !== null);
  } catch (error) {
    if (!(error instanceof Refused) || error.status === 401) throw error;
    set_text(by_id('failed-line'), `The list could not be read: ${error.message}.`);
  }
}

/** Says what became of an action; it is read out. */
function result(good, text, name, request) {
  const time = new Date().toLocaleTimeString('en-GB');
  const line = make('p', { class: good ? 'good' : 'bad' }, `${time} ${text}`);
  if (name) line.append(' ', foreign(name));
  if (request) line.append('. Request ', make('code', {}, request));
  by_id('results').append(line);
  while (by_id('results').children.length > RESULTS) by_id('results').firstElementChild.remove();
}

/** Does something to an upload, after a question where it destroys or needs a secret. */
async function act(upload, { call, title, text, button, done, ask }) {
  const name = `${upload.name ?? 'upload'} (${short_id(upload.id)})`;
  const { operator } = now.overview;
  let secret = '';
  if (ask || !operator) {
    const answer = await confirmed({ title, text, button, upload, secret: !operator });
    if (answer === null) return;
    secret = answer;
  }
  try {
    const fields = secret ? { id: upload.id, backendSecret: secret } : { id: upload.id };
    result(true, done, name, await post(call, fields));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    result(false, `Not done (${button}): ${error.status ? `status ${error.status}, ` : ''}${error.message}.`, name, error.request);
  }
  now.failed_count = null;
  if (now.search?.again) now.search.again();
  poll();
}

const cancel = (upload) => act(upload, {
  call: 'cancel_upload', ask: true, title: 'Cancel this upload?', button: 'Cancel the upload', done: 'Cancelled:',
  text: 'Its bytes are deleted. The web app gets no call about it. This cannot be undone.',
});

const retry = (upload) => act(upload, {
  call: 'retry_handover', ask: false, title: 'Retry this handover?', button: 'Retry the handover', done: 'Handover is tried again:',
  text: 'The web app is called now.',
});

/** Asks in a dialog. The secret that was typed; null if nothing is to be done. */
function confirmed({ title, text, button, upload, secret }) {
  const dialog = by_id('confirm');
  by_id('confirm-title').textContent = title;
  by_id('confirm-text').textContent = text;
  by_id('confirm-name').firstElementChild.textContent = upload.name ?? '';
  by_id('confirm-name').lastElementChild.textContent = upload.id;
  by_id('confirm-yes').textContent = button;
  by_id('confirm-secret').hidden = !secret;
  by_id('secret').value = '';
  dialog.returnValue = '';
  dialog.showModal();
  (secret ? by_id('secret') : by_id('confirm-no')).focus();
  return new Promise((answer) => dialog.addEventListener('close', () => {
    answer(dialog.returnValue === 'yes' ? by_id('secret').value : null);
    by_id('secret').value = '';
    // Its button may have gone meanwhile, and the focus with it.
    if (document.activeElement === document.body) by_id('results').focus();
  }, { once: true }));
}

/** Looks for uploads: the one with this id, else all whose id begins so or whose name has it, over all pages of the list. */
async function search(query) {
  now.search?.stop();
  const mine = { stopped: false, stop: () => (mine.stopped = true), again: () => search(query) };
  now.search = mine;
  by_id('found').hidden = false;
  const line = (text) => set_text(by_id('found-line'), text);
  let found = [];
  try {
    if (ID.test(query.toLowerCase())) found = [await read(`uploads/${query.toLowerCase()}`)];
    else found = await scan(query.toLowerCase(), mine, line);
    if (now.search !== mine) return;
    line(found.length >= FOUND_AT_MOST ? `The first ${FOUND_AT_MOST} uploads that match.` : `${count(found.length)} ${found.length === 1 ? 'upload' : 'uploads'} found${mine.stopped ? ' before the search was stopped' : ''}.`);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (now.search !== mine) return;
    line(error.status === 404 ? 'No upload has this id.' : `The search failed: ${error.message}.`);
  }
  by_id('found-stop').hidden = true;
  show_found(found);
}

async function scan(query, mine, line) {
  const found = [];
  let [seen, after] = [0, null];
  by_id('found-stop').hidden = false;
  do {
    const page = await read(`uploads?limit=${SEARCH_PAGE}${after ? `&after=${after}` : ''}`);
    if (now.search !== mine) return found;
    seen += page.uploads.length;
    found.push(...page.uploads.filter(({ id, name }) => id.startsWith(query) || name?.toLowerCase().includes(query)));
    after = page.next;
    if (after) line(`Searching: ${count(seen)} uploads seen, ${count(found.length)} found.`);
  } while (after && found.length < FOUND_AT_MOST && !mine.stopped);
  return found.slice(0, FOUND_AT_MOST);
}

async function set_log(fields, done) {
  try {
    result(true, done, null, await post('log', fields));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    result(false, `The log filter was not changed: ${error.message}.`, null, error.request);
  }
  poll();
}

async function show_settings() {
  const [text, line] = [by_id('settings'), by_id('settings-line')];
  if (!toggle(by_id('settings-button'), 'Show settings', 'Hide settings')) {
    line.textContent = '';
    return;
  }
  text.hidden = true;
  line.textContent = 'Reading.';
  try {
    text.textContent = (await read('config')).settings;
    text.hidden = false;
    line.textContent = '';
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    line.textContent = `They are not shown: ${error.message}.`;
  }
}

/** Begins anew with the token that there is now. */
function begin() {
  now.failed_count = null;
  if (by_id('settings-button').getAttribute('aria-expanded') === 'true') show_settings();
  delete by_id('login').dataset.asked;
  poll();
}

function connect() {
  const submitted = (id, what) => by_id(id).addEventListener('submit', (event) => {
    event.preventDefault();
    what();
  });
  const pressed = (id, what) => by_id(id).addEventListener('click', what);
  submitted('login', () => {
    set_token(by_id('token').value.trim());
    by_id('token').value = '';
    by_id('login').hidden = true;
    by_id('results').focus();
    begin();
  });
  pressed('log-in', () => ask_token('', true));
  pressed('login-close', () => {
    delete by_id('login').dataset.asked;
    by_id('login').hidden = true;
    shown(true);
    by_id('log-in').focus();
  });
  pressed('forget', () => {
    set_token('');
    result(true, 'The token is forgotten', null, null);
    by_id('results').focus();
    begin();
  });
  submitted('search', () => search(by_id('query').value.trim()));
  pressed('found-stop', () => now.search?.stop());
  pressed('found-close', () => {
    now.search?.stop();
    now.search = null;
    by_id('found').hidden = true;
    show_found([]);
    by_id('query').focus();
  });
  pressed('rates-button', () => {
    toggle(by_id('rates-button'), 'Show as a table', 'Hide the table');
    show_overview(now.overview);
  });
  submitted('log-form', () => set_log({ filter: by_id('filter').value.trim(), for: by_id('filter-for').value }, `The log filter is ${by_id('filter').value.trim()} for ${by_id('filter-for').selectedOptions[0].textContent}`));
  pressed('log-back', () => set_log({}, 'The log filter is that of the settings again'));
  pressed('settings-button', show_settings);
  document.addEventListener('visibilitychange', () => document.hidden || poll());
  addEventListener('hashchange', () => {
    find_token();
    begin();
  });
}

prepare({ cancel, retry });
connect();
find_token();
poll();
