/**
 * The package as a project gets it: packed, unpacked beside code that uses it, without this folder. Node loads it, a bundler
 * takes it, a strict compiler finds its types, the classic script makes its global.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const here = fileURLToPath(new URL('..', import.meta.url));
const project = mkdtempSync(join(tmpdir(), 'incoming-js-'));
after(() => rmSync(project, { recursive: true }));

function run(command, args, cwd = project) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  assert.equal(status, 0, `${command} ${args.join(' ')}\n${stdout}${stderr}`);
  return stdout.trim();
}

const packed = JSON.parse(run('npm', ['pack', '--json', '--offline', '--pack-destination', project], here))[0];
const installed = join(project, 'node_modules', 'incoming-js');
mkdirSync(installed, { recursive: true });
run('tar', ['-xzf', packed.filename, '-C', installed, '--strip-components=1']);
writeFileSync(join(project, 'package.json'), '{ "private": true, "type": "module" }');

const NAMES = 'UploadError,Uploader,forget,recall,set_server_hostname,unfinished';

test('the package has no dependencies and no install scripts', (t) => {
  const { dependencies, peerDependenciesMeta, peerDependencies, scripts } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
  assert.deepEqual([dependencies, peerDependencies, peerDependenciesMeta], [undefined, { '@uppy/core': '^6.3.1' }, { '@uppy/core': { optional: true } }]);
  for (const hook of ['preinstall', 'install', 'postinstall', 'prepare']) assert.equal(scripts[hook], undefined);
  t.diagnostic(`${packed.filename}: ${packed.files.length} files, ${packed.size} bytes packed, ${packed.unpackedSize} unpacked`);
});

test('Node imports it, and the classic script makes the global', () => {
  const sorted = (what) => `console.log(Object.keys(${what}).sort().join())`;
  writeFileSync(join(project, 'named.js'), `import incoming, * as all from 'incoming-js'; ${sorted('incoming')}; ${sorted('all')}`);
  assert.deepEqual(run(process.execPath, ['named.js']).split('\n'), [NAMES, NAMES.replace('Uploader,', 'Uploader,default,')]);
  writeFileSync(join(project, 'classic.js'), `import 'incoming-js/incoming.js'; ${sorted('globalThis.incoming')}`);
  assert.equal(run(process.execPath, ['classic.js']), NAMES);
});

test('the queue, the element and its texts can be imported where there is no page', () => {
  writeFileSync(join(project, 'server.js'), `import { create_queue, parse_size } from 'incoming-js/queue';
import { IncomingUpload, add_language } from 'incoming-js/ui';
import de from 'incoming-js/locales/de';
import 'incoming-js/incoming-ui.js';
import { incomingProcess } from 'incoming-js/filepond';
add_language('de', de);
const queue = create_queue({ ticket_url: '/tickets', auto: false });
queue.add([new File(['abc'], 'a.txt')]);
console.log(typeof IncomingUpload, typeof incomingProcess({ ticketUrl: '/tickets' }), parse_size('2GB'), queue.snapshot().counts.waiting, queue.snapshot() === queue.snapshot(), de.pause);`);
  assert.equal(run(process.execPath, ['server.js']), 'function function 2000000000 1 true Anhalten');
});

test('a bundler takes it, and leaves it small', async (t) => {
  writeFileSync(join(project, 'entry.js'), "import { Uploader } from 'incoming-js';\nwindow.up = new Uploader('id', new File([], 'a'));");
  const { outputFiles } = await build({ entryPoints: [join(project, 'entry.js')], bundle: true, minify: true, format: 'iife', write: false });
  const bytes = gzipSync(outputFiles[0].contents, { level: 9 }).length;
  t.diagnostic(`a page with nothing else: ${bytes} bytes gzipped`);
  assert.ok(bytes < 12.6 * 1024, String(bytes));
});

test('a strict project finds its types, as a bundler resolves and as Node does', () => {
  copyFileSync(join(here, 'test/page.ts'), join(project, 'page.ts'));
  writeFileSync(join(project, 'paths.ts'), `import 'incoming-js/incoming.js';
import { Uploader, type UploaderObject } from 'incoming-js/incoming.mjs';
export const up: UploaderObject = new Uploader('id', new File([], 'a')).start();
// @ts-expect-error it is typed, not any
up.no_such_property;
import { create_queue, dropped, TicketError, type Entry, type Snapshot } from 'incoming-js/queue';
import { add_language, type IncomingUpload } from 'incoming-js/ui';
import de from 'incoming-js/locales/de';
add_language('de', de);
const queue = create_queue({ getTicket: async ({ name, batch }) => { if (name === '') throw new TicketError('no', 422); return { id: batch, digest: true }; }, limits: { max_size: 5 } });
const now: Snapshot = queue.snapshot();
const waiting: number = now.counts.waiting;
export const names: string[] = queue.entries.map((entry: Entry) => entry.name + waiting);
export async function drop(event: DragEvent) { for await (const { items } of dropped(event.dataTransfer!)) queue.add(items); }
const element: IncomingUpload = document.querySelector('incoming-upload')!;
element.addEventListener('incoming-finish', ({ detail }) => detail.id.trim());
// @ts-expect-error there is no such state
now.counts.sleeping;
`);
  const tsc = join(here, 'node_modules/typescript/bin/tsc');
  for (const [module, resolution] of [['esnext', 'bundler'], ['nodenext', 'nodenext']]) {
    run(process.execPath, [tsc, '--strict', '--noEmit', '--target', 'es2022', '--lib', 'es2022,dom,dom.iterable', '--types', '',
      '--module', module, '--moduleResolution', resolution, 'page.ts', 'paths.ts']);
  }
});
