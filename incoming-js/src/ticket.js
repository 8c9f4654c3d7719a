/**
 * Asks the web app for tickets: one POST for each file, with the page's token against forged requests, and what its answers
 * mean.
 */
import { parse_json, upload_url } from './protocol.js';

/** @typedef {{ name: string, size: number, type: string, path: string | null, last_modified: number, field: string, batch: string }} TicketRequest */
/** @typedef {string | ({ id: string } & import('./api.js').Options)} Ticket */
/** @typedef {(request: TicketRequest, signal: AbortSignal) => Ticket | Promise<Ticket>} GetTicket */

const MOST_TEXT = 200;

/** No ticket. `status` 401 and 403 stop the queue; 408, 425, 429, 5xx and 0 (no answer) are waited for; the rest is final. */
export class TicketError extends Error {
  code = 'no-ticket';

  /**
   * @param {string} message for people
   * @param {number} status
   * @param {number | null} retry_after_ms
   */
  constructor(message, status, retry_after_ms = null) {
    super(message);
    this.status = status;
    this.retry_after_ms = retry_after_ms;
  }
}

/** Whether another try may bring a ticket. @param {{ status?: number }} error */
export function is_transient({ status }) {
  return status !== undefined && (status === 0 || status >= 500 || [408, 425, 429].includes(status));
}

/**
 * @param {unknown} ticket what `getTicket` gave
 * @returns {{ id: string } & import('./api.js').Options}
 * @throws {TicketError} if it is none, such as the text of a login page
 */
export function read_ticket(ticket) {
  const { id, upload_id = id, hostname, headers, digest, chunk_size } = /** @type {any} */ (typeof ticket === 'string' ? { id: ticket } : ticket ?? {});
  const text = String(upload_id ?? '').trim();
  if (!/^[\w-]{1,100}$/.test(text)) throw new TicketError('the web app gave no ticket', 200);
  const options = Object.entries({ hostname, headers, digest, chunk_size }).filter(([, value]) => value !== undefined && value !== null);
  return { id: text, ...Object.fromEntries(options) };
}

/**
 * A `getTicket` that asks a URL of the web app.
 * @param {string} url
 * @param {{ credentials?: RequestCredentials, headers?: () => Record<string, string> }} [options] `headers` is called for each request
 * @returns {GetTicket}
 */
export function tickets_from(url, { credentials = 'same-origin', headers = () => ({}) } = {}) {
  return async (request, signal) => {
    const own = { 'Content-Type': 'application/json', Accept: 'application/json, text/plain' };
    const answer = await fetch(url, { method: 'POST', headers: { ...own, ...headers() }, body: JSON.stringify(request), credentials, signal })
      .catch((error) => Promise.reject(signal.aborted ? error : new TicketError(String(error.message), 0)));
    const text = await answer.text().catch(() => '');
    const json = /** @type {any} */ (parse_json(text));
    if (answer.ok) return typeof json === 'string' || json instanceof Object ? json : text;
    const said = json?.detail ?? json?.error ?? json?.message ?? (/^\s*</.test(text) ? '' : text);
    throw new TicketError(String(said || answer.status).slice(0, MOST_TEXT), answer.status, retry_after_ms(answer.headers.get('Retry-After')));
  };
}

/**
 * What the server says of an upload of an earlier visit.
 * @param {{ hostname: string, upload_id: string }} upload
 * @returns {Promise<string | null>} its state, `gone`, or null if that is unknown
 */
export async function upload_state({ hostname, upload_id }) {
  const answer = await fetch(upload_url(hostname, upload_id), { cache: 'no-store' }).catch(() => null);
  const { state = null, code } = (await answer?.json().catch(() => null)) ?? {};
  // A proxy's own 404 has no code.
  return code && [404, 410].includes(/** @type {Response} */ (answer).status) ? 'gone' : state;
}

/** @param {string | null} value seconds, or a date @returns {number | null} */
function retry_after_ms(value) {
  if (!value) return null;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return ms >= 0 ? ms : null;
}

/**
 * An id that no one guesses, also outside of secure contexts.
 * @returns {string}
 */
export function random_id() {
  // The address of a blob ends with a UUID; `crypto.randomUUID` is missing there.
  const url = URL.createObjectURL(new Blob());
  URL.revokeObjectURL(url);
  return url.slice(-36);
}
