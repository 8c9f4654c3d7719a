/**
 * What pages hand over: ids, files, options, host names.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { origin_of, script_origin } from '../src/library.js';
import { FakeStore, fake_file, fake_page, fake_upload, table } from './fakes.js';

table('origin', origin_of, [
  ['up.example', 'https:', 'https://up.example'],
  ['up.example:4000', 'http:', 'http://up.example:4000'],
  ['up.example', 'file:', 'https://up.example'],
  ['https://up.example:8443', 'http:', 'https://up.example:8443'],
  ['http://up.example/', 'https:', 'http://up.example'],
  ['//up.example', 'http:', 'http://up.example'],
  [' [::1]:4000 ', 'http:', 'http://[::1]:4000'],
]);

for (const text of ['not a host', '', '  ', 'https://', 'up.example/path', 'https://up.example/?a', 'up.example#a', 'user:word@up.example',
  'javascript:alert(1)', 'up.example:port', '\ud800.example', undefined, null, 7, {}, Symbol('x'), { toString() { throw new Error('no'); } }]) {
  test(`no origin, and refused with its text: ${JSON.stringify(text)}`, () => {
    const expected = typeof text === 'string' && text !== '\ud800.example' ? `: "${text}"` : 'hostname';
    assert.throws(() => origin_of(text, 'https:'), (error) => error instanceof TypeError && error.message.includes(expected));
  });
}

table('script origin', script_origin, [
  ['https://up.example:1/incoming/frontend/incoming.js', 'https://up.example:1'],
  ['blob:https://up.example/1', null],
  ['file:///x.js', null],
  [null, null],
  ['', null],
]);

test('ids are trimmed, in every request and in the name of the lock', async () => {
  const page = fake_page({ store: new FakeStore() });
  const { net, uploader } = fake_upload({ page, id: ' \n52a6a3f5-b87d-4d5c-8b6b-0e4cdb1ad5f0\r\n' });
  uploader.start();
  assert.equal(net.next('POST').url, 'https://up.example/incoming/frontend/uploads/52a6a3f5-b87d-4d5c-8b6b-0e4cdb1ad5f0');
  assert.deepEqual(await page.ports.locks.held(), ['incoming https://up.example/incoming/frontend/uploads/52a6a3f5-b87d-4d5c-8b6b-0e4cdb1ad5f0']);
});

for (const id of [undefined, null, 7, {}, Promise.resolve('id'), '', ' \n ', 'a/b', 'a b', '../id', '<html>', '{"id": 1}', 'x'.repeat(101), '\ud800']) {
  test(`no id: ${typeof id} ${typeof id === 'string' ? JSON.stringify(id.slice(0, 9)) : ''}`, () => {
    assert.throws(() => fake_page().incoming.Uploader(id, fake_file(1)), { name: 'TypeError', message: /^incoming: upload_id must be/ });
  });
}

for (const [what, file] of [['nothing', undefined], ['null', null], ['a text', 'film.mp4'], ['a list', [1]], ['a map', new Map()], ['its list', { length: 1 }]]) {
  test(`no Blob: ${what}`, () => {
    assert.throws(() => fake_page().incoming.Uploader('id', file), { name: 'TypeError', message: /^incoming: file must be/ });
  });
}

test('a Blob without a name is a file too', () => {
  const { net, uploader } = fake_upload({ file: new Blob(['abc']) });
  assert.equal(uploader.filename, '');
  uploader.start();
  assert.equal(JSON.parse(net.next('POST').body).name, undefined);
});

test('no server is known: start says so and changes nothing, cancelling ends it, and a later start finds the server', async (t) => {
  const { create_library } = await import('../src/library.js');
  const { ports, net } = fake_page();
  const incoming = create_library(null, ports);
  const uploader = incoming.Uploader('id1', fake_file(10));
  assert.throws(() => uploader.start(), { name: 'TypeError', message: /hostname/ });
  assert.deepEqual([uploader.state_msg, net.open.length, ports.clock.timers], ['not yet started', 0, 0]);
  const cancelled = incoming.Uploader('id2', fake_file(10)).cancel('x');
  assert.deepEqual([cancelled.cancelled, net.open.length], [true, 0]);
  incoming.set_server_hostname('up.example');
  uploader.start();
  assert.equal(net.all('POST').length, 1);
  // As on a page from a file.
  globalThis.location = { protocol: 'file:', origin: 'null' };
  t.after(() => delete globalThis.location);
  assert.throws(() => create_library(null, ports).Uploader('id3', fake_file(10)).start(), TypeError);
});

test('the hostname may be set until the start', () => {
  const page = fake_page();
  const { uploader, net } = fake_upload({ page });
  page.incoming.set_server_hostname('http://other.example:81/');
  uploader.start();
  assert.equal(net.next('POST').url, 'http://other.example:81/incoming/frontend/uploads/id1');
  const own = fake_upload({ page, options: { hostname: 'third.example' } });
  own.uploader.start();
  assert.match(net.all('POST')[1].url, /^https:\/\/third\.example\//);
});

test('impossible options are refused', () => {
  const { incoming } = fake_page();
  for (const options of [{ chunk_size: 0 }, { send_ahead: 1.5 }, { chunk_size: '8' }, { hostname: 'a b' }]) {
    assert.throws(() => incoming.Uploader('a', fake_file(1), options), TypeError);
  }
});
