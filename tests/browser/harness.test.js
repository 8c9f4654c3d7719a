// The harness itself: it collects the errors of a page in every browser, and its line behaves as documented.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Line, browser, folder, kind_of, open, quiet, test, until } from './harness.js';

/** A page with an origin: without one, WebKit hides the text of errors. */
async function a_page(t) {
  const server = createServer((_, answer) => answer.end('<!doctype html><title>a page</title>'));
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => (server.closeAllConnections(), server.close()));
  return `http://localhost:${server.address().port}/`;
}

test('errors, rejections and console errors of a page are collected', async (t) => {
  const { page, console_errors } = await open(await browser(t), await a_page(t));
  await page.evaluate(() => {
    console.log('no complaint');
    setTimeout(() => {
      throw new Error('not caught');
    });
    Promise.reject(new Error('not handled'));
    console.error('an error line');
    console.warn('a warning');
  });
  for (const form of [/not caught/, /not handled/, /an error line/, /a warning/]) {
    await until(`${form} is collected`, () => console_errors.some((one) => form.test(one)));
  }
  assert.ok(!console_errors.some((one) => /no complaint/.test(one)));
  console_errors.length = 0;
});

test('a test fails also if its page reports an error at the very end', async (t) => {
  const { page, console_errors } = await open(await browser(t), await a_page(t));
  await quiet(t);
  for (const [what, complain] of [
    [/not handled/, () => void Promise.reject(new Error('not handled'))],
    [/not caught/, () => void setTimeout(() => { throw new Error('not caught'); })],
    [/an error line/, () => console.error('an error line')],
  ]) {
    await page.evaluate(complain);
    await assert.rejects(quiet(t), what);
    console_errors.length = 0;
  }
});

test('a failed request is not an error of the page', async (t) => {
  const server = createServer((_, answer) => answer.writeHead(500).end('<title>no</title>'));
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => (server.closeAllConnections(), server.close()));
  const line = new Line(t, server.address().port, 1e9);
  const { page } = await open(await browser(t), `http://localhost:${server.address().port}/`);
  const port = await line.open();
  line.cut();
  const answers = await page.evaluate(async (other) => {
    const failed = await new Promise((done) => {
      const xhr = new XMLHttpRequest();
      xhr.onerror = () => done(true);
      xhr.onload = () => done(false);
      xhr.open('PUT', `http://localhost:${other}/`);
      xhr.send('x');
    });
    return [failed, (await fetch('/')).status];
  }, port);
  assert.deepEqual(answers, [true, 500]);
});

test('a browser that is gone does not affect the tests after it', async (t) => {
  const script = join(await folder(t), 'gone.test.js');
  await writeFile(script, `
    import { browser, open, test } from ${JSON.stringify(join(import.meta.dirname, 'harness.js'))};
    test('ends it', async (t) => {
      const { page } = await open(await browser(t), 'data:text/html,<title>a page</title>');
      page.browser().process().kill('SIGKILL');
      await new Promise((gone) => page.browser().once('disconnected', gone));
    });
    test('has one again', async (t) => void (await open(await browser(t), 'data:text/html,<title>another</title>')));
  `);
  assert.match((await run_tests(t, script, '0').catch((error) => error)).stdout, /^ok 2 - /m);
});

test('with retries, a test that fails once is run again from the start, and reported', async (t) => {
  const script = join(await folder(t), 'once.test.js');
  await writeFile(script, `
    import { test } from ${JSON.stringify(join(import.meta.dirname, 'harness.js'))};
    let undone = true, times = 0;
    test('fails once', async (t) => {
      if (!undone) throw new Error('what was before is not undone');
      undone = false;
      t.after(() => (undone = true));
      if (times++ === 0) throw new Error('the first time');
    });
  `);
  assert.match((await run_tests(t, script, '1')).stdout, /FLAKY, tried again: Error: the first time/);
  await assert.rejects(run_tests(t, script, '0'), ({ stdout }) => /the first time/.test(stdout) && !/FLAKY/.test(stdout));
});

/** Runs a file of tests in the browser of `t`, by itself. */
function run_tests(t, script, retries) {
  const env = { ...process.env, BROWSERS: kind_of(t), BROWSER_RETRIES: retries };
  delete env.NODE_TEST_CONTEXT;
  return promisify(execFile)(process.execPath, ['--test', '--test-reporter=tap', script], { env });
}
