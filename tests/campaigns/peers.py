"""Raw peers: sockets that say what they are told to and no more, HTTP/2 in hand-made frames."""

import contextlib
import socket
import ssl
import struct
import subprocess
import threading
import time

import rig

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def certificates(directory):
    """Paths of a throw-away certificate and key, and how a client is to trust them, by ALPN."""
    made = subprocess.run([str(rig.ROOT / "certs-example/make-certs"), "-o", str(directory), "localhost", "127.0.0.1"],
                          capture_output=True, text=True, check=False)
    if made.returncode:
        raise rig.Skipped(f"no certificates: {made.stderr.strip()}")

    def context(*alpn):
        context = ssl.create_default_context(cafile=f"{directory}/ca.pem")
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    return ["--tls-cert", f"{directory}/server.pem", "--tls-key", f"{directory}/server-key.pem"], context


def tcp(port, seconds=rig.DEADLINE):
    return socket.create_connection(("127.0.0.1", port), seconds)


def tls(port, context):
    return context.wrap_socket(tcp(port), server_hostname="127.0.0.1")


def hello(context):
    """The bytes of a ClientHello."""
    out = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="127.0.0.1")
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return out.read()


def end_of(peer, within):
    """All that still comes until the other side ends; None where it does not within so many seconds."""
    end, heard = time.monotonic() + within, b""
    while (left := end - time.monotonic()) > 0:
        peer.settimeout(left)
        try:
            more = peer.recv(65536)
        except TimeoutError:
            break
        except OSError:
            return heard
        if not more:
            return heard
        heard += more
    return None


class Session:
    """TLS that one thread may read while another writes, which Python's own sockets do not promise."""

    def __init__(self, port, context):
        self.socket, self.lock, self.clear = tcp(port), threading.RLock(), b""
        self.socket.settimeout(None)
        self.come, self.go = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.come, self.go, server_hostname="127.0.0.1")
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush()
                self.hear()
        self.flush()

    def flush(self):
        if said := self.go.read():
            self.socket.sendall(said)

    def hear(self):
        more = self.socket.recv(65536)
        if not more:
            raise ConnectionError("ended")
        with self.lock:
            self.come.write(more)

    def send(self, data):
        with self.lock:
            self.tls.write(data)
            self.flush()

    def exactly(self, size):
        """So many bytes; for one thread."""
        while len(self.clear) < size:
            with self.lock:
                try:
                    if more := self.tls.read(65536):
                        self.clear += more
                        continue
                    raise ConnectionError("ended")
                except ssl.SSLWantReadError:
                    self.flush()
            self.hear()
        held, self.clear = self.clear[:size], self.clear[size:]
        return held

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class Http2:
    """A client's side of one HTTP/2 connection over TLS; reads in a thread of its own."""

    def __init__(self, port, context, settings=(), answers_pings=True):
        self.peer, self.answers_pings = Session(port, context), answers_pings
        self.next, self.ended, self.goaway = 1, threading.Event(), False
        self.heads, self.bodies, self.over, self.lock = {}, {}, set(), threading.Lock()
        said = b"".join(struct.pack(">HI", key, value) for key, value in settings)
        self.send_raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, said))
        threading.Thread(target=self.read, daemon=True).start()

    def send_raw(self, data):
        self.peer.send(data)

    def request(self, method, path, fields=(), body=None, ends=True):
        """Opens a stream; its number. Without a body it ends at once, unless it is not to."""
        with self.lock:
            stream, self.next = self.next, self.next + 2
        pairs = [(":method", method), (":scheme", "https"), (":authority", "127.0.0.1"), (":path", path), *fields]
        head = b"".join(b"\0" + text(name) + text(value) for name, value in pairs)
        flags = END_HEADERS | (END_STREAM if body is None and ends else 0)
        self.send_raw(frame(HEADERS, flags, stream, head))
        if body is not None:
            self.data(stream, body, ends)
        return stream

    def data(self, stream, body, ends=True):
        for at in range(0, len(body), 16384):
            last = at + 16384 >= len(body)
            self.send_raw(frame(DATA, END_STREAM if ends and last else 0, stream, body[at:at + 16384]))

    def read(self):
        with contextlib.suppress(OSError, ValueError):
            while head := self.peer.exactly(9):
                size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
                stream, load = int.from_bytes(head[5:], "big"), self.peer.exactly(size)
                self.heard(kind, flags, stream, load)
        self.ended.set()

    def heard(self, kind, flags, stream, load):
        if kind == SETTINGS and not flags & ACK:
            self.send_raw(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK and self.answers_pings:
            self.send_raw(frame(PING, ACK, 0, load))
        elif kind == GOAWAY:
            self.goaway = True
        with self.lock:
            if kind == HEADERS:
                self.heads[stream] = load
            elif kind == DATA:
                self.bodies[stream] = self.bodies.get(stream, b"") + load
            if kind == RESET or flags & END_STREAM and kind in (DATA, HEADERS):
                self.over.add(stream)

    def answer(self, stream, within=rig.DEADLINE):
        """The body of a stream's answer, once the stream is over."""
        rig.until(f"the answer on stream {stream}", lambda: stream in self.over or self.ended.is_set(), within)
        return self.bodies.get(stream, b"")

    def close(self):
        self.peer.close()


def frame(kind, flags, stream, load):
    return struct.pack(">I", len(load))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + load


def text(word):
    """A string of HPACK, uncompressed."""
    word = word.encode()
    if len(word) < 127:
        return bytes([len(word)]) + word
    rest, said = len(word) - 127, b"\x7f"
    while rest >= 128:
        said, rest = said + bytes([rest % 128 + 128]), rest // 128
    return said + bytes([rest]) + word
