/**
 * Writes `dist/` and prints its sizes.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { bundle, root } from './bundle.js';

const dist = join(root, 'dist');
const files = await bundle();
rmSync(dist, { recursive: true, force: true });
for (const [name, text] of files) {
  const path = join(dist, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  console.log(`dist/${name}: ${text.length} bytes, ${gzipSync(text, { level: 9 }).length} gzipped`);
}
