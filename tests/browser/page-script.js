// Runs in the page: makes uploaders, records everything they report, and checks the invariants of their
// properties.

const FLAGS = ['connected', 'finished', 'paused', 'can_pause', 'cancelling', 'cancelled', 'can_cancel'];
const FIGURES = ['filename', 'bytes_total', 'bytes_tx', 'bytes_acked', 'bytes_ahead', 'frac_complete', 'chunks_tx_now',
  'chunks_acked_now', 'chunks_ahead', 'state_msg', 'cancel_msg', 'error_code', 'error_msg'];

window.uploads = {};

// Requests to uploads that this page has in flight, by what they are for, and the most there were at once. A request is in
// flight from when it is sent until the page has its answer, its failure, or has aborted it. `hosts`: where chunks went.
window.flights = { now: { put: 0, poll: 0, other: 0, cancel: 0 }, most: { put: 0, poll: 0, shared: 0, all: 0 }, sent: 0, hosts: [] };
{
  const { open, send } = XMLHttpRequest.prototype;
  const kinds = new WeakMap();
  XMLHttpRequest.prototype.open = function (method, url, ...more) {
    const waits = /[?&]wait=/.test(url);
    if (url.includes('/uploads/')) kinds.set(this, method === 'PUT' ? 'put' : method === 'DELETE' ? 'cancel' : waits ? 'poll' : 'other');
    if (method === 'PUT') window.flights.hosts.push(new URL(url, document.baseURI).host);
    return open.call(this, method, url, ...more);
  };
  XMLHttpRequest.prototype.send = function (...body) {
    const kind = kinds.get(this);
    if (kind) {
      const { now, most } = window.flights;
      window.flights.sent += 1;
      now[kind] += 1;
      const shared = now.put + now.poll + now.other;
      for (const [key, count] of Object.entries({ put: now.put, poll: now.poll, shared, all: shared + now.cancel })) {
        most[key] = Math.max(most[key], count);
      }
      // Before `load`, in which the next one may be sent.
      const end = () => {
        if (this.readyState !== 4) return;
        this.removeEventListener('readystatechange', end);
        now[kind] -= 1;
      };
      this.addEventListener('readystatechange', end);
    }
    return send.apply(this, body);
  };
}

const properties = (up) => Object.fromEntries([...FIGURES, ...FLAGS].map((key) => [key, up[key]]));

/** What is wrong with an uploader, by the contract. */
function wrong(up, before) {
  const found = [];
  const must = (right, what) => right || found.push(`${what}: ${JSON.stringify(properties(up))}`);
  must(up.bytes_ahead === up.bytes_tx - up.bytes_acked, 'bytes_ahead is not tx - acked');
  must(up.bytes_acked >= 0 && up.bytes_tx >= up.bytes_acked && up.bytes_tx <= up.bytes_total, 'bytes out of bounds');
  must(up.frac_complete === (up.bytes_total === 0 ? 1 : up.bytes_acked / up.bytes_total), 'frac_complete');
  must(!before || up.bytes_acked >= before.bytes_acked, 'bytes_acked fell');
  must(up.chunks_ahead >= 0 && up.chunks_tx_now - up.chunks_acked_now === up.chunks_ahead, 'chunks do not add up');
  must(!(up.paused && up.can_cancel), 'can be cancelled while paused');
  must(!up.paused || up.can_pause, 'paused, and cannot be unpaused');
  must(!(up.finished || up.cancelled) || !(up.connected || up.can_pause || up.can_cancel), 'over, and still something to do');
  must(!(up.finished && up.cancelled), 'finished and cancelled');
  must(typeof up.state_msg === 'string' && up.state_msg !== '', 'no state_msg');
  for (const flag of FLAGS) must(typeof up[flag] === 'boolean', `${flag} is not a boolean`);
  return found;
}

/** Records everything that an uploader reports. */
function watch(name, up) {
  const record = {
    up, outcome: null, progress: 0, events: [], endings: [], order: [], wrong_targets: 0, wrong: [], early: [], flags: [], said: [],
    returned: {},
  };
  window.uploads[name] = record;
  let [reported_at, reported, before] = [-Infinity, '', null];
  up.onprogress = (who) => {
    if (who !== up) record.wrong_targets += 1;
    record.progress += 1;
    record.wrong.push(...wrong(up, before));
    before = properties(up);
    if (record.said.at(-1) !== up.state_msg) record.said.push(up.state_msg);
    const urgent = JSON.stringify([...FLAGS, 'error_code', 'error_msg', 'cancel_msg'].map((key) => up[key]));
    if (urgent !== reported) record.flags.push(FLAGS.filter((key) => up[key]).join());
    // Clocks in pages are coarse on purpose: 16 ms may look like 14.
    else if (performance.now() - reported_at < 14) record.early.push(performance.now() - reported_at);
    reported = urgent;
    reported_at = performance.now();
  };
  for (const ending of ['finished', 'cancelled', 'error']) {
    up[`on${ending}`] = (who) => {
      if (who !== up) record.wrong_targets += 1;
      record.endings.push(ending);
    };
  }
  for (const event of ['progress', 'finished', 'cancelled', 'error']) {
    up.addEventListener(event, (one) => {
      if (one.target !== up) record.wrong_targets += 1;
      record.events.push(event);
    });
  }
  up.done.then(
    (who) => (record.outcome = who === up ? 'finished' : 'resolved to something else'),
    (error) => (record.outcome = [error.name, error.code, error.error_code, error.message].filter((it) => it !== undefined).join(' ')),
  );
  return record;
}

window.watch = watch;

window.start_upload = (id, name, index, options, start) => {
  const { files } = document.getElementById('files');
  const up = incoming.Uploader(id, files[index], options);
  const record = watch(name, up);
  if (start) record.returned.start = up.start() === up;
};

window.snapshot = (name) => {
  const record = window.uploads[name];
  const { up, events, wrong: broken, ...rest } = record;
  const progress_events = events.filter((event) => event === 'progress').length;
  return { ...properties(up), ...rest, wrong: broken.slice(0, 5), progress_events, ending_events: events.filter((event) => event !== 'progress') };
};
