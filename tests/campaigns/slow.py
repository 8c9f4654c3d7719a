"""Peers that say nothing, too little, too slowly, or never listen: each ends by a named limit, what came
of its bytes is kept, what it held comes back, and good clients are served meanwhile.

The limits are those of docs/bounds.md. A peer may end up to twice as late as its limit
says and 10 s more, and not before half of it.
"""

import collections
import contextlib
import http.client
import json
import pathlib
import resource
import shutil
import subprocess
import tempfile
import threading
import time

import rig
from peers import Http2, certificates, end_of, hello, tcp, tls

BODY_TIMEOUT, MIN_RATE = 2, 50_000
SLACK = 10
# Connections of an attack.
MANY = 1000
# Resident bytes that an attack of MANY connections may add: less than their least shares of memory.
FLAT = 100 << 20
# The suffix of a request's head that needs no more.
HOST = "Host: 127.0.0.1\r\n"

# A kind of dead peer: the seconds after which it is ended, whether the short form has it, what it does.
Kind = collections.namedtuple("Kind", "name limit short act")


class Town:
    """A plain and a TLS server, and what their peers need."""

    def __init__(self, stack, options):
        work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        flags, self.context = certificates(work / "certs")
        limits = ["--body-timeout", f"{BODY_TIMEOUT}s", "--min-rate", str(MIN_RATE)]
        self.plain = rig.Server(work / "plain", *limits).start()
        stack.callback(self.plain.kill)
        self.tls = rig.Server(work / "tls", *limits, *flags, tls=self.context("http/1.1")).start()
        stack.callback(self.tls.kill)
        self.seed, self.lock = options.seed, threading.Lock()

    def upload(self, server):
        with self.lock:
            self.seed += 1
        return rig.Upload(server, self.seed, 200_000, 100_000)


def run(report, options):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with contextlib.ExitStack() as stack:
            dead_peers(report, stack, options)
        with contextlib.ExitStack() as stack:
            full_house(report, stack, options)
        with contextlib.ExitStack() as stack:
            few_files(report, stack, options)
        attacks(report, options)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---- each kind of dead peer ----


def silent(town):
    return end_of(tcp(town.plain.port), 60)


def silent_to_backend(town):
    return end_of(tcp(town.plain.backend_port), 60)


def silent_to_tls(town):
    return end_of(tcp(town.tls.port), 60)


def half_hello(town):
    peer, said = tcp(town.tls.port), hello(town.context())
    peer.sendall(said[:len(said) // 2])
    return end_of(peer, 60)


def slow_hello(town):
    return byte_by_byte(tcp(town.tls.port), hello(town.context()))


def silent_after_handshake(town):
    return end_of(tls(town.tls.port, town.context("http/1.1")), 60)


def silent_http2(town):
    return end_of(tls(town.tls.port, town.context("h2")), 60)


def half_head(town):
    peer = tcp(town.plain.port)
    peer.sendall(f"GET / HTTP/1.1\r\n{HOST}X-Slow: ".encode())
    return end_of(peer, 60)


def half_head_tls(town):
    peer = tls(town.tls.port, town.context("http/1.1"))
    peer.sendall(f"GET / HTTP/1.1\r\n{HOST}X-Slow: ".encode())
    return end_of(peer, 60)


def slow_head(town):
    return byte_by_byte(tcp(town.plain.port), f"GET / HTTP/1.1\r\n{HOST}X-Slow: {'slow' * 50}".encode())


def half_second_head(town):
    peer = tcp(town.plain.port)
    peer.sendall(f"GET / HTTP/1.1\r\n{HOST}\r\n".encode())
    peer.recv(4096)
    peer.sendall(b"GET / HT")
    return end_of(peer, 60)


def half_pipelined_head(town):
    """It comes with the first one, so no byte comes after the answer: the connection counts as idle."""
    peer = tcp(town.plain.port)
    peer.sendall(f"GET / HTTP/1.1\r\n{HOST}\r\nGET / HT".encode())
    return end_of(peer, 200)


def byte_by_byte(peer, said):
    """A byte every half second, until the other side ends."""
    for at in range(len(said)):
        with contextlib.suppress(OSError):
            peer.sendall(said[at:at + 1])
        if end_of(peer, 0.5) is not None:
            return b""
        if at > 120:
            return None
    return None


def body_start(town, peer, upload, framing="Content-Length: 100000\r\n"):
    """A PUT of which a part of the body is sent: 40,000 bytes."""
    head = f"PUT {rig.url_of(upload.id)} HTTP/1.1\r\n{HOST}Content-Range: bytes 0-99999/200000\r\n{framing}\r\n"
    peer.sendall(head.encode() + upload.file[:40_000])


def kept(upload, heard, least):
    """The prefix that came is acknowledged, right, and the rest can be sent at once."""
    if heard is not None and b" 408 " not in heard[:40]:
        raise RuntimeError(f"not answered 408: {heard[:200]}")
    said = upload.server.status(upload.id)["received"]
    if not said or said[0][0] != 0 or said[0][1] < least:
        raise RuntimeError(f"the prefix is not kept: {said}")
    began = time.monotonic()
    if upload.send() is not True or time.monotonic() - began > 20:
        raise RuntimeError(f"the rest cannot be sent, {time.monotonic() - began:.1f} s")
    held = (upload.server.data / "files" / upload.id).read_bytes()
    if held != upload.file:
        raise RuntimeError("the finished file is not what was sent")
    return heard


def body_stops(town):
    peer, upload = tcp(town.plain.port), town.upload(town.plain)
    body_start(town, peer, upload)
    return kept(upload, end_of(peer, 60), 40_000)


def body_stops_tls(town):
    peer, upload = tls(town.tls.port, town.context("http/1.1")), town.upload(town.tls)
    body_start(town, peer, upload)
    return kept(upload, end_of(peer, 60), 40_000)


def chunked_body_stops(town):
    peer, upload = tcp(town.plain.port), town.upload(town.plain)
    head = f"PUT {rig.url_of(upload.id)} HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n"
    peer.sendall(head.encode() + b"9c40\r\n" + upload.file[:40_000] + b"\r\n9c")
    return kept(upload, end_of(peer, 60), 40_000)


def body_trickles(town):
    peer, upload = tcp(town.plain.port), town.upload(town.plain)
    body_start(town, peer, upload)
    peer.settimeout(0.5)
    for at in range(40_000, 90_000, 500):
        try:
            peer.sendall(upload.file[at:at + 500])
            if heard := peer.recv(4096):
                return kept(upload, heard, 40_000)
        except TimeoutError:
            continue
    return None


def http2_body_stops(town):
    """One stream stops; the other one of the same connection goes on."""
    upload, other = town.upload(town.tls), town.upload(town.tls)
    peer = Http2(town.tls.port, town.context("h2"))
    stuck = peer.request("PUT", rig.url_of(upload.id), [("content-range", "bytes 0-99999/200000")],
                         upload.file[:40_000], ends=False)
    answer = peer.answer(stuck)
    if b'"status":408' not in answer:
        raise RuntimeError(f"the stuck stream is answered {answer[:200]}")
    sent = peer.request("PUT", rig.url_of(other.id), [("content-range", "bytes 0-9999/200000")], other.file[:10_000])
    if json.loads(peer.answer(sent))["received"] != [[0, 10_000]]:
        raise RuntimeError("the other stream is not served")
    peer.close()
    return kept(upload, None, 40_000) or b""


def bind_stops(town):
    peer, upload = tcp(town.plain.port), town.upload(town.plain)
    peer.sendall(f"POST {rig.url_of(upload.id)} HTTP/1.1\r\n{HOST}Content-Length: 100\r\n\r\n{{".encode())
    return end_of(peer, 100)


def call_stops(town):
    peer = tcp(town.plain.backend_port)
    peer.sendall(f"POST /incoming/backend/new_upload HTTP/1.1\r\n{HOST}Content-Length: 100\r\n\r\nsi".encode())
    return end_of(peer, 100)


def idle(town):
    peer = tcp(town.plain.port)
    peer.sendall(f"GET / HTTP/1.1\r\n{HOST}\r\n".encode())
    return end_of(peer, 200)


def idle_http2(town):
    peer = Http2(town.tls.port, town.context("h2"))
    peer.answer(peer.request("GET", "/"))
    if not peer.ended.wait(200):
        return None
    if not peer.goaway:
        raise RuntimeError("ended without GOAWAY")
    return b""


def http2_without_pings(town):
    peer = Http2(town.tls.port, town.context("h2"), answers_pings=False)
    # A long poll keeps it busy: only the missing answers to pings can end it.
    peer.request("GET", rig.url_of(town.upload(town.tls).id) + "?wait=50")
    return b"" if peer.ended.wait(150) else None


def http2_half_a_frame(town):
    peer = Http2(town.tls.port, town.context("h2"), answers_pings=False)
    peer.send_raw(b"\0\0\x40\x01\x04\0\0\0\x01\0")
    return b"" if peer.ended.wait(150) else None


def never_reads(town):
    """Pipelined requests without end, and no answer read."""
    peer, id = tcp(town.plain.port), town.upload(town.plain).id
    ask, began = f"GET {rig.url_of(id)} HTTP/1.1\r\n{HOST}\r\n".encode() * 100, time.monotonic()
    peer.settimeout(1)
    while time.monotonic() - began < 150:
        try:
            peer.send(ask)
        except TimeoutError:
            continue
        except OSError:
            return b""
    return None


def http2_never_reads(town):
    """A window of zero for answers; pings are answered: the connection itself is well."""
    id = town.upload(town.tls).id
    peer = Http2(town.tls.port, town.context("h2"), settings=[(4, 0)])
    for _ in range(50):
        peer.request("GET", rig.url_of(id))
    return b"" if peer.ended.wait(200) else None


def http2_never_reads_the_window(town):
    """A window for one byte of each answer, and never more."""
    id = town.upload(town.tls).id
    peer = Http2(town.tls.port, town.context("h2"), settings=[(4, 1)])
    for _ in range(50):
        peer.request("GET", rig.url_of(id))
    return b"" if peer.ended.wait(250) else None


KINDS = [
    Kind("silent", 10, True, silent),
    Kind("silent to the backend listener", 10, True, silent_to_backend),
    Kind("silent to TLS", 10, True, silent_to_tls),
    Kind("half a ClientHello", 10, True, half_hello),
    Kind("a ClientHello byte by byte", 10, True, slow_hello),
    Kind("silent after the handshake", 10, True, silent_after_handshake),
    Kind("silent after the handshake, HTTP/2", 10, True, silent_http2),
    Kind("half a head", 15, True, half_head),
    Kind("half a head, TLS", 15, True, half_head_tls),
    Kind("a head byte by byte", 15, True, slow_head),
    Kind("half of the second head", 15, True, half_second_head),
    Kind("a body stops", BODY_TIMEOUT, True, body_stops),
    Kind("a body stops, TLS", BODY_TIMEOUT, True, body_stops_tls),
    Kind("a chunked body stops", BODY_TIMEOUT, True, chunked_body_stops),
    Kind("a body stops, HTTP/2", BODY_TIMEOUT, True, http2_body_stops),
    Kind("a body trickles", 10, True, body_trickles),
    Kind("a bind stops", 10, False, bind_stops),
    Kind("a backend call stops", 10, False, call_stops),
    Kind("pipelines and never reads", 30, False, never_reads),
    Kind("HTTP/2 that answers no pings", 40, False, http2_without_pings),
    Kind("HTTP/2 with half a frame", 40, False, http2_half_a_frame),
    Kind("HTTP/2 with a window of zero", 30, False, http2_never_reads),
    Kind("HTTP/2 with a window of one", 75, False, http2_never_reads_the_window),
    Kind("half of a pipelined head", 75, False, half_pipelined_head),
    Kind("idle", 75, False, idle),
    Kind("idle HTTP/2", 75, False, idle_http2),
]


def dead_peers(report, stack, options):
    """Several of each kind at once, beside a good client."""
    town = Town(stack, options)
    kinds = [kind for kind in KINDS if kind.short or not options.short]
    copies = 2 if options.short else 12
    before = [(server, server.memory()) for server in (town.plain, town.tls)]
    good = Good(town.plain, options.seed)
    took = {kind.name: [] for kind in kinds}

    def play(kind):
        began = time.monotonic()
        try:
            heard = kind.act(town)
        except (OSError, RuntimeError, TimeoutError, ValueError, TypeError) as error:
            return report.lost(f"{kind.name}: {error!r}")
        seconds = time.monotonic() - began
        if heard is None:
            return report.lost(f"{kind.name}: not ended in {seconds:.0f} s")
        if not kind.limit / 2 <= seconds <= 2 * kind.limit + SLACK:
            return report.lost(f"{kind.name}: ended after {seconds:.1f} s, the limit is {kind.limit} s")
        took[kind.name].append(seconds)

    threads = [threading.Thread(target=play, args=(kind,), daemon=True) for kind in kinds for _ in range(copies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
        if thread.is_alive():
            raise TimeoutError("a peer of the campaign itself hangs")
    good.end(report, "dead peers", 10 if options.short else 3)
    report.count("dead peers", len(threads))
    for kind in kinds:
        if took[kind.name]:
            report.count(f"{kind.name}: limit {kind.limit} s, ended after s", round(max(took[kind.name]), 1))
    for server, memory in before:
        back(report, "dead peers", server)
        report.count("MiB grown by dead peers, both servers", (server.memory() - memory) >> 20)


def back(report, where, server):
    """Permits, claims and chunks are given back."""
    # The question itself is a connection.
    free = lambda: server.metric("incoming_connections_open") <= 1 and not server.metric("incoming_chunks_in_flight")
    try:
        rig.until("connections and chunks are over", free, 45)
    except TimeoutError:
        report.lost(f"{where}: {server.metric('incoming_connections_open')} connections and "
                    f"{server.metric('incoming_chunks_in_flight')} chunks are still there")
    for line in server.log_text().splitlines():
        if "panicked" in line:
            report.lost(f"{where}: {line}")


class Good:
    """A good client: chunks of 64 KiB, each on a connection of its own, each timed."""

    def __init__(self, server, seed):
        self.upload, self.stopped = rig.Upload(server, seed, 1 << 20, 64 * 1024), threading.Event()
        self.times, self.errors, self.memory = [], [], 0
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        at = 0
        while not self.stopped.is_set():
            began = time.monotonic()
            # The last chunk is left out: the upload goes on for ever.
            start = at % 15 * 65536
            try:
                connection = self.upload.server.connection()
                code, told = self.upload.put(connection, start, start + 65536)
                connection.close()
                if code != 200:
                    self.errors.append(f"{code} {told}")
            except (OSError, http.client.HTTPException) as error:
                self.errors.append(repr(error))
            self.times.append(time.monotonic() - began)
            self.memory = max(self.memory, self.upload.server.memory())
            at += 1
            if at % 15 == 0:
                self.upload = rig.Upload(self.upload.server, at, 1 << 20, 64 * 1024)
            self.stopped.wait(0.05)

    def end(self, report, where, at_most):
        self.stopped.set()
        self.thread.join(2 * rig.DEADLINE)
        report.count(f"{where}: good chunks", len(self.times))
        report.count(f"{where}: slowest of them, ms", round(1000 * max(self.times)))
        for error in self.errors[:3]:
            report.lost(f"{where}: the good client: {error}")
        if max(self.times) > at_most:
            report.lost(f"{where}: a good chunk took {max(self.times):.1f} s")


# ---- many at once ----


def full_house(report, stack, options):
    """Silent connections take every permit, and more wait behind them: the good client waits, and gets
    in as the limits end them."""
    permits, peers = (40, 60) if options.short else (500, MANY)
    data = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
    server = rig.Server(data, "--max-connections", str(permits)).start()
    stack.callback(server.kill)
    upload = rig.Upload(server, options.seed, 200_000, 100_000)
    crowd = [tcp(server.port) for _ in range(peers)]
    rig.until("the house is full", lambda: server.metric("incoming_connections_open") >= permits)
    most = server.metric("incoming_connections_open")
    began = time.monotonic()
    if upload.send() is not True:
        report.lost("full house: the good client is turned away")
    waited = time.monotonic() - began
    # The status and the chunks each need a connection.
    if not 3 <= waited <= 30 + 2 * 10 * (peers // permits + 1):
        report.lost(f"full house: the good client waited {waited:.1f} s")
    # Two listeners: the question goes to the other one.
    if most > permits + 2:
        report.lost(f"full house: {most} connections, {permits} are allowed")
    report.count(f"full house: {peers} silent peers, {permits} permits: a good upload took s", round(waited, 1))
    for peer in crowd:
        peer.close()
    back(report, "full house", server)


def few_files(report, stack, options):
    """A crowd of connections does not take the descriptors that uploads need."""
    if not shutil.which("prlimit"):
        return report.skip("few files", "prlimit is missing (Debian package util-linux)")
    files, peers = 240, 400
    data = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
    server = rig.Server(data, prefix=["prlimit", f"--nofile={files}:{files}"]).start()
    stack.callback(server.kill)
    # Known to nobody's memory yet, and a connection that is there before the crowd.
    uploads = [rig.Upload(server, options.seed + n, 200_000, 100_000) for n in range(8)]
    connection = server.connection()
    connection.request("GET", rig.url_of(uploads[0].id))
    connection.getresponse().read()
    crowd = [tcp(server.port) for _ in range(peers)]
    rig.until("the house is full", lambda: server.metric("incoming_connections_open") >= files / 2 - 1)
    for upload in uploads:
        for start in (0, 100_000):
            code, told = upload.put(connection, start, start + 100_000)
            if code != 200:
                report.lost(f"few files: a chunk is answered {code} {told}")
        server.ticket()
    if server.back("GET", "/readyz")[0] != 200:
        report.lost("few files: not ready")
    report.count("few files: uploads finished beside a crowd", len(uploads))
    connection.close()
    for peer in crowd:
        peer.close()
    back(report, "few files", server)


# The mode, what slowhttptest is told, and which part of the connections must be there at once: chunks of
# one upload take each other over, since all of them claim the same bytes, and all but 8 small requests for one upload are refused.
MODES = [
    ("slow heads", 0.5, ["-H", "-i", "5", "-x", "24", "-t", "GET"]),
    ("slow bodies, bind", 0.1, ["-B", "-i", "5", "-s", "8192", "-x", "10", "-t", "POST"]),
    ("slow bodies, chunk", 0.1, ["-B", "-i", "5", "-s", "8192", "-x", "10", "-t", "PUT"]),
    ("slow readers", 0.5, ["-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3"]),
]


def attacks(report, options):
    if not shutil.which("slowhttptest"):
        return report.skip("attacks", "slowhttptest is missing (Debian package slowhttptest)")
    for mode, part, flags in MODES[:1] if options.short else MODES:
        with contextlib.ExitStack() as stack:
            attack(report, stack, options, mode, part, flags)


def attack(report, stack, options, mode, part, flags):
    # In memory, where there is such a place: what is measured are connections, not the disk.
    place = "/dev/shm" if pathlib.Path("/dev/shm").is_dir() else None
    data = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir=place))) / "data"
    server = rig.Server(data).start()
    stack.callback(server.kill)
    connections, seconds = (200, 6) if options.short else (MANY, 40)
    path = "/incoming/frontend/incoming.js" if "-X" in flags else rig.url_of(server.ticket())
    before, good, most = server.memory(), Good(server, options.seed), 0
    command = ["slowhttptest", "-c", str(connections), "-r", "500", "-l", str(seconds), "-p", "3", *flags,
               "-u", f"http://127.0.0.1:{server.port}{path}"]
    attacker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + seconds + 20
        while attacker.poll() is None and time.monotonic() < end:
            most = max(most, server.metric("incoming_connections_open"))
            time.sleep(0.2)
    finally:
        if attacker.poll() is None:
            attacker.kill()
        attacker.wait()
    good.end(report, mode, 10 if options.short else 1)
    grown = good.memory - before
    report.count(f"{mode}: most connections at once", int(most))
    report.count(f"{mode}: MiB before", before >> 20)
    report.count(f"{mode}: MiB at most", good.memory >> 20)
    if most < connections * part:
        report.lost(f"{mode}: only {most:.0f} of {connections} connections came: the check proves nothing")
    if grown > FLAT:
        report.lost(f"{mode}: memory grew by {grown >> 20} MiB")
    back(report, mode, server)
