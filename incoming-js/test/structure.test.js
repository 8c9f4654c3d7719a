/**
 * The layout of the source: short files, imports in one direction, one module on the network.
 */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

const MAX_LINES = 450;

/** Text by path below this package. */
const texts = new Map(['src', 'test', 'scripts'].flatMap((dir) =>
  readdirSync(new URL(`../${dir}/`, import.meta.url)).filter((name) => /\.[jt]s$/.test(name)).map((name) =>
    [`${dir}/${name}`, readFileSync(new URL(`../${dir}/${name}`, import.meta.url), 'utf8')])));

const without_comments = (text) => text.replace(/\/\*[^]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');

test(`no file has more than ${MAX_LINES} lines`, () => {
  const long = [...texts].filter(([, text]) => text.split('\n').length - 1 > MAX_LINES).map(([name]) => name);
  assert.deepEqual(long, []);
});

test('no module imports itself through others', () => {
  const imports = new Map([...texts].filter(([name]) => /^src\/.*\.js$/.test(name)).map(([name, text]) =>
    [name, [...without_comments(text).matchAll(/\bfrom '\.\/(\w[\w-]*\.js)'/g)].map(([, other]) => `src/${other}`)]));
  const visit = (name, path) => {
    assert.ok(!path.includes(name), [...path, name].join(' -> '));
    for (const other of imports.get(name)) visit(other, [...path, name]);
  };
  assert.ok(imports.get('src/upload.js').length > 5, 'imports are found');
  for (const name of imports.keys()) visit(name, []);
});

test('only `transport` uses the network', () => {
  const users = [...texts].filter(([name, text]) => name.startsWith('src/') && /\b(XMLHttpRequest|fetch\(|WebSocket|sendBeacon)/.test(without_comments(text)));
  assert.deepEqual(users.map(([name]) => name), ['src/transport.js']);
});

test('the published types export what the module does', async () => {
  const types = without_comments(texts.get('src/api.d.ts'));
  const names = [...types.matchAll(/^export (?:class|const) (\w+)/gm)].map(([, name]) => name);
  const { default: incoming } = await import('../src/index.js');
  assert.deepEqual(names.sort(), Object.keys(incoming).sort());
});
