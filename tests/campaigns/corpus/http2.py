"""HTTP/2 frames as nobody honest sends them, and what must come of them. Data alone; hostile_http2.py sends it.

A case is (name, frames, outcome): `frames(path)` makes the bytes after a good preface, for the path of an upload
of the case's own. Outcomes, each a set of what may be:
    a status        the first stream is answered so, and the connection goes on
    "RESET word"    the first stream is reset with this error, and the connection goes on
    "GOAWAY word"   the connection ends with this error
    "ended"         the connection ends without a word
    "stays"         nothing comes of it: the connection goes on
Where RFC 9113 lets a server choose between a stream's and a connection's error, both stand. The first stream is 1.
"""

import struct

import frames as f

RESET, GOAWAY, CALM = "RESET PROTOCOL_ERROR", "GOAWAY PROTOCOL_ERROR", "GOAWAY ENHANCE_YOUR_CALM"
BODY = [("content-range", "bytes 0-9/20"), ("content-length", "10")]


def get(*more, end=True, **where):
    """A GET with more fields."""
    return lambda path: f.headers(1, f.request("GET", path, *more, **where), end)


def put(*after, fields=BODY):
    """A PUT of ten bytes, and what follows its head."""
    return lambda path: f.headers(1, f.request("PUT", path, *fields), False) + b"".join(after)


def raw(*fields):
    """A block of just these fields; None stands for the path."""
    return lambda path: f.headers(1, b"".join(f.field(name, path if value is None else value) for name, value in fields))


def alone(*frames):
    return lambda path: b"".join(frames)


def opened(*frames):
    """Frames after a long poll was opened on stream 1."""
    return lambda path: f.headers(1, f.request("GET", path + "?wait=20")) + b"".join(frames)


M, S, A, P = (":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", None)

FIELDS = [
    ("no method", raw(S, A, P), {RESET}),
    ("no scheme", raw(M, A, P), {RESET}),
    ("no path", raw(M, S, A), {RESET}),
    ("no authority, and no host", raw(M, S, P), {400}),
    ("no authority, but a host", raw(M, S, P, ("host", "localhost")), {200}),
    ("two methods", raw(M, M, S, A, P), {RESET}),
    ("two paths", raw(M, S, A, P, P), {RESET}),
    ("two authorities", raw(M, S, A, A, P), {RESET}),
    ("an empty path", raw(M, S, A, (":path", "")), {RESET}),
    ("a path without a slash", raw(M, S, A, (":path", "incoming")), {RESET, 400, 404}),
    ("a path of another authority", raw(M, S, A, (":path", "http://b/")), {RESET, 400, 404}),
    ("a path with a space", raw(M, S, A, (":path", "/a b")), {RESET, 400, 404}),
    ("a path with NUL", raw(M, S, A, (":path", "/a\0b")), {RESET, 400, 404}),
    ("a path with CRLF", raw(M, S, A, (":path", "/a HTTP/1.1\r\nX: y")), {RESET, 400, 404}),
    ("a path that is an asterisk", raw(M, S, A, (":path", "*")), {RESET, 400, 404}),
    ("a method with a space", raw((":method", "GET /"), S, A, P), {RESET, GOAWAY, 400}),
    ("an empty method", raw((":method", ""), S, A, P), {RESET, GOAWAY, 400}),
    ("a scheme that is none", raw(M, (":scheme", "h t"), A, P), {RESET, 400}),
    ("a pseudo header after others", raw(M, S, A, ("x", "y"), P), {RESET}),
    ("a pseudo header that nobody knows", raw(M, S, A, P, (":x", "y")), {RESET, GOAWAY}),
    ("a pseudo header of answers", raw(M, S, A, P, (":status", "200")), {RESET, GOAWAY}),
    (":protocol without having been offered", raw((":method", "CONNECT"), S, A, P, (":protocol", "websocket")), {RESET, GOAWAY, 400, 404, 405}),
    ("CONNECT", raw((":method", "CONNECT"), (":authority", "a:80")), {RESET, 404, 405}),
    ("CONNECT with a path", raw((":method", "CONNECT"), S, A, P), {RESET, 400, 404, 405}),
    ("a name in capitals", get(("X-Upper", "y")), {RESET, GOAWAY}),
    ("an empty name", get(("", "y")), {RESET, GOAWAY}),
    ("a name with a space", get(("x y", "z")), {RESET, GOAWAY}),
    ("a name with a colon", get(("x:y", "z")), {RESET, GOAWAY}),
    ("a name with CRLF", get(("x\r\ny", "z")), {RESET, GOAWAY}),
    ("a value with NUL", get(("x", "a\0b")), {RESET, GOAWAY}),
    ("a value with CRLF", get(("x", "a\r\nhost: b")), {RESET, GOAWAY}),
    ("a value with LF", get(("x", "a\nb")), {RESET, GOAWAY}),
    ("connection", get(("connection", "close")), {RESET}),
    ("keep-alive", get(("keep-alive", "timeout=5")), {RESET}),
    ("proxy-connection", get(("proxy-connection", "close")), {RESET}),
    ("transfer-encoding", get(("transfer-encoding", "chunked")), {RESET}),
    ("upgrade", get(("upgrade", "h2c")), {RESET}),
    ("te that is not trailers", get(("te", "gzip")), {RESET}),
    ("te that is trailers", get(("te", "trailers")), {200}),
    ("host against authority", get(("host", "other")), {400}),
    ("host as the authority", get(("host", "localhost")), {200}),
    ("two hosts", get(("host", "localhost"), ("host", "localhost")), {400}),
    ("a user in the authority", get(authority="u@localhost"), {RESET, 400}),
    ("an authority that is none", get(authority="a b"), {RESET, 400}),
    ("an empty authority", get(authority=""), {RESET, 400}),
    ("content-length twice, differing", get(("content-length", "1"), ("content-length", "2"), end=False), {RESET}),
    ("content-length that is no number", get(("content-length", "+1"), end=False), {RESET}),
    ("content-length of 2^64", get(("content-length", "18446744073709551616"), end=False), {RESET}),
    ("content-length on a head that ends", get(("content-length", "5")), {RESET}),
    ("a list of headers over the limit", get(*[("x", "y" * 1000)] * 15, ("z", "y" * 900)), {200}),
    ("expect", get(("expect", "100-continue")), {200}),
]

BODIES = [
    ("a good one", put(f.data(1, b"0123456789", True)), {200}),
    ("more than its length", put(f.data(1, b"0123456789a", True)), {RESET}),
    ("more than its length, in two", put(f.data(1, b"0123456789"), f.data(1, b"a", True)), {RESET}),
    ("less than its length", put(f.data(1, b"01234", True)), {RESET}),
    ("less than its range, without a length", put(f.data(1, b"01234", True), fields=BODY[:1]), {416}),
    ("more than its range, without a length", put(f.data(1, b"0123456789abcdef", True), fields=BODY[:1]), {416}),
    ("data after the end", put(f.data(1, b"0123456789", True), f.data(1, b"more")), {"RESET STREAM_CLOSED", "GOAWAY STREAM_CLOSED", GOAWAY, 200}),
    ("a head after the end", put(f.data(1, b"0123456789", True), f.headers(1, f.block(("x", "y")))), {"RESET STREAM_CLOSED", "GOAWAY STREAM_CLOSED", GOAWAY, RESET}),
    ("trailers", put(f.data(1, b"0123456789"), f.headers(1, f.block(("x", "y")))), {200}),
    ("trailers that do not end it", put(f.data(1, b"0123456789"), f.headers(1, f.block(("x", "y")), False)), {RESET, GOAWAY}),
    # Malformed, and h2 throws the field away before anybody sees it; trailers say nothing here.
    ("trailers with a pseudo header", put(f.data(1, b"0123456789"), f.headers(1, f.block((":path", "/")))), {200, RESET, GOAWAY}),
    ("trailers with another length", put(f.data(1, b"0123456789"), f.headers(1, f.block(("content-length", "3")))), {200, RESET}),
    ("data with padding", put(f.frame(f.DATA, f.PADDED | f.END_STREAM, 1, b"\x05" + b"0123456789" + b"\0" * 5)), {200}),
    ("padding as long as its frame", put(f.frame(f.DATA, f.PADDED, 1, b"\x0b" + b"0123456789")), {GOAWAY}),
    ("padding in an empty frame", put(f.frame(f.DATA, f.PADDED, 1)), {GOAWAY, "GOAWAY FRAME_SIZE_ERROR"}),
    ("two thousand empty frames", put(f.data(1) * 2000, f.data(1, b"0123456789", True)), {200, CALM}),
    ("ten bytes in ten frames", put(*[f.data(1, b"%d" % n, n == 9) for n in range(10)]), {200}),
]

FRAMES = [
    ("data on stream 0", alone(f.data(0, b"x")), {GOAWAY}),
    ("data on a stream not opened", alone(f.data(1, b"x")), {GOAWAY, "GOAWAY STREAM_CLOSED"}),
    ("a head on stream 0", alone(f.headers(0, f.request("GET", "/"))), {GOAWAY}),
    ("a head on an even stream", alone(f.headers(2, f.request("GET", "/"))), {GOAWAY}),
    ("a stream lower than the last", lambda path: f.headers(5, f.request("GET", path)) + f.headers(3, f.request("GET", path)), {GOAWAY, "GOAWAY STREAM_CLOSED"}),
    ("a head that depends on itself", lambda path: f.frame(f.HEADERS, 0x25, 1, struct.pack(">IB", 1, 0) + f.request("GET", path)), {RESET, GOAWAY, 200}),
    ("a priority that depends on itself", opened(f.frame(f.PRIORITY, 0, 1, struct.pack(">IB", 1, 0))), {RESET, GOAWAY, "stays"}),
    ("priority of stream 0", alone(f.frame(f.PRIORITY, 0, 0, bytes(5))), {GOAWAY}),
    ("priority of 4 bytes", opened(f.frame(f.PRIORITY, 0, 1, bytes(4))), {"RESET FRAME_SIZE_ERROR", "GOAWAY FRAME_SIZE_ERROR"}),
    ("reset of stream 0", alone(f.reset(0)), {GOAWAY}),
    ("reset of a stream not opened", alone(f.reset(1)), {GOAWAY}),
    ("reset of 3 bytes", opened(f.frame(f.RST_STREAM, 0, 1, bytes(3))), {"GOAWAY FRAME_SIZE_ERROR"}),
    ("settings on a stream", alone(f.frame(f.SETTINGS, 0, 1)), {GOAWAY}),
    ("settings of 5 bytes", alone(f.frame(f.SETTINGS, 0, 0, bytes(5))), {"GOAWAY FRAME_SIZE_ERROR"}),
    ("an acknowledgement of settings with content", alone(f.frame(f.SETTINGS, f.ACK, 0, bytes(6))), {"GOAWAY FRAME_SIZE_ERROR"}),
    ("acknowledgements that nobody waits for", alone(f.frame(f.SETTINGS, f.ACK, 0) * 3), {GOAWAY, "stays"}),
    ("settings: a window of 2^31", alone(f.settings(window=2**31)), {"GOAWAY FLOW_CONTROL_ERROR"}),
    ("settings: frames of 16,383 bytes", alone(f.settings(frame=16_383)), {GOAWAY}),
    ("settings: frames of 2^24 bytes", alone(f.settings(frame=1 << 24)), {GOAWAY}),
    ("settings: push of 2", alone(f.settings(push=2)), {GOAWAY}),
    ("settings that nobody knows", alone(f.frame(f.SETTINGS, 0, 0, struct.pack(">HI", 0xFFFF, 7) * 100)), {"stays"}),
    ("ping on a stream", alone(f.frame(f.PING, 0, 1, bytes(8))), {GOAWAY}),
    ("ping of 7 bytes", alone(f.frame(f.PING, 0, 0, bytes(7))), {"GOAWAY FRAME_SIZE_ERROR"}),
    ("answers to pings that nobody sent", alone(f.frame(f.PING, f.ACK, 0, bytes(8)) * 3), {"stays"}),
    ("a push promise from a client", opened(f.frame(f.PUSH_PROMISE, 4, 1, struct.pack(">I", 2) + f.request("GET", "/"))), {GOAWAY}),
    ("goaway on a stream", alone(f.frame(f.GOAWAY, 0, 1, bytes(8))), {GOAWAY}),
    ("goaway of 7 bytes", alone(f.frame(f.GOAWAY, 0, 0, bytes(7))), {"GOAWAY FRAME_SIZE_ERROR"}),
    ("window update of nothing, connection", alone(f.window(0, 0)), {GOAWAY}),
    ("window update of nothing, stream", opened(f.window(1, 0)), {RESET, GOAWAY}),
    ("window update of 3 bytes", alone(f.frame(f.WINDOW_UPDATE, 0, 0, bytes(3))), {"GOAWAY FRAME_SIZE_ERROR"}),
    ("window over 2^31, connection", alone(f.window(0, f.MOST), f.window(0, f.MOST)), {"GOAWAY FLOW_CONTROL_ERROR"}),
    ("window over 2^31, stream", opened(f.window(1, f.MOST)), {"RESET FLOW_CONTROL_ERROR"}),
    ("window update of a stream not opened", alone(f.window(1, 1)), {GOAWAY}),
    ("continuation of nothing", alone(f.frame(f.CONTINUATION, 4, 1, b"")), {GOAWAY}),
    ("continuation of another stream", lambda path: f.headers(1, f.request("GET", path), True, 0) + f.frame(f.CONTINUATION, 4, 3, b""), {GOAWAY}),
    ("ping inside a head", lambda path: f.headers(1, f.request("GET", path), True, 0) + f.frame(f.PING, 0, 0, bytes(8)), {GOAWAY}),
    ("a head in 50 continuations", lambda path: f.headers(1, b"", True, 0) + pieces(f.request("GET", path), 50), {200, CALM}),
    ("frames of types that nobody knows", alone(*[f.frame(kind, 0xFF, 1, b"x" * 100) for kind in range(10, 256)]), {"stays"}),
    ("a frame of 16,385 bytes", put(f.data(1, b"x" * 16_385)), {"RESET FRAME_SIZE_ERROR", "GOAWAY FRAME_SIZE_ERROR"}),
    ("a head of 16,385 bytes", lambda path: f.headers(1, f.request("GET", path, ("x", "y" * 16_400))), {"GOAWAY FRAME_SIZE_ERROR"}),
    ("a frame that says it has 2^24 - 1 bytes", put(f.frame(f.DATA, 0, 1, b"x" * 100, (1 << 24) - 1)), {"GOAWAY FRAME_SIZE_ERROR"}),
    ("a ping that says it has 2^24 - 1 bytes", alone(f.frame(f.PING, 0, 0, b"x" * 100, (1 << 24) - 1)), {"GOAWAY FRAME_SIZE_ERROR"}),
    ("padding longer than a head", lambda path: f.frame(f.HEADERS, 4 | f.PADDED, 1, b"\xff" + f.request("GET", path)), {GOAWAY}),
    ("the highest stream of all", lambda path: f.headers(f.MOST, f.request("GET", path)), {"stays"}),
    ("garbage", alone(bytes(range(256)) * 100), {GOAWAY, "GOAWAY FRAME_SIZE_ERROR", "ended"}),
    ("a second preface", alone(f.PREFACE), {"GOAWAY FRAME_SIZE_ERROR", GOAWAY}),
    ("a request of HTTP/1.1", alone(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), {"GOAWAY FRAME_SIZE_ERROR", GOAWAY}),
]

COMPRESSION = [
    (name, lambda path, block=block: f.headers(1, block), {"GOAWAY COMPRESSION_ERROR"})
    for name, block in [
        ("index 0", b"\x80"), ("an index beyond the tables", f.indexed(62)), ("an index of 2^40", f.integer(1 << 40, 7, 0x80)), ("an integer without end", b"\xff" * 100),
        ("a table of 2^32", f.integer(1 << 32, 5, 0x20)), ("a table over the limit", f.integer(4097, 5, 0x20)), ("a size after a field", f.indexed(2) + b"\x20"),
        ("a text longer than the head", b"\0" + f.integer(1 << 20, 7) + b"x"), ("a text of 2^60", b"\0" + f.integer(1 << 60, 7) + b"x"),
        ("Huffman that ends wrongly", b"\0\x81\0\x81\0"), ("Huffman with its end mark inside", b"\0\x84\xff\xff\xff\xff\x01x"), ("a head cut off", b"\0\x05ab"),
    ]
]


def pieces(block, count):
    """CONTINUATION frames that carry the block in so many parts."""
    step = -(-len(block) // count)
    parts = [block[at:at + step] for at in range(0, len(block), step)]
    return b"".join(f.frame(f.CONTINUATION, 4 if part is parts[-1] else 0, 1, part) for part in parts)


GROUPS = {"fields": FIELDS, "bodies": BODIES, "frames": FRAMES, "compression": COMPRESSION}
