"""What tests from outside share: a server as a child process, a backend, uploaders that remember what they
were promised, and a check that the promise holds. Standard library only.

`proxies` has what stands before a server; `dialects` what clients of other protocols send.
"""

import atexit
import base64
import contextlib
import functools
import hashlib
import hmac
import http.client
import http.server
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

from . import dialects, packages


broken_threads = []


def thread_broke(broken):
    """A thread that ends by an exception fails the run: by itself, Python prints it and goes on."""
    threading.__excepthook__(broken)
    if not issubclass(broken.exc_type, SystemExit):
        broken_threads.append(broken.thread)


def exit_if_thread_broke():
    if broken_threads:
        sys.stdout.flush()
        os._exit(1)


# Registered first, so it runs last: `os._exit` skips everything behind it.
atexit.register(exit_if_thread_broke)
threading.excepthook = thread_broke

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# What a campaign waits for happens within this many seconds, or never.
DEADLINE = 60


def program():
    """The server's program: $INCOMING, or the newest of the two that cargo builds here."""
    if named := os.environ.get("INCOMING"):
        return named
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [path for path in (target / "release/incoming", target / "debug/incoming") if path.exists()]
    if not built:
        raise SystemExit("no program: cargo build --locked")
    return str(max(built, key=lambda path: path.stat().st_mtime))


@functools.cache
def build():
    """The program that tests from outside run: $INCOMING, or one that is built now (tests/program)."""
    return subprocess.run([ROOT / "tests/program"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


class Skipped(Exception):
    """This machine cannot do it; the text says what is missing."""


class Report:
    """Figures and losses of one campaign. A loss fails it; a skip is never counted as passed."""

    def __init__(self, name):
        self.name, self.figures, self.losses, self.skips = name, {}, [], []

    def count(self, what, more=1):
        self.figures[what] = self.figures.get(what, 0) + more

    def most(self, what, figure):
        """The highest of the figures given under this name, rounded."""
        self.figures[what] = max(self.figures.get(what, 0), round(figure))

    def lost(self, what):
        self.losses.append(what)
        print(f"LOST {what}", flush=True)

    def skip(self, what, why):
        self.skips.append(f"{what}: {why}")
        print(f"skipped {what}: {why}", flush=True)

    def show(self):
        for what, figure in self.figures.items():
            print(f"{self.name}: {what}: {figure}")
        print(f"{self.name}: losses: {len(self.losses)}")
        # Once more: the last lines of a long run are what is read first.
        for what in self.losses:
            print(f"{self.name}: LOST {what}")


def until(what, found, seconds=DEADLINE):
    """The first true answer of `found`, or an error that names `what`."""
    end = time.monotonic() + seconds
    while True:
        if answer := found():
            return answer
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.01)


def free_port():
    """Below the range that the system assigns to connections, so that none of those takes it while a server is away."""
    while True:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", random.SystemRandom().randrange(12_000, 32_000))) as probe:
            return probe.getsockname()[1]


def dial(address, timeout=DEADLINE):
    """A socket to HOST:PORT or unix:PATH."""
    if address.startswith("unix:"):
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(timeout)
        peer.connect(address.removeprefix("unix:"))
        return peer
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout)


def content(seed, size):
    """Bytes that differ for each seed and at each place."""
    return random.Random(seed).randbytes(size)


class Backend:
    """A web app: takes each finished file, remembers each call. `answers` scripts the next ones: a
    word, a status, or None to break off; when it is empty the answer is `done`."""

    def __init__(self):
        self.calls, self.answers, self.lock = [], [], threading.Lock()
        backend = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                form = dict(urllib.parse.parse_qsl(body, True))
                answer = backend.called(form)
                if answer is None:
                    return self.connection.close()
                status, word = (answer, "") if isinstance(answer, int) else (200, answer)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(word.encode())

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/finished"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def ticket_for(self, form):
        """The answer to a client that creates an upload: its name becomes the ticket's metadata."""
        return json.dumps({"signalFinishURL": self.url, "metadata": form["name"]})

    def called(self, form):
        if "dialect" in form:
            return self.ticket_for(form)
        form["sha256"] = None
        # (A file in a bucket has no name on this disk.)
        if form.get("cancelled") == "no" and "filename" in form:
            with contextlib.suppress(OSError):
                form["sha256"] = hashlib.sha256(pathlib.Path(form["filename"]).read_bytes()).hexdigest()
        with self.lock:
            answer = self.answers.pop(0) if self.answers else "done"
            form["answered"] = answer
            self.calls.append(form)
        return answer

    def calls_for(self, id):
        with self.lock:
            return [call for call in self.calls if call["id"] == id]

    def call_for(self, id):
        """The first call for it, waited for."""
        return until(f"a call for {id}", lambda: self.calls_for(id))[0]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Server:
    """`incoming serve` on one storage directory; started, killed and started again on the same ports.

    `prefix` stands before the program (strace, for one); `pid` is the server's own all the same. `log_to` is a file that stays.
    """

    def __init__(self, data, *flags, log="warn", prefix=(), env=None, tls=None, reserve="0", log_to=None):
        self.data, self.flags, self.log_level, self.prefix, self.env = pathlib.Path(data), flags, log, prefix, env
        self.reserve = reserve
        # Where the public listener speaks TLS: how clients are to speak it.
        self.tls = tls
        self.port, self.backend_port = free_port(), free_port()
        # May be set to other addresses before it starts: unix:PATH, or both to the same.
        self.listen, self.backend_listen = f"127.0.0.1:{self.port}", f"127.0.0.1:{self.backend_port}"
        self.process = self.pid = None
        self.log = open(log_to, "a+b") if log_to else tempfile.TemporaryFile()

    def start(self, seconds=DEADLINE):
        """Starts it and waits until it answers. Raises if it ends instead; `log_text` says why."""
        command = [*self.prefix, program(), "serve", "--storage-dir", str(self.data), "--log", self.log_level,
                   "--listen", self.listen, "--backend-listen", self.backend_listen,
                   "--min-free-space", self.reserve, *self.flags]
        env = {k: v for k, v in os.environ.items() if not k.startswith("INCOMING_")} | (self.env or {})
        self.process = self.popen(command, env)

        def answers():
            if self.process.poll() is not None:
                raise ChildProcessError(f"the server ended with {self.process.returncode}: {self.log_text()[-2000:]}")
            # Both: they are bound one after the other, and a traced server takes its time.
            with contextlib.suppress(OSError):
                for address in (self.listen, self.backend_listen):
                    dial(address, 1).close()
                return True

        until("the server listens", answers, seconds)
        self.pid = self.child() if self.prefix else self.process.pid
        return self

    def popen(self, command, env):
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=env)

    def child(self):
        """The server behind its prefix."""
        path = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        children = path.read_text().split()
        return int(children[0]) if children else self.process.pid

    def log_text(self):
        # The place where the server writes next is that of this file too.
        return os.pread(self.log.fileno(), os.fstat(self.log.fileno()).st_size, 0).decode(errors="replace")

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """SIGKILL: no last words."""
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid or self.process.pid, signal.SIGKILL)
            self.ended()

    def ended(self, seconds=DEADLINE):
        """The exit code, once it has ended."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise TimeoutError(f"the server did not end within {seconds} s") from None

    def stop(self, seconds=DEADLINE):
        """SIGTERM; the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.ended(seconds)

    def connection(self, backend=False, timeout=DEADLINE):
        """A connection that is not made yet."""
        address = self.backend_listen if backend else self.listen
        if address.startswith("unix:"):
            connection = http.client.HTTPConnection("localhost", timeout=timeout)
            connection.sock = dial(address, timeout)
            return connection
        if self.tls and not backend:
            return http.client.HTTPSConnection(address, timeout=timeout, context=self.tls)
        return http.client.HTTPConnection(address, timeout=timeout)

    def dial(self):
        """A socket to the public listener, for what no HTTP client sends."""
        return dial(self.listen)

    def ask(self, method, path, body=None, headers=(), backend=False, timeout=DEADLINE):
        """One request on a connection of its own: status, headers, text."""
        connection = self.connection(backend, timeout)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def back(self, method, path, **more):
        return self.ask(method, path, backend=True, **more)

    def chunk(self, id, data, start=0, end=None):
        """Sends bytes of the whole file `data` until they are acknowledged: a server whose store or log does not answer just now says
        503, and is asked again."""
        end = len(data) if end is None else end
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}

        def acknowledged():
            status, _, text = self.ask("PUT", url_of(id), data[start:end], headers, timeout=2 * DEADLINE)
            assert status in (200, 503), (status, text)
            return status == 200
        until("an acknowledgement", acknowledged, 2 * DEADLINE)

    def ticket(self, url="http://127.0.0.1:9/", **parameters):
        """A new upload's id. The default backend is one where nobody listens."""
        query = urllib.parse.urlencode({"signalFinishURL": url, **parameters})
        status, _, text = self.back("POST", f"/incoming/backend/new_upload?{query}")
        if status != 200:
            raise RuntimeError(f"no ticket: {status} {text}")
        return text

    def status(self, id):
        """The status object, or None where there is no such upload."""
        status, _, text = self.ask("GET", url_of(id))
        return json.loads(text) if status == 200 else None

    def metric(self, name):
        _, _, text = self.back("GET", "/metrics")
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if line.startswith((f"{name} ", f"{name}{{")))

    def memory(self):
        """Resident bytes now."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
        return 0


def url_of(id):
    return f"/incoming/frontend/uploads/{id}"


def signed(key, id, at, body):
    """Headers of a call to a backend that is signed with the bytes `key` at `at`, in seconds."""
    signature = base64.b64encode(hmac.digest(key, f"{id}.{at}.".encode() + body, "sha256")).decode()
    return {"webhook-id": id, "webhook-timestamp": str(at), "webhook-signature": f"v1,{signature}"}


class Upload:
    """One file on its way, and what was promised of it.

    `promised` holds every byte that a 200 answer to a PUT said is received. With `ack = durable` none
    of them may ever be missing again; `forgive` lets a campaign with `written` start over after a power cut.
    `dialect` is one of dialects.py; None is the native one.
    """

    def __init__(self, server, seed, size=1_000_000, chunk=64 * 1024, url="http://127.0.0.1:9/", dialect=None, **parameters):
        self.server, self.file, self.chunk = server, content(seed, size), chunk
        self.random = random.Random(seed)
        self.speaker = dialects.of(dialect, self.random)
        # How often it breaks off or sends a wrong checksum, where a dialect has to cope with that.
        self.breaks = 0
        # Whether it is a part of a file: then it is not complete when all its bytes are there.
        self.partial = False
        self.id = self.ticket(url, parameters)
        self.promised = bytearray(size)
        self.answers = 0
        self.complete = False
        self.lock = threading.Lock()

    def ticket(self, url, parameters):
        """Its id, or None where its client creates it later."""
        return self.server.ticket(url, **parameters)

    @property
    def size(self):
        return len(self.file)

    def sha256(self):
        return hashlib.sha256(self.file).hexdigest()

    def missing(self, status):
        """Chunks that are not wholly received, in no order."""
        held = status["received"]
        starts = range(0, self.size, self.chunk)
        pieces = [(start, min(start + self.chunk, self.size)) for start in starts]
        pieces = [p for p in pieces if not any(a <= p[0] and p[1] <= b for a, b in held)]
        self.random.shuffle(pieces)
        return pieces

    def body(self, start, end):
        """What is sent of a chunk; a campaign may send it in pieces (with a Content-Length of its own)."""
        return self.file[start:end]

    def put(self, connection, start, end, headers=()):
        """Sends one chunk; status code and JSON. Remembers what a 200 promises. Errors of the socket
        are the caller's: then nothing was promised."""
        if self.speaker:
            return dialects.append(self, connection, start, end, headers)
        fields = {"Content-Range": f"bytes {start}-{end - 1}/{self.size}", **dict(headers)}
        connection.request("PUT", url_of(self.id), self.body(start, end), fields)
        answer = connection.getresponse()
        text = answer.read()
        told = json.loads(text) if text else {}
        if answer.status == 200:
            with self.lock:
                self.answers += 1
                for a, b in told["received"]:
                    self.promised[a:b] = b"\1" * (b - a)
                self.complete |= told["state"] in ("handing_over", "finished")
        return answer.status, told

    def send(self, wanted=lambda status: True, on_answer=lambda: None):
        """Sends what is missing until all is sent, or the connection breaks (then False), or an answer is
        none of 200 (then that answer)."""
        if self.speaker:
            return dialects.send(self, on_answer)
        connection = self.server.connection()
        try:
            status = self.server.status(self.id)
            if status is None:
                return 404, {}
            for start, end in self.missing(status):
                code, told = self.put(connection, start, end)
                on_answer()
                if code != 200:
                    return code, told
            return True
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def untrue(self, what):
        """An answer is wrong."""
        raise RuntimeError(f"{self.id}: {what}")

    def judged_offset(self):
        """One more offset was held against the disk."""

    def head_agrees(self, received):
        """Whether a `HEAD` in its dialect names the prefix of what the status says is received."""
        connection = self.server.connection()
        try:
            code, offset, _ = dialects.head(self, connection)
        finally:
            connection.close()
        return code >= 500 or offset == (received[0][1] if received and received[0][0] == 0 else 0)

    def forgive(self):
        """After a power cut with `ack = written`, only what is claimed now is promised."""
        self.promised = bytearray(self.size)

    def judge(self, report, where):
        """What was promised is claimed, and what is claimed is right, as the disk holds it."""
        status = self.server.status(self.id)
        if status is None:
            return report.lost(f"{where}: {self.id} is unknown")
        if status["state"] in ("handing_over", "finished", "failed"):
            # `finished` may have removed the file.
            path = self.server.data / "files" / self.id
            if path.exists() and path.read_bytes() != self.file:
                report.lost(f"{where}: the published file of {self.id} is not the file")
            elif not path.exists() and status["state"] != "finished":
                report.lost(f"{where}: {self.id} is {status['state']} and its file is gone")
            return None
        if self.complete:
            report.lost(f"{where}: {self.id} was acknowledged as complete and is {status['state']}")
        claimed = bytearray(self.size)
        part = self.server.data / f"{self.id}.part"
        if not part.exists():
            # Renamed, and the record of that could not be written (yet).
            part = self.server.data / "files" / self.id
        with open(part, "rb") if part.exists() else contextlib.nullcontext() as held:
            for a, b in status["received"]:
                claimed[a:b] = b"\1" * (b - a)
                held_bytes = b""
                if held:
                    held.seek(a)
                    held_bytes = held.read(b - a)
                if held_bytes != self.file[a:b]:
                    report.lost(f"{where}: {self.id} claims {a}..{b} and holds other bytes")
        lost = [at for at in range(0, self.size, 512) if self.promised[at] and not claimed[at]]
        if lost:
            report.lost(f"{where}: {self.id}: acknowledged and not received any more, first at {lost[0]}; {status}")
        if self.speaker and not self.head_agrees(status["received"]):
            report.lost(f"{where}: {self.id}: HEAD names another offset than {status}")
        return status


def send_all(uploads, on_answer=lambda: None):
    """All uploads at once, each from a thread of its own; what each one's `send` said."""
    results = [None] * len(uploads)

    def work(at):
        results[at] = uploads[at].send(on_answer=on_answer)

    threads = [threading.Thread(target=work, args=(at,), daemon=True) for at in range(len(uploads))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * DEADLINE)
        if thread.is_alive():
            raise TimeoutError("an upload hangs")
    return results


def need(command, package):
    """A Debian program, or Skipped."""
    if not shutil.which(command):
        raise Skipped(f"{command} is missing (Debian package {package})")
    return command
