"""The corpus of HTTP/1.1 over raw sockets: each case on a connection and an upload of its own.

After each, the upload holds what it should and nothing else, and takes the rest of its file.
"""

import concurrent.futures
import json
import random
import select
import socket
import struct
import time

from corpus import backend, http1
from ground import MIB
from rig import content, url_of

# Cases at once. Most of them wait: for a second of silence, or for the end of a connection.
AT_ONCE = 48
# An answer comes within this many seconds, or never.
ANSWER = 20
# A connection that ends does so within this many seconds: one of silence while the body is thrown away, one
# of silence after the farewell, and air.
ENDING = 8


class Raw:
    """A socket that reads answers by the letter."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), ANSWER)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def send(self, raw, cuts=()):
        """All of it, in pieces that end at `cuts`, unless the server has seen enough before."""
        self.socket.settimeout(ANSWER)
        try:
            for start, end in zip([0, *cuts], [*cuts, len(raw)]):
                self.socket.sendall(raw[start:end])
                if end < len(raw):
                    time.sleep(0.002)
        except OSError:
            pass

    def more(self, end):
        """Reads on; false at the end of the connection or of the time."""
        left = end - time.monotonic()
        if left <= 0 or not select.select([self.socket], [], [], left)[0]:
            return False
        try:
            more = self.socket.recv(1 << 16)
        except OSError:
            return False
        self.buffer += more
        return bool(more)

    def answer(self, method="GET", seconds=ANSWER):
        """The next answer as (status, headers, body); None where none comes."""
        end = time.monotonic() + seconds
        while b"\r\n\r\n" not in self.buffer:
            if not self.more(end):
                return None
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        version, status = first.split(" ")[0], int(first.split(" ")[1])
        if version == "HTTP/1.0":
            headers.setdefault("connection", "close")
        length = 0 if method == "HEAD" or status < 200 or status == 204 else int(headers.get("content-length", 0))
        while len(self.buffer) < length:
            if not self.more(end):
                return None
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return status, headers, body

    def ended(self, seconds=ENDING):
        """Whether the server ends the connection, without another word."""
        end = time.monotonic() + seconds
        while self.more(end):
            pass
        return time.monotonic() < end and not self.buffer

    def close(self):
        self.socket.close()


def code_of(body):
    try:
        return json.loads(body).get("code")
    except (ValueError, AttributeError):
        return None


def run(report, ground, options):
    """All cases; long, five times over: at once, and then in pieces that end anywhere."""
    dice = random.Random(options.seed)
    for turn in range(1 if options.short else 5):
        # The first time, the allocator keeps what so many connections' buffers took.
        with ground.attack("the corpus of HTTP/1.1", peak=160 * MIB, kept=(40 if turn else 128) * MIB):
            once(report, ground.server, ground.web, dice, turn)
    for name, flood in FLOODS:
        for _ in range(1 if options.short else 3):
            with ground.attack(name):
                flood(report, ground.server, name, 1 if options.short else 10)
            report.count("HTTP/1.1 floods")


def once(report, server, web, dice, turn):
    cases = [(group, *case) for group, cases in http1.GROUPS.items() for case in cases]
    work = [lambda case=case, cuts=[dice.random() for _ in range(8 * turn)]: one(report, server, web, cuts, *case) for case in cases]
    work += [lambda case=case: call(report, server, *case) for case in backend.CASES]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(piece) for piece in work]:
            done.result()
    report.count("HTTP/1.1 cases", len(cases))
    report.count("backend calls", len(backend.CASES))


def one(report, server, web, cuts, group, name, raw, answers, after, code, held):
    """Sends a case, judges its answers, its connection and its upload."""
    id = server.ticket(web.url, removeFileWhenFinished="false")
    filled = [(b"@U", url_of(id).encode()), (b"@I", id.encode()), (b"@C", id.upper().encode()),
              (b"@T", f"/incoming/frontend/tus/{id}".encode()), (b"@R", f"/incoming/frontend/resumable/{id}".encode())]
    for mark, value in filled:
        raw = raw.replace(mark, value)
    lost = [] if answers or after == http1.CLOSES else ["the case asks for nothing"]
    peer = Raw(server.port)
    try:
        cuts = [] if name in http1.ONE_PIECE else cuts
        peer.send(raw, sorted(int(part * len(raw)) for part in cuts))
        got = []
        for _ in answers:
            if not (answer := peer.answer()):
                break
            got.append(answer)
        statuses = tuple(status for status, _, _ in got)
        if statuses != answers:
            lost.append(f"answered {statuses}, not {answers}")
        elif got and code_of(got[-1][2]) != code:
            lost.append(f"the code is {code_of(got[-1][2])}, not {code}")
        closing = bool(got) and got[-1][1].get("connection", "").lower() == "close"
        if after == http1.CLOSES:
            if got and not closing:
                lost.append("the answer does not say that the connection ends")
            if not peer.ended():
                lost.append(f"the connection does not end, or says more: {peer.buffer[:80]!r}")
        else:
            peer.send(http1.get().replace(b"@U", url_of(id).encode()))
            again = peer.answer()
            if not again or again[0] != 200 or peer.buffer:
                lost.append(f"the next request on it is answered {again and again[0]} {peer.buffer[:80]!r}")
    finally:
        peer.close()
    lost += still_usable(server, web, id, held)
    for what in lost:
        report.lost(f"HTTP/1.1, {group}, {name}: {what}")


def still_usable(server, web, id, held):
    """What is wrong with the upload after its case: it holds `held` (None: any of its own bytes), takes
    its whole file and hands over just that."""
    status = server.status(id)
    if not status or status["state"] not in ("new", "uploading"):
        return [f"the upload is {status and status['state']} afterwards"]
    if held is not None and status["received"] != held:
        return [f"the upload holds {status['received']}, not {held}"]
    for _ in range(3):
        code, _, text = server.ask("PUT", url_of(id), http1.FILE, {"Content-Range": "bytes 0-19/20"})
        # A request whose connection is over may be looked at late, and is the newer one then.
        if '"superseded"' not in text:
            break
    if code != 200:
        return [f"the upload does not take the rest: {code} {text}"]
    path = server.data / "files" / id
    if not path.exists() or path.read_bytes() != http1.FILE:
        return ["the published file is not the file"]
    path.unlink()
    return []


def call(report, server, name, method, target, lines, body, status):
    """A call of the backend surface with parameters that nobody honest gives."""
    peer = Raw(server.backend_port)
    try:
        length = [] if body is None else [b"Content-Length: %d" % len(body)]
        peer.send(http1.head(b"%b %b HTTP/1.1" % (method, target), b"Host: localhost", *lines, *length) + (body or b""))
        answer = peer.answer()
        if not answer or answer[0] != status:
            report.lost(f"backend call, {name}: answered {answer and (answer[0], answer[2][:200])}, not {status}")
    finally:
        peer.close()


# ---- floods ----

# Requests: 24 MB of them, more than sockets hold for a server that does not read.
UNREAD = 400_000

def unread(report, server, name, times):
    """Requests one after another whose answers nobody reads: the server stops reading in turn."""
    ask = http1.get(target=b"/incoming/frontend/incoming.js") * 100
    peers = [Raw(server.port) for _ in range(5 * times)]
    try:
        for peer in peers:
            peer.socket.settimeout(0.3)
            sent = 0
            try:
                while sent < UNREAD:
                    peer.socket.sendall(ask)
                    sent += 100
            except OSError:
                pass
            if sent >= UNREAD:
                report.lost(f"{name}: {sent} requests were taken, and no answer was read")
    finally:
        for peer in peers:
            peer.close()


def by_bytes(report, server, name, times):
    """A whole upload in chunks of one byte, each with an extension."""
    size = 20_000 * times
    id, file = server.ticket(removeFileWhenFinished="false"), content(size, size)
    peer = Raw(server.port)
    try:
        head = http1.chunked(b"", range_=b"bytes 0-%d/%d" % (size - 1, size), target=url_of(id).encode())
        peer.send(head + b"".join(b"1\r\n%b\r\n" % file[at:at + 1] for at in range(size)) + b"0\r\n\r\n")
        answer = peer.answer()
        path = server.data / "files" / id
        if not answer or answer[0] != 200 or path.read_bytes() != file:
            report.lost(f"{name}: answered {answer}")
        path.unlink(missing_ok=True)
    finally:
        peer.close()


def come_and_go(report, server, name, times):
    """Connections that vanish: at once, amid a head, amid a body, with a reset."""
    id = server.ticket(removeFileWhenFinished="false")
    begun = http1.sized(body=b"01234").replace(b"@U", url_of(id).encode())
    for count in range(400 * times):
        peer = Raw(server.port)
        peer.send([b"", begun[:30], begun, b"\0" * 100][count % 4])
        if count % 8 > 3:
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
    for what in still_usable(server, None, id, None):
        report.lost(f"{name}: {what}")


FLOODS = [
    ("requests whose answers nobody reads", unread),
    ("an upload in chunks of one byte", by_bytes),
    ("connections that come and go", come_and_go),
]
