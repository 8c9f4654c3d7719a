// Calls of the backend API of the server that this page comes from, and the token that goes with them. The page can do what
// the API lets the bearer of that token do, and nothing else.

/** Longer than any answer of these calls takes, beside a list from a slow disk. */
const PATIENCE_MS = 15_000;
const KEY = 'incoming-token';

let token = '';

/** An answer that is no success; `status` is 0 where none came. */
export class Refused extends Error {
  constructor(status, detail, request) {
    super(detail);
    this.status = status;
    this.request = request;
  }
}

export const has_token = () => token !== '';

export function set_token(text) {
  token = text;
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
}

/** Takes the token of the address, which then loses it, else the one that this tab has kept. */
export function find_token() {
  const given = /^#token=(.*)$/.exec(location.hash);
  if (!given) {
    token = sessionStorage.getItem(KEY) ?? '';
    return;
  }
  history.replaceState(null, '', location.pathname);
  let text = given[1];
  try {
    text = decodeURIComponent(text);
  } catch {
    // It has a percent sign of its own.
  }
  set_token(text);
}

/** GET of a call; its JSON. */
export const read = async (path) => (await call(path)).body;

/** POST of a call with these parameters; the id of the request. */
export async function post(path, fields) {
  const { request } = await call(path, { method: 'POST', body: new URLSearchParams(fields) });
  return request;
}

async function call(path, options = {}) {
  const headers = { Accept: 'application/json' };
  // A header has bytes: what no token can have is sent as what it is in UTF-8.
  if (token) headers.Authorization = `Bearer ${String.fromCharCode(...new TextEncoder().encode(token))}`;
  let answer;
  let body;
  try {
    answer = await fetch(path, { ...options, headers, credentials: 'omit', cache: 'no-store', redirect: 'error', signal: AbortSignal.timeout(PATIENCE_MS) });
    body = await answer.text();
  } catch (error) {
    throw new Refused(0, error.name === 'TimeoutError' ? `no answer within ${PATIENCE_MS / 1000} s` : 'no connection to the server', null);
  }
  const request = answer.headers.get('X-Request-Id');
  let json = null;
  try {
    json = JSON.parse(body);
  } catch {
    // A proxy's own page.
  }
  if (!answer.ok) throw new Refused(answer.status, json?.detail ?? json?.title ?? `status ${answer.status}`, request);
  if (json === null) throw new Refused(answer.status, 'the answer is not JSON: is this server behind another one?', request);
  return { body: json, request };
}
