/**
 * The layout of the source and the documentation: short files, imports in one direction, one module on the network, links that lead
 * somewhere, options that are documented.
 */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

const MAX_LINES = 450;

/** Text by path below this package. */
const texts = new Map(['src', 'test', 'scripts'].flatMap((dir) =>
  readdirSync(new URL(`../${dir}/`, import.meta.url), { recursive: true }).filter((name) => /\.[jt]s$/.test(name)).map((name) =>
    [`${dir}/${name}`, readFileSync(new URL(`../${dir}/${name}`, import.meta.url), 'utf8')])));

const without_comments = (text) => text.replace(/\/\*[^]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');

test(`no file has more than ${MAX_LINES} lines`, () => {
  const long = [...texts].filter(([, text]) => text.split('\n').length - 1 > MAX_LINES).map(([name]) => name);
  assert.deepEqual(long, []);
});

test('no module imports itself through others', () => {
  const imports = new Map([...texts].filter(([name]) => /^src\/.*\.js$/.test(name)).map(([name, text]) =>
    [name, [...without_comments(text).matchAll(/\bfrom '(\.\.?\/\w[\w-]*\.js)'/g)].map(([, other]) => new URL(other, `file:///${name}`).pathname.slice(1))]));
  const visit = (name, path) => {
    assert.ok(!path.includes(name), [...path, name].join(' -> '));
    for (const other of imports.get(name)) visit(other, [...path, name]);
  };
  assert.ok(imports.get('src/upload.js').length > 5, 'imports are found');
  for (const name of imports.keys()) visit(name, []);
});

test('only `transport` uses the network, and `ticket` asks the web app', () => {
  const users = [...texts].filter(([name, text]) => name.startsWith('src/') && /\b(XMLHttpRequest|fetch\(|WebSocket|sendBeacon)/.test(without_comments(text)));
  assert.deepEqual(users.map(([name]) => name), ['src/ticket.js', 'src/transport.js']);
});

test('the published types export what the module does', async () => {
  const types = without_comments(texts.get('src/api.d.ts'));
  const names = [...types.matchAll(/^export (?:class|const) (\w+)/gm)].map(([, name]) => name);
  const { default: incoming } = await import('../src/index.js');
  assert.deepEqual(names.sort(), Object.keys(incoming).sort());
});

const pages = new Map(['README.md', ...readdirSync(new URL('../docs/', import.meta.url)).map((name) => `docs/${name}`)].map((name) =>
  [name, readFileSync(new URL(`../${name}`, import.meta.url), 'utf8')]));

test('links in the documentation lead to pages and headings that exist', () => {
  const anchors = (text) => [...text.matchAll(/^#+ (.*)$/gm)].map(([, title]) => title.toLowerCase().replace(/[^\w -]/g, '').replaceAll(' ', '-'));
  for (const [name, text] of pages) {
    for (const [, path, anchor] of text.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)) {
      const target = path ? new URL(path, `file:///${name}`).pathname.slice(1) : name;
      assert.ok(pages.has(target), `${name}: ${path}`);
      if (anchor) assert.ok(anchors(pages.get(target)).includes(anchor), `${name}: #${anchor}`);
    }
  }
});

test('the element: its manifest, its types and its documentation name the same attributes, events, parts and variables', () => {
  const page = pages.get('docs/element.md');
  const [{ declarations: [element] }] = JSON.parse(readFileSync(new URL('../custom-elements.json', import.meta.url), 'utf8')).modules;
  const names = (list) => list.map(({ name }) => name).sort();
  const rows = page.split('## Attributes')[1].split('## Properties')[0].matchAll(/^\| (`[^|]+)/gm);
  const documented = [...rows].flatMap(([, cell]) => [...cell.matchAll(/`([a-z-]+)`/g)].map(([, name]) => name)).sort();
  assert.deepEqual(names(element.attributes), documented);
  const types = texts.get('src/api-ui.d.ts');
  const block = (name) => [...types.split(`interface ${name} {`)[1].split('\n}')[0].matchAll(/^  '?([\w-]+)'?[?:]/gm)].map(([, key]) => key).sort();
  assert.deepEqual(block('IncomingUploadAttributes'), documented);
  assert.deepEqual(block('IncomingUploadEventMap'), names(element.events));
  const source = [...texts].filter(([name]) => name.startsWith('src/ui/')).map(([, text]) => text).join('\n');
  for (const name of documented) if (name !== 'form') assert.match(source, new RegExp(`['"]${name}['"]`), name);
  for (const { name } of element.cssProperties) assert.match(source, new RegExp(`var\\(${name}\\b|\\['${name.replace('--incoming-', '')}', '#`), name);
  for (const list of ['cssProperties', 'cssParts', 'slots']) for (const { name } of element[list]) assert.ok(page.includes(name.replace('--incoming', '')), name);
});

test('every option, property and function is documented', () => {
  const types = without_comments(texts.get('src/api.d.ts'));
  const block = (name) => types.split(`interface ${name} `)[1].split('\n}')[0];
  for (const name of ['Options', 'Properties', 'UploaderObject', 'Incoming']) {
    for (const [, key] of block(name).matchAll(/^  (\w+)[?(:]/gm)) assert.match(pages.get('docs/api.md'), new RegExp(`\`${key}\\b`), key);
  }
  for (const [, key] of block('Options').matchAll(/^  (\w+)[?(:]/gm)) assert.match(pages.get('README.md'), new RegExp(`\`${key}\``), key);
});
