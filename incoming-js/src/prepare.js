/**
 * A transport that makes each request ready before it goes out: with a body that is read first, with the headers the
 * page wants to send, asked for anew every time, and with the digest of a chunk. A page that cannot say its headers is
 * a connection that is lost.
 */
import { content_digest } from './digest.js';
import { PREPARE_MS } from './limits.js';
import { in_memory } from './readable.js';

/** @typedef {import('./types.js').Request} Request */
/** @typedef {import('./types.js').Options} Options */

/**
 * @param {import('./types.js').Ports} ports
 * @param {Pick<Options, 'headers'>} options
 * @returns {import('./types.js').Transport}
 */
export function prepared({ transport, clock }, options) {
  return {
    send(request, on_end) {
      if (!options.headers && !request.digest && !request.read_first) return transport.send(request, on_end);
      /** @type {{ abort: () => void } | null} */
      let running = null;
      let over = false;
      const close = () => {
        over = true;
        clock.clear_timer(timer);
      };
      /** @param {Omit<import('./types.js').Lost, 'kind'>} how */
      const lose = (how) => {
        if (over) return;
        close();
        on_end({ kind: 'lost', ...how });
      };
      /** @param {unknown} error */
      const fail = (error) => lose({ why: 'headers', text: `headers: ${/** @type {Error} */ (error)?.message ?? error}` });
      const timer = clock.set_timer(() => fail('no answer'), PREPARE_MS);
      const prepare = async () => {
        let { body } = request;
        if (request.read_first) {
          try {
            const read = await in_memory(request.read_first);
            if (body === request.read_first) body = read;
          } catch {
            return lose({ why: 'file' });
          }
        }
        const headers = await all_headers({ ...request, body }, options);
        if (over) return;
        // Throws when the page wants what cannot be a header.
        running = transport.send({ ...request, body, headers }, on_end);
        close();
      };
      prepare().catch(fail);
      return {
        abort() {
          close();
          running?.abort();
        },
      };
    },
  };
}

/**
 * The page's headers and the request's own, which win whatever case their names are in.
 * @param {Request} request
 * @param {Pick<Options, 'headers'>} options
 */
async function all_headers({ body, headers = {}, digest }, options) {
  const own = { ...headers };
  const value = digest ? await content_digest(body) : null;
  if (value) own['Content-Digest'] = value;
  // After the digest, which takes its time: a token should be fresh.
  const theirs = typeof options.headers === 'function' ? await options.headers() : options.headers;
  const others = new Headers(theirs);
  for (const name in own) others.delete(name);
  return { ...Object.fromEntries(others), ...own };
}
