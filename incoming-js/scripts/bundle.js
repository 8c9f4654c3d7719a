/**
 * Builds what `dist/` holds, from `src/`, in memory: the same bytes every time.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
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
  // The oldest browsers with everything the source uses; esbuild lowers what is newer.
  target: ['chrome94', 'firefox93', 'safari15'],
  banner: { js: `/*! Incoming!! browser library ${version} | ${license} */` },
  write: false,
};

/** @returns {Promise<Map<string, string>>} path below dist/ to content */
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
  for (const [name, text] of declarations()) files.set(`types/${name}`, text);
  return files;
}

/** Type declarations, out of the JSDoc comments. */
function declarations() {
  const out = mkdtempSync(join(tmpdir(), 'incoming-js-'));
  try {
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const flags = ['--noEmit', 'false', '--declaration', '--emitDeclarationOnly', '--rootDir', 'src', '--outDir', out];
    const run = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.json', ...flags], { cwd: root, encoding: 'utf8' });
    if (run.status !== 0) throw new Error(`tsc failed:\n${run.stdout}${run.stderr}`);
    return readdirSync(out).filter((name) => name !== 'classic.d.ts').sort().map((name) => [name, readFileSync(join(out, name), 'utf8')]);
  } finally {
    rmSync(out, { recursive: true });
  }
}
