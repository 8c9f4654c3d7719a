/**
 * Finds out whether a file can still be read. A browser that meets a file changed or gone since it was chosen reports
 * the upload as a network error; only reading a byte tells the two apart.
 */

/**
 * Reads one byte.
 * @param {Blob} file
 * @param {number} at offset of a byte that must be there
 */
export async function is_readable(file, at) {
  const piece = file.slice(at, at + 1);
  try {
    return (await piece.arrayBuffer()).byteLength === 1;
  } catch {
    return false;
  }
}
