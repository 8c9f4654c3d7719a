// What the demo page shows beside the element: files that the web app has received, a URL for a terminal, the path doctor. The
// element uploads without this script.
//
// Everything shown is set as text, never as markup, so the page runs under a strict Content-Security-Policy with Trusted Types.

const UPLOADS = '/incoming/frontend/uploads/';
const ROWS_SHOWN = 50;

const el = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((wake) => setTimeout(wake, ms));

const SHOWN_BAD = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** A file name for the eye: control and direction characters are made visible. */
const shownName = (name) => String(name ?? '').replace(SHOWN_BAD, '\ufffd') || 'unnamed';

function bytesText(bytes) {
  if (bytes < 1000) return `${Math.round(bytes)} bytes`;
  const units = ['kB', 'MB', 'GB', 'TB', 'PB'];
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${units[unit]}`;
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Writes only what changes: selections survive, and the layout is left alone. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function announce(text) {
  const line = document.createElement('p');
  line.textContent = text;
  el('announcer').append(line);
  setTimeout(() => line.remove(), 8000);
}

/** `{status}`, or `{gone: true}` when the ticket is used up, or `{}` when the server cannot be asked now. */
async function askStatus(id) {
  try {
    const answer = await fetch(UPLOADS + id, { cache: 'no-store', signal: AbortSignal.timeout(60000) });
    const body = await answer.json();
    if (answer.ok) return { status: body };
    // A proxy's own 404 comes without the server's code and says nothing about the upload.
    return [404, 410].includes(answer.status) && body.code ? { gone: true } : {};
  } catch { return {}; }
}

/** One ticket from the web app. Throws an `Error` for people. */
async function askTicket(name) {
  const headers = { 'Content-Type': 'application/json' };
  const answer = await fetch('/api/tickets', { method: 'POST', headers, body: JSON.stringify({ name }), signal: AbortSignal.timeout(30000) })
    .catch(() => { throw new Error('the web app cannot be reached now, try again'); });
  const { id, error } = await answer.json().catch(() => ({}));
  if (id) return id;
  throw new Error(error ?? `the web app issued no ticket (status ${answer.status})`);
}

const received = {
  rows: new Map(), // id -> row
  files: [],
  limit: ROWS_SHOWN,
  timer: null,
  asking: false,
  again: false,

  /** Asks the list anew; polls while the web app is reading a file or taking one over. */
  async refresh() {
    if (this.asking) {
      this.again = true;
      return;
    }
    this.asking = true;
    clearTimeout(this.timer);
    let pause = null;
    do {
      this.again = false;
      try {
        const answer = await fetch('/api/files', { cache: 'no-store', signal: AbortSignal.timeout(30000) });
        if (!answer.ok) throw new Error(`status ${answer.status}`);
        this.files = await answer.json();
        this.paint();
        const taking = el('up').queue?.states.handing_over.size > 0;
        pause = this.files.some((file) => file.state === 'receiving') ? 1000 : taking ? 2000 : null;
      } catch {
        pause = 3000;
      }
    } while (this.again);
    this.asking = false;
    if (pause !== null) this.timer = setTimeout(() => this.refresh(), pause);
  },

  paint() {
    const list = el('received');
    const shown = this.files.slice(0, this.limit);
    const ids = new Set(shown.map((file) => file.id));
    for (const [id, row] of this.rows) {
      if (!ids.has(id)) {
        row.remove();
        this.rows.delete(id);
      }
    }
    shown.forEach((file, at) => {
      const row = this.rows.get(file.id) ?? newRow(file);
      this.rows.set(file.id, row);
      if (list.children[at] !== row) list.insertBefore(row, list.children[at] ?? null);
      paintRow(row, file);
    });
    list.hidden = !shown.length;
    el('received-empty').hidden = shown.length > 0;
    el('received-more').hidden = this.files.length <= this.limit;
    setText(el('received-more'), `Show all ${this.files.length}`);
  },
};

function newRow(file) {
  const row = el('received-template').content.firstElementChild.cloneNode(true);
  const part = (name) => row.querySelector(`.${name}`);
  row.dataset.name = file.name;
  part('name').textContent = part('name').title = shownName(file.name);
  const link = part('download');
  link.href = `/api/files/${encodeURIComponent(file.id)}`;
  link.download = shownName(file.name);
  link.setAttribute('aria-label', `Download ${shownName(file.name)}`);
  part('hash').onclick = () => {
    const open = part('hash').getAttribute('aria-expanded') !== 'true';
    part('hash').setAttribute('aria-expanded', open);
    part('hash').title = open ? 'Shorten' : 'Show the whole hash';
    paintHash(part('hash'));
  };
  part('copy').onclick = () => copy(part('copy'), part('hash').dataset.sha256);
  return row;
}

function paintRow(row, file) {
  const part = (name) => row.querySelector(`.${name}`);
  row.dataset.state = file.state;
  setText(part('size'), bytesText(file.size));
  part('size').title = `${file.size} bytes`;
  if (file.received_at) {
    const at = new Date(file.received_at);
    const today = at.toDateString() === new Date().toDateString();
    setText(part('when'), at.toLocaleString('en-GB', today ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' }));
    part('when').dateTime = at.toISOString();
  }
  part('download').hidden = file.state === 'receiving';
  const hash = part('hash');
  part('hash-wait').hidden = Boolean(file.sha256) || file.state !== 'receiving';
  part('hash-known').hidden = !file.sha256;
  if (file.sha256 && hash.dataset.sha256 !== file.sha256) {
    hash.dataset.testid = 'sha256';
    hash.dataset.sha256 = file.sha256;
    paintHash(hash);
  }
}

function paintHash(hash) {
  const full = hash.dataset.sha256;
  const open = hash.getAttribute('aria-expanded') === 'true';
  setText(hash, open ? full : `${full.slice(0, 12)}…${full.slice(-6)}`);
}

let terminalTicket = null;

async function makeUrl() {
  const button = el('make-url');
  button.disabled = true;
  try {
    const id = await askTicket('from-the-terminal');
    terminalTicket = id;
    const url = location.origin + UPLOADS + id;
    const flag = location.protocol === 'https:' ? ' -k' : ''; // the demo's certificate is made on the spot
    el('command').textContent = `curl${flag} -T yourfile ${url.includes('[') ? `"${url}"` : url}`;
    el('command-box').hidden = false;
    setText(button, 'Make another');
    followTerminal(id);
  } catch (error) {
    setText(el('terminal-state'), sentence(error.message));
  }
  button.disabled = false;
}

/** Shows what becomes of the newest terminal upload, as long as the section is open. */
async function followTerminal(id) {
  setText(el('terminal-state'), 'Waiting for the first byte.');
  while (terminalTicket === id) {
    await sleep(1000);
    if (!el('terminal').open || document.hidden) continue;
    const { status, gone } = await askStatus(id);
    if (terminalTicket !== id) return;
    if (gone) return setText(el('terminal-state'), 'This URL is used up.');
    if (!status) continue;
    if (['finished', 'cancelled', 'failed'].includes(status.state)) {
      received.refresh();
      const why = status.reason ? `: ${status.reason}` : '';
      return setText(el('terminal-state'), status.state === 'finished' ? 'Finished, the web app has it.' : `${sentence(status.state)}${why}.`);
    }
    if (status.state === 'handing_over') setText(el('terminal-state'), 'All bytes are stored, the web app takes the file.');
    else if (status.state === 'uploading') setText(el('terminal-state'), `Uploading, ${bytesText(status.offset)} so far.`);
  }
}

/** What is between this page and the server, and which line of configuration fixes it. */
async function examinePath() {
  const [button, state, list] = [el('examine'), el('doctor-state'), el('findings')];
  button.disabled = true;
  list.replaceChildren();
  list.hidden = true;
  try {
    const { examine } = await import('/doctor.js');
    const findings = await examine((doing) => setText(state, `${sentence(doing)}…`));
    for (const finding of findings) {
      const item = document.createElement('li');
      item.dataset.code = finding.code;
      item.append(`${sentence(finding.what)}.`);
      for (const { program, line } of finding.cures) {
        const cure = document.createElement('code');
        cure.textContent = `${program}: ${line}`;
        item.append(cure);
      }
      list.append(item);
    }
    list.hidden = !findings.length;
    setText(state, findings.length ? `${findings.length} finding${findings.length > 1 ? 's' : ''}.` : 'Nothing is wrong, as far as a page can see.');
  } catch (error) {
    setText(state, `${sentence(error.message)}.`);
  }
  announce(state.textContent);
  button.disabled = false;
}

async function copy(button, text) {
  const label = (button.dataset.label ??= button.textContent);
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    button.textContent = copyBySelection(text) ? 'Copied' : 'Select it by hand';
  }
  announce(button.textContent);
  setTimeout(() => { button.textContent = label; }, 1500);
}

/** For pages that are not in a secure context, where there is no clipboard API. */
function copyBySelection(text) {
  const field = document.createElement('textarea');
  field.className = 'unseen';
  field.value = text;
  const focused = document.activeElement;
  document.body.append(field);
  field.select();
  let done = false;
  try { done = document.execCommand('copy'); } catch { /* the caller reports it */ }
  field.remove();
  focused?.focus();
  return done;
}

addEventListener('online', () => received.refresh());
document.addEventListener('visibilitychange', () => document.hidden || received.refresh());
document.addEventListener('incoming-state', ({ detail }) => ['handing_over', 'finished'].includes(detail.to) && received.refresh());
el('make-url').addEventListener('click', makeUrl);
el('examine').addEventListener('click', examinePath);
el('copy-command').addEventListener('click', () => copy(el('copy-command'), el('command').textContent));
el('received-more').addEventListener('click', () => {
  received.limit = Infinity;
  received.paint();
});
received.refresh();
