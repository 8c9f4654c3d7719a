// The contract of the library, in every browser: properties, flags, callbacks and their order, pausing, cancelling,
// endings, and how the server is found.

import assert from 'node:assert/strict';
import { Line, browser, expected, file, folder, open, test, until } from './harness.js';
import { choose_files, site, snapshot, start_upload, wait_end, wait_until } from './site.js';

const MB = 1_000_000;

/** A web app, a page of it that uploads over a line, a folder for files. */
async function page_of(t, { bytesPerSecond, delayMs, ...more } = {}) {
  const app = await site(t, more);
  let line = null;
  if (bytesPerSecond) {
    line = new Line(t, app.uploadPort, bytesPerSecond, { delayMs });
    app.origin = `http://localhost:${await line.open()}`;
    app.library = `${app.origin}/incoming/frontend/incoming.js`;
  }
  const { page, console_errors } = await open(await browser(t), app.page);
  return { app, line, page, console_errors, dir: await folder(t) };
}

/** What holds after every upload, however it ended. */
function in_order(last, outcome, endings) {
  assert.deepEqual(last.wrong, []);
  assert.equal(last.wrong_targets, 0, 'each callback and event gets the uploader');
  assert.match(last.outcome, outcome);
  assert.deepEqual(last.endings, endings);
  assert.deepEqual(last.ending_events, endings);
  assert.equal(last.progress_events, last.progress);
  assert.equal(last.returned.start, true, 'start() returns the uploader');
  assert.equal(last.flags.at(-1), last_flags(last), 'the last change of a flag was reported');
}

const FLAGS = ['connected', 'finished', 'paused', 'can_pause', 'cancelling', 'cancelled', 'can_cancel'];
const last_flags = (now) => FLAGS.filter((flag) => now[flag]).join();

/** Waits until bytes are acknowledged, and more are to come. */
const under_way = (page, name = 'up') =>
  wait_until(page, `${name} is on its way`, (now) => now.bytes_acked > 0 && now.can_cancel && now.connected, name);

test('every property, flag and callback from before the start to the end', async (t) => {
  const { app, page, dir } = await page_of(t, { bytesPerSecond: 20 * MB });
  let let_go;
  const held = new Promise((free) => (let_go = free));
  app.handover = () => held.then(() => 'done');
  const one = await file(dir, 'every property – ü.bin', 25 * MB);
  await choose_files(page, one);
  const id = await app.ticket();
  await start_upload(page, id, { start: false });

  const idle = await snapshot(page);
  const nothing = { bytes_tx: 0, bytes_acked: 0, bytes_ahead: 0, frac_complete: 0, chunks_tx_now: 0, chunks_acked_now: 0, chunks_ahead: 0 };
  const no_words = { cancel_msg: null, error_code: null, error_msg: null };
  for (const [key, value] of Object.entries({ filename: one.name, bytes_total: one.bytes, ...nothing, ...no_words })) {
    assert.equal(idle[key], value, key);
  }
  assert.equal(last_flags(idle), 'can_cancel');
  assert.equal(idle.progress, 0);

  const returned = await page.evaluate(() => {
    // As in a hidden tab: progress is reported without them.
    window.requestAnimationFrame = () => 0;
    const record = window.uploads.up;
    return (record.returned.start = record.up.start() === record.up);
  });
  assert.ok(returned);
  const sending = await under_way(page);
  assert.equal(last_flags(sending), 'connected,can_pause,can_cancel');
  assert.ok(sending.bytes_tx > 0 && sending.chunks_tx_now > 0 && sending.frac_complete > 0 && sending.frac_complete < 1);
  // A second start changes nothing.
  assert.ok(await page.evaluate(() => window.uploads.up.up.start() === window.uploads.up.up));

  const handing = await wait_until(page, 'the file is handed over', (now) => now.frac_complete === 1);
  assert.equal(handing.finished, false, 'finished only when the web app has the file');
  await app.taken(id);
  const waiting = await wait_until(page, 'it says so', (now) => /handing/.test(now.state_msg));
  assert.equal(last_flags(waiting), 'connected');
  assert.equal(waiting.outcome, null);
  // Too late to cancel or to pause: nothing happens.
  await page.evaluate(() => window.uploads.up.up.cancel('too late').pause('pause'));
  assert.equal(last_flags(await snapshot(page)), 'connected');
  let_go();

  const last = await wait_end(page);
  in_order(last, /^finished$/, ['finished']);
  const all = { bytes_tx: one.bytes, bytes_acked: one.bytes, bytes_ahead: 0, frac_complete: 1, chunks_ahead: 0, ...no_words };
  for (const [key, value] of Object.entries(all)) assert.equal(last[key], value, key);
  assert.equal(last_flags(last), 'finished');
  assert.ok(last.chunks_acked_now > 0 && last.chunks_tx_now === last.chunks_acked_now);
  assert.ok(last.progress > 10, `onprogress ${last.progress} times`);
  // A busy machine may report one late and the next in time.
  assert.ok(last.early.length <= 1 + last.progress / 20, `within 16 ms: ${last.early.join()}`);
  const call = await app.taken(id);
  assert.deepEqual([call.sha256, call.filenameFromBrowser, call.cancelReason], [one.sha256, one.name, '']);
  assert.equal(app.calls.get(id).length, 1);
});

test('with new, without, and as a module', async (t) => {
  const { app, page, dir } = await page_of(t);
  const one = await file(dir, 'three ways.bin', 2 * MB);
  await choose_files(page, one);
  const ids = [await app.ticket(), await app.ticket(), await app.ticket()];
  const made = await page.evaluate(async (tickets, module) => {
    const { files } = document.getElementById('files');
    const other = await import(module);
    const made = {
      without: incoming.Uploader(tickets[0], files[0]),
      with: new incoming.Uploader(tickets[1], files[0]),
      module: new other.Uploader(tickets[2], files[0]),
    };
    for (const [name, up] of Object.entries(made)) {
      const record = window.watch(name, up);
      const { start } = up; // No `this` is needed.
      record.returned.start = start() === up;
    }
    return [
      made.without instanceof incoming.Uploader, made.with instanceof incoming.Uploader, made.module instanceof other.Uploader,
      made.with instanceof EventTarget, typeof other.set_server_hostname,
    ];
  }, ids, app.library.replace(/js$/, 'mjs'));
  assert.deepEqual(made, [true, true, true, true, 'function']);
  for (const name of ['without', 'with', 'module']) in_order(await wait_end(page, name), /^finished$/, ['finished']);
  for (const id of ids) assert.equal((await app.taken(id)).sha256, one.sha256);
});

test('pause, unpause and toggle', async (t) => {
  const { app, page, console_errors, dir } = await page_of(t, { bytesPerSecond: 4 * MB });
  const one = await file(dir, 'paused.bin', 16 * MB);
  await choose_files(page, one);
  const id = await app.ticket();
  await start_upload(page, id);
  await under_way(page);
  const acked_now = () => page.evaluate(() => window.uploads.up.up.chunks_acked_now);
  assert.ok(await acked_now() > 0);
  const call = (what) => page.evaluate((word) => {
    const { up, flags } = window.uploads.up;
    const before = flags.length;
    const returned = up.pause(word) === up;
    // What is counted since the start begins anew.
    if (before !== flags.length && !up.paused && up.chunks_acked_now + up.chunks_tx_now !== 0) throw new Error('chunks are counted on');
    return { returned, paused: up.paused, can_pause: up.can_pause, can_cancel: up.can_cancel, connected: up.connected, reported: flags.length - before };
  }, what);
  const paused = { returned: true, paused: true, can_pause: true, can_cancel: false, connected: false, reported: 1 };
  assert.deepEqual(await call('pause'), paused);
  assert.deepEqual(await call('pause'), { ...paused, reported: 0 }, 'paused already');
  // Cancelling is not possible while paused.
  const not_cancelled = await page.evaluate(() => {
    const { up } = window.uploads.up;
    return [up.cancel('while paused') === up, up.cancelled, up.cancelling, up.paused];
  });
  assert.deepEqual(not_cancelled, [true, false, false, true]);
  // Once what was on the line has been counted, nothing more arrives.
  const received = async () => (await app.status(id)).offset;
  let before = -1;
  await until('no more bytes arrive', async () => before === (before = await received()));
  assert.equal((await snapshot(page)).state_msg, 'paused');
  assert.equal(await received(), before);

  assert.equal((await call('unpause')).paused, false);
  assert.equal((await call('unpause')).paused, false);
  await wait_until(page, 'it gets on', (now) => now.bytes_acked > before && now.can_pause);
  assert.equal((await call('toggle')).paused, true);
  assert.equal((await call('toggle')).paused, false);
  const odd = await page.evaluate(() => {
    const { up } = window.uploads.up;
    return [up.pause('stop') === up, up.paused];
  });
  assert.deepEqual(odd, [true, false]);
  await expected(console_errors, /'stop'/);
  in_order(await wait_end(page), /^finished$/, ['finished']);
  assert.equal((await app.taken(id)).sha256, one.sha256);
});

test('cancel: the web app learns the reason', async (t) => {
  const { app, page, dir } = await page_of(t, { bytesPerSecond: 4 * MB });
  const one = await file(dir, 'unwanted.bin', 40 * MB);
  await choose_files(page, one);
  const id = await app.ticket();
  await start_upload(page, id);
  await under_way(page);
  const at_once = await page.evaluate(() => {
    const { up } = window.uploads.up;
    return [up.cancel('the wrong film – ü & more') === up, up.cancelling, up.cancelled, up.can_cancel, up.can_pause];
  });
  assert.deepEqual(at_once, [true, true, false, false, false]);
  const last = await wait_end(page);
  in_order(last, /^AbortError/, ['cancelled']);
  assert.deepEqual([last_flags(last), last.cancel_msg, last.error_code], ['cancelled', 'the wrong film – ü & more', null]);
  const call = await app.cancelled(id);
  assert.deepEqual([call.cancelReason, call.filename], ['the wrong film – ü & more', '']);
  assert.equal((await app.status(id)).state, 'cancelled');
});

test('it can be cancelled until the last byte is with the network, and not while that waits for its answer', async (t) => {
  const { app, page, dir } = await page_of(t, { bytesPerSecond: 20 * MB, delayMs: 250 });
  const one = await file(dir, 'too late.bin', 1 * MB);
  await choose_files(page, one);
  const id = await app.ticket();
  await start_upload(page, id, { start: false });
  await page.evaluate(() => {
    const { up } = window.uploads.up;
    const { send } = XMLHttpRequest.prototype;
    XMLHttpRequest.prototype.send = function (body) {
      const is_last = body instanceof Blob && up.bytes_acked + body.size === up.bytes_total;
      const sent = send.call(this, body);
      if (is_last) {
        window.tried = [up.can_cancel];
        this.upload.addEventListener('load', () => {
          const could = up.can_cancel;
          up.cancel('too late');
          window.tried.push(could, up.can_pause, up.cancelling, up.cancelled, up.cancel_msg, this.readyState < 2);
        });
      }
      return sent;
    };
    window.uploads.up.returned.start = up.start() === up;
  });
  in_order(await wait_end(page), /^finished$/, ['finished']);
  assert.deepEqual(await page.evaluate(() => window.tried), [true, false, false, false, false, null, true]);
  assert.equal((await app.taken(id)).sha256, one.sha256);
});

test('cancel without a connection: here at once, on the server when it is back', async (t) => {
  const { app, line, page, dir } = await page_of(t, { bytesPerSecond: 4 * MB });
  const one = await file(dir, 'offline.bin', 40 * MB);
  await choose_files(page, one);
  const id = await app.ticket();
  await start_upload(page, id);
  await under_way(page);
  line.cut();
  const lost = await wait_until(page, 'it has noticed', (now) => !now.connected);
  assert.ok(lost.can_cancel && /again in/.test(lost.state_msg), JSON.stringify(lost));
  const at_once = await page.evaluate(() => {
    const { up, endings } = window.uploads.up;
    up.cancel('no patience');
    return [up.cancelled, up.cancelling, [...endings].sort(), up.error_code, up.error_msg];
  });
  assert.deepEqual(at_once.slice(0, 4), [true, false, ['cancelled', 'error'], 0]);
  assert.match(at_once[4], /backend doesn't know/);
  assert.equal((await app.status(id)).state, 'uploading');
  line.restore();
  assert.equal((await app.cancelled(id)).cancelReason, 'no patience');
  const last = await wait_end(page);
  assert.deepEqual(last.wrong, []);
  assert.match(last.outcome, /^AbortError/);
});

test('cancelled by the web app: the page is told', async (t) => {
  const { app, page, dir } = await page_of(t, { bytesPerSecond: 4 * MB });
  const one = await file(dir, 'recalled.bin', 40 * MB);
  await choose_files(page, one);
  const id = await app.ticket({ backendSecret: 'a & b' });
  await start_upload(page, id);
  await under_way(page);
  assert.deepEqual(await app.backend('cancel_upload', { id, backendSecret: 'a & b' }), { status: 200, word: 'ok' });
  const last = await wait_end(page);
  in_order(last, /^AbortError/, ['cancelled']);
  assert.equal(last_flags(last), 'cancelled');
  assert.ok(last.cancel_msg);
});

test('an empty file, a file of one byte', async (t) => {
  const { app, page, dir } = await page_of(t);
  const files = [await file(dir, 'empty.bin', 0), await file(dir, 'one.bin', 1)];
  await choose_files(page, ...files);
  for (const [index, one] of files.entries()) {
    const id = await app.ticket();
    await start_upload(page, id, { index, name: one.name });
    const last = await wait_end(page, one.name);
    in_order(last, /^finished$/, ['finished']);
    assert.deepEqual([last.frac_complete, last.bytes_total, last.bytes_acked], [1, one.bytes, one.bytes]);
    const call = await app.taken(id);
    assert.deepEqual([call.sha256, call.bytes, call.length, call.filenameFromBrowser], [one.sha256, one.bytes, String(one.bytes), one.name]);
  }
});

test('set_server_hostname, and where the server is looked for without it', async (t) => {
  const app = await site(t);
  const dir = await folder(t);
  const one = await file(dir, 'named.bin', 1 * MB);
  const on = await browser(t);
  // The script as the web app's own file: nothing but the page says where the server is. The web app passes it on.
  app.library = `/incoming/frontend/incoming.js`;
  const { page } = await open(on, app.page);
  // Where chunks went since the last time it was asked.
  const went = async () => new Set(await page.evaluate(() => window.flights.hosts.splice(0)));
  const upload = async (name) => {
    const id = await app.ticket();
    await choose_files(page, one);
    await start_upload(page, id, { name });
    in_order(await wait_end(page, name), /^finished$/, ['finished']);
    assert.equal((await app.taken(id)).sha256, one.sha256);
    return went();
  };
  const own = `localhost:${app.port}`;
  const theirs = `localhost:${app.uploadPort}`;
  assert.deepEqual(await upload('from the page'), new Set([own]));
  for (const hostname of [theirs, `http://${theirs}`, `http://${theirs}/`]) {
    await page.evaluate((name) => incoming.set_server_hostname(name), hostname);
    assert.deepEqual(await upload(hostname), new Set([theirs]), hostname);
  }
  assert.match(await page.evaluate(() => {
    try {
      incoming.set_server_hostname('localhost:no-port');
    } catch (error) {
      return `${error.name} ${error.message}`;
    }
    return 'taken';
  }), /^TypeError .*localhost:no-port/);
  assert.deepEqual(await upload('after nonsense'), new Set([theirs]), 'it stays as it was');
  // An option is for one upload alone.
  const id = await app.ticket();
  await choose_files(page, one);
  await start_upload(page, id, { name: 'option', options: { hostname: own } });
  in_order(await wait_end(page, 'option'), /^finished$/, ['finished']);
  assert.deepEqual(await went(), new Set([own]));

  // From another origin, the script's own.
  app.library = `${app.origin}/incoming/frontend/incoming.js`;
  await page.reload({ waitUntil: 'load' });
  assert.deepEqual(await upload('from the script'), new Set([theirs]));
});

test('every path of the page exists under /incoming/ and /incoming/0.1/', async (t) => {
  const app = await site(t);
  app.library = `${app.origin}/incoming/0.1/frontend/incoming.js`;
  const { page } = await open(await browser(t), app.page);
  const dir = await folder(t);
  const one = await file(dir, 'old path.bin', 2 * MB);
  await choose_files(page, one);
  const id = await app.ticket();
  await start_upload(page, id);
  in_order(await wait_end(page), /^finished$/, ['finished']);
  assert.equal((await app.taken(id)).sha256, one.sha256);
  const other = await app.ticket();
  const both = await page.evaluate(async (origin, upload) => {
    const found = [];
    for (const base of [`${origin}/incoming/frontend`, `${origin}/incoming/0.1/frontend`]) {
      const module = await import(`${base}/incoming.mjs`);
      const script = await fetch(`${base}/incoming.js`);
      const url = `${base}/uploads/${upload}`;
      const bound = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"name":"x","length":7}' });
      const status = await fetch(url);
      const put = await fetch(url, { method: 'PUT', headers: { 'Content-Range': 'bytes 0-2/7' }, body: 'abc' });
      found.push([
        Object.keys(module).sort().join(), script.status, (await script.text()).length, bound.status, status.status,
        (await status.json()).length, put.status, put.headers.get('Upload-Offset'), put.headers.get('Upload-Length'), put.headers.get('Upload-Complete'),
      ]);
    }
    return found;
  }, app.origin, other);
  assert.deepEqual(both[0], both[1]);
  assert.deepEqual(both[0].slice(3), [200, 200, 7, 200, '3', '7', '?0']);
});

test('what a callback throws is reported and does not affect the upload', async (t) => {
  const { app, page, console_errors, dir } = await page_of(t);
  const one = await file(dir, 'thrown.bin', 4 * MB);
  await choose_files(page, one);
  const id = await app.ticket();
  await page.evaluate((ticket) => {
    const up = incoming.Uploader(ticket, document.getElementById('files').files[0]);
    window.watch('up', up);
    up.onprogress = () => {
      throw new Error('a mistake of the page');
    };
    up.start();
  }, id);
  assert.equal((await wait_end(page)).outcome, 'finished');
  assert.equal((await app.taken(id)).sha256, one.sha256);
  // What was thrown so far is reported before the answer to this.
  await page.evaluate(() => {
    window.uploads.up.up.onprogress = () => {};
  });
  await expected(console_errors, /a mistake of the page/);
});
