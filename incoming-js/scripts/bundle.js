/**
 * Builds what `dist/` holds, from `src/`, in memory: the same bytes every time.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { INNER_NAMES } from './inner-names.js';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const { version, license } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

const shared = {
  absWorkingDir: root,
  bundle: true,
  minify: true,
  charset: 'ascii',
  legalComments: 'none',
  mangleProps: new RegExp(`^(${INNER_NAMES.join('|')})$`),
  // The oldest browsers that have everything the source uses; esbuild lowers what is newer.
  target: ['chrome94', 'firefox93', 'safari15'],
  banner: { js: `/*! Incoming!! browser library ${version} | ${license} */` },
  write: false,
};

/** @returns {Promise<Map<string, string>>} content by path below dist/ */
export async function bundle() {
  const files = new Map();
  const outputs = [
    ['incoming.js', 'src/classic.js', 'iife'],
    ['incoming.mjs', 'src/index.js', 'esm'],
  ];
  for (const [name, entry, format] of outputs) {
    const result = await build({ ...shared, entryPoints: [entry], format });
    files.set(name, result.outputFiles[0].text);
  }
  // The source is checked against these types (`npm run types`), so they are published as they are.
  files.set('incoming.d.mts', readFileSync(join(root, 'src/api.d.ts'), 'utf8'));
  return files;
}
