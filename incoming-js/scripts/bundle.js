/**
 * Builds what `dist/` holds, from `src/`, in memory: the same bytes every time.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { minify } from 'terser';
import { INNER_NAMES, UI_NAMES } from './inner-names.js';

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
  for (const [name, text] of await user_interface()) files.set(name, text);
  for (const [name, text] of await languages()) files.set(name, text);
  // Modules go to bundlers, which make them small in their own way.
  for (const [name, text] of files) if (name.endsWith('.js')) files.set(name, await smaller(text));
  // The source is checked against these types (`npm run types`), so they are published as they are.
  for (const part of ['', '-queue', '-ui', '-locale', '-plugins', '-uppy']) {
    const text = readFileSync(join(root, `src/api${part}.d.ts`), 'utf8');
    files.set(`incoming${part}.d.mts`, text.replaceAll(/'\.\/api(-\w+)?\.js'/g, (_, other = '') => `'./incoming${other}.mjs'`));
  }
  return files;
}

/** Scripts of pages in some 3 % less than esbuild makes of them. @param {string} code */
async function smaller(code) {
  const options = { ecma: /** @type {const} */ (2020), compress: { passes: 3 }, format: { comments: /^!/, ascii_only: true } };
  return `${(await minify(code, options)).code}\n`;
}

/** Texts of the element, for pages without modules: `incoming-ui.js` comes after them. */
async function languages() {
  const names = readdirSync(join(root, 'src/locales')).map((name) => name.replace(/\.js$/, ''));
  return Promise.all(names.map(async (name) => {
    const contents = `import texts from './src/locales/${name}.js'; (globalThis.incoming_languages ??= {}).${name} = texts;`;
    const result = await build({ ...shared, charset: 'utf8', mangleProps: undefined, stdin: { contents, resolveDir: root }, format: 'iife' });
    return /** @type {[string, string]} */ ([`locales/${name}.js`, result.outputFiles[0].text]);
  }));
}

/**
 * The queue and the element. The library in the script of pages is built first, since other names of it are shortened.
 */
async function user_interface() {
  // The oldest browsers with form fields and style sheets made by script.
  const plain = { ...shared, mangleProps: new RegExp(`^(${UI_NAMES.join('|')})$`), target: ['chrome99', 'firefox101', 'safari16.4'] };
  const library = await build({ ...shared, entryPoints: ['src/library.js'], format: 'esm', banner: {} });
  const built = library.outputFiles[0].text;
  const inside = {
    name: 'built library',
    setup(/** @type {import('esbuild').PluginBuild} */ { onResolve, onLoad }) {
      onResolve({ filter: /\/library\.js$/ }, () => ({ path: 'library', namespace: 'built' }));
      onLoad({ filter: /.*/, namespace: 'built' }, () => ({ contents: built }));
    },
  };
  const outside = {
    name: 'library of the package',
    setup(/** @type {import('esbuild').PluginBuild} */ { onResolve }) {
      onResolve({ filter: /^\.\.?\/index\.js$/ }, () => ({ path: './incoming.mjs', external: true }));
    },
  };
  const queue = {
    name: 'queue of the package',
    setup(/** @type {import('esbuild').PluginBuild} */ { onResolve }) {
      onResolve({ filter: /^\.\.\/(queue-index|ticket)\.js$/ }, () => ({ path: './incoming-queue.mjs', external: true }));
      onResolve({ filter: /^@uppy\// }, ({ path }) => ({ path, external: true }));
    },
  };
  const style = {
    name: 'style without white space',
    setup(/** @type {import('esbuild').PluginBuild} */ { onLoad }) {
      onLoad({ filter: /style\.js$/ }, ({ path }) => {
        const [before, css, after] = readFileSync(path, 'utf8').split(/(?<=const CSS = `)|(?=`;\n\n)/);
        return { contents: before + css.replace(/\s+/g, ' ').replace(/ ?([{};:,]) /g, '$1').replace(/;\}/g, '}') + after };
      });
    },
  };
  /** @type {[string, string, 'iife' | 'esm', import('esbuild').Plugin][]} */
  const outputs = [
    ['incoming-ui.js', 'src/ui/classic.js', 'iife', inside],
    ['incoming-ui.mjs', 'src/ui/index.js', 'esm', outside],
    ['incoming-queue.mjs', 'src/queue-index.js', 'esm', outside],
    ['incoming-uppy.mjs', 'src/plugins/uppy.js', 'esm', queue],
    ['incoming-filepond.mjs', 'src/plugins/filepond.js', 'esm', queue],
  ];
  /** @type {[string, string][]} */
  const files = [];
  for (const [name, entry, format, plugin] of outputs) {
    // Plugins call what has such names in the library that they are for.
    const names = plugin === queue ? { mangleProps: undefined } : {};
    const result = await build({ ...plain, ...names, entryPoints: [entry], format, plugins: [plugin, style] });
    files.push([name, result.outputFiles[0].text]);
  }
  return files;
}
