// Accessibility of `<incoming-upload>`: axe-core in each state and appearance, the keyboard alone, live regions, a strict
// Content-Security-Policy, and ten thousand files.

import assert from 'node:assert/strict';
import { file, kind_of, test, until } from './harness.js';
import { choose, finished, forms, look, violations, visit, wait } from './ui-site.js';

const MB = 1_000_000;

/** What a page can look like. */
const LOOKS = [
  ['light', {}], ['dark', { features: [{ name: 'prefers-color-scheme', value: 'dark' }] }],
  ['forced colours', { features: [{ name: 'forced-colors', value: 'active' }] }], ['right to left', { dir: 'rtl' }], ['320 px', { width: 320 }],
];

/** Checks a state in each appearance; Firefox has none for colours. */
async function check_in(kind, page, state) {
  for (const [name, { features = [], dir = 'ltr', width = 800 }] of LOOKS) {
    if (kind === 'chromium') await (await page.createCDPSession()).send('Emulation.setEmulatedMedia', { features });
    else if (features.length > 0) continue;
    for (const one of features) assert.ok(await page.evaluate((query) => matchMedia(query).matches, `(${one.name}: ${one.value})`), `${name} is on`);
    await page.setViewport({ width, height: 800 });
    // axe-core takes the canvas of a page for white.
    await page.evaluate(() => (document.documentElement.style.background = 'Canvas'));
    await page.evaluate((direction) => (document.documentElement.dir = direction), dir);
    assert.deepEqual(await violations(page), [], `${state}, ${name}`);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `${state}, ${name}: ${overflow} px wider than the page`);
    const small = await page.evaluate(() => [...document.querySelector('incoming-upload').shadowRoot.querySelectorAll('button')]
      .filter((one) => one.offsetParent && (one.offsetWidth < 24 || one.offsetHeight < 24)).map((one) => one.textContent));
    assert.deepEqual(small, [], `${state}, ${name}: small targets`);
  }
}

const DARK = '<meta name="color-scheme" content="light dark">';

test('axe-core: no violation in any state and appearance', async (t) => {
  const here = await forms(t, { bytes_per_second: 2 * MB });
  Object.assign(here.page, { head: DARK, attributes: 'multiple directory accept=".bin" max-size="50MB" required restore="r" drop="page"' });
  here.behave.refuse = ({ name }) => (name === 'refused.bin' ? { status: 422, body: { detail: 'not this one' } } : null);
  const kind = kind_of(t);
  const check = (...what) => check_in(kind, ...what);
  // axe-core is the test's own; Firefox lets it run in spite of the page's policy.
  const bypass = (blank) => kind === 'chromium' && blank.setBypassCSP(true);
  const { page } = await visit(here, bypass);
  await check(page, 'empty');
  const [long, other] = [await file(here.dir, 'long.bin', 48 * MB), await file(here.dir, 'other name that is long enough to wrap in a narrow page.bin', 20)];
  await choose(page, long, other, await file(here.dir, 'refused.bin', 3), await file(here.dir, 'wrong.txt', 3));
  await wait(page, 'each state is there', ({ entries }) => entries.map(({ state }) => state).join() === 'uploading,finished,failed');
  await check(page, 'uploading, finished, failed, rejected');
  await page.evaluate(() => document.querySelector('incoming-upload').entries[2].remove());
  await page.evaluate(() => document.querySelector('#send').click());
  await wait(page, 'it is held', ({ held }) => held);
  await check(page, 'held');
  await page.evaluate(() => document.querySelector('incoming-upload').pause());
  await wait(page, 'it is paused', ({ entries }) => entries[0].state === 'paused');
  await check(page, 'paused');
  await page.evaluate(() => document.querySelector('incoming-upload').resume());
  here.line.cut();
  await wait(page, 'it is stalled', ({ entries }) => entries[0].state === 'stalled');
  await check(page, 'stalled');
  here.line.restore();
  await page.evaluate(() => (document.querySelector('incoming-upload').toggleAttribute('disabled', true)));
  await check(page, 'disabled');
  await page.goto('about:blank');
  const again = await visit(here, bypass);
  await wait(again.page, 'it is lost', ({ rows }) => rows.length === 1);
  await check(again.page, 'lost');
});

/** Presses Tab until the element's focus is on that button. */
async function tab_to(page, name) {
  for (let n = 0; n < 30; n += 1) {
    if ((await look(page)).focus === name) return;
    await page.keyboard.press('Tab');
  }
  throw new Error(`Tab does not reach ${name}: ${JSON.stringify(await look(page), null, 1)}`);
}

test('the keyboard alone: choose, pause, resume, cancel, remove, send', async (t) => {
  const here = await forms(t, { bytes_per_second: 2 * MB });
  const { page } = await visit(here);
  await tab_to(page, 'Choose files, Papers');
  const [one, two] = [await file(here.dir, 'one.bin', 20 * MB), await file(here.dir, 'two.bin', 20 * MB)];
  if (kind_of(t) === 'chromium') {
    const opening = page.waitForFileChooser();
    // The browser answers in order: by then it tells of choosers.
    await page.evaluate(() => 1);
    await page.keyboard.press('Enter');
    const chooser = await opening;
    await chooser.accept([one.path, two.path]);
  } else await choose(page, one, two);
  await wait(page, 'both are on their way', ({ entries }) => entries.length === 2 && entries.every(({ state, bytes_acked }) => state === 'uploading' && bytes_acked > 0));
  assert.equal((await look(page)).focus, 'Choose files, Papers');
  await tab_to(page, 'Pause one.bin');
  await page.keyboard.press(' ');
  await wait(page, 'it is paused, the focus stays', ({ entries, focus }) => entries[0].state === 'paused' && focus === 'Resume one.bin');
  await page.keyboard.press('Enter');
  await wait(page, 'it goes on', ({ entries, focus }) => entries[0].state === 'uploading' && focus === 'Pause one.bin');
  await tab_to(page, 'Cancel one.bin');
  await page.keyboard.press('Enter');
  await wait(page, 'it is cancelled', ({ entries, focus }) => entries[0].state === 'cancelled' && focus === 'Remove one.bin');
  await page.keyboard.press('Delete');
  await wait(page, 'the next row has the focus', ({ entries, focus }) => entries.length === 1 && focus === 'Pause two.bin');
  await page.keyboard.press('Delete');
  await wait(page, 'the button has the focus', ({ entries, focus }) => entries.length === 0 && focus === 'Choose files, Papers');
});

test('live regions: what is read, in its order', async (t) => {
  const here = await forms(t, { bytes_per_second: 4 * MB });
  const { page } = await visit(here);
  await page.evaluate(() => {
    window.said = [];
    const region = document.querySelector('incoming-upload').shadowRoot.querySelector('[role=status]');
    new MutationObserver(() => window.said.push(region.textContent)).observe(region, { childList: true });
  });
  await choose(page, await file(here.dir, 'a.bin', 4 * MB), await file(here.dir, 'b.bin', 100));
  await finished(page, 2);
  await until('the end is read', () => page.evaluate(() => window.said.at(-1) === 'All 2 files are uploaded'));
  assert.deepEqual(await page.evaluate(() => window.said), ['2 files added', 'All 2 files are uploaded']);
});

test('a strict policy with Trusted Types: nothing is reported', async (t) => {
  const here = await forms(t);
  const { page, console_errors } = await visit(here);
  await choose(page, await file(here.dir, '<img src=x onerror=alert(1)>.bin', 100), await file(here.dir, 'b.bin', 0));
  const end = await finished(page, 2);
  assert.deepEqual([end.violations, console_errors], [[], []]);
  const shown = await page.evaluate(() => getComputedStyle(document.querySelector('incoming-upload').shadowRoot.querySelector('.drop')).display);
  assert.equal(shown, 'flex', 'the style is there');
});

test('ten thousand files: added in under 500 ms, tasks under 100 ms, under 270 rows', async (t) => {
  const here = await forms(t);
  const { page } = await visit(here);
  await page.evaluate(() => (window.files = Array.from({ length: 10_000 }, (_, n) => new File([`${n}`], `file ${n}.txt`))));
  // Collects garbage first.
  const heap = async () => (kind_of(t) === 'chromium' ? (await (await page.createCDPSession()).send('HeapProfiler.collectGarbage'), (await page.metrics()).JSHeapUsedSize) : 0);
  const before = await heap();
  const seen = await page.evaluate(async () => {
    const element = document.querySelector('incoming-upload');
    const long = [];
    const observer = globalThis.PerformanceObserver?.supportedEntryTypes.includes('longtask') ? new PerformanceObserver((list) => long.push(...list.getEntries().map(({ duration }) => duration))) : null;
    observer?.observe({ entryTypes: ['longtask'] });
    const from = performance.now();
    element.getTicket = () => new Promise(() => {});
    await element.add(window.files);
    const added = performance.now() - from;
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const painted = performance.now() - from;
    await new Promise((done) => setTimeout(done));
    return { added, painted, longest: Math.max(0, ...long), rows: element.shadowRoot.querySelectorAll('li').length, total: element.files_total, line: element.shadowRoot.querySelector('.more').textContent };
  });
  seen.heap = await heap() - before;
  t.diagnostic(JSON.stringify(seen));
  assert.equal(seen.total, 10_000);
  assert.ok(seen.added < 500 && seen.longest < 100 && seen.rows < 270 && seen.heap < 20 * 2 ** 20, JSON.stringify(seen));
  assert.match(seen.line, /^9,98\d more waitingShow 100 more$/);
}, { alone: ['chromium', 'firefox'] });
