/**
 * The built files: what they define, and where they look for the server.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import vm from 'node:vm';
import { fake_file } from './fakes.js';

const classic = readFileSync(new URL('../dist/incoming.js', import.meta.url), 'utf8');

/** Runs the classic script on a page, starts an upload and returns the URL it asks for. */
function url_asked(src, before = () => {}) {
  let asked;
  class XMLHttpRequest {
    upload = {};
    open(_, url) {
      asked = url;
    }
    setRequestHeader() {}
    send() {}
    abort() {}
  }
  const script = src === null ? null : { src, getAttribute: () => src };
  const page = {
    XMLHttpRequest, EventTarget, Event, URL, console, setTimeout: () => 0, clearTimeout() {},
    location: { protocol: 'http:', origin: 'http://page.example' },
    document: { currentScript: script, addEventListener() {}, removeEventListener() {} },
  };
  page.window = { addEventListener() {}, removeEventListener() {} };
  vm.runInNewContext(classic, page);
  before(page.incoming);
  page.incoming.Uploader('id', fake_file(3)).start();
  return asked;
}

test('classic script: the server is where the script came from, else the page, else what it is told', () => {
  const path = '/incoming/frontend/uploads/id';
  assert.equal(url_asked('https://up.example:4000/incoming/0.1/frontend/incoming.js'), `https://up.example:4000${path}`);
  assert.equal(url_asked(''), `http://page.example${path}`);
  assert.equal(url_asked(null), `http://page.example${path}`);
  assert.equal(url_asked(null, (incoming) => incoming.set_server_hostname('x.example:1')), `http://x.example:1${path}`);
});

test('module: named and default exports, loads outside of a page', async () => {
  const module = await import('../dist/incoming.mjs');
  assert.deepEqual(Object.keys(module).sort(), ['UploadError', 'Uploader', 'default', 'set_server_hostname']);
  assert.equal(module.default.Uploader, module.Uploader);
});

test('nothing a strict CSP refuses, and a licence line', () => {
  for (const name of ['incoming.js', 'incoming.mjs']) {
    const text = readFileSync(new URL(`../dist/${name}`, import.meta.url), 'utf8');
    assert.doesNotMatch(text, /\beval\b|new Function|requestAnimationFrame|withCredentials|document\.cookie/);
    assert.match(text, /^\/\*! Incoming!! browser library .* \| MIT OR Apache-2\.0 \*\//m);
  }
});
