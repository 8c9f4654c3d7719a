"""One holder of one ticket against everybody else: hundreds of connections that do, in many ways, what the protocol
allows. Meanwhile a neighbour uploads. It is answered in time and never 429, memory stays within its budget, and what was
acknowledged to the attacker is right afterwards.
"""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import resource
import select
import socket
import ssl
import tempfile
import threading
import time
import types

import frames as f
import ground
import rig
from ground import MIB
from rig import url_of

# The server's memory for bodies, and what may come on top of it for everything else.
RECEIVE = 256 * MIB
ABOVE = 100 * MIB
# What one ticket may have in flight, and a few of the neighbour.
OWN_CHUNKS = 256 + 10
LENGTH = 64 * MIB
KNOWN = 4 * MIB
HOST = "Host: localhost\r\n"


class Holder:
    """A ticket, and the file of which its holder sends pieces."""

    def __init__(self, field, seed):
        self.server, self.file = field.server, rig.content(seed, KNOWN)
        self.id = self.server.ticket()
        self.url = url_of(self.id)
        self.put(0, KNOWN)

    def put(self, start, end):
        fields = {"Content-Range": f"bytes {start}-{end - 1}/{LENGTH}"}
        status, _, text = self.server.ask("PUT", self.url, self.file[start:end], fields)
        if status != 200:
            raise RuntimeError(f"a chunk of the holder is answered {status} {text}")

    def head(self, start, end, method="PUT", path="", fields="", length=None):
        """The head of a request over HTTP/1.1."""
        if method == "PUT":
            fields += f"Content-Range: bytes {start}-{end - 1}/{LENGTH}\r\n"
            length = end - start
        if length is not None:
            fields += f"Content-Length: {length}\r\n"
        return f"{method} {self.url}{path} HTTP/1.1\r\n{HOST}{fields}\r\n".encode()


def run(report, options):
    seconds, connections = (1, 100) if options.short else (options.seconds or 60, 500)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Each connection is a file here too.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    with contextlib.ExitStack() as stack:
        web = rig.Backend()
        stack.callback(web.close)
        ways = [way for way in WAYS if not os.environ.get("WAY") or os.environ["WAY"] in way.__name__]
        if not os.environ.get("WAY") or os.environ["WAY"] in restarts.__name__:
            restarts(report, options, stack, web, seconds, connections)
        plain = [way for way in ways if way not in HTTP2]
        one(report, options, stack, web, plain, seconds, connections, None)
        try:
            trust = ground.certificates(stack.enter_context(tempfile.TemporaryDirectory()))
        except rig.Skipped as why:
            return report.skip("HTTP/2", why)
        one(report, options, stack, web, [way for way in ways if way in HTTP2], seconds, connections, trust)
    return None


def one(report, options, stack, web, ways, seconds, connections, certificates):
    flags = ["--receive-memory", f"{RECEIVE}", "--max-connections", "1500"]
    if not ways:
        return
    data = stack.enter_context(ground.scratch())
    server = ground.TlsServer(data, certificates, *flags) if certificates else rig.Server(data, *flags)
    server.start()
    stack.callback(server.kill)
    field = ground.Ground(report, server, web, options.seed, getattr(server, "trust", "-"))
    stack.callback(field.close)
    for number, way in enumerate(ways):
        holder = Holder(field, options.seed + number)
        with attacked(report, field, way.__name__.replace("_", " "), server):
            way(holder, seconds, connections, field)
            if way in HTTP2:
                pass_over_h2(field, server)
        right(report, holder, way.__name__)
        report.count("ways of one ticket holder")
    field.finish()


def restarts(report, options, stack, web, seconds, connections):
    """The crowd goes on while the server is killed and started again, three times. A neighbour sends its file between, and
    none of its chunks is refused."""
    server = rig.Server(stack.enter_context(ground.scratch()), "--receive-memory", f"{RECEIVE}", "--max-connections", "1500").start()
    stack.callback(server.kill)
    holder = Holder(types.SimpleNamespace(server=server), options.seed)
    neighbour = rig.Upload(server, options.seed + 1, size=4 * MIB, url=web.url)
    stop, slowest = threading.Event(), [0]

    def opening(number):
        at = KNOWN + number % 500 * 100_000
        return [holder.head(at, at + 100_000) + b"x", holder.head(0, 0, "HEAD"), holder.head(0, 0, "GET", "?wait=50")][number % 3]

    def crowd():
        while not stop.is_set():
            Crowd(server.port, connections, opening, b"x", 0.1).run(0.5)

    attacker = threading.Thread(target=crowd, daemon=True)
    attacker.start()
    chunks = iter(neighbour.missing(server.status(neighbour.id)))
    try:
        for last in (False, False, False, True):
            connection = server.connection()
            began = end = time.monotonic()
            for start, stop_at in chunks:
                code, _ = neighbour.put(connection, start, stop_at)
                began, end = end, time.monotonic()
                slowest[0] = max(slowest[0], end - began)
                if code != 200:
                    report.lost(f"restarts: the neighbour is answered {code}")
                if not last and neighbour.answers % 12 == 0:
                    break
            connection.close()
            if not last:
                server.kill()
                server.start()
    finally:
        stop.set()
        attacker.join(rig.DEADLINE)
    report.most("slowest answer to the neighbour between restarts, ms", slowest[0] * 1000)
    if slowest[0] > ground.LATEST and os.getloadavg()[0] < ground.CROWDED * (os.cpu_count() or 1):
        report.lost(f"restarts: the neighbour waited {slowest[0]:.2f} s")
    rig.until("the handover of the neighbour's file", lambda: web.calls_for(neighbour.id), 60)
    if web.calls_for(neighbour.id)[0]["sha256"] != neighbour.sha256():
        report.lost("restarts: the neighbour's file is not what it sent")
    right(report, holder, "restarts")
    report.count("ways of one ticket holder")


@contextlib.contextmanager
def attacked(report, field, name, server):
    """As any attack; memory may rise by its budget, and stay as far as the allocator keeps it."""
    start, stop, most = server.memory(), threading.Event(), [0]

    def look():
        while not stop.wait(0.3):
            with contextlib.suppress(OSError, http.client.HTTPException):
                most[0] = max(most[0], server.metric("incoming_chunks_in_flight"))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        with field.attack(name, peak=RECEIVE + ABOVE - min(start, ABOVE), kept=RECEIVE):
            yield
    finally:
        stop.set()
        looking.join(rig.DEADLINE)
    if most[0] > OWN_CHUNKS:
        report.lost(f"{name}: one ticket had {most[0]:.0f} chunks in flight")


def pass_over_h2(field, server):
    """A debug build of h2 0.4 asserts when a connection ends that it has forgotten all its streams, those that were reset
    a moment ago too. Nothing follows from it, and release builds have no such assertion."""
    time.sleep(1)
    text = server.log_text()
    panics = [line for line in text[field.log_seen:].splitlines() if "panicked at" in line]
    if panics and all("/h2-0.4" in line and "streams/counts.rs" in line for line in panics):
        field.report.count("assertions of h2's debug build", len(panics))
        field.log_seen = len(text)


def right(report, holder, name):
    """What was acknowledged is what was sent."""
    status = holder.server.status(holder.id)
    if status is None:
        return report.lost(f"{name}: the upload is gone")
    if status["state"] == "uploading" and status["offset"] < KNOWN:
        report.lost(f"{name}: acknowledged bytes are lost: {status['received'][:3]}")
    told = verify(holder, [[at, at + MIB] for at in range(0, KNOWN, MIB)])
    if told is not None and told != [True] * (KNOWN // MIB):
        report.lost(f"{name}: acknowledged bytes are others: {told}")
    # The holder is not locked out: a good chunk goes through.
    holder.put(0, 1000)
    return None


def verify(holder, ranges):
    def digest(a, b):
        return base64.b64encode(hashlib.sha256(holder.file[a:b]).digest()).decode()

    body = json.dumps({"ranges": [{"range": [a, b], "sha-256": digest(a, b)} for a, b in ranges]})

    def answer():
        status, _, text = holder.server.ask("POST", f"{holder.url}/verify", body)
        return json.loads(text)["verified"] if status == 200 else None

    return rig.until("a comparison", answer, 120)


# ---- HTTP/1.1: each way is a loop over many sockets ----


class Crowd:
    """Sockets, each with what it says first and what it trickles; one that ends is opened anew."""

    def __init__(self, port, count, opening, trickle=b"", every=0.5, reads=True):
        self.port, self.opening, self.trickle, self.every, self.reads = port, opening, trickle, every, reads
        self.sockets, self.count, self.answers, self.number = {}, count, {}, 0

    def run(self, seconds):
        end = time.monotonic() + seconds
        due = time.monotonic() + self.every
        while time.monotonic() < end:
            while len(self.sockets) < self.count and time.monotonic() < end:
                self.open()
            ready, _, _ = select_many(list(self.sockets), 0.05) if self.reads else ([], 0, time.sleep(0.05))
            for peer in ready:
                self.hear(peer)
            if self.trickle and time.monotonic() >= due:
                due = time.monotonic() + self.every
                for peer in list(self.sockets):
                    self.say(peer, self.trickle)
        self.close()

    def open(self):
        peer = socket.socket()
        peer.settimeout(5)
        try:
            peer.connect(("127.0.0.1", self.port))
            peer.setblocking(False)
        except OSError:
            return peer.close()
        self.sockets[peer] = self.number
        self.number += 1
        return self.say(peer, self.opening(self.sockets[peer]))

    def say(self, peer, data):
        try:
            peer.send(data)
        except BlockingIOError:
            pass
        except OSError:
            self.drop(peer)

    def hear(self, peer):
        try:
            data = peer.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            return self.drop(peer)
        if data.startswith(b"HTTP/1.1 "):
            code = data[9:12].decode()
            self.answers[code] = self.answers.get(code, 0) + 1
            # The next request of its kind.
            if code == "429":
                return self.drop(peer)
            self.say(peer, self.opening(self.number))
            self.number += 1
        return None

    def drop(self, peer):
        self.sockets.pop(peer, None)
        peer.close()

    def close(self):
        for peer in list(self.sockets):
            self.drop(peer)
        if self.answers:
            print(f"  answers: {dict(sorted(self.answers.items()))}", flush=True)


def select_many(sockets, seconds):
    poll = select.poll()
    by_number = {peer.fileno(): peer for peer in sockets}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(seconds * 1000)], None, None


def chunks_that_stand_still(holder, seconds, connections, field):
    """Heads of chunks and one byte of each."""
    def opening(number):
        at = KNOWN + number % 50_000 * 1000
        return holder.head(at, at + 1000) + b"x"
    Crowd(holder.server.port, connections, opening).run(seconds)


def known_chunks_that_trickle(holder, seconds, connections, field):
    """Bytes that are acknowledged already, one each half second."""
    def opening(number):
        at = number % 1000 * 1000
        return holder.head(at, at + 100_000) + holder.file[at:at + 1]
    Crowd(holder.server.port, connections, opening, b"x").run(seconds)


def trickled_chunks(holder, seconds, connections, field):
    def opening(number):
        at = KNOWN + number % 500 * 100_000
        return holder.head(at, at + 100_000) + b"x"
    Crowd(holder.server.port, connections, opening, b"x", 0.1).run(seconds)


def tiny_chunks(holder, seconds, connections, field):
    """One byte of a known range each, as fast as answers come."""
    def opening(number):
        at = number % KNOWN
        return holder.head(at, at + 1) + holder.file[at:at + 1]
    Crowd(holder.server.port, connections, opening).run(seconds)


def overlapping_chunks(holder, seconds, connections, field):
    """Each request takes over the range of the one before it."""
    def opening(number):
        return holder.head(KNOWN + number % 7, KNOWN + 100_000) + b"x" * 100
    Crowd(holder.server.port, connections, opening, b"x" * 10, 0.1).run(seconds)


def whole_files(holder, seconds, connections, field):
    """The whole file, of which the beginning is known, again and again."""
    def opening(number):
        return f"PUT {holder.url} HTTP/1.1\r\n{HOST}Content-Length: {LENGTH}\r\n\r\n".encode() + holder.file[:20_000]
    Crowd(holder.server.port, connections, opening, holder.file[20_000:20_100], 0.2).run(seconds)


def long_polls(holder, seconds, connections, field):
    opening = lambda number: holder.head(0, 0, "GET", "?wait=50&state=uploading")
    stop = writer(holder)
    Crowd(holder.server.port, connections, opening).run(seconds)
    stop()


def polls_that_vanish(holder, seconds, connections, field):
    """Polls whose connections are closed at once, and opened anew."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        crowd = Crowd(holder.server.port, connections, lambda number: holder.head(0, 0, "GET", "?wait=50"))
        crowd.run(min(0.5, end - time.monotonic()))


def comparisons(holder, seconds, connections, field):
    piece = {"range": [0, MIB], "sha-256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}
    body = json.dumps({"ranges": [piece] * 16})
    opening = lambda number: holder.head(0, 0, "POST", "/verify", "", len(body)) + body.encode()
    before = read_bytes(holder.server.pid)
    Crowd(holder.server.port, connections, opening).run(seconds)
    read = read_bytes(holder.server.pid) - before
    allowed = 64 * MIB + 2 * KNOWN + 4 * MIB * seconds + 64 * MIB
    print(f"  {read / MIB:.0f} MiB read for comparisons", flush=True)
    if read > allowed:
        field.report.lost(f"comparisons: {read // MIB} MiB were read, more than {allowed // MIB}")


def read_bytes(pid):
    """What the process has read by system calls, from the page cache too."""
    with open(f"/proc/{pid}/io") as io:
        return int(next(line for line in io if line.startswith("rchar")).split()[1])


def bodies_of_comparisons(holder, seconds, connections, field):
    """Small bodies that never end, to an upload that is there and to one that is not."""
    def opening(number):
        url = holder.url if number % 2 else url_of("00000000-0000-4000-8000-000000000000")
        return f"POST {url}/verify HTTP/1.1\r\n{HOST}Content-Length: 8000\r\n\r\n".encode() + b"x" * 7000
    Crowd(holder.server.port, connections, opening, b"x").run(seconds)


def binds(holder, seconds, connections, field):
    body = json.dumps({"name": "x" * 200, "length": LENGTH})
    opening = lambda number: holder.head(0, 0, "POST", "", "", len(body)) + body.encode()
    Crowd(holder.server.port, connections, opening).run(seconds)


def the_doctor(holder, seconds, connections, field):
    """All places of the doctor, with bodies that trickle; and answers that wait."""
    def opening(number):
        if number % 3:
            return f"PUT /incoming/frontend/doctor HTTP/1.1\r\n{HOST}Content-Length: 1000000\r\n\r\nx".encode()
        return f"GET /incoming/frontend/doctor?wait=20 HTTP/1.1\r\n{HOST}\r\n".encode()
    Crowd(holder.server.port, connections, opening, b"x").run(seconds)


def status_of_many_ranges(holder, seconds, connections, field):
    """Scattered bytes, and the long status of them read slowly or never."""
    scatter(holder, 1000)
    opening = lambda number: holder.head(0, 0, "GET") * 20
    Crowd(holder.server.port, connections, opening, reads=False).run(seconds)


def scattered_extents(holder, seconds, connections, field):
    """One byte each, far from each other: up to the limit of ranges and beyond it."""
    def opening(number):
        at = KNOWN + number % 20_000 * 1000
        return holder.head(at, at + 1) + b"x"
    Crowd(holder.server.port, min(connections, 100), opening).run(seconds)


def chunks_broken_off(holder, seconds, connections, field):
    """Connections that end in the middle of a body, again and again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        crowd = Crowd(holder.server.port, connections, lambda number: holder.head(KNOWN + number * 100, KNOWN + number * 100 + 100) + b"x" * 50)
        crowd.run(min(0.3, end - time.monotonic()))


def chunks_and_heads(holder, seconds, connections, field):
    """Whole chunks, and the status asked for by as many others at once."""
    def opening(number):
        if number % 2:
            return holder.head(0, 0, "HEAD")
        at = KNOWN + number % 10_000 * 4000
        return holder.head(at, at + 4000) + b"x" * 4000
    Crowd(holder.server.port, connections, opening).run(seconds)


# ---- HTTP/2 ----


def streams(holder, seconds, connections, request, body=b"", trickle=b"", reads=True, window=f.MOST, ends=False):
    """Connections of a hundred streams each; those that end are opened anew."""
    count = max(4, connections // 10)
    preface = f.PREFACE + f.settings(table=0, window=window)
    peers, end, number = [], time.monotonic() + seconds, 0
    try:
        while time.monotonic() < end:
            if len(peers) < count:
                with contextlib.suppress(OSError, ssl.SSLError):
                    peers.append(f.Peer(holder.server.port, holder.server.trust, preface, reads))
                    peers[-1].live = {}
            for peer in peers:
                if reads:
                    peer.take()
                for stream in [s for s in peer.live if s in peer.done or s in peer.resets]:
                    del peer.live[stream]
                while len(peer.live) < 100 and not peer.ended and not peer.stuck and not peer.goaway and time.monotonic() < end:
                    stream = peer.stream()
                    method, path, *fields = request(number)
                    number += 1
                    head = f.headers(stream, f.request(method, path, *fields), not body)
                    if not peer.send(head + (f.data(stream, body, ends) if body else b""), 0.5):
                        break
                    peer.live[stream] = True
                if trickle:
                    for stream in list(peer.live):
                        peer.send(f.data(stream, trickle), 0.2)
            for peer in [p for p in peers if p.ended or p.stuck or p.goaway]:
                peers.remove(peer)
                peer.socket.close()
            time.sleep(0.01)
    finally:
        for peer in peers:
            peer.socket.close()


def http2_known_chunks(holder, seconds, connections, field):
    """The way in which one ticket took all places: known bytes, a hundred streams on each connection."""
    def request(number):
        at = number % 1000 * 1000
        return "PUT", holder.url, ("content-range", f"bytes {at}-{at + 99_999}/{LENGTH}")
    streams(holder, seconds, connections, request, b"x", b"x")


def http2_chunks(holder, seconds, connections, field):
    def request(number):
        at = KNOWN + number % 500 * 100_000
        return "PUT", holder.url, ("content-range", f"bytes {at}-{at + 99_999}/{LENGTH}")
    streams(holder, seconds, connections, request, b"x", b"x")


def http2_polls(holder, seconds, connections, field):
    streams(holder, seconds, connections, lambda number: ("GET", f"{holder.url}?wait=50&state=uploading"))


def http2_bodies_of_comparisons(holder, seconds, connections, field):
    """To an id that is not there: none of them may be kept."""
    absent = url_of("00000000-0000-4000-8000-000000000000")
    streams(holder, seconds, connections, lambda number: ("POST", f"{absent if number % 2 else holder.url}/verify"), b"x" * 8000)


def http2_status_unread(holder, seconds, connections, field):
    """The status of a thousand ranges, a hundred times on each connection, with no window to send it in."""
    scatter(holder, 1000)
    streams(holder, seconds, connections, lambda number: ("GET", holder.url), window=1)


def http2_middling_status_unread(holder, seconds, connections, field):
    """The same of as many ranges as once were not counted: just under 16 KiB."""
    scatter(holder, 500)
    streams(holder, seconds, connections, lambda number: ("GET", holder.url), window=0)


def http2_findings_unread(holder, seconds, connections, field):
    """What the doctor makes of 60 KB of names, with no window to send it in."""
    tried = [{"method": "M" * 440, "came": "broken"}] * 32
    # One frame of DATA.
    body = json.dumps({"methods": tried}).encode()
    assert len(body) < 16384
    streams(holder, seconds, connections, lambda number: ("POST", "/incoming/frontend/doctor/findings"), body, window=0, ends=True)


def http2_preflights_unread(holder, seconds, connections, field):
    """Preflights that ask for 12 KiB of names, from connections that read nothing at all."""
    names = ("access-control-request-headers", "x-" + "a" * 12_000)
    streams(holder, seconds, connections, lambda number: ("OPTIONS", holder.url, names), reads=False)


def http2_refused(holder, seconds, connections, field):
    """Chunks that are refused, with bodies behind them."""
    request = lambda number: ("PUT", holder.url, ("content-range", f"bytes 0-99/{LENGTH + 1}"))
    streams(holder, seconds, connections, request, b"x" * 50)


def scatter(holder, count):
    connection = holder.server.connection()
    if trust := getattr(holder.server, "trust", None):
        connection = http.client.HTTPSConnection("localhost", holder.server.port, context=ssl.create_default_context(cafile=trust))
    for number in range(count):
        at = KNOWN + 1000 + number * 2000
        connection.request("PUT", holder.url, b"x", {"Content-Range": f"bytes {at}-{at}/{LENGTH}"})
        answer = connection.getresponse()
        answer.read()
        if answer.status not in (200, 429):
            raise RuntimeError(f"a scattered byte is answered {answer.status}")
    connection.close()


def writer(holder):
    """Chunks one after another, so that there is something that polls might be woken for."""
    stop = threading.Event()

    def work():
        at = KNOWN
        connection = holder.server.connection()
        while not stop.is_set() and at < LENGTH - 2000:
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("PUT", holder.url, b"x" * 1000, {"Content-Range": f"bytes {at}-{at + 999}/{LENGTH}"})
                connection.getresponse().read()
            at += 1000
        connection.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def end():
        stop.set()
        thread.join(rig.DEADLINE)

    return end


HTTP2 = [http2_known_chunks, http2_chunks, http2_polls, http2_bodies_of_comparisons, http2_status_unread, http2_middling_status_unread,
         http2_findings_unread, http2_preflights_unread, http2_refused]
WAYS = [
    chunks_that_stand_still, known_chunks_that_trickle, trickled_chunks, tiny_chunks, overlapping_chunks, whole_files, long_polls,
    polls_that_vanish, comparisons, bodies_of_comparisons, binds, the_doctor, status_of_many_ranges, scattered_extents,
    chunks_broken_off, chunks_and_heads, *HTTP2,
]
