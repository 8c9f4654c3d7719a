/**
 * The element's style, as a sheet that a Content-Security-Policy without `style-src` allows.
 */

/** Colours for light and for dark pages. @type {[string, string, string][]} */
const COLOURS = [
  ['accent', '#0b57d0', '#a8c7fa'], ['on-accent', '#fff', '#062e6f'], ['muted', '#595959', '#b5b5b5'], ['border', '#767676', '#8e8e8e'],
  ['danger', '#b3261e', '#f2b8b5'], ['ok', '#146c2e', '#6dd58c'],
];

/** @param {(light: string, dark: string) => string} pick */
const colours = (pick) => COLOURS.map(([name, light, dark]) => `--_${name}: var(--incoming-${name}, ${pick(light, dark)});`).join('');

const CSS = `
:host { display: block; font: var(--incoming-font, inherit); color: var(--_text); ${colours((light) => light)}
  --_text: var(--incoming-text, CanvasText); --_surface: var(--incoming-surface, Canvas);
  --_radius: var(--incoming-radius, 6px); --_gap: var(--incoming-gap, 8px); --_thumb: var(--incoming-thumb, 40px); --_focus: var(--incoming-focus, var(--_accent)); }
@supports (color: light-dark(#000, #fff)) { :host { ${colours((light, dark) => `light-dark(${light}, ${dark})`)} } }
:host([hidden]), [hidden] { display: none !important; }
.drop { border: 1px dashed var(--_border); border-radius: var(--_radius); padding: calc(2 * var(--_gap)); display: flex; flex-wrap: wrap;
  gap: var(--_gap); align-items: center; background: var(--_surface); }
.dragging .drop { outline: 3px solid var(--_accent); }
.hint, .meta, .state { color: var(--_muted); }
.hint, .meta, .state, .box > div + div { unicode-bidi: plaintext; text-align: -webkit-match-parent; text-align: match-parent; }
button { font: inherit; min-height: 28px; padding: 4px 10px; border: 1px solid var(--_border); border-radius: var(--_radius);
  background: transparent; color: inherit; }
button.main { background: var(--_accent); color: var(--_on-accent); border-color: var(--_accent); }
button:disabled { opacity: .6; }
:focus-visible { outline: 2px solid var(--_focus); outline-offset: 2px; }
ul { list-style: none; margin: var(--_gap) 0 0; padding: 0; }
li { display: flex; flex-wrap: wrap; gap: 4px var(--_gap); align-items: center; padding: var(--_gap) 0; }
li + li { border-top: 1px solid var(--_border); }
.thumb { width: var(--_thumb); height: var(--_thumb); flex: none; display: grid; place-items: center; overflow: hidden; font-size: .75em; }
.thumb canvas { max-width: 100%; max-height: 100%; }
.text { flex: 1 1 12em; min-width: 0; overflow-wrap: anywhere; }
.state { display: block; }
progress { width: 100%; height: 6px; margin: 2px 0; accent-color: var(--_accent); display: block; }
.notice, .failed .state { color: var(--_danger); }
.finished .state, .kept .state { color: var(--_ok); }
.actions { display: flex; gap: 4px; margin-inline-start: auto; }
.box > div + div { margin-top: var(--_gap); }
.sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (forced-colors: active) { :host { --_muted: CanvasText; --_danger: CanvasText; --_ok: CanvasText; } }
@media (pointer: coarse) { button { min-height: 44px; min-width: 44px; } }
`;

/** @type {CSSStyleSheet | undefined} */
let sheet;

export function style_sheet() {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
  }
  return sheet;
}
