/**
 * A file whose pieces can be compared, and its upload.
 */
import { fake_file, fake_upload, status_of } from './fakes.js';

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const SIZE = 4 * MiB;

/** The file's bytes depend on where they are. */
export function content(from, to) {
  const bytes = new Uint8Array(to - from);
  for (let i = 0; i < bytes.length; i += 4) bytes[i] = (from + i) >> 12;
  return bytes;
}

/** A file that can be looked at: what was read of it, and whether it still can be. */
export function large_file(size = SIZE) {
  const seen = { reads: [], readable: true };
  const slice = (from, to) => ({
    size: to - from,
    range: [from, to],
    arrayBuffer: async () => {
      if (!seen.readable) throw new DOMException('gone', 'NotReadableError');
      seen.reads.push([from, to]);
      return content(from, to).buffer;
    },
  });
  return { ...fake_file(size), slice, seen };
}

export function upload(received, more = {}) {
  const file = more.file ?? large_file();
  const page = fake_upload({ size: SIZE, ...more, file, options: { send_ahead: 1, chunk_size: MiB, ...more.options } });
  page.begin({ chunk_size: MiB, length: SIZE, received });
  return { ...page, seen: file.seen, status: (extra) => status_of({ chunk_size: MiB, length: SIZE, received, ...extra }) };
}

/** Waits until a request of a kind is open: hashing takes its time, elsewhere. */
export async function asked(net, method) {
  for (let i = 0; i < 2000 && net.all(method).length === 0; i += 1) await new Promise((next) => setTimeout(next, 1));
  return net.next(method);
}

/** Waits as long as an upload does for a file that cannot be read; `answer` is the status meanwhile. */
export async function patience({ net, clock, uploader }, answer) {
  for (let attempt = 0; attempt < 3; attempt += 1) {
    for (let i = 0; i < 500 && !/cannot be read/.test(uploader.state_msg); i += 1) await new Promise((next) => setTimeout(next, 1));
    clock.advance(10_000);
    net.next('GET').reply(200, answer());
  }
}
