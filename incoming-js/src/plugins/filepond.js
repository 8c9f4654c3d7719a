/**
 * `server.process` for FilePond: `FilePond.create(input, { server: { process: incomingProcess({ ticketUrl: '/tickets' }) } })`. The form
 * gets the id of each upload.
 */
import { FileUploads, named_file } from './file-uploads.js';

/** Shortest time between two reports to FilePond, which draws what lies between them by itself and all of its list anew with each. */
const PROGRESS_MS = 100;

/** @type {typeof import('../api-plugins.js').incomingProcess} */
export function incomingProcess(options) {
  const uploads = new FileUploads(options);
  return (field, file, metadata, load, error, progress, abort) => {
    let reported = -Infinity;
    const entry = uploads.add(named_file(file, file.name), { field, path: /** @type {any} */ (file)._relativePath || null, meta: metadata }, {
      progress({ bytes_acked }) {
        const now = performance.now();
        if (now - reported < PROGRESS_MS) return;
        reported = now;
        progress(true, bytes_acked, file.size);
      },
      finish: load,
      error: ({ message }) => error(message),
    });
    return {
      abort() {
        entry.remove();
        abort();
      },
    };
  };
}
