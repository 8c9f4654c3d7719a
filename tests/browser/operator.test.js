// The operator's page against a real server: what it shows and does, with which token, to whom; for the keyboard, for screen
// readers, at ten thousand uploads; and that it runs nothing but itself.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { createServer } from 'node:http';
import { INSECURE_HOST } from './browsers.js';
import { browser, expected, freePort, kind_of, test, until } from './harness.js';
import { OPERATOR, beside, look, operated, press, type, visit, wait } from './operator-site.js';
import { violations } from './ui-site.js';

const MB = 1_000_000;
const LOOKS = [
  ['light', {}], ['dark', { features: [{ name: 'prefers-color-scheme', value: 'dark' }] }],
  ['forced colours', { features: [{ name: 'forced-colors', value: 'active' }] }], ['320 px', { width: 320 }],
];

/** axe-core is the test's own; Firefox lets it run in spite of the page's policy. */
const bypass = (t) => (page) => (kind_of(t) === 'chromium' ? page.setBypassCSP(true) : undefined);

/** Checks a state in each appearance; Firefox has none for colours. */
async function check_in(t, page, state) {
  for (const [name, { features = [], width = 1000 }] of LOOKS) {
    if (kind_of(t) === 'chromium') await (await page.createCDPSession()).send('Emulation.setEmulatedMedia', { features });
    else if (features.length > 0) continue;
    for (const one of features) assert.ok(await page.evaluate((query) => matchMedia(query).matches, `(${one.name}: ${one.value})`), `${name} is on`);
    await page.setViewport({ width, height: 800 });
    assert.deepEqual(await violations(page), [], `${state}, ${name}`);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `${state}, ${name}: ${overflow} px wider than the page`);
    const small = await page.evaluate(() => [...document.querySelectorAll('button, input, select')].filter((one) => one.offsetParent && (one.offsetWidth < 24 || one.offsetHeight < 24)).map((one) => one.id || one.textContent));
    assert.deepEqual(small, [], `${state}, ${name}: small targets`);
  }
}

/** A web app that never takes a file. */
const refuses = (response) => response.writeHead(500).end('no room');

test('token: absent, wrong, right, kept over a reload, forgotten, from the address', async (t) => {
  const at = await operated(t);
  const { page, console_errors } = await visit(t, at, null);
  const locked = await wait(page, 'it asks for a token', ({ login }) => login);
  assert.deepEqual([locked.view, locked.why, locked.state], [false, null, 'locked']);
  await type(page, 'token', 'wrong \u{2192}');
  await page.keyboard.press('Enter');
  const wrong = await wait(page, 'the token is refused', ({ why }) => why !== null);
  assert.deepEqual([wrong.login, wrong.view, wrong.why], [true, false, 'The server refuses this token.']);
  await type(page, 'token', OPERATOR);
  await page.keyboard.press('Enter');
  await wait(page, 'the view', ({ view, login, state }) => view && !login && state === 'ready');
  await page.reload({ waitUntil: 'load' });
  await wait(page, 'the view after a reload', ({ view, login, state }) => view && !login && state === 'ready');
  assert.equal(await page.evaluate(() => document.cookie + localStorage.length), '0');
  await press(page, 'Forget token');
  await wait(page, 'it asks again', ({ login, view }) => login && !view);
  await page.reload({ waitUntil: 'load' });
  await wait(page, 'it still asks', ({ login, view }) => login && !view);
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  await page.evaluate((token) => (location.hash = `token=${encodeURIComponent(token)}`), OPERATOR);
  await wait(page, 'the view by the address', ({ view, login }) => view && !login);
  assert.equal(await page.evaluate(() => location.href), at.url);
  assert.deepEqual(console_errors, []);
  assert.ok(!at.server.log.includes(OPERATOR) && !at.server.log.includes(encodeURIComponent(OPERATOR)), 'the token is in the log');
});

test('nothing but itself runs, is loaded or is kept; names are text', async (t) => {
  const at = await operated(t);
  const name = '<script>alert(1)<b onclick=x> \u{5d0}\u{5d1}\u{202e}.pdf';
  const id = await at.begin(name, 100);
  await at.put(id, 0, Buffer.alloc(10), 100);
  const requests = [];
  const { page, console_errors } = await visit(t, at, OPERATOR, (blank) => blank.on('request', (request) => requests.push(request.url())));
  const { live, violations: reported } = await wait(page, 'the upload is shown', (now) => now.live.length === 1);
  assert.match(live[0][0], /^<script>alert\(1\)<b onclick=x> \u{5d0}\u{5d1}.*\.pdf [0-9a-f]{8}$/u);
  assert.equal(live[0][1], '10 % of 100 B');
  assert.deepEqual([reported, console_errors], [[], []]);
  assert.equal(await page.evaluate(() => document.querySelectorAll('main script, [style]').length), 0);
  assert.deepEqual(requests.filter((url) => !url.startsWith(at.url) && !/^(about|data):/.test(url)), []);
  // What a script of its own origin could do beside it, the policy refuses.
  const refused = await page.evaluate(() => {
    try {
      document.body.insertAdjacentHTML('beforeend', '<b>x</b>');
      return false;
    } catch {
      return true;
    }
  });
  assert.equal(refused, await page.evaluate(() => 'trustedTypes' in window));
  if (refused) await expected(console_errors, /TrustedHTML|require-trusted-types-for/);
});

test('under load the numbers move: rate, progress, throughput', async (t) => {
  const at = await operated(t);
  const length = 400 * MB;
  const id = await at.begin('film.mp4', length);
  const piece = Buffer.alloc(MB);
  let going = true;
  const sending = (async () => {
    // At a pace that the page can follow on any machine, and that changes.
    for (let from = 0; going && from < length; from += MB) {
      await at.put(id, from, piece, length);
      await sleep(from < 60 * MB ? 100 : 30 + 10 * ((from / MB) % 5));
    }
  })();
  t.after(() => ((going = false), sending));
  const { page } = await visit(t, at);
  const first = await wait(page, 'a rate', ({ live, rates }) => live.length === 1 && !live[0][2].startsWith('0 ') && !rates.startsWith('Now 0 B/s'));
  await wait(page, 'another share and another rate', ({ live, rates }) => live.length === 1 && live[0][1] !== first.live[0][1] && rates !== first.rates);
  const points = () => page.evaluate(() => document.querySelector('polyline.received').getAttribute('points'));
  const before = await points();
  assert.ok(new Set(before.split(' ').map((point) => point.split(',')[1])).size > 1, 'the line is flat');
  await until('the chart moves', async () => (await points()) !== before);
  assert.match(await page.evaluate(() => document.querySelector('#chart title').textContent), /^Throughput of the last ten minutes\. Now .*received/);
  await press(page, 'Show as a table');
  const rows = await page.evaluate(() => [...document.querySelectorAll('#rates-table tbody tr')].map((row) => row.innerText));
  assert.equal(rows.length, 10);
  assert.match(rows[0], /0 to 1.*B\/s/s);
  going = false;
});

test('throughput: acknowledgements of 64 MiB at a time set no scale', async (t) => {
  const at = await operated(t);
  const received = Array(600).fill(MB);
  const acknowledged = received.map((_, second) => (second % 64 === 63 ? 64 * MB : 0));
  const { page } = await visit(t, at, OPERATOR, (blank) => beside(blank, [], { rates: { step_s: 1, received, acknowledged } }));
  await wait(page, 'the rates', ({ rates }) => rates?.startsWith('Now 1 MB/s'));
  const heights = (name) => page.evaluate((line) => document.querySelector(`polyline.${line}`).getAttribute('points').split(' ').map((point) => Number(point.split(',')[1])), name);
  const [line, peaks] = [await heights('received'), await heights('acknowledged')];
  assert.ok(line.every((y) => y === line[0] && y < 10), 'what comes in steadily is at the top');
  assert.ok(Math.min(...peaks) === line[0] && Math.max(...peaks) > 100, 'peaks are cut there');
});

test('cancel: asks first, says what became of it, and the request is in the log', async (t) => {
  const at = await operated(t);
  const [id, other] = [await at.begin('letter.pdf', 100), await at.begin('other.pdf', 100)];
  const { page } = await visit(t, at);
  await press(page, 'Cancel letter.pdf');
  const asked = await wait(page, 'a question', ({ dialog }) => dialog !== null);
  assert.ok(asked.dialog.includes('letter.pdf') && asked.dialog.includes(id) && !asked.dialog.includes('backendSecret'), asked.dialog);
  assert.equal(asked.focus, 'Back');
  await page.keyboard.press('Escape');
  await wait(page, 'the button has the focus again', ({ dialog, focus }) => dialog === null && focus === 'Cancel letter.pdf');
  assert.equal(await at.state(id), 'uploading');
  await press(page, 'Cancel letter.pdf');
  await press(page, 'Cancel the upload');
  const done = await wait(page, 'it is cancelled', ({ results, live }) => results.length === 1 && live.length === 1);
  assert.equal(await at.state(id), 'cancelled');
  assert.equal(await at.state(other), 'uploading');
  const request = /Cancelled: letter\.pdf \([0-9a-f]{8}\)\. Request (\S+)$/.exec(done.results[0])?.[1];
  const [line] = at.logged('upload cancelled');
  assert.deepEqual([line.request, line.reason], [request, 'cancelled by the operator']);
});

test('pending handovers: error, retry; the server refuses to cancel a file that became complete, and the page says so', async (t) => {
  const at = await operated(t, { answer: refuses });
  const id = await at.begin('ready.bin', 10);
  const { page } = await visit(t, at);
  const short = id.slice(0, 8);
  await press(page, 'Cancel ready.bin');
  await at.put(id, 0, Buffer.alloc(10), 10);
  await press(page, 'Cancel the upload');
  const refused = await wait(page, 'the refusal', ({ results }) => results.length === 1);
  assert.match(refused.results[0], /Not done \(Cancel the upload\): status 412, .*Request \S+$/);
  assert.equal(await at.state(id), 'handing_over');
  const { pending } = await wait(page, 'the error of a call', (now) => now.pending.length === 1 && now.pending[0][6] !== '');
  assert.deepEqual([pending[0][0], pending[0][1]], [`ready.bin ${short}`, 'handover']);
  assert.match(pending[0][6], /500/);
  const calls = at.app.calls;
  await press(page, 'Retry ready.bin');
  await until('the web app is called at once', () => at.app.calls > calls);
  await wait(page, 'the result', ({ results }) => /Handover is tried again/.test(results.at(-1)));
  assert.equal(await page.$('::-p-aria(Cancel ready.bin)'), null, 'a complete file cannot be cancelled');
  at.app.answer = (response) => response.end('done');
  await press(page, 'Retry ready.bin');
  await wait(page, 'it is taken', (now) => now.pending.length === 0 && now.counts.finished === 1);
});

test('failed handovers: retry with the operator\'s token', async (t) => {
  const at = await operated(t, { answer: refuses, args: ['--handover-retry-for', '1s'] });
  const id = await at.begin('lost.bin', 10);
  await at.put(id, 0, Buffer.alloc(10), 10);
  await until('it has failed', async () => (await at.state(id)) === 'failed');
  const { page } = await visit(t, at);
  const { failed } = await wait(page, 'it is listed', (now) => now.failed.length === 1);
  assert.match(failed[0].join(' | '), /^lost\.bin [0-9a-f]{8} \| 10 B \| .* \| .*500/);
  at.app.answer = (response) => response.end('done');
  await press(page, 'Retry lost.bin');
  await wait(page, 'it is taken, the focus is not lost', (now) => now.failed.length === 0 && now.counts.finished === 1 && now.focus === 'Failed handovers');
  assert.equal(at.logged('handover retried by the operator').length, 1);
});

test('without the operator\'s token the page shows, and actions ask for the secret', async (t) => {
  const at = await operated(t, { tokens: false });
  const id = await at.begin('letter.pdf', 100);
  const { page } = await visit(t, at, null);
  await press(page, 'Cancel letter.pdf');
  await wait(page, 'the secret is asked for', ({ dialog }) => dialog?.includes('backendSecret'));
  await type(page, 'secret', 'wrong');
  await press(page, 'Cancel the upload');
  const refused = await wait(page, 'the refusal', ({ results }) => results.length === 1);
  assert.match(refused.results[0], /status 403/);
  assert.equal(await at.state(id), 'uploading');
  await press(page, 'Show settings');
  const settings = await wait(page, 'no settings', ({ settings_line }) => settings_line?.startsWith('They'));
  assert.match(settings.settings_line, /operator token/);
  await press(page, 'Cancel letter.pdf');
  await wait(page, 'the secret is asked for again', ({ dialog }) => dialog?.includes('backendSecret'));
  await type(page, 'secret', 's3cret');
  await press(page, 'Cancel the upload');
  await wait(page, 'it is cancelled', ({ results, live }) => results.length === 2 && live.length === 0);
  assert.equal(await at.state(id), 'cancelled');
});

test('settings in force without secrets; the log\'s filter, and back', async (t) => {
  const at = await operated(t);
  const { page } = await visit(t, at);
  await press(page, 'Show settings');
  const { settings } = await wait(page, 'settings', (now) => now.settings?.includes('backend_listen'));
  assert.ok(!settings.includes(OPERATOR) && settings.includes('operator_token is set and not shown'), settings);
  await press(page, 'Hide settings');
  await wait(page, 'they are hidden', (now) => now.settings === null);
  await type(page, 'filter', 'info,incoming=debug');
  await page.select('#filter-for', '15m');
  await press(page, 'Apply');
  await wait(page, 'another filter', ({ log, results }) => /^In force: info,incoming=debug, until /.test(log) && results.length === 1);
  assert.equal(at.logged('log filter changed').length > 0, true);
  assert.ok(at.logged('log filter changed')[0].request, 'without its request');
  await type(page, 'filter', 'info,[');
  await press(page, 'Apply');
  await wait(page, 'the refusal', ({ results }) => /not changed: .*filter/.test(results.at(-1)));
  await press(page, 'Back to the setting');
  await wait(page, 'the setting', ({ log }) => /the setting log/.test(log));
});

test('search: an id, the beginning of one, a part of a name', async (t) => {
  const at = await operated(t);
  const ids = [];
  for (const name of ['annual report.pdf', 'Report of May.pdf', 'holiday.jpg']) ids.push(await at.begin(name, 10));
  const { page } = await visit(t, at);
  const search = async (text, wanted) => {
    await type(page, 'query', text);
    await page.keyboard.press('Enter');
    return wait(page, `${text} is found`, wanted);
  };
  const found = (count) => (now) => now.found.length === count && now.found_line.startsWith(`${count} `);
  assert.match((await search(ids[2], found(1))).found[0][0], /^holiday\.jpg/);
  await search('report', found(2));
  await search(ids[0].slice(0, 8), found(1));
  await search('no such file', found(0));
  await search('00000000-0000-4000-8000-000000000000', ({ found_line }) => found_line === 'No upload has this id.');
  await search('holiday', found(1));
  await page.evaluate(() => document.querySelector('#found-table button[aria-label="Cancel holiday.jpg"]').click());
  await press(page, 'Cancel the upload');
  await wait(page, 'the search shows the new state', (now) => now.found[0]?.[1] === 'cancelled');
  await press(page, 'Close search');
  await wait(page, 'it is closed', (now) => now.found_line === null && now.focus === 'query');
});

test('the server goes away and comes back: the page says so and goes on by itself', async (t) => {
  const at = await operated(t);
  const { page } = await visit(t, at);
  await at.server.kill('SIGKILL');
  const silent = await wait(page, 'no answer', ({ state }) => state === 'silent');
  assert.match(silent.health, /^No overview: no connection to the server\. The page asks again\.$/);
  assert.equal(silent.view, true);
  await at.server.start();
  await wait(page, 'it is there again', ({ state }) => state === 'ready');
});

/** As an overview names them. */
const OTHERS = [
  { id: '00000000000000b2', name: 'two<b>', address: '10.0.0.2:4001', version: '9.9.9', started: '2026-11-28T10:00:00Z', uptime_s: 90_000, seen_s: 3, state: 'not_ready',
    problems: ['the bucket does not answer'], load: { chunks: 7, connections: 1234, received_per_s: 2_500_000, acknowledged_per_s: 0 } },
  { id: '00000000000000b3', name: 'three', address: 'unix:/run/incoming/backend.sock', version: '9.9.9', started: '2026-11-28T10:00:00Z', uptime_s: 90_000, seen_s: 130, state: 'away',
    problems: [], load: { chunks: 9, connections: 9, received_per_s: 9, acknowledged_per_s: 9 } },
  { id: '00000000000000b4', name: 'four', address: '10.0.0.4:4001', version: '9.9.9', started: '2026-11-28T10:00:00Z', uptime_s: 9, seen_s: 0, state: 'ready', problems: [],
    load: { chunks: 0, connections: 0, received_per_s: 0, acknowledged_per_s: 0 } },
];

test('several servers: which one this page is of, and how each is; one alone has no table', async (t) => {
  const at = await operated(t);
  const alone = await visit(t, at);
  const { servers, servers_line, server } = await wait(alone.page, 'the view', ({ view }) => view);
  assert.deepEqual([servers, servers_line], [[], null]);
  assert.ok(!server.includes(String(at.backend)), server);
  const { page, console_errors } = await visit(t, at, OPERATOR, (blank) => beside(blank, OTHERS, { id: '00000000000000b1', seen_s: 1 }));
  const seen = await wait(page, 'four servers', (now) => now.servers.length === 4);
  const [own, two, three, four] = seen.servers;
  assert.match(own[0], new RegExp(` \\(this page\\) 127\\.0\\.0\\.1:${at.backend}$`));
  assert.deepEqual(own.slice(1, 3), ['Ready', 'now']);
  assert.deepEqual([two[0], two[1], two[2], ...two.slice(4)], ['two<b> 10.0.0.2:4001', 'Not ready: the bucket does not answer', 'now', '9.9.9', '7', '2.5 MB/s', '1,234']);
  assert.deepEqual([three[0], three[1], three[2], ...three.slice(4)], ['three unix:/run/incoming/backend.sock', 'Away', '2 min ago', '9.9.9', '', '', '']);
  assert.equal(four[1], 'Ready');
  assert.equal(seen.servers_line, '2 of 4 servers are ready. They have different versions.');
  assert.match(seen.server, new RegExp(` 127\\.0\\.0\\.1:${at.backend}, version `));
  assert.deepEqual(console_errors, []);
});

test('a hidden page asks every 30 s, and at once when it is seen', async (t) => {
  const at = await operated(t);
  const { page } = await visit(t, at, OPERATOR, (blank) => blank.evaluateOnNewDocument(() => {
    window.pauses = [];
    window.is_hidden = false;
    const later = window.setTimeout;
    window.setTimeout = (what, ms, ...rest) => {
      if (ms >= 1000) window.pauses.push(ms);
      return later(what, ms, ...rest);
    };
    Object.defineProperty(document, 'hidden', { get: () => window.is_hidden });
  }));
  await until('it asks every 2 s', () => page.evaluate(() => window.pauses.length >= 2 && window.pauses.every((ms) => ms === 2000)));
  await page.evaluate(() => {
    window.is_hidden = true;
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await until('it pauses for 30 s', () => page.evaluate(() => window.pauses.at(-1) === 30_000));
  await page.evaluate(() => {
    window.is_hidden = false;
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await until('it asks at once', () => page.evaluate(() => window.pauses.at(-1) === 2000));
});

test('axe-core: no violation in any state and appearance', async (t) => {
  const at = await operated(t, { answer: refuses, args: ['--handover-retry-for', '1s'] });
  const lost = await at.begin('lost, with a name that is long enough to wrap in a narrow page.bin', 10);
  await at.put(lost, 0, Buffer.alloc(10), 10);
  await until('it has failed', async () => (await at.state(lost)) === 'failed');
  at.app.answer = () => {};
  const waits = await at.begin('waits.bin', 10);
  await at.put(waits, 0, Buffer.alloc(10), 10);
  const live = await at.begin('film.mp4', 100);
  await at.put(live, 0, Buffer.alloc(10), 100);
  const { page } = await visit(t, at, null, async (blank) => {
    await bypass(t)(blank);
    await beside(blank, OTHERS, { id: '00000000000000b1', seen_s: 1 });
  });
  await check_in(t, page, 'locked');
  await type(page, 'token', OPERATOR);
  await page.keyboard.press('Enter');
  await wait(page, 'all tables', (now) => now.live.length > 0 && now.pending.length > 0 && now.failed.length > 0 && now.servers.length === 4);
  await press(page, 'Show as a table');
  await press(page, 'Show settings');
  await type(page, 'query', 'film');
  await page.keyboard.press('Enter');
  await wait(page, 'found', (now) => now.found.length === 1 && now.settings !== null);
  await check_in(t, page, 'all');
  await press(page, 'Cancel film.mp4');
  await wait(page, 'a question', ({ dialog }) => dialog !== null);
  await check_in(t, page, 'question');
  await press(page, 'Back');
  await at.server.kill('SIGKILL');
  await wait(page, 'no answer', ({ state }) => state === 'silent');
  await check_in(t, page, 'silent');
});

/** Presses Tab until the focus is there. */
async function tab_to(page, name) {
  for (let n = 0; n < 80; n += 1) {
    if ((await look(page)).focus === name) return;
    await page.keyboard.press('Tab');
  }
  throw new Error(`Tab does not reach ${name}: ${JSON.stringify(await look(page), null, 1)}`);
}

test('the keyboard alone: log in, search, cancel; the focus stays over refreshes', async (t) => {
  const at = await operated(t);
  const ids = [];
  for (const name of ['one.bin', 'two.bin', 'three.bin']) ids.push(await at.begin(name, 100));
  const { page } = await visit(t, at, null);
  await wait(page, 'the field has the focus', ({ focus }) => focus === 'token');
  await page.keyboard.type(OPERATOR);
  await page.keyboard.press('Enter');
  await wait(page, 'the view', ({ live }) => live.length === 3);
  await tab_to(page, 'Cancel two.bin');
  const polls = () => page.evaluate(() => performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/overview')).length);
  const before = await polls();
  await at.put(ids[0], 0, Buffer.alloc(50), 100);
  await until('it has refreshed', async () => (await polls()) >= before + 2);
  assert.equal((await look(page)).focus, 'Cancel two.bin');
  await page.keyboard.press('Enter');
  await wait(page, 'a question', ({ dialog, focus }) => dialog !== null && focus === 'Back');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  const done = await wait(page, 'the row is gone, the next one has the focus', ({ live, focus, dialog }) => live.length === 2 && dialog === null && /^Cancel (one|three)\.bin$/.test(focus));
  assert.equal(done.results.length, 1);
  assert.equal(await at.state(ids[1]), 'cancelled');
});

test('live regions: the health line when it changes, results of actions, nothing with every refresh', async (t) => {
  const at = await operated(t);
  const id = await at.begin('letter.pdf', 100);
  const { page } = await visit(t, at);
  await wait(page, 'the upload', ({ live }) => live.length === 1);
  await page.evaluate(() => {
    window.said = [];
    for (const region of document.querySelectorAll('[role=status], [role=log], [role=alert]')) {
      new MutationObserver((changes) => window.said.push(...changes.map(({ target }) => `${region.id}: ${target.lastChild?.textContent ?? ''}`))).observe(region, { childList: true });
    }
  });
  await at.put(id, 0, Buffer.alloc(50), 100);
  await wait(page, 'it has refreshed', ({ live }) => live[0]?.[1] === '50 % of 100 B');
  assert.deepEqual(await page.evaluate(() => window.said), []);
  await press(page, 'Cancel letter.pdf');
  await press(page, 'Cancel the upload');
  await until('the result is read', () => page.evaluate(() => window.said.length === 1 && /^results: .*Cancelled: letter\.pdf/.test(window.said[0])));
  await at.server.kill('SIGKILL');
  await until('the health is read', () => page.evaluate(() => window.said.length === 2 && window.said[1].startsWith('health: No overview')));
});

test('pages of other origins: no frame, no window, no file of it, not by a name pointed here', async (t) => {
  const [port, rebound] = [await freePort(), await freePort()];
  const at = await operated(t, { tokens: false, args: ['--log', 'info,incoming=debug'] });
  const serve = async (on) => {
    const web = createServer((request, answer) => answer.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><title>evil</title><link rel="icon" href="data:,"><body>'));
    await new Promise((done) => web.listen(on, '127.0.0.1', done));
    const close = () => new Promise((done) => (web.closeAllConnections(), web.close(done)));
    t.after(() => web.listening && close());
    return close;
  };
  await serve(port);
  const answered = (status) => at.logged('request').filter((line) => line.route === 'page' && line.status === status).length;
  const context = await browser(t);
  const page = await context.newPage();
  let rounds = 0;
  for (const origin of [`http://localhost:${port}`, `http://127.0.0.1:${port}`, `http://${INSECURE_HOST}:${port}`]) {
    await page.goto(origin);
    const read = await page.evaluate(async (base) => {
      const read = [];
      const loaded = (name, attribute, url) => new Promise((done) => {
        const node = document.createElement(name);
        node.onload = () => done(name === 'iframe' ? null : name);
        node.onerror = () => done(null);
        node[attribute] = url;
        document.body.append(node);
      });
      for (const path of ['', 'page.js']) {
        const answer = await fetch(`${base}${path}`).catch(() => null);
        if (answer) read.push(`${path} ${answer.status}`);
      }
      read.push(await loaded('script', 'src', `${base}page.js`), await loaded('iframe', 'src', base));
      const link = Object.assign(document.createElement('a'), { href: base, target: '_blank', rel: 'noreferrer' });
      document.body.append(link);
      link.click();
      return read.filter(Boolean);
    }, at.url);
    assert.deepEqual(read, [], origin);
    rounds += 1;
    // Two fetches, a script, a frame, a link.
    await until('all have come', () => answered(403) >= rounds * 5);
  }
  assert.equal(answered(200), 0);
  // The name of a page is pointed at this server.
  const close = await serve(rebound);
  await page.goto(`http://${INSECURE_HOST}:${rebound}/`);
  await close();
  await operated(t, { tokens: false, backend: rebound });
  const seen = await page.evaluate(() => Promise.all(['', 'page.js', 'overview', 'config'].map(async (path) => {
    const answer = await fetch(`/incoming/backend/${path}`);
    return [answer.status, (await answer.text()).includes('backend_hosts')];
  })));
  assert.deepEqual(seen, Array(4).fill([403, true]));
});

// Alone: an upload counts as in use for a minute, and all have to at once.
test('ten thousand uploads: the page stays usable', async (t) => {
  const at = await operated(t, { args: ['--max-uploads', '20000'] });
  const total = 10_000;
  const ids = [];
  let next = 0;
  const workers = (work) => Promise.all(Array.from({ length: 16 }, work));
  await workers(async () => {
    while (next < total) {
      const n = (next += 1);
      const id = await at.begin(`file ${n}.bin`, 1000);
      ids.push(id);
      // Each that has bytes has a file open.
      if (n <= 400) await at.put(id, 0, Buffer.alloc(10), 1000);
    }
  });
  const { page } = await visit(t, at, OPERATOR, (blank) => blank.evaluateOnNewDocument(() => {
    // Firefox does not tell of long tasks.
    if (globalThis.PerformanceObserver?.supportedEntryTypes.includes('longtask')) {
      window.long = [];
      new PerformanceObserver((list) => window.long.push(...list.getEntries().map(({ duration }) => duration))).observe({ entryTypes: ['longtask'] });
    }
  }));
  // On a slow machine the first are idle for so long by now that they have left memory, where no upload is live.
  let are_counted = false;
  const asked = workers(async () => {
    while (!are_counted) await fetch(at.upload_url(ids[(next += 1) % total])).then((answer) => answer.text(), () => {});
  });
  const seen = await wait(page, 'all are counted', ({ live_line }) => /^10,000 uploads/.test(live_line ?? '')).finally(() => (are_counted = true));
  await asked;
  assert.match(seen.live_line, /The 200 fastest are listed\./);
  assert.equal(seen.live.length, 20);
  await press(page, 'Show all 200');
  await wait(page, '200 rows', ({ live }) => live.length === 200);
  await type(page, 'query', 'file 9999.bin');
  const from = performance.now();
  await page.keyboard.press('Enter');
  await wait(page, 'it is found among ten thousand', ({ found, found_line }) => found.length === 1 && found_line.startsWith('1 '));
  const took = performance.now() - from;
  await press(page, 'Cancel file 9999.bin');
  await press(page, 'Cancel the upload');
  await wait(page, 'it is cancelled', ({ counts, results }) => counts.cancelled === 1 && results.length === 1);
  const polls = await page.evaluate(() => performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/overview')).length);
  await until('two more refreshes', () => page.evaluate((before) => performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/overview')).length >= before + 2, polls));
  const longest = await page.evaluate(() => window.long && Math.max(0, ...window.long));
  const nodes = await page.evaluate(() => document.querySelectorAll('*').length);
  t.diagnostic(`longest task ${longest} ms, ${nodes} elements, the search took ${Math.round(took)} ms`);
  assert.equal(longest === undefined || longest === null, kind_of(t) === 'firefox');
  assert.ok((longest ?? 0) < 200 && nodes < 6000, `longest task ${longest} ms, ${nodes} elements`);
}, { alone: ['chromium', 'firefox'] });
