// The path doctor, as far as a page can be one: probes through whatever lies between this browser and the server, and
// the server's judgement of what came back. A page cannot pace a body nor see windows; `incoming doctor` does.

const DOCTOR = '/incoming/frontend/doctor';
const LARGEST = 64 * 2 ** 20;
const WAIT_S = 5;
const PATIENCE_MS = 60000;
const TRIES = 12;

/** When to ask again a doctor that has too much to do, in ms; `null` where this is another answer, such as a proxy's. */
function again({ status, json, headers }) {
  if (status !== 429 || (headers.get('incoming-doctor') !== '1' && json?.type !== '/incoming/problems/too-many')) return null;
  return 1000 * Math.min(Number(headers.get('retry-after') ?? 2) || 1, 5);
}

/**
 * The server's answer to a probe: `{status, json, headers, took_s}`, without the first three when nothing came. Waits for
 * the doctor do not count as time that it took. Throws where the doctor has no time.
 */
async function ask(...probe) {
  for (let tries = 1; ; tries += 1) {
    const began = performance.now();
    const answer = await once(...probe);
    const took_s = (performance.now() - began) / 1000;
    const pause = again(answer);
    if (pause === null) return { ...answer, took_s };
    if (tries === TRIES) throw new Error('the doctor has reached its limit of runs; try again later');
    await new Promise((next) => setTimeout(next, pause));
  }
}

async function once(method, query = '', body = undefined, headers = {}) {
  try {
    const answer = await fetch(DOCTOR + query, {
      method, body, headers, cache: 'no-store', redirect: 'manual', signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const text = await answer.text();
    let json = null;
    try { json = JSON.parse(text); } catch { /* a page of somebody else */ }
    return { status: answer.status, json, headers: answer.headers };
  } catch {
    return {};
  }
}

const isReport = (answer) => answer.json?.doctor === 1;
const came = (answer, own) => (own ? 'own' : answer.status ? { other: answer.status } : 'broken');

/** What the answer names as the program in front. */
function proxyOf(headers) {
  const names = `${headers.get('server') ?? ''} ${headers.get('via') ?? ''}`.toLowerCase();
  return ['nginx', 'haproxy', 'caddy', 'apache'].find((name) => names.includes(name)) ?? null;
}

async function methods() {
  const tried = [];
  for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS']) {
    const answer = await ask(method, '', method === 'PUT' || method === 'POST' ? 'x' : undefined);
    const bare = method === 'HEAD' || method === 'OPTIONS';
    const own = bare ? answer.status >= 200 && answer.status < 300 : isReport(answer) && answer.json.method === method;
    tried.push({ method, came: came(answer, own) });
  }
  return tried;
}

async function requestHeadersLost() {
  const sent = { 'Content-Type': 'application/octet-stream', 'Content-Range': 'bytes 5-14/1000', 'Content-Digest': 'md5=:AAAA:' };
  const answer = await ask('PUT', '', '0123456789', sent);
  if (!isReport(answer)) return [];
  return Object.keys(sent).filter((name) => answer.json.headers[name.toLowerCase()] !== sent[name]);
}

async function refusals() {
  const tried = [];
  for (const code of ['unknown-upload', 'length-changed', 'too-large']) {
    const answer = await ask('GET', `?refuse=${code}`);
    tried.push({ code, came: came(answer, answer.json?.code === code) });
  }
  return tried;
}

/** Bodies of growing size; between the last that passed and the first that did not, a few more. */
async function cap(tell) {
  const seen = { taken: 0, refused: null, came: 'own' };
  // How long it took, or `false`.
  const fits = async (bytes) => {
    const answer = await ask('PUT', '', new Blob([new Uint8Array(bytes)]));
    const own = isReport(answer) && answer.json.body.bytes === bytes;
    if (own) seen.taken = Math.max(seen.taken, bytes);
    else Object.assign(seen, { refused: bytes, came: came(answer, false) });
    return own && answer.took_s;
  };
  for (let bytes = 2 ** 16; bytes <= LARGEST; bytes *= 4) {
    tell(`sending ${bytes / 1024} KiB`);
    const took_s = await fits(bytes);
    if (took_s === false || took_s > 3) break; // the next would take too long
  }
  for (let tries = 0; seen.refused !== null && tries < 8 && seen.refused - seen.taken > 2 ** 16; tries += 1) {
    const middle = Math.round((seen.taken + seen.refused) / 2 ** 17) * 2 ** 16;
    if (middle <= seen.taken || middle >= seen.refused) break;
    await fits(middle);
  }
  if (seen.refused !== null && seen.taken > 0) await fits(seen.taken + 1);
  return seen;
}

async function exposed() {
  const paths = [];
  for (const path of ['/incoming/backend/new_upload', '/incoming/0.1/backend/new_upload']) {
    try {
      const answer = await fetch(path, { headers: { Accept: 'application/json' }, cache: 'no-store' });
      const { code, detail } = await answer.json();
      // A token or an address that is asked for is a guard; a header of the request is none.
      const by_header = answer.status === 403 && code === 'forbidden' && detail.startsWith('header ');
      if (code === 'method-not-allowed' || by_header) paths.push(path);
    } catch { /* as it should be */ }
  }
  return paths;
}

/** Examines the path and gives back the server's findings. Throws an `Error` whose message is for people. */
export async function examine(tell) {
  tell('looking for the doctor');
  const [first, second] = [await ask('GET', '?probe=1'), await ask('GET', '?probe=2')];
  if (!isReport(first)) {
    throw new Error(first.status ? `no doctor answers (status ${first.status}): it is switched off, or a proxy rewrites the path` : 'the server cannot be reached');
  }
  const sent = Object.entries(first.json.sent);
  const received = (name) => first.headers.get(name);
  const seen = {
    proxy: proxyOf(first.headers),
    proxied: proxyOf(first.headers) !== null || first.json.naming !== 'nobody' ? true : null,
    arrived: first.json,
    query_lost: first.json.probe !== 1,
    cached: isReport(second) && second.json.serial === first.json.serial,
    // Twice the same comes to a page as one line.
    answer_headers_lost: sent.filter(([name, value]) => !received(name)?.includes(value)).map(([name]) => name),
    answer_headers_doubled: sent.filter(([name, value]) => received(name) === `${value}, ${value}`).map(([name]) => name),
  };
  tell('trying methods, headers and errors');
  seen.methods = await methods();
  seen.request_headers_lost = await requestHeadersLost();
  seen.refusals = await refusals();
  seen.exposed = await exposed();
  seen.cap = await cap(tell);
  tell(`waiting ${WAIT_S} s for an answer`);
  const waited = await ask('GET', `?wait=${WAIT_S}`);
  seen.silences = [{ of: 'server', asked_s: WAIT_S, after_s: waited.took_s, came: came(waited, isReport(waited)) }];
  tell('evaluating the results');
  const judged = await ask('POST', '/findings', JSON.stringify(seen));
  if (!judged.json?.findings) throw new Error(`the results cannot be evaluated: POST does not arrive (status ${judged.status ?? 'none'})`);
  return judged.json.findings;
}
