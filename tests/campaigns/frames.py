"""HTTP/2 frame by frame, as nobody honest sends it: builders that check nothing, and a connection that
says what came back. Sources: RFC 9113 (frames), RFC 7541 (header compression). Standard library only.
"""

import select
import socket
import ssl
import struct
import time

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, PRIORITIZED, ACK = 1, 4, 8, 0x20, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ERRORS = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
          "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
          "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"]
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEADER_LIST = range(1, 7)
MOST = 2**31 - 1
# Huffman codes of the digits (RFC 7541, appendix B): all that a status is made of.
DIGITS = {(5, code): str(code) for code in range(3)} | {(6, 0x19 + at): str(3 + at) for at in range(7)}
STATUSES = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}


def frame(kind, flags, stream, payload=b"", length=None):
    """Any frame; `length` lies about the payload's."""
    length = len(payload) if length is None else length
    return struct.pack(">BHBBI", length >> 16, length & 0xFFFF, kind, flags, stream) + payload


def settings(**values):
    names = dict(table=HEADER_TABLE_SIZE, push=ENABLE_PUSH, streams=MAX_STREAMS, window=INITIAL_WINDOW,
                 frame=MAX_FRAME, headers=MAX_HEADER_LIST)
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", names[name], value) for name, value in values.items()))


def reset(stream, code=8):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def window(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def data(stream, payload=b"", end=False):
    return frame(DATA, END_STREAM if end else 0, stream, payload)


def integer(value, bits, first=0):
    """RFC 7541, section 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = bytearray([first | most]), value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(value):
    value = value if isinstance(value, bytes) else value.encode("latin-1")
    return integer(len(value), 7) + value


def field(name, value):
    """A literal that leaves the table alone."""
    return b"\0" + text(name) + text(value)


def kept(name, value):
    """A literal that goes into the table."""
    return b"\x40" + text(name) + text(value)


def indexed(number):
    return integer(number, 7, 0x80)


def block(*fields):
    return b"".join(field(name, value) for name, value in fields)


def request(method, path, *more, authority="localhost", scheme="https"):
    """The header block of a good request, and more fields."""
    return block((":method", method), (":scheme", scheme), (":authority", authority), (":path", path), *more)


def headers(stream, fields, end=True, flags=END_HEADERS):
    return frame(HEADERS, flags | (END_STREAM if end else 0), stream, fields)


def status_of(payload, flags):
    """The status at the head of a header block of a server that was told to keep no table; None in trailers."""
    if flags & PADDED:
        payload = payload[1:]
    if flags & PRIORITIZED:
        payload = payload[5:]
    while payload and payload[0] & 0xE0 == 0x20:
        # The size of the table, in one byte or more.
        more = payload[0] & 31 == 31
        payload = payload[1:]
        while more:
            more, payload = payload[0] & 128, payload[1:]
    if not payload:
        return None
    first = payload[0]
    if first & 0x80:
        return STATUSES.get(first & 127)
    name = first & (63 if first & 0x40 else 15)
    if not 8 <= name <= 14:
        return None
    length, value = payload[1] & 127, payload[2:]
    if not payload[1] & 128:
        return int(value[:length])
    bits, out = "".join(f"{byte:08b}" for byte in value[:length]), ""
    while len(out) < 3:
        for size in (5, 6):
            if digit := DIGITS.get((size, int(bits[:size], 2))):
                out, bits = out + digit, bits[size:]
                break
        else:
            return None
    return int(out)


class Peer:
    """One HTTP/2 connection over TLS. It answers nothing by itself but SETTINGS, and PING where `polite`.

    What came: `status` and `body` by stream, `resets` (code by stream), `goaway` (a code), `ended` (no more
    comes), `counts` of frames by type. All sends and reads have a deadline and give up quietly once the
    server has ended: then `ended` is true.
    """

    def __init__(self, port, trust, preface=PREFACE + settings(table=0, window=MOST), reads=True, alpn="h2"):
        context = ssl.create_default_context(cafile=trust)
        context.set_alpn_protocols([alpn])
        plain = socket.create_connection(("127.0.0.1", port), 20)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        self.socket.setblocking(False)
        self.reads, self.stuck, self.owed = reads, False, b""
        self.buffer = b""
        self.status, self.body, self.done, self.resets, self.counts = {}, {}, set(), {}, {}
        self.goaway, self.ended, self.polite, self.next, self.sent = None, False, True, 1, 0
        # Room in the windows for our bytes: of a stream at its begin, of each stream since, of the connection.
        self.initial, self.rooms, self.shared = 65_535, {}, 65_535
        self.send(preface)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def stream(self):
        """The next stream's number."""
        self.next += 2
        return self.next - 2

    def send(self, bytes_, seconds=20):
        """Sends it all unless the connection ends, or nothing moves until the deadline. Says whether it did."""
        if self.stuck:
            return False
        # A record that was begun must be ended before another is, so answers wait their turn.
        view, end, self.owed = memoryview(self.owed + bytes_), time.monotonic() + seconds, b""
        while view and not self.ended:
            try:
                taken = self.socket.send(view[:1 << 16])
                view, self.sent = view[taken:], self.sent + taken
                continue
            except ssl.SSLWantWriteError:
                pass
            except ssl.SSLWantReadError:
                self.take()
            except OSError:
                # What the server still said lies in the socket.
                self.take()
                self.ended = True
                break
            left = end - time.monotonic()
            if left <= 0:
                self.stuck = True
                return False
            readable, _, _ = select.select([self.socket] if self.reads else [], [self.socket], [], min(left, 1))
            if readable:
                self.take()
        return not self.ended

    def take(self):
        """Reads and judges what is there."""
        while not self.ended:
            try:
                more = self.socket.recv(1 << 16)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError:
                more = b""
            if not more:
                self.ended = True
                return
            self.buffer += more
            self.parse()

    def parse(self):
        at = 0
        while len(self.buffer) - at >= 9:
            high, low, kind, flags, stream = struct.unpack_from(">BHBBI", self.buffer, at)
            length = high << 16 | low
            if len(self.buffer) - at - 9 < length:
                break
            self.came(kind, flags, stream & MOST, self.buffer[at + 9:at + 9 + length])
            at += 9 + length
        self.buffer = self.buffer[at:]

    def came(self, kind, flags, stream, payload):
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if kind == HEADERS:
            if status := status_of(payload, flags):
                self.status[stream] = status
        elif kind == DATA:
            self.body[stream] = self.body.get(stream, b"") + payload
        elif kind == RST_STREAM:
            self.resets[stream] = ERRORS[struct.unpack(">I", payload)[0]]
        elif kind == GOAWAY:
            code = struct.unpack(">I", payload[4:8])[0]
            self.goaway = ERRORS[code]
        elif kind == WINDOW_UPDATE:
            more = struct.unpack(">I", payload)[0]
            if stream:
                self.rooms[stream] = self.rooms.get(stream, 0) + more
            else:
                self.shared += more
        elif kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack_from(">HI", payload, at)
                self.initial = value if name == INITIAL_WINDOW else self.initial
            self.owed += frame(SETTINGS, ACK, 0)
        elif kind == PING and not flags & ACK and self.polite:
            self.owed += frame(PING, ACK, 0, payload)
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            self.done.add(stream)

    def room(self, stream):
        """Bytes that the server lets us send on a stream."""
        return min(self.shared, self.initial + self.rooms.get(stream, 0))

    def used(self, stream, count):
        self.shared -= count
        self.rooms[stream] = self.rooms.get(stream, 0) - count

    def until(self, found, seconds=10):
        """Reads until it is found, the connection ends, or the time is over. What was found, last."""
        end = time.monotonic() + seconds
        while True:
            self.take()
            if self.owed:
                self.send(b"", 1)
            answer = found()
            left = end - time.monotonic()
            if answer or self.ended or left <= 0:
                return answer
            select.select([self.socket], [], [], min(left, 0.5))

    def answered(self, stream, seconds=10):
        """What became of a stream: a status, the word of a reset, the word of a goaway, `ended`, or None."""
        def outcome():
            if stream in self.status and stream in self.done:
                return self.status[stream]
            return self.resets.get(stream)
        return self.until(lambda: outcome() or self.goaway, seconds) and outcome() or self.fate()

    def fate(self):
        """What became of the connection: the goaway's word, `ended`, or None."""
        if self.goaway and self.goaway != "NO_ERROR":
            return f"GOAWAY {self.goaway}"
        return "ended" if self.ended or self.goaway else None

    def get(self, path, seconds=10):
        """A good request on this connection; what became of it."""
        stream = self.stream()
        self.send(headers(stream, request("GET", path)))
        return self.answered(stream, seconds)
