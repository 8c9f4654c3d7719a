// The demo page: takes files from the user, asks the web app for a ticket each, and lets incoming.js upload them.
//
// Everything shown is set as text, never as markup, and no style is written but through the CSSOM, so the page
// runs under a strict Content-Security-Policy and no file name can do harm. What is not finished the library
// remembers: the browser forgets the file on reload, incoming.recall finds its ticket again.
// One file, since the page is embedded as it is; the order is words, server, uploads, lists, wiring.

const UPLOADS = '/incoming/frontend/uploads/';
const TICK_MS = 500; // rate and time left change at reading speed
const HINT_AFTER_MS = 2500; // not to cry wolf while the first connection is made
const TICKETS_AT_ONCE = 4;
const ROWS_SHOWN = 50;
const LOOK_AGAIN_MS = 2000; // whether another tab still has an upload
const WORD_MS = 5000; // a word in passing stays so long

const demoUploads = (window.demoUploads = []);
const el = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((wake) => setTimeout(wake, ms));

// ---- words ----------------------------------------------------------------------------------------------------

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

function leftText(seconds) {
  if (seconds < 5) return 'a few seconds left';
  if (seconds < 60) return `${Math.ceil(seconds / 5) * 5} s left`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min left`;
  if (minutes < 60 * 48) return `${Math.floor(minutes / 60)} h ${minutes % 60} min left`;
  return `${Math.round(minutes / 1440)} days left`;
}

/** Never 100 before all of it is there. */
const percentOf = (part, whole) => (whole > 0 ? Math.min(100, Math.floor((part / whole) * 100)) : 100);

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

function notice(text) {
  setText(el('notice'), text);
  el('notice').hidden = !text;
}

const fingerprint = (file) => JSON.stringify([file.name, file.size, file.lastModified]);
const isTicket = (id) => typeof id === 'string' && /^[0-9A-Za-z-]{8,64}$/.test(id);

// ---- server ---------------------------------------------------------------------------------------------------

/** `{status}`, or `{gone: true}` when the ticket is no more, or `{}` when the server cannot be asked now. */
async function askStatus(id, query = '') {
  try {
    const answer = await fetch(UPLOADS + id + query, { cache: 'no-store', signal: AbortSignal.timeout(60000) });
    const body = await answer.json();
    if (answer.ok) return { status: body };
    // A proxy's own 404 comes without the server's code and says nothing about the upload.
    return [404, 410].includes(answer.status) && body.code ? { gone: true } : {};
  } catch { return {}; }
}

const isOver = (status) => ['finished', 'cancelled', 'failed'].includes(status.state);

function cancelOnServer(id, reason) {
  fetch(`${UPLOADS}${id}?reason=${encodeURIComponent(reason)}`, { method: 'DELETE', keepalive: true }).catch(() => {});
}

/** One ticket from the web app. Throws `{text}` when it says no, `{offline: true}` when it cannot be reached. */
async function askTicket(name, size) {
  let answer;
  let body;
  try {
    answer = await fetch('/api/tickets', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ name, size }),
      signal: AbortSignal.timeout(30000),
    });
    body = await answer.json().catch(() => ({}));
  } catch { throw { offline: true }; }
  if (answer.ok && isTicket(body.id)) return body.id;
  if ([502, 503, 504].includes(answer.status)) throw { offline: true };
  throw { text: typeof body.error === 'string' ? body.error : `the web app issued no ticket (status ${answer.status})` };
}

let ticketsAsked = 0;
const ticketQueue = [];

/** Runs `job` when fewer than TICKETS_AT_ONCE of its kind run: a thousand dropped files ask one after the other. */
async function inTurn(job) {
  while (ticketsAsked >= TICKETS_AT_ONCE) await new Promise((turn) => ticketQueue.push(turn));
  ticketsAsked += 1;
  try { return await job(); } finally {
    ticketsAsked -= 1;
    ticketQueue.shift()?.();
  }
}

// ---- uploads --------------------------------------------------------------------------------------------------

const cards = new Map(); // fingerprint of a file -> its newest card
const open = new Set(); // cards that are not over

const STATE_WORDS = {
  uploading: 'Uploading',
  paused: 'Paused',
  'handing-over': 'All bytes are stored, the web app takes the file',
  finished: 'Finished, the web app has it',
  cancelled: 'Cancelled',
  error: 'Failed',
};
// The library's words for when all is well, which need not be the page's.
const PLAIN_WORDS = {
  'connecting to upload server': 'Connecting',
  'asking upload server what it has': STATE_WORDS.uploading,
  'comparing file with what upload server has': 'Comparing the file with the server',
  'transfer file chunks to upload server': STATE_WORDS.uploading,
  'handing file to app': STATE_WORDS['handing-over'],
};
const OVER = new Set(['finished', 'cancelled', 'error']);

class Card {
  /** `handle`: where the browser gives one, so that the file need not be chosen again. */
  constructor(file, handle) {
    this.file = file;
    this.handle = handle;
    this.key = fingerprint(file);
    this.name = shownName(file.name);
    this.state = null;
    this.node = el('upload-template').content.firstElementChild.cloneNode(true);
    this.part = (name) => this.node.querySelector(`.${name}`);
    this.parts = Object.fromEntries(
      ['name', 'percent', 'dismiss', 'track', 'bytes', 'rate', 'left', 'lost', 'word', 'state', 'now', 'pause', 'cancel', 'again']
        .map((name) => [name, this.part(name)]));
    this.ahead = this.node.querySelector('.fill.ahead');
    this.stored = this.node.querySelector('.fill.stored');
    this.node.dataset.name = file.name;
    this.node.setAttribute('aria-label', this.name);
    this.parts.name.textContent = this.name;
    this.parts.name.title = this.name;
    this.parts.track.setAttribute('aria-label', `Progress of ${this.name}`);
    this.parts.dismiss.setAttribute('aria-label', `Remove ${this.name} from the list`);
    for (const verb of ['now', 'pause', 'cancel', 'again']) this.parts[verb].setAttribute('aria-description', this.name);
    this.parts.pause.onclick = () => this.uploader?.pause(this.uploader.paused ? 'unpause' : 'pause');
    this.parts.now.onclick = () => this.uploader?.start();
    this.parts.cancel.onclick = () => this.cancel();
    this.parts.again.onclick = () => this.begin();
    this.parts.dismiss.onclick = () => this.dismiss();
  }

  /** From ticket to the end. Also the way out of an error: the ticket is used again if it is still good for this file. */
  async begin() {
    this.uploader = null;
    this.id = null;
    this.failure = null;
    this.cancelledHere = false;
    this.offline = false;
    this.wasConnected = false;
    this.startedAt = performance.now();
    open.add(this);
    this.paint();
    try {
      const kept = await incoming.recall(this.file);
      if (!this.cancelledHere) this.run(kept?.upload_id ?? await inTurn(() => this.newTicket()));
    } catch (refusal) {
      if (!refusal?.text) throw refusal;
      this.failure = refusal.text;
    }
    this.paint();
  }

  /** A ticket, however long the line is down. */
  async newTicket() {
    for (let pause = 500; !this.cancelledHere; pause = Math.min(pause * 2, 5000)) {
      try {
        const id = await askTicket(this.file.name, this.file.size);
        this.offline = false;
        return id;
      } catch (refusal) {
        if (!refusal?.offline) throw refusal;
        this.offline = true;
        this.paint();
        await sleep(pause);
      }
    }
    return null;
  }

  run(id) {
    this.id = id;
    if (!id) return;
    if (this.cancelledHere) {
      cancelOnServer(id, 'cancelled by the user');
      return;
    }
    const { file, handle } = this;
    this.follow(new incoming.Uploader(id, file, handle ? { handle } : {}).start());
  }

  /** Shows what becomes of a running uploader. */
  follow(uploader) {
    open.add(this);
    this.uploader = uploader;
    demoUploads.push(uploader);
    const mine = (act) => () => { if (this.uploader === uploader) act(); };
    uploader.onprogress = mine(() => this.paint());
    uploader.onfinished = mine(() => received.refresh());
    uploader.onerror = mine(() => { this.failure = uploader.error_msg || 'the upload failed'; });
    this.paint();
  }

  /** Paused, it goes on first: only what is connected can tell the server at once. */
  cancel() {
    const up = this.uploader;
    this.cancelledHere = true;
    if (up?.paused) up.pause('unpause');
    else up?.cancel('cancelled by the user');
    this.paint();
  }

  dismiss() {
    const next = this.node.nextElementSibling ?? this.node.previousElementSibling;
    this.node.remove();
    if (cards.get(this.key) === this) cards.delete(this.key);
    el('uploads-section').hidden = !el('uploads').children.length;
    (next ?? el('file-input')).focus();
  }

  flash() {
    this.node.scrollIntoView({ block: 'nearest' });
    this.node.classList.remove('flash');
    void this.node.offsetWidth; // restarts the animation
    this.node.classList.add('flash');
    setTimeout(() => this.node.classList.remove('flash'), 1300);
    this.parts.word.hidden = false;
    clearTimeout(this.wordTimer);
    this.wordTimer = setTimeout(() => { this.parts.word.hidden = true; }, WORD_MS);
    announce(`${this.name} is being uploaded already`);
  }

  stateNow() {
    const up = this.uploader;
    if (up?.finished) return 'finished';
    if (up ? up.cancelled : this.cancelledHere) return 'cancelled';
    if (this.failure) return 'error';
    if (up?.paused) return 'paused';
    return up && up.bytes_acked >= this.file.size && (this.file.size > 0 || up.connected) ? 'handing-over' : 'uploading';
  }

  stateText(state) {
    const up = this.uploader;
    if (state === 'error') return sentence(this.failure);
    if (state === 'cancelled') {
      const why = up?.error_msg || (this.cancelledHere ? '' : up?.cancel_msg);
      return why ? `Cancelled: ${why}` : 'Cancelled';
    }
    if (state === 'finished' || state === 'paused') return STATE_WORDS[state];
    if (up && (up.cancelling || this.cancelledHere)) return 'Cancelling';
    if (!up) return 'Asking the web app for a ticket';
    return PLAIN_WORDS[up.state_msg] ?? sentence(up.state_msg || STATE_WORDS[state]);
  }

  paint() {
    const { parts, file } = this;
    const up = this.uploader;
    // Wished for while it was paused or could not be: now it can.
    if (this.cancelledHere && up?.can_cancel && (up.connected || up.retry_in_s !== null)) up.cancel('cancelled by the user');
    const state = this.stateNow();
    const over = OVER.has(state);
    const acked = state === 'finished' ? file.size : up?.bytes_acked ?? 0;
    const begun = file.size > 0 || state === 'finished' || state === 'handing-over';
    const percent = begun ? percentOf(acked, file.size) : 0;
    if (state !== this.state) this.entered(state, over);

    setText(parts.percent, state === 'cancelled' ? '' : `${percent}\u00a0%`);
    parts.track.setAttribute('aria-valuenow', percent);
    const share = (bytes) => `${file.size > 0 ? Math.min(100, (bytes / file.size) * 100) : percent}%`;
    this.stored.style.width = share(acked);
    this.ahead.style.width = share(Math.max(acked, up?.bytes_tx ?? 0));
    setText(parts.bytes, over || acked >= file.size ? bytesText(file.size) : `${bytesText(acked)} of ${bytesText(file.size)}`);
    setText(parts.state, this.stateText(state));
    setText(parts.pause, up?.paused ? 'Resume' : 'Pause');
    parts.pause.disabled = over || !up || !(up.can_pause || up.paused);
    parts.cancel.disabled = over || this.cancelledHere || Boolean(up && !up.can_cancel && !up.paused);
    parts.cancel.title = !over && up && !up.can_cancel && !up.paused ? 'Too late: all bytes are sent' : '';
    const waits = !over && up && up.retry_in_s !== null;
    parts.now.hidden = !waits;

    if (up?.connected) this.wasConnected = true;
    const late = this.wasConnected || performance.now() - this.startedAt > HINT_AFTER_MS;
    const lost = up ? !up.connected && late : this.offline;
    parts.lost.hidden = over || state === 'paused' || !lost;
  }

  /** The rate and the time left, at reading speed. */
  tick() {
    const { parts, uploader: up } = this;
    const rate = up?.connected ? up.bytes_per_s : null;
    setText(parts.rate, rate ? `${bytesText(rate)}/s` : '');
    setText(parts.left, rate && up.eta_s !== null ? leftText(up.eta_s) : '');
    if (up) this.paint();
  }

  entered(state, over) {
    const { parts } = this;
    const hadFocus = this.node.contains(document.activeElement);
    if (this.state !== null || state !== 'uploading') announce(`${this.name}: ${STATE_WORDS[state]}`);
    this.state = this.node.dataset.state = state;
    parts.pause.hidden = parts.cancel.hidden = over;
    parts.again.hidden = state !== 'error';
    parts.dismiss.hidden = !over;
    if (over) {
      open.delete(this);
      setText(parts.rate, '');
      setText(parts.left, '');
      if (hadFocus) (state === 'error' ? parts.again : this.node).focus({ preventScroll: true });
    }
    if (state === 'handing-over') received.refresh();
  }
}

/** `handles`: name of a file -> its handle, where the browser gives one. */
function addFiles(files, handles = new Map()) {
  notice('');
  for (const file of files) newCard(file, handles.get(file.name))?.begin();
}

/** Null, and a word, when the file is being uploaded already. */
function newCard(file, handle) {
  const key = fingerprint(file);
  const known = cards.get(key);
  if (known && open.has(known)) {
    known.flash();
    return null;
  }
  if (known && known.state !== 'finished') known.node.remove();
  for (const line of unfinished.values()) if (line.entry.name === file.name && line.entry.size === file.size) line.leave();
  const card = new Card(file, handle);
  cards.set(key, card);
  el('uploads').prepend(card.node);
  el('uploads-section').hidden = false;
  return card;
}

function tick() {
  for (const card of open) card.tick();
  let bytes = 0;
  let acked = 0;
  for (const card of open) {
    bytes += card.file.size;
    acked += card.uploader?.bytes_acked ?? 0;
  }
  const title = open.size ? `${percentOf(acked, bytes)} % · Incoming!!` : 'Incoming!!';
  if (document.title !== title) document.title = title;
}

// ---- uploads of an earlier visit --------------------------------------------------------------------------------

const unfinished = new Map(); // ticket -> its line

class Unfinished {
  constructor(entry) {
    this.entry = entry;
    this.node = el('remembered-template').content.firstElementChild.cloneNode(true);
    const part = (name) => this.node.querySelector(`.${name}`);
    const name = shownName(entry.name);
    this.text = part('text');
    this.node.dataset.name = entry.name;
    part('name').textContent = name;
    this.resume = part('resume');
    this.resume.hidden = !entry.resume;
    for (const button of [this.resume, part('forget')]) button.setAttribute('aria-description', name);
    this.how = entry.resume ? '' : ': choose the file again to resume';
    this.resume.onclick = () => this.goOn();
    part('forget').onclick = () => {
      cancelOnServer(entry.upload_id, 'cancelled by the user');
      this.end();
    };
  }

  /** One click, where the browser has kept a handle of the file. */
  async goOn() {
    try {
      const uploader = await this.entry.resume();
      const card = newCard(await this.entry.handle.getFile(), this.entry.handle);
      card.id = this.entry.upload_id;
      card.follow(uploader);
    } catch (error) {
      notice(error.name === 'NotAllowedError' ? 'Permission to read the file was denied: choose it again.' : `${shownName(this.entry.name)} was changed, moved or removed: choose it again to start over.`);
    }
  }

  show() {
    if (this.node.isConnected || this.left) return;
    el('remembered').append(this.node);
    el('remembered').hidden = false;
  }

  leave() {
    this.left = true;
    this.node.remove();
    unfinished.delete(this.entry.upload_id);
    el('remembered').hidden = !el('remembered').children.length;
  }

  end() {
    incoming.forget(this.entry);
    this.leave();
  }

  /** Tells how far it came, waiting for a server that is down and for a web app that is taking the file. */
  async follow() {
    let query = '';
    while (!this.left) {
      const { status, gone } = await askStatus(this.entry.upload_id, query);
      if (this.left) return;
      if (gone || (status && isOver(status))) {
        this.end();
        received.refresh();
        return;
      }
      if (!status) {
        setText(this.text, ` is not finished${this.how}.`);
      } else if (status.state === 'handing_over') {
        setText(this.text, ' is stored completely, the web app takes it.');
        this.node.querySelector('.forget').hidden = this.resume.hidden = true;
        query = '?wait=25&state=handing_over';
      } else {
        const have = status.received.reduce((sum, [from, to]) => sum + to - from, 0);
        setText(this.text, ` is ${percentOf(have, status.length ?? this.entry.size)}\u00a0% there${this.how}.`);
      }
      this.show();
      if (status && status.state !== 'handing_over') return;
      await sleep(status ? 1000 : 5000);
    }
  }
}

let unfinishedTimer = null;

/** Lists what no tab is uploading now; looks again while another one is at it, which may be the one just left. */
async function showUnfinished() {
  clearTimeout(unfinishedTimer);
  const own = new Set([...open].map((card) => card.id));
  for (const entry of await incoming.unfinished()) {
    if (own.has(entry.upload_id) || unfinished.has(entry.upload_id)) continue;
    if (entry.active) {
      clearTimeout(unfinishedTimer);
      unfinishedTimer = setTimeout(showUnfinished, LOOK_AGAIN_MS);
      continue;
    }
    const line = new Unfinished(entry);
    unfinished.set(entry.upload_id, line);
    line.follow();
  }
}

// ---- files the web app has --------------------------------------------------------------------------------------

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
        const taking = [...open].some((card) => card.state === 'handing-over');
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

// ---- terminal ---------------------------------------------------------------------------------------------------

let terminalTicket = null;

async function makeUrl() {
  const button = el('make-url');
  button.disabled = true;
  try {
    const id = await askTicket('from-the-terminal', null);
    terminalTicket = id;
    const url = location.origin + UPLOADS + id;
    const flag = location.protocol === 'https:' ? ' -k' : ''; // the demo's certificate is made on the spot
    el('command').textContent = `curl${flag} -T yourfile ${url.includes('[') ? `"${url}"` : url}`;
    el('command-box').hidden = false;
    setText(button, 'Make another');
    followTerminal(id);
  } catch (refusal) {
    setText(el('terminal-state'), sentence(refusal?.text ?? 'the web app cannot be reached now, try again'));
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
    if (isOver(status)) {
      received.refresh();
      const why = status.reason ? `: ${status.reason}` : '';
      return setText(el('terminal-state'), status.state === 'finished' ? 'Finished, the web app has it.' : `${sentence(status.state)}${why}.`);
    }
    if (status.state === 'handing_over') setText(el('terminal-state'), STATE_WORDS['handing-over'] + '.');
    else if (status.state === 'uploading') setText(el('terminal-state'), `Uploading, ${bytesText(status.offset)} so far.`);
  }
}

/** What is between this page and the server, and which line mends it. */
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
  try { done = document.execCommand('copy'); } catch { /* told by the caller */ }
  field.remove();
  focused?.focus();
  return done;
}

// ---- wiring -----------------------------------------------------------------------------------------------------

const carriesFiles = (event) => event.dataTransfer?.types.includes('Files');
const showDrag = (on) => document.body.classList.toggle('dragging', on);

function drop(event) {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  showDrag(false);
  const items = [...(event.dataTransfer.items ?? [])].filter((item) => item.kind === 'file');
  const folders = items.map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry?.isDirectory).map((entry) => entry.name);
  const files = [...event.dataTransfer.files].filter((file) => !(folders.includes(file.name) && !file.type));
  // Asked for now, since the items are gone once the event is over. Only Chromium knows them.
  const handles = items.map((item) => item.getAsFileSystemHandle?.().catch(() => null));
  Promise.all(handles).then((all) => addFiles(files, new Map(all.filter((one) => one?.kind === 'file').map((one) => [one.name, one]))));
  if (folders.length) notice('A folder cannot be uploaded as such: open it and drop the files in it.');
}

function wire() {
  const input = el('file-input');
  input.addEventListener('change', () => {
    const files = [...input.files];
    input.value = ''; // so that the same file can be chosen again
    addFiles(files);
  });
  addEventListener('dragover', (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = 'copy';
    showDrag(true);
  });
  addEventListener('dragleave', (event) => { if (!event.relatedTarget) showDrag(false); });
  addEventListener('drop', drop);
  addEventListener('beforeunload', (event) => {
    if ([...open].some((card) => card.state !== 'handing-over')) event.preventDefault();
  });
  addEventListener('online', () => received.refresh());
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) return;
    received.refresh();
    showUnfinished();
  });
  el('make-url').addEventListener('click', makeUrl);
  el('examine').addEventListener('click', examinePath);
  el('copy-command').addEventListener('click', () => copy(el('copy-command'), el('command').textContent));
  el('received-more').addEventListener('click', () => {
    received.limit = Infinity;
    received.paint();
  });
  setInterval(tick, TICK_MS);
}

if (typeof incoming === 'undefined') {
  notice('The upload library did not load. Reload the page to try again.');
  el('file-input').disabled = true;
} else {
  wire();
  received.refresh();
  showUnfinished();
}
