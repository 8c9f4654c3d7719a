// What the page shows: one function for each section, from what `overview` and `uploads` answer.

import { Table, by_id, foreign, make, set_attribute, set_text } from './dom.js';
import { bytes, count, duration, moment, plural, rate, share, short_id } from './format.js';

/** Rows of a long table, until its button is pressed. */
const FIRST = 20;
const STATES = { new: 'new', uploading: 'uploading', handing_over: 'handing over', finished: 'finished', cancelled: 'cancelled', failed: 'failed' };
const WORDS = { ready: 'Ready', not_ready: 'Not ready', stopping: 'Stopping', stopped: 'Stopped', away: 'Away', unknown: 'Not known', silent: 'Silent' };
/** Days before its end from which a certificate is shown as a problem. */
const SOON_DAYS = 14;
/** A server says something every 5 s. */
const SEEN_NOW_S = 12;
/** Rates of so many seconds are what is called now. */
const NOW_S = 5;
/** The line of acknowledged bytes is a mean of so many seconds. */
const SMOOTH_S = 10;
const SVG = 'http://www.w3.org/2000/svg';
const [WIDTH, HEIGHT] = [600, 120];

const name_cell = { cell: () => [foreign(''), make('code')], update: (cell, { name, id }) => {
  set_text(cell.children[0], name ?? 'no name yet');
  cell.children[0].className = name === null ? 'muted' : '';
  set_text(cell.children[1], short_id(id));
  set_attribute(cell.children[1], 'title', id);
} };

const text_cell = (title, text, more = {}) => ({ title, update: (cell, item) => set_text(cell, text(item)), ...more });

/** What a server does; of one that is not there its last word says nothing. */
const load_cell = (title, text) => text_cell(title, ({ state, load }) => (['away', 'stopped', 'unknown'].includes(state) ? '' : text(load)), { class: 'number' });

const foreign_cell = (title, text) => ({ title, cell: () => [foreign('')], update: (cell, item) => set_text(cell.firstChild, text(item)) });

/** Buttons of a row: `{ text, what, when }`, where `what` does it. */
const action_cell = (actions) => ({
  title: 'Actions',
  class: 'actions',
  cell: (item) => actions.map(({ text, what }) => make('button', { type: 'button', onclick: () => what(item()) }, text)),
  update: (cell, item) => actions.forEach(({ text, when = () => true }, at) => {
    const button = cell.children[at];
    if (button.hidden === when(item)) button.hidden = !when(item);
    set_attribute(button, 'aria-label', `${text} ${item.name ?? short_id(item.id)}`);
  }),
});

const progress_cell = { title: 'Progress', cell: () => [make('progress', { max: 1 }), make('span')], update: (cell, { name, id, length, acknowledged, under_way }) => {
  const got = acknowledged + under_way;
  const part = share(got, length);
  const [bar, text] = cell.children;
  if (part === null) bar.removeAttribute('value');
  else if (bar.value !== part) bar.value = part;
  set_attribute(bar, 'aria-label', `Progress of ${name ?? short_id(id)}`);
  set_text(text, part === null ? bytes(got) : `${Math.floor(part * 100)} % of ${bytes(length)}`);
} };

/** A table of which the first rows are shown until its button is pressed. */
class LongTable {
  #all = false;
  #last = [];

  constructor(id, columns) {
    this.table = new Table(by_id(id), columns, (item) => item.id);
    this.more = by_id(`${id}-more`);
    this.more.onclick = () => {
      this.#all = !this.#all;
      this.show(this.#last);
    };
  }

  show(items) {
    this.#last = items;
    this.table.show(this.#all ? items : items.slice(0, FIRST));
    this.more.hidden = items.length <= FIRST;
    set_attribute(this.more, 'aria-expanded', String(this.#all));
    set_text(this.more, this.#all ? `Show the first ${FIRST}` : `Show all ${count(items.length)}`);
  }
}

const tables = {};

/** Makes the tables. `actions.cancel` and `actions.retry` get the upload whose button was pressed. */
export function prepare({ cancel, retry }) {
  const cancel_button = { text: 'Cancel', what: cancel };
  const retry_button = { text: 'Retry', what: retry };
  tables.live = new LongTable('live', [
    { title: 'File', ...name_cell }, progress_cell,
    text_cell('Rate', ({ bytes_per_s }) => rate(bytes_per_s), { class: 'number' }),
    text_cell('Chunks in flight', ({ chunks }) => count(chunks), { class: 'number' }),
    text_cell('Last acknowledged', ({ idle_s }) => (idle_s < 2 ? 'now' : `${duration(idle_s)} ago`)),
    action_cell([cancel_button]),
  ]);
  const is_handover = ({ kind }) => kind === 'handover';
  tables.pending = new LongTable('pending', [
    { title: 'File', ...name_cell },
    text_cell('Call', (call) => (is_handover(call) ? 'handover' : 'notice of a cancel')),
    foreign_cell('Web app', ({ host }) => host),
    text_cell('Pending', ({ pending_s }) => duration(pending_s)),
    text_cell('Attempts', ({ attempts }) => count(attempts), { class: 'number' }),
    text_cell('Next', ({ next_s }) => (next_s === null ? 'now' : `in ${duration(next_s)}`)),
    foreign_cell('Last result', ({ error }) => error ?? ''),
    // A complete file cannot be cancelled.
    action_cell([{ ...retry_button, when: is_handover }]),
  ]);
  tables.failed = new Table(by_id('failed'), [
    { title: 'File', ...name_cell },
    text_cell('Size', ({ length }) => (length === null ? '' : bytes(length)), { class: 'number' }),
    text_cell('Last byte', ({ last_active }) => moment(last_active)),
    text_cell('Attempts', ({ handover_attempts }) => count(handover_attempts), { class: 'number' }),
    foreign_cell('Reason', ({ reason }) => reason ?? ''),
    action_cell([retry_button]),
  ], ({ id }) => id);
  tables.found = new Table(by_id('found-table'), [
    { title: 'File', ...name_cell },
    text_cell('State', ({ state }) => STATES[state] ?? state),
    text_cell('Acknowledged', ({ received, length }) => {
      const got = received.reduce((sum, [from, to]) => sum + to - from, 0);
      return length === null ? bytes(got) : `${bytes(got)} of ${bytes(length)}`;
    }),
    text_cell('Created', ({ created }) => moment(created)),
    foreign_cell('Client', ({ dialect, user_agent }) => [dialect, user_agent].filter(Boolean).join(', ')),
    foreign_cell('Reason', ({ reason }) => reason ?? ''),
    action_cell([{ ...retry_button, when: ({ state }) => state === 'failed' || state === 'handing_over' }, { ...cancel_button, when: ({ state }) => state === 'new' || state === 'uploading' }]),
  ], ({ id }) => id);
  tables.servers = new Table(by_id('servers'), [
    { title: 'Server', cell: () => [foreign(''), make('code', {}, foreign(''))], update: (cell, { name, address, detail }) => {
      set_text(cell.children[0], detail ? `${name} (this page)` : name);
      set_text(cell.children[1].firstChild, address);
    } },
    foreign_cell('State', ({ state, problems }) => [WORDS[state] ?? state, ...problems].join(': ')),
    text_cell('Last seen', ({ seen_s }) => (seen_s === null ? '' : seen_s < SEEN_NOW_S ? 'now' : `${duration(seen_s)} ago`)),
    text_cell('Up since', ({ started }) => moment(started)),
    text_cell('Version', ({ version }) => version),
    load_cell('Chunks in flight', ({ chunks }) => count(chunks)),
    load_cell('Received', ({ received_per_s }) => rate(received_per_s)),
    load_cell('Connections', ({ connections }) => count(connections)),
  ], ({ id }) => id);
  tables.certificates = new Table(by_id('certificates'), [
    text_cell('Listener', ({ listener }) => listener),
    text_cell('Expires', ({ expires }) => moment(expires)),
    text_cell('', ({ days }) => (days < 0 ? 'Expired' : `${days < SOON_DAYS ? 'Soon: in ' : 'in '}${plural(days, 'day', 'days')}`)),
  ], ({ listener }) => listener);
}

/** Shows an overview. */
export function show_overview(overview) {
  const [server] = overview.servers;
  show_health(server, overview.shared);
  show_counts(overview);
  show_rates(server.rates);
  show_limits(overview, server);
  const { live, handovers } = overview;
  tables.live.show(live.uploads);
  set_text(by_id('live-line'), live.count === 0 ? 'None.' : shown_of(live.uploads, plural(live.count, 'upload takes bytes', 'uploads take bytes'), live.count, 'fastest'));
  tables.pending.show(handovers.calls);
  set_text(by_id('pending-line'), handovers.count === 0 ? 'None.' : `${shown_of(handovers.calls, plural(handovers.count, 'upload waits for its web app', 'uploads wait for their web apps'), handovers.count, 'oldest')} ${plural(handovers.running, 'call is', 'calls are')} running.`);
  show_servers(overview);
  tables.certificates.show(server.certificates);
  set_text(by_id('certificates-line'), server.certificates.length === 0 ? 'No listener of this server uses TLS.' : '');
  show_log(server.log);
}

const shown_of = (items, line, total, which) => `${line}.${total > items.length ? ` The ${count(items.length)} ${which} are listed.` : ''}`;

/** The servers that share a database; without one there is no table. */
function show_servers({ shared, servers }) {
  by_id('servers-section').hidden = !shared;
  if (!shared) return;
  tables.servers.show(servers.map((server, at) => ({ ...server, detail: at === 0 })));
  const ready = servers.filter(({ state }) => state === 'ready');
  const versions = new Set(ready.map(({ version }) => version));
  set_text(by_id('servers-line'), `${count(ready.length)} of ${plural(servers.length, 'server is', 'servers are')} ready.${versions.size > 1 ? ' They have different versions.' : ''}`);
}

function show_health(server, shared) {
  const says = server.problems.length === 0 ? 'the server takes uploads' : plural(server.problems.length, 'problem', 'problems');
  health(server.state, server.state === 'stopping' ? 'Stopping: running transfers end, no new ones begin' : `${WORDS[server.state] ?? server.state}: ${says}`);
  const lines = [...server.problems, ...server.notes.map((note) => `Note: ${note}`)];
  const list = by_id('problems');
  if (lines.join('\n') !== [...list.children].map((item) => item.textContent).join('\n')) list.replaceChildren(...lines.map((line) => make('li', {}, foreign(line))));
  list.hidden = lines.length === 0;
  set_text(by_id('server'), `${server.name}${shared ? ` ${server.address}` : ''}, version ${server.version}, runs for ${duration(server.uptime_s)}`);
}

/** The line that says how the server is, which is read out when it changes. */
export function health(state, text) {
  const line = by_id('health');
  set_attribute(line, 'data-state', state);
  set_text(line, text);
  document.title = `${state === 'ready' ? '' : '! '}${WORDS[state] ?? 'No answer'} - Incoming!!`;
}

function show_counts({ uploads }) {
  const list = by_id('counts');
  for (const [state, word] of Object.entries(STATES)) {
    let entry = list.querySelector(`[data-count="${state}"]`);
    if (!entry) list.append(entry = make('div', { 'data-count': state }, make('dt', {}, word), make('dd')));
    set_text(entry.lastChild, count(uploads[state]));
  }
}

const mean = (values) => (values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length);

/** Means of the last seconds, at each. */
const smooth = (values, seconds) => values.map((_, at) => mean(values.slice(Math.max(0, at + 1 - seconds), at + 1)));

function show_rates({ received, acknowledged }) {
  // Long requests are acknowledged 64 MiB at a time: their peaks say nothing about the line, and set no scale.
  const top = Math.max(1, ...received);
  const lines = [received, smooth(acknowledged, SMOOTH_S)];
  const [now, acked] = [received, acknowledged].map((values) => mean(values.slice(-NOW_S)));
  const line = `Now ${rate(now)} received, ${rate(acked)} acknowledged; peak ${rate(Math.max(0, ...received))} received.`;
  set_text(by_id('rates-now'), line);
  const chart = by_id('chart').firstElementChild ?? new_chart();
  set_text(chart.querySelector('title'), `Throughput of the last ten minutes. ${line}`);
  const points = (values) => values.map((value, at) => `${WIDTH - values.length + at + 1},${(HEIGHT - 2 - ((HEIGHT - 6) * Math.min(value, top)) / top).toFixed(1)}`).join(' ');
  ['.received', '.acknowledged'].forEach((name, at) => set_attribute(chart.querySelector(name), 'points', points(lines[at])));
  if (!by_id('rates-table').hidden) show_rates_table(received, acknowledged);
}

function new_chart() {
  const part = (name, attributes) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const chart = part('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-labelledby': 'chart-title' });
  chart.append(part('title', { id: 'chart-title' }));
  for (const at of [0.25, 0.5, 0.75]) chart.append(part('line', { x1: 0, x2: WIDTH, y1: at * HEIGHT, y2: at * HEIGHT, class: 'grid' }));
  for (const name of ['received', 'acknowledged']) chart.append(part('polyline', { class: name, points: '' }));
  by_id('chart').append(chart);
  return chart;
}

const minutes = new Map();

function show_rates_table(received, acknowledged) {
  const element = by_id('rates-table').firstElementChild;
  if (!minutes.table) {
    minutes.table = new Table(element, [
      text_cell('Minutes ago', ({ ago }) => `${ago} to ${ago + 1}`),
      text_cell('Received', ({ received: values }) => rate(mean(values)), { class: 'number' }),
      text_cell('Acknowledged', ({ acknowledged: values }) => rate(mean(values)), { class: 'number' }),
    ], ({ ago }) => ago);
  }
  const minute = (values, ago) => values.slice(Math.max(0, values.length - 60 * (ago + 1)), Math.max(0, values.length - 60 * ago));
  minutes.table.show(Array.from({ length: 10 }, (_, ago) => ({ ago, received: minute(received, ago), acknowledged: minute(acknowledged, ago) })));
}

function show_limits({ uploads }, { disk, connections, memory }) {
  const kept = disk.reserved + disk.min_free;
  const open = connections.http1 + connections.http2 + connections.handshake;
  bar('disk', 'Reserved disk space', disk.free === null ? null : [kept, disk.free], disk.free === null ? 'The disk has not said how much is free.'
    : `${bytes(disk.free)} free, of which ${bytes(disk.reserved)} are reserved for uploads and ${bytes(disk.min_free)} stay free (min_free_space)`);
  bar('connections', 'Connections', [open, connections.max], `${count(open)} of ${count(connections.max)}: ${count(connections.http1)} HTTP/1.1, ${count(connections.http2)} HTTP/2, ${count(connections.handshake)} in the handshake`);
  bar('memory', 'Memory for bodies', [memory.used, memory.max], `${bytes(memory.used)} of ${bytes(memory.max)} (receive_memory)`);
  bar('uploads', 'Open uploads', [uploads.open, uploads.max], `${count(uploads.open)} of ${count(uploads.max)} (max_uploads)`);
  bar('syncs', 'Syncs', null, `${disk.sync_ms === null ? 'none in the last minute' : `${disk.sync_ms.toFixed(1)} ms on average in the last minute`}; ${plural(disk.sync_errors, 'error', 'errors')} since the start`);
}

/** A value beside its limit. */
function bar(key, title, value, text) {
  const limits = by_id('limits');
  let part = limits.querySelector(`[data-limit="${key}"]`);
  if (!part) {
    const id = `limit-${key}`;
    part = make('div', { 'data-limit': key }, make('h3', { id }, title), make('meter', { 'aria-labelledby': id }), make('p'));
    limits.append(part);
  }
  const meter = part.children[1];
  meter.hidden = value === null;
  if (value) {
    const max = Math.max(1, value[1]);
    Object.assign(meter, { min: 0, max, low: max * 0.75, high: max * 0.9, optimum: 0, value: Math.min(value[0], max) });
  }
  set_text(part.children[2], text);
}

function show_log(log) {
  by_id('log-form').hidden = log === null;
  set_text(by_id('log-line'), log === null ? 'This program has no log filter.'
    : `In force: ${log.filter}${log.until === null ? ', the setting log' : `, until ${moment(log.until)}`}.`);
}

/** Shows failed handovers; `more` says that the list goes on. */
export function show_failed(uploads, more) {
  tables.failed.show(uploads);
  set_text(by_id('failed-line'), uploads.length === 0 ? 'None.' : more ? `The first ${count(uploads.length)} are listed; incoming uploads list --state failed lists all.` : '');
}

/** Shows uploads that a search found. */
export const show_found = (uploads) => tables.found.show(uploads);

/** Opens or closes what a button controls. */
export function toggle(button, open_text, close_text) {
  const shown = button.getAttribute('aria-expanded') !== 'true';
  button.setAttribute('aria-expanded', String(shown));
  button.textContent = shown ? close_text : open_text;
  by_id(button.getAttribute('aria-controls')).hidden = !shown;
  return shown;
}
