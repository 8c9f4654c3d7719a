"""Servers over one bucket, clients that remember what they were promised, and a web app that looks at each file it is given."""
import collections
import contextlib
import hashlib
import http.client
import http.server
import json
import random
import subprocess
import threading
import time
import urllib.parse
import uuid

from proxies import Store, Wire
from rig import program, until, url_of
from services import BUCKET, over_bucket

PART = 8 << 20
SIZES = [1, 5000, 100_000, PART, PART + 1, 20_000_000, 33_000_000]
BROKEN = (OSError, http.client.HTTPException)
# A client that retries is acknowledged something, and has its file at the web app, within this time after the last disturbance.
PATIENCE = 240
# Without any of that for so long, kills wait for it. A call that a killed server has begun is made again after 95 s.
QUIET, QUIET_COMMAND, QUIET_CALL = 20, 60, 100
# Of clients on slow lines.
SLOW_SIZES = [5_000_000, 10_000_000]
# A request that takes longer is told of.
SLOW = 8


class WebApp:
    """Takes the object of each call and compares it with what was sent before it says `done`."""

    def __init__(self, objects, report):
        self.objects, self.report, self.lock = objects, report, threading.Lock()
        self.expected, self.calls, self.local = {}, {}, threading.local()
        # Calls that came, answered or not.
        self.begun = collections.Counter()
        # Called with "before" or "after" the answer.
        self.on_step = lambda moment: None
        app = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                fields = dict(urllib.parse.parse_qsl(form, keep_blank_values=True))
                app.on_step("before")
                status, word = app.called(self.path.strip("/"), fields)
                self.send_response(status)
                self.send_header("Content-Length", str(len(word)))
                self.end_headers()
                self.wfile.write(word)
                app.on_step("after")

            def log_message(self, *_):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 128

            def handle_error(self, *_):
                pass

        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def called(self, token, fields):
        if fields["cancelled"] != "no":
            return 200, b"done"
        with self.lock:
            self.begun[token] += 1
        store = self.local.store = getattr(self.local, "store", None) or self.objects.client()
        try:
            found = store.get_object(Bucket=fields["bucket"], Key=fields["key"])["Body"].read()
        except Exception as error:  # noqa: BLE001: whatever it is, the object was not there
            found = repr(error).encode()
        with self.lock:
            before = self.calls.setdefault(token, [])
            # A repeated call may come when the object is gone: to be removed by the server, or taken by the web app.
            right = hashlib.sha256(found).hexdigest() == self.expected[token] or bool(before)
            before.append(fields)
        if not right:
            self.report.lost(f"{fields['key']}: {len(found)} other bytes, or none: {found[:80]!r}")
        return 200, b"done"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Node:
    """One server, with proxies of its own in front of the bucket and of the databases on the ports `databases`."""

    def __init__(self, stack, number, home, objects, prefix, databases=(), flags=(), **more):
        self.number = number
        self.store = Store(objects.port, seed=number)
        stack.callback(self.store.close)
        flags, env = ["--retain-finished", "1h", *flags], more.pop("env", {})
        self.wires = [Wire(port) for port in databases]
        for wire in self.wires:
            stack.callback(wire.close)
        if self.wires:
            flags += ["--journal", "postgres"]
            hosts = ",".join(f"127.0.0.1:{wire.port}" for wire in self.wires)
            env = {"INCOMING_POSTGRES_URL": f"postgres://incoming:secret@{hosts}/incoming", **env}
        self.server = over_bucket(home / f"data{number}", self.store.url, prefix, *flags, env=env, **more)
        stack.callback(self.server.kill)
        self.server.start()

    @property
    def wire(self):
        """To its only database, if it has one."""
        return self.wires[0] if self.wires else None

    def readiness(self):
        return self.readyz()[0]

    def readyz(self):
        """Status and text."""
        try:
            status, _, text = self.server.back("GET", "/readyz", timeout=15)
            return status, text
        except BROKEN:
            return 0, ""


class Load:
    """Files on their way, `at_once` of them, until it is stopped; each is made from the seed."""

    def __init__(self, nodes, web_app, report, seed, at_once=3, slow=False, targets=None):
        self.nodes, self.web_app, self.report, self.slow = nodes, web_app, report, slow
        # Where clients send to; by default the servers themselves.
        self.targets = targets or (lambda: [node.server.port for node in nodes])
        self.dice, self.lock, self.stopped = random.Random(seed), threading.Lock(), threading.Event()
        self.running, self.acks, self.disturbed = [], [], time.monotonic()
        self.threads = [threading.Thread(target=self.work, args=(n, seed), daemon=True) for n in range(at_once)]
        for thread in self.threads:
            thread.start()

    def work(self, number, seed):
        dice = random.Random(f"{seed}.{number}")
        while not self.stopped.is_set():
            kind = Slow if self.slow else Command if dice.random() < 0.2 else Browser
            file = kind(self, dice, dice.randbytes(dice.choice(SIZES if not self.slow else SLOW_SIZES)))
            with self.lock:
                self.running.append(file)
            try:
                file.send()
                self.handed_over(file)
            except (TimeoutError, AssertionError) as error:
                self.report.lost(f"{file.name}: {error}")
            finally:
                with self.lock:
                    self.running.remove(file)

    def handed_over(self, file):
        file.goes_on(QUIET_CALL)
        while not (calls := self.web_app.calls.get(file.token)):
            if file.is_given_up():
                began = self.web_app.begun[file.token]
                raise TimeoutError(f"no handover of {file.id} within {PATIENCE} s ({began} calls came): {file.states()}")
            time.sleep(0.01)
        self.report.count("files")
        self.report.count("bytes", len(file.data))
        self.report.count("by incoming upload", isinstance(file, Command))
        self.report.count("repeated handovers", len(calls) - 1)
        # What stays is the web app's now. It goes, so that the store of a long run does not fill up.
        if not file.removed:
            self.web_app.objects.client().delete_object(Bucket=BUCKET, Key=calls[0]["key"])

    def check(self):
        """After a disturbance: every acknowledged byte is there, whichever server is asked. Servers that say nothing are not
        asked again."""
        self.disturbed = time.monotonic()
        with self.lock:
            running = [file for file in self.running if isinstance(file, Browser) and file.id]
        for file in running:
            for node in self.nodes:
                file.check(node)

    def starved(self):
        """Uploads that have come no further for some time, and how far they have come."""
        with self.lock:
            return {file: file.progress for file in self.running if time.monotonic() - file.progress > file.quiet}

    def stop(self):
        """The files on their way are sent to their end; each gives itself up where it comes no further."""
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def silence(self, start=0.0):
        """The longest time since `start` in which no server acknowledged anything, in ms."""
        times = sorted(at for at in self.acks if at >= start)
        return 1000 * max((b - a for a, b in zip(times, times[1:])), default=0)


class File:
    """One that is on its way, and when it last came further."""

    def __init__(self, load):
        self.load = load
        self.goes_on(QUIET)

    def goes_on(self, quiet=None):
        self.progress = time.monotonic()
        self.quiet = quiet or self.quiet

    def is_given_up(self):
        return time.monotonic() > max(self.progress, self.load.disturbed) + PATIENCE


class Browser(File):
    """A file sent as a browser does: four chunks at a time, sent again until they are acknowledged."""

    at_once, rest = 4, 0

    def __init__(self, load, dice, data):
        super().__init__(load)
        self.data, self.lock = data, threading.Lock()
        self.token, self.removed, self.taken = uuid.uuid4().hex, dice.random() < 0.3, False
        load.web_app.expected[self.token] = hashlib.sha256(data).hexdigest()
        self.id, self.name = None, f"{len(data)} bytes in chunks"
        self.acknowledged, self.waiting, self.refused = [], [], None
        aligned, at = dice.random() < 0.5, 0
        while at < len(data):
            end = min(len(data), at + (PART if aligned else dice.choice([dice.randint(1, 300_000), dice.randint(1, 9_000_000)])))
            self.waiting.append((at, end))
            at = end
        dice.shuffle(self.waiting)

    def send(self):
        while not (id := self.ticket()):
            if self.is_given_up():
                raise TimeoutError(f"no ticket within {PATIENCE} s")
        self.id = id
        self.goes_on()
        while True:
            threads = [threading.Thread(target=self.chunks, daemon=True) for _ in range(self.at_once)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not self.refused, f"{self.id}: {self.refused}"
            missing = self.missing()
            if not missing:
                return
            if not self.taken:
                self.load.report.lost(f"{self.id}: {missing} were acknowledged and are missing")
            with self.lock:
                self.acknowledged, self.waiting = [], missing

    def ticket(self):
        form = urllib.parse.urlencode({"signalFinishURL": f"{self.load.web_app.url}/{self.token}",
                                       "removeFileWhenFinished": str(self.removed).lower()})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        node = random.choice(self.load.nodes)
        with contextlib.suppress(*BROKEN):
            status, _, text = node.server.back("POST", "/incoming/backend/new_upload", body=form, headers=headers, timeout=30)
            return text.strip() if status == 200 else time.sleep(0.2)
        return time.sleep(0.2)

    def chunks(self):
        while True:
            with self.lock:
                if not self.waiting or self.refused:
                    return
                start, end = self.waiting.pop()
            self.chunk(start, end)
            time.sleep(self.rest)

    def chunk(self, start, end):
        failed, first = None, time.monotonic()
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(self.data)}"}
        while not self.is_given_up():
            port, told, began = random.choice(self.load.targets()), {}, time.monotonic()
            try:
                status, told = put(port, self.id, self.data[start:end], headers)
            except BROKEN:
                status = None
            now = time.monotonic()
            if now - began > SLOW:
                print(f"slow: {self.id} {start}..{end} at {port}: {status} after {now - began:.1f} s", flush=True)
            if status == 200:
                with self.lock:
                    self.acknowledged.append((start, end, now, port))
                    # The last one is answered when the file is in its place.
                    last = sum(b - a for a, b, *_ in self.acknowledged) == len(self.data)
                self.goes_on()
                self.load.acks.append(now)
                self.load.report.count("acknowledgements")
                what = "the acknowledgement that completes the file" if last else "an acknowledgement"
                self.load.report.most(f"ms from the first attempt of a chunk to {what}", 1000 * (now - first))
                if failed:
                    self.load.report.most(f"ms from a failed attempt to {what}", 1000 * (now - failed))
                return
            if status not in (None, 409, 429, 500, 502, 503, 504):
                self.refused = f"{start}..{end}: {status} {told}"
                return
            failed = failed or now
            self.load.report.count("attempts that failed")
            time.sleep(min(1, float(told.get("retry-after", 0.1))))
        self.refused = f"{start}..{end}: not acknowledged within {PATIENCE} s"

    def state(self, node):
        """The status object as this server says it; None where it says none."""
        with contextlib.suppress(*BROKEN):
            status, _, text = node.server.ask("GET", url_of(self.id), timeout=30)
            if status == 200:
                return json.loads(text)
            if status in (404, 410):
                return {"state": "unknown", "received": []}
        return None

    def states(self):
        return [self.state(node) for node in self.load.nodes]

    def missing(self):
        """What no server has although all of it was acknowledged."""
        while not (state := next(filter(None, self.states()), None)):
            if self.is_given_up():
                raise TimeoutError(f"no status within {PATIENCE} s")
            time.sleep(0.1)
        if state["state"] not in ("new", "uploading"):
            return []
        missing, at = [], 0
        for start, end in [*state["received"], (len(self.data), None)]:
            if at < start:
                missing.append((at, start))
            at = end
        return missing

    def check(self, node):
        with self.lock:
            before = list(self.acknowledged)
        state = self.state(node)
        if not state or self.taken or state["state"] not in ("new", "uploading", "unknown"):
            return
        self.load.report.count("statuses compared")
        for start, end, *_ in before:
            if not any(a <= start and end <= b for a, b in state["received"]):
                self.load.report.lost(f"{self.id} at server {node.number}: {start}..{end} was acknowledged and is missing: {state}")


def put(port, id, body, headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("PUT", url_of(id), body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


class Slow(Browser):
    """A file on a slow line: a small chunk a second."""

    at_once, rest = 1, 1

    def __init__(self, load, dice, data):
        super().__init__(load, dice, data)
        size = 100_000
        self.waiting = [(at, min(at + size, len(data))) for at in reversed(range(0, len(data), size))]


class Command(File):
    """`incoming upload`, which waits for the server by itself."""

    def __init__(self, load, _, data):
        super().__init__(load)
        self.goes_on(QUIET_COMMAND)
        self.data, self.token, self.removed = data, uuid.uuid4().hex, False
        self.name, self.id, self.process = f"incoming upload of {len(data)} bytes", None, None
        load.web_app.expected[self.token] = hashlib.sha256(data).hexdigest()

    def send(self):
        home = self.load.nodes[0].server.data.parent
        path = home / self.token
        path.write_bytes(self.data)
        server = random.choice(self.load.nodes).server
        words = ["--backend", f"http://127.0.0.1:{server.backend_port}", "--public", f"http://127.0.0.1:{server.port}",
                 "--signal-finish-url", f"{self.load.web_app.url}/{self.token}", str(path)]
        try:
            with open(home / f"{self.token}.log", "wb") as said:
                self.process = subprocess.Popen([program(), "upload", *words], stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            while self.process.poll() is None:
                if self.is_given_up():
                    raise TimeoutError(f"incoming upload does not end within {PATIENCE} s")
                time.sleep(0.05)
        finally:
            self.process.kill()
            path.unlink()
        text = (home / f"{self.token}.log").read_text(errors="replace")
        assert self.process.returncode == 0, f"incoming upload failed: {text[-600:]}"

    def states(self):
        return []


# The uploads that are none: src/storage/s3/{probe,sweep}.rs.
NO_UPLOADS = [hashlib.sha256(uuid.UUID(text).bytes).hexdigest()[:32]
              for text in ("00000000-0000-4000-8000-000000000000", "ffffffff-ffff-4fff-bfff-ffffffffffff")]


def litter(objects, prefix, ghosts):
    """What lies in the bucket and should not; and how much of what is left a request wrote that came late."""
    store = objects.client()
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
    keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
    uploads = [one["Key"] for one in store.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) if one["Key"].startswith(f"{prefix}/")]
    late = {path.removeprefix(f"/{BUCKET}/") for path in ghosts}
    # What a server that was killed while it tried the bucket has left (the next one removes it when it is old), and the name of its logs.
    keys, uploads = ([key for key in found if not any(one in key for one in NO_UPLOADS)] for found in (keys, uploads))
    return [key for key in keys + uploads if key not in late], [key for key in keys + uploads if key in late]
