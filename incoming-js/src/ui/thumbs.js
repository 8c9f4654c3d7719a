/**
 * Small pictures of image files, drawn one at a time when their row is in view and the page has time. A picture that is too large to
 * decode safely is not decoded: its size is read from its first bytes.
 */

const SIDE = 96;
const MOST_BYTES = 30e6;
const MOST_PIXELS = 50e6;
const HEAD_BYTES = 65_536;

/** @type {Promise<unknown>} */
let last = Promise.resolve();

/** Draws a picture of the file, if it is one. @param {File} file @param {(canvas: HTMLCanvasElement) => void} done */
export function thumbnail(file, done) {
  if (!/^image\//.test(file.type) || file.size > MOST_BYTES) return;
  last = last.then(() => new Promise((idle) => (window.requestIdleCallback ?? setTimeout)(idle)))
    .then(() => draw(file)).then((canvas) => canvas && done(canvas)).catch(() => {});
}

/** @param {File} file */
async function draw(file) {
  const size = dimensions(new DataView(await file.slice(0, HEAD_BYTES).arrayBuffer())) ?? [0, 0];
  const pixels = size[0] * size[1];
  if (pixels < 1 || pixels > MOST_PIXELS) return null;
  const scale = Math.min(1, SIDE / Math.max(...size));
  const [width, height] = size.map((side) => Math.max(1, Math.round(side * scale)));
  const bitmap = await createImageBitmap(file, { resizeWidth: width, resizeHeight: height, resizeQuality: 'medium' });
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext('bitmaprenderer')?.transferFromImageBitmap(bitmap);
  bitmap.close();
  return canvas;
}

/**
 * Width and height that a JPEG, PNG, GIF or WebP says it has; null for anything else.
 * @param {DataView} head
 * @returns {[number, number] | null}
 */
export function dimensions(head) {
  const size = head.byteLength;
  if (size < 30) return null;
  const mark = head.getUint32(0);
  if (mark === 0x89504e47) return [head.getUint32(16), head.getUint32(20)];
  if (mark === 0x47494638) return [head.getUint16(6, true), head.getUint16(8, true)];
  if (mark === 0x52494646 && head.getUint32(8) === 0x57454250) return webp(head);
  if (mark >>> 16 !== 0xffd8) return null;
  for (let at = 2; at + 9 < size && head.getUint8(at) === 0xff; at += 2 + head.getUint16(at + 2)) {
    const marker = head.getUint8(at + 1);
    // A frame header, but for the tables among these numbers.
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) return [head.getUint16(at + 7), head.getUint16(at + 5)];
  }
  return null;
}

/** @param {DataView} head @returns {[number, number] | null} */
function webp(head) {
  const u32 = (/** @type {number} */ at) => head.getUint32(at, true);
  // Of `VP8X`, `VP8 ` or `VP8L`.
  switch (head.getUint8(15)) {
    case 0x58: return [(u32(24) & 0xffffff) + 1, (u32(26) >>> 8) + 1];
    case 0x20: return [u32(26) & 0x3fff, (u32(26) >>> 16) & 0x3fff];
    case 0x4c: return [(u32(21) & 0x3fff) + 1, ((u32(21) >>> 14) & 0x3fff) + 1];
    default: return null;
  }
}
