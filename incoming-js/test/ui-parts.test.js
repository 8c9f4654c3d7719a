/**
 * Parts of the element that need no browser: sizes, what is accepted, folders, tickets, texts, sizes of pictures, live regions.
 */
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { dropped, file_refusal, from_handles, is_accepted, parse_size } from '../src/files.js';
import { TicketError, is_transient, read_ticket, tickets_from } from '../src/ticket.js';
import { Announcer } from '../src/ui/announcer.js';
import { meant } from '../src/ui/attributes.js';
import { Problems } from '../src/ui/problems.js';
import { ENGLISH, Speaker } from '../src/ui/strings.js';
import { dimensions } from '../src/ui/thumbs.js';

test('sizes', () => {
  for (const [text, bytes] of [['2GB', 2e9], ['500MiB', 524_288_000], ['1.5 kb', 1500], ['7', 7], ['0', 0]]) assert.equal(parse_size(text), bytes, text);
  for (const text of ['', 'x', '-1', '5 parsecs', null]) assert.equal(parse_size(text), undefined, String(text));
});

test('a name with other strokes or none stands for an attribute; right ones and foreign ones do not', () => {
  const table = { chunk_size: 'chunk-size', chunksize: 'chunk-size', max_files: 'max-files', ticketurl: 'ticket-url', 'max-size': undefined, name: undefined, class: undefined, 'data-name': undefined };
  for (const [name, wanted] of Object.entries(table)) assert.equal(meant(name), wanted, name);
});

test('accept: by extension and type; without a type by extension', () => {
  const table = [
    ['a.JPG', '', 'image/*', true], ['a.jpg', 'image/jpeg', '.png,image/jpeg', true], ['a.exe', 'image/png', '.exe', true],
    ['a.txt', 'text/plain', 'image/*, .pdf', false], ['a', '', 'application/pdf', false], ['a.pdf', '', 'application/pdf', true], ['x', 'y/z', '', true],
  ];
  for (const [name, type, accept, wanted] of table) assert.equal(is_accepted({ name, type }, accept), wanted, `${name} ${type} ${accept}`);
  assert.equal(file_refusal({ name: 'a', type: '', size: 3 }, { max_size: 2 }), 'size');
});

/** A folder entry that gives its children 100 at a time, as browsers do. */
function folder(name, children) {
  return { name, isDirectory: true, isFile: false, fullPath: `/${name}`, createReader() {
    let at = 0;
    return { readEntries: (done, failed) => (children === null ? failed(new Error('no')) : done(children.slice(at, (at += 100)))) };
  } };
}

const entry = (name, fullPath = `/d/${name}`) => ({ name, fullPath, isFile: true, isDirectory: false });

test('a dropped folder is read to its end, without what systems leave in it; all items are taken at once', async () => {
  const children = [...Array.from({ length: 250 }, (_, n) => entry(`f${n}`)), entry('.DS_Store'), folder('empty', []), folder('locked', null)];
  let readable = true;
  const item = (found, file = null) => ({ kind: 'file', webkitGetAsEntry: () => (assert.ok(readable, 'after an await'), found), getAsFile: () => file });
  const generator = dropped({ items: [item(folder('d', children)), item(entry('x', '/x'), { name: 'x' }), { kind: 'string' }], files: [] });
  readable = false;
  const items = [];
  const refused = [];
  for await (const one of generator) {
    items.push(...one.items);
    refused.push(...one.refused);
  }
  assert.deepEqual([items.length, items[0].path, items.at(-1).file.name], [251, 'd/f0', 'x']);
  assert.deepEqual(refused, [{ name: 'empty', code: 'empty-folder' }, { name: 'locked', code: 'unreadable' }]);
});

test('handles of folders are walked', async () => {
  const file = (name) => ({ kind: 'file', name, getFile: async () => ({ name }) });
  const dir = { kind: 'directory', name: 'd', async *values() {
    yield file('a');
    yield { ...file('b'), getFile: () => Promise.reject(new Error('gone')) };
  } };
  const all = [];
  for await (const one of from_handles([dir, file('c')])) all.push(one);
  assert.deepEqual([all[0].items.map(({ path, file: { name } }) => [path, name]), all[0].refused], [[['d/a', 'a'], [null, 'c']], [{ name: 'b', code: 'unreadable' }]]);
});

test('tickets: the request, what answers mean', async (t) => {
  const answers = [];
  const sent = [];
  t.mock.method(globalThis, 'fetch', async (url, options) => {
    sent.push({ url, ...options });
    const next = answers.shift();
    if (next instanceof Error) throw next;
    return next;
  });
  const ask = tickets_from('/t', { headers: () => ({ 'X-CSRF-Token': 'c' }) });
  const request = { name: 'a', size: 1, type: '', path: null, last_modified: 0, field: 'f', batch: 'b' };
  const { signal } = new AbortController();
  answers.push(new Response('abc\n'), Response.json({ id: 'abc', hostname: 'h', other: 1 }), Response.json('abc'));
  assert.deepEqual([read_ticket(await ask(request, signal)), read_ticket(await ask(request, signal)), read_ticket(await ask(request, signal))], [{ id: 'abc' }, { id: 'abc', hostname: 'h' }, { id: 'abc' }]);
  assert.deepEqual([sent[0].url, sent[0].method, JSON.parse(sent[0].body), sent[0].headers['X-CSRF-Token'], sent[0].credentials], ['/t', 'POST', request, 'c', 'same-origin']);
  const failures = [
    [Response.json({ detail: 'too many' }, { status: 422 }), 'too many', 422, false], [new Response('<html>', { status: 500 }), '500', 500, true],
    [new Response('x'.repeat(500), { status: 400 }), 'x'.repeat(200), 400, false], [new TypeError('no network'), 'no network', 0, true],
    [new Response('', { status: 429, headers: { 'Retry-After': '3' } }), '429', 429, true],
  ];
  for (const [answer, message, status, transient] of failures) {
    answers.push(answer);
    const error = await ask(request, signal).catch((caught) => caught);
    assert.deepEqual([error.message, error.status, is_transient(error)], [message, status, transient]);
    if (status === 429) assert.equal(error.retry_after_ms, 3000);
  }
  assert.throws(() => read_ticket({ id: 'a b' }), TicketError);
  assert.equal(read_ticket({ upload_id: '12345' }).id, '12345');
});

test('texts: plurals and numbers of the language, percent never 100 before the end', async () => {
  const english = new Speaker('en');
  assert.equal(english.say('said_added', { n: 1 }), '1 file added');
  assert.equal(english.say('more_waiting', { n: 9741 }), '9,741 more waiting');
  assert.deepEqual([english.percent(0.9999), english.percent(1), english.size(2e9), english.size(12)], ['99%', '100%', '2 GB', '12 bytes']);
  assert.equal(new Speaker('not a tag').say('done'), 'done');
  for (const lang of ['de', 'fr', 'es', 'nb', 'ja']) {
    const { default: texts } = await import(`../src/locales/${lang}.js`);
    assert.deepEqual(Object.keys(texts).sort(), Object.keys(ENGLISH).sort(), lang);
    for (const [key, text] of Object.entries(texts)) {
      const values = (one) => [...new Set([...JSON.stringify(one).matchAll(/\{(\w+)\}/g)].map(([, name]) => name))].filter((name) => name !== 'n' && name !== 'name').sort();
      assert.deepEqual(values(text), values(ENGLISH[key]), `${lang} ${key}`);
    }
  }
});

test('pictures: width and height of the formats, nothing of anything else', () => {
  const view = (bytes) => new DataView(Uint8Array.from([...bytes, ...Array(40).fill(0)]).buffer);
  const text = (word) => [...word].map((letter) => letter.charCodeAt(0));
  assert.deepEqual(dimensions(view([0x89, ...text('PNG'), 13, 10, 26, 10, 0, 0, 0, 13, ...text('IHDR'), 0, 0, 1, 0, 0, 0, 0, 2])), [256, 2]);
  assert.deepEqual(dimensions(view([...text('GIF89a'), 3, 0, 4, 1])), [3, 260]);
  assert.deepEqual(dimensions(view([0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 1, 0xff, 0xc4, 0, 2, 0xff, 0xc2, 0, 11, 8, 0, 5, 1, 0])), [256, 5]);
  assert.deepEqual(dimensions(view([...text('RIFF'), 0, 0, 0, 0, ...text('WEBPVP8X'), 10, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 1, 1, 0])), [10, 258]);
  assert.equal(dimensions(view(text('%PDF-1.7'))), null);
  assert.equal(dimensions(new DataView(new ArrayBuffer(4))), null);
  // A length of 0 or beyond the end must not hang or throw.
  assert.equal(dimensions(view([0xff, 0xd8, 0xff, 0xe0, 0xff, 0xff])), null);
});

test('live regions: one text in ten seconds, the newest waits, nothing old after the end, problems joined', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let now = 0;
  mock.method(performance, 'now', () => now);
  t.after(() => mock.restoreAll());
  const [status, alert] = [{ textContent: '' }, { textContent: '' }];
  const announcer = new Announcer(status);
  const pass = (ms) => ((now += ms), t.mock.timers.tick(ms));
  announcer.say(() => 'a');
  announcer.say(() => 'b');
  announcer.say(() => 'c');
  assert.equal(status.textContent, 'a');
  pass(10_000);
  assert.equal(status.textContent, 'c');
  announcer.say(() => '35 %');
  announcer.now(() => 'done');
  pass(60_000);
  assert.equal(status.textContent, 'done');
  const problems = new Problems(alert);
  const sentence = (names) => `${names.length} of ${names[0]}`;
  for (const [code, name] of [['size', 'a'], ['size', 'b'], ['type', 'c']]) problems.add(code, name, sentence);
  assert.deepEqual([alert.textContent, problems.text], ['', '2 of a. 1 of c']);
  problems.rest();
  pass(300);
  assert.equal(alert.textContent, '2 of a. 1 of c.');
  problems.add('size', 'd', sentence);
  assert.equal(problems.text, '1 of d');
  pass(300);
  assert.equal(alert.textContent, '1 of d.');
  problems.rest();
  assert.equal(problems.text, '');
});
