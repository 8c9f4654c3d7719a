// The path doctor's button on the demo page: nothing on a path as it should be, and the cause behind a real proxy that is
// misconfigured on purpose.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { browser, demo, folder, freePort, open, test, until } from './harness.js';

const NONE = 'nginx is not installed';
const has_nginx = spawnSync('nginx', ['-v']).status === 0;

/** nginx before the demo, with these lines, and these places besides. */
async function nginx(t, app, lines, places = '') {
  const [dir, port] = [await folder(t), await freePort()];
  const conf = join(dir, 'nginx.conf');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${dir}/${name};`);
  await writeFile(conf, `${process.getuid() === 0 ? 'user root;' : ''}
daemon off; pid ${dir}/pid; error_log ${dir}/log; worker_processes 1; events { }
http { access_log off; ${temporary.join(' ')}
  server { listen 127.0.0.1:${port}; ${places} location / {
    proxy_pass http://127.0.0.1:${app.http}; proxy_http_version 1.1; proxy_set_header Host $http_host;
    ${lines}
  } }
}
`);
  const proxy = spawn('nginx', ['-p', dir, '-c', conf, '-e', 'stderr'], { stdio: 'ignore' });
  const ended = new Promise((end) => proxy.once('exit', end));
  t.after(async () => {
    proxy.kill('SIGTERM');
    await ended;
  });
  await until('nginx answers', async () => (await fetch(`http://localhost:${port}/`).catch(() => null))?.ok);
  return port;
}

/** What the page says after the button was pressed: its last word, and the codes of its findings. */
async function examined(t, port, before = () => {}) {
  const { page } = await open(await browser(t), `http://localhost:${port}/`);
  before(page);
  await page.$eval('#doctor', (section) => { section.open = true; });
  await page.click('[data-testid=examine]');
  const word = () => page.$eval('[data-testid=doctor-state]', (node) => node.textContent);
  await until('the doctor has spoken', async () => !(await page.$eval('[data-testid=examine]', (node) => node.disabled)) && !/…$/.test(await word()));
  const findings = await page.$$eval('[data-testid=findings] li', (items) => items.map((item) => ({ code: item.dataset.code, text: item.textContent })));
  return { word: await word(), findings };
}

test('the doctor finds nothing on a path as it should be', async (t) => {
  const app = await demo(t);
  assert.deepEqual(await examined(t, app.http), { word: 'Nothing is wrong, as far as a page can see.', findings: [] });
});

test('a busy doctor is asked again', async (t) => {
  const app = await demo(t);
  // Bodies that stand still take all places: each of the two addresses that a browser may come from gets half.
  const addresses = ['127.0.0.1', '::1'];
  const held = addresses.flatMap((address) => Array.from({ length: 8 }, () => connect(app.http, address).on('error', () => {})));
  t.after(() => held.forEach((socket) => socket.destroy()));
  held.forEach((socket) => socket.write('PUT /incoming/frontend/doctor HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n'));
  const refuses = async (host) => (await fetch(`http://${host}:${app.http}/incoming/frontend/doctor`)).status === 429;
  await until('all places are taken', async () => (await refuses('127.0.0.1')) && refuses('[::1]'));
  const looked = examined(t, app.http, (page) => {
    page.on('response', (answer) => answer.status() === 429 && held.forEach((socket) => socket.destroy()));
  });
  assert.deepEqual(await looked, { word: 'Nothing is wrong, as far as a page can see.', findings: [] });
  assert(held.every((socket) => socket.destroyed), 'the page was not turned away: nothing was tried');
});

test('the doctor names what a proxy does, and the setting that fixes it', async (t) => {
  const app = await demo(t);
  const lines = 'client_max_body_size 1m; proxy_hide_header Upload-Offset; proxy_read_timeout 2s; proxy_set_header X-Forwarded-For $remote_addr;';
  const { word, findings } = await examined(t, await nginx(t, app, lines));
  const codes = findings.map((finding) => finding.code).sort();
  // The demo trusts no proxy, and says so.
  assert.deepEqual(codes, ['answer-cut', 'answer-header-lost', 'body-capped', 'proxy-untrusted']);
  assert.match(word, /4 findings/);
  const cap = findings.find((finding) => finding.code === 'body-capped').text;
  assert.match(cap, /more than 1 MiB \(1048576 bytes\)/);
  assert.match(cap, /nginx: client_max_body_size 0;/);
}, { skip: has_nginx ? {} : { chromium: NONE, firefox: NONE } });

test('the doctor sees a backend that a rule for one of its paths leaves open', async (t) => {
  const app = await demo(t);
  const open_path = (path) => `location ${path} { proxy_pass http://127.0.0.1:${app.backend}; proxy_set_header Host $http_host; }`;
  const places = `location ^~ /incoming/backend/ { return 404; } ${open_path('/incoming/0.1/backend/')}`;
  const { findings } = await examined(t, await nginx(t, app, 'client_max_body_size 0;', places));
  const [exposed, ...more] = findings.filter((finding) => finding.code === 'backend-exposed');
  assert.deepEqual(more, []);
  assert.match(exposed.text, /\/incoming\/0\.1\/backend\/new_upload/);
  assert.doesNotMatch(exposed.text, /\/incoming\/backend\/new_upload/);
}, { skip: has_nginx ? {} : { chromium: NONE, firefox: NONE } });
