/**
 * Finds out whether a file can still be read. A browser that meets a file changed or gone since it was chosen reports
 * the upload as a network error, or stops sending and waits; only reading a byte tells it from the network.
 */

/**
 * The bytes themselves, which no longer follow the file. Rejects when they cannot be read, or not all of them.
 * @param {Blob} piece small
 */
export async function in_memory(piece) {
  const bytes = await piece.arrayBuffer();
  if (bytes.byteLength !== piece.size) throw new RangeError();
  return new Blob([bytes]);
}

/**
 * Reads one byte.
 * @param {Blob} file
 * @param {number} at offset of a byte that must be there
 */
export async function is_readable(file, at) {
  try {
    await in_memory(file.slice(at, at + 1));
    return true;
  } catch {
    return false;
  }
}
