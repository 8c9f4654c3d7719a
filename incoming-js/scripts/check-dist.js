/**
 * Fails when `dist/` is not what `src/` builds.
 */
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { bundle, root } from './bundle.js';

const dist = join(root, 'dist');
const files = await bundle();
const wrong = [...files].filter(([name, text]) => !existsSync(join(dist, name)) || readFileSync(join(dist, name), 'utf8') !== text);
const present = existsSync(dist) ? readdirSync(dist, { recursive: true }).map((name) => join(dist, String(name))) : [];
const stale = present.filter((path) => statSync(path).isFile()).map((path) => relative(dist, path).split(sep).join('/')).filter((name) => !files.has(name));

for (const [name] of wrong) console.error(`dist/${name} is not what the source builds`);
for (const name of stale) console.error(`dist/${name} is not built from anything`);
if (wrong.length + stale.length > 0) {
  console.error('run `npm run build`');
  process.exit(1);
}
console.log('dist is up to date');
