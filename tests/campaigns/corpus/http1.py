"""HTTP/1.1 as nobody honest sends it, and what must come back. Data alone; hostile_http1.py sends it.

A case is (name, bytes, answers, after, code, held):
    bytes    sent as they are; @U is the path of an upload of the case's own, @I its id, @T and @R its paths in the
             dialects tus and resumable
    answers  the statuses of all answers, in order, interim ones too; () is: closed without one
    after    CLOSES: the server says so in the last answer and does it. STAYS: the next request is answered.
    code     of the last answer's problem; None: it has none (hyper's own answers have no body)
    held     what the upload has received afterwards; it is still open, and takes the rest

The file of each upload is FILE. Sources: RFC 9110 (semantics), RFC 9112 (messages), the project's docs/protocol.md.
"""

FILE = b"0123456789abcdefghij"
CLOSES, STAYS = "closes", "stays"
TEN = [[0, 10]]
BAD, RANGE = "bad-request", "range-invalid"


def head(line, *lines):
    return b"\r\n".join([line, *lines, b"", b""])


def get(*lines, target=b"@U", version=b"HTTP/1.1"):
    return head(b"GET " + target + b" " + version, b"Host: a", *lines)


def put(*lines, body=b"0123456789", range_=b"bytes 0-9/20", target=b"@U"):
    """A chunk: ten bytes, with a good range."""
    return head(b"PUT " + target + b" HTTP/1.1", b"Host: a", b"Content-Range: " + range_, *lines) + body


def sized(*lines, **more):
    return put(b"Content-Length: 10", *lines, **more)


def chunked(body, *lines, **more):
    return put(b"Transfer-Encoding: chunked", *lines, body=body, **more)


def post(body, *lines):
    return head(b"POST @U HTTP/1.1", b"Host: a", b"Content-Length: %d" % len(body), *lines) + body


ONE = b"a\r\n0123456789\r\n"
WHOLE = ONE + b"0\r\n\r\n"
DELETE = b"DELETE @U HTTP/1.1\r\nHost: a\r\n\r\n"
# Its length on the wire, where @U is a path and an id of 36 characters.
DELETE_BYTES = len(DELETE) - len(b"@U") + len(b"/incoming/frontend/uploads/") + 36
CL, TE = b"Content-Length: 5", b"Transfer-Encoding: chunked"

LENGTHS = [
    ("content-length, then transfer-encoding", put(CL, TE, body=WHOLE + DELETE), (200,), CLOSES, None, TEN),
    ("transfer-encoding, then content-length", put(TE, CL, body=WHOLE + DELETE), (200,), CLOSES, None, TEN),
    ("transfer-encoding between two lengths", put(CL, TE, b"Content-Length: 6", body=WHOLE + DELETE), (200,), CLOSES, None, TEN),
    ("two lengths that differ", put(b"Content-Length: 10", CL), (400,), CLOSES, None, []),
    ("two lengths that differ, the other way", put(CL, b"Content-Length: 10"), (400,), CLOSES, None, []),
    ("two equal lengths are one", sized(b"Content-Length: 10"), (200,), STAYS, None, TEN),
    ("a list of equal lengths", put(b"Content-Length: 10, 10"), (400,), CLOSES, None, []),
    ("a list of other lengths", put(b"Content-Length: 10, 5"), (400,), CLOSES, None, []),
] + [
    (f"content-length {value!r}", put(b"Content-Length:" + value), (400,), CLOSES, None, [])
    for value in [b"+10", b" +10", b"-10", b"-0", b"1 0", b"1\t0", b"0x0a", b"0xA", b"10;", b"10.0", b"1e1", b"1_0", b"ten", b",10",
                  b"10,", b"'10'", b"\"10\"", b"18446744073709551616", b"99999999999999999999999999999999", b"", b" ", b"\xb210", b"\xef\xbc\x9110"]
] + [
    # hyper keeps the three largest numbers for itself.
    ("content-length of 2^64 - 1", put(b"Content-Length: 18446744073709551615"), (431,), CLOSES, None, []),
    ("content-length of 2^63", put(b"Content-Length: 9223372036854775808"), (400,), CLOSES, BAD, []),
    ("content-length of 2^63 - 1", put(b"Content-Length: 9223372036854775807"), (400,), CLOSES, BAD, []),
    ("content-length larger than the range", put(b"Content-Length: 11", body=b"0123456789a"), (416,), CLOSES, RANGE, []),
    ("content-length smaller than the range", put(b"Content-Length: 9", body=b"012345678"), (416,), CLOSES, RANGE, []),
    ("content-length between spaces", put(b"Content-Length: \t 10 \t"), (200,), STAYS, None, TEN),
    ("content-length with zeros before it", put(b"Content-Length: 00000000000000000000010"), (200,), STAYS, None, TEN),
    ("content-length in capitals", put(b"CONTENT-LENGTH: 10"), (200,), STAYS, None, TEN),
    ("a length on a GET", get(b"Content-Length: 5") + b"hello", (200,), STAYS, None, []),
    ("a DELETE inside the body of a GET", get(b"Content-Length: %d" % DELETE_BYTES) + DELETE, (200,), STAYS, None, []),
    ("no length at all: no body, and the range says ten", put(body=b""), (416,), STAYS, RANGE, []),
    ("no length, a body all the same", put(body=b"0123456789\r\n\r\n"), (416, 400), CLOSES, None, []),
]

CODINGS = [
    (f"transfer-encoding {value!r}", put(b"Transfer-Encoding:" + value, body=WHOLE + DELETE), (400,), CLOSES, code, [])
    for value, code in [(b" gzip", None), (b" gzip, chunked", BAD), (b" chunked, gzip", None), (b" chunked, chunked", BAD),
                        (b" identity", None), (b" identity, chunked", BAD), (b"", None), (b" ,chunked", BAD), (b" xchunked", None),
                        (b" chunkedx", None), (b" \"chunked\"", None), (b" chunked;q=1", None), (b" \x0bchunked", None),
                        (b" chunked\x00", None), (b" ch\xc3\xbcnked", None), (b" chunked,", None)]
] + [
    ("transfer-encoding twice", put(TE, TE, body=WHOLE), (400,), CLOSES, BAD, []),
    ("transfer-encoding gzip, then chunked", put(b"Transfer-Encoding: gzip", TE, body=WHOLE), (400,), CLOSES, BAD, []),
    ("transfer-encoding chunked, then identity", put(TE, b"Transfer-Encoding: identity", body=WHOLE), (400,), CLOSES, None, []),
    ("transfer-encoding folded", put(b"Transfer-Encoding:\r\n chunked", body=WHOLE), (400,), CLOSES, None, []),
    ("space before the colon of transfer-encoding", put(b"Transfer-Encoding : chunked", body=WHOLE), (400,), CLOSES, None, []),
    ("transfer-encoding with an underscore is another header", put(b"Transfer_Encoding: chunked", b"Content-Length: 10"), (200,), STAYS, None, TEN),
    ("transfer-encoding in HTTP/1.0", head(b"PUT @U HTTP/1.0", b"Host: a", b"Content-Range: bytes 0-9/20", TE) + WHOLE, (400,), CLOSES, None, []),
    ("transfer-encoding in capitals", put(b"TRANSFER-ENCODING: Chunked", body=WHOLE), (200,), STAYS, None, TEN),
]

CHUNKS = [
    ("a good one", chunked(WHOLE), (200,), STAYS, None, TEN),
    ("many small ones", chunked(b"".join(b"1\r\n%d\r\n" % n for n in range(10)) + b"0\r\n\r\n"), (200,), STAYS, None, TEN),
    ("upper case", chunked(WHOLE.replace(b"a", b"A", 1)), (200,), STAYS, None, TEN),
    ("an extension", chunked(WHOLE.replace(b"\r\n", b";x=y;z=\"q\"\r\n", 1)), (200,), STAYS, None, TEN),
    ("16 digits", chunked(b"00000000000000" + b"0" + WHOLE), (200,), STAYS, None, TEN),
    ("trailers that mean nothing", chunked(ONE + b"0\r\nX-Checked: yes\r\n\r\n"), (200,), STAYS, None, TEN),
    ("forbidden trailers mean nothing", chunked(ONE + b"0\r\nContent-Length: 5\r\nHost: b\r\nTransfer-Encoding: gzip\r\nContent-Range: bytes 10-19/20\r\n\r\n"),
     (200,), STAYS, None, TEN),
    ("a DELETE inside a chunk", chunked(b"%x\r\n0123456789%b\r\n0\r\n\r\n" % (10 + DELETE_BYTES, DELETE)), (416,), CLOSES, RANGE, TEN),
    ("bytes beyond the range", chunked(b"b\r\n0123456789a\r\n0\r\n\r\n"), (416,), CLOSES, RANGE, TEN),
    ("fewer bytes than the range", chunked(b"5\r\n01234\r\n0\r\n\r\n"), (416,), STAYS, RANGE, [[0, 5]]),
] + [
    (name, chunked(body), (400,), CLOSES, BAD, held)
    for name, body, held in [
        ("no size", b"\r\n0123456789\r\n0\r\n\r\n", []),
        ("a negative size", b"-a\r\n0123456789\r\n0\r\n\r\n", []),
        ("a size with a plus", b"+a\r\n0123456789\r\n0\r\n\r\n", []),
        ("a size with 0x", b"0xa\r\n0123456789\r\n0\r\n\r\n", []),
        ("a size that is no number", b"ten\r\n0123456789\r\n0\r\n\r\n", []),
        ("a size after a space", b" a\r\n0123456789\r\n0\r\n\r\n", []),
        ("a size of 2^64", b"10000000000000000\r\n0123456789\r\n0\r\n\r\n", []),
        ("a size of 2^64 + 10", b"1000000000000000a\r\n0123456789\r\n0\r\n\r\n", []),
        ("a size of 40 digits", b"f" * 40 + b"\r\n0123456789\r\n0\r\n\r\n", []),
        ("bare LF after the size", b"a\n0123456789\r\n0\r\n\r\n", []),
        ("bare CR after the size", b"a\r0123456789\r\n0\r\n\r\n", []),
        ("bare LF in an extension", b"a;x\ny\r\n0123456789\r\n0\r\n\r\n", []),
        ("bare CR in an extension", b"a;x\ry\r\n0123456789\r\n0\r\n\r\n", []),
        ("an extension without end", b"a;" + b"x" * 100_000 + b"\r\n0123456789\r\n0\r\n\r\n", []),
        ("no line end after the data", b"a\r\n01234567890\r\n\r\n", TEN),
        ("bare LF after the data", b"a\r\n0123456789\n0\r\n\r\n", TEN),
        ("junk after the data", b"a\r\n0123456789XX\r\n0\r\n\r\n", TEN),
        ("a trailer that is no header", ONE + b"0\r\nnothing\r\n\r\n", TEN),
        ("a trailer with NUL", ONE + b"0\r\nX: a\0b\r\n\r\n", TEN),
        ("a trailer with a space in its name", ONE + b"0\r\nX Y: a\r\n\r\n", TEN),
        ("trailers without end", ONE + b"0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", TEN),
        ("bare LF ends", (ONE + b"0\r\n").replace(b"\r", b"") + b"\n", []),
    ]
] + [
    ("a size of 2^64 - 1", chunked(b"ffffffffffffffff\r\n0123456789" + DELETE), (416,), CLOSES, RANGE, TEN),
    ("a size that wraps to ten with the rest", chunked(b"5\r\n01234\r\nfffffffffffffffb\r\n56789" + DELETE), (416,), CLOSES, RANGE, TEN),
    ("extensions of many chunks", chunked(b"".join(b"1;%b\r\n%d\r\n" % (b"x" * 4000, n) for n in range(10)) + b"0\r\n\r\n"), (400,), CLOSES, BAD, None),
]

HOSTS = [
    (f"hosts {lines!r}", head(b"GET @U HTTP/1.1", *lines), (400,), STAYS, BAD, [])
    for lines in [[], [b"Host: a", b"Host: a"], [b"Host: a", b"Host: b"], [b"Host:"], [b"Host: a b"], [b"Host: a/b"], [b"Host: u@a"],
                  [b"Host: a:99999"], [b"Host: a:-1"], [b"Host: a,b"], [b"Host: [::1"], [b"Host: a?b"], [b"Host: a#b"], [b"Host: \xff"],
                  [b"Host: http://a/"]]
]

HEADERS = [
    ("100 headers", get(*[b"X-%d: y" % n for n in range(99)]), (200,), STAYS, None, []),
    ("101 headers", get(*[b"X-%d: y" % n for n in range(100)]), (431,), CLOSES, None, []),
    ("10,000 headers", get(*[b"X-%d: y" % n for n in range(10_000)]), (431,), CLOSES, None, []),
    ("a head of 31 KiB", get(b"X: " + b"y" * 31_000), (200,), STAYS, None, []),
    ("a header of 64 KiB", get(b"X: " + b"y" * 65_536), (431,), CLOSES, None, []),
    ("a header of 1 MiB", get(b"X: " + b"y" * (1 << 20)), (431,), CLOSES, None, []),
    ("a name of 64 KiB", get(b"x" * 65_536 + b": y"), (431,), CLOSES, None, []),
    ("a request line of 64 KiB", get(target=b"@U?" + b"x" * 65_536), (431,), CLOSES, None, []),
    ("a method of 64 KiB", head(b"G" * 65_536 + b" @U HTTP/1.1", b"Host: a"), (431,), CLOSES, None, []),
    ("a target of 31 KiB", get(target=b"@U?x=" + b"y" * 31_000), (200,), STAYS, None, []),
    ("100 KB without a line end", b"x" * 100_000, (431,), CLOSES, None, []),
    ("obs-text in a value", get(b"X: \xfc\xff"), (200,), STAYS, None, []),
    ("an empty value", get(b"X:"), (200,), STAYS, None, []),
    ("bare LF as line ends, as RFC 9112 2.2 lets", get().replace(b"\r\n", b"\n"), (200,), STAYS, None, []),
    ("an empty line first", b"\r\n" + get(), (200,), STAYS, None, []),
] + [
    (name, get(line), (400,), CLOSES, None, [])
    for name, line in [
        ("obs-fold", b"X: a\r\n b"), ("obs-fold with a tab", b"X: a\r\n\tb"), ("bare CR in a value", b"X: a\rb"),
        ("bare CR before a name", b"\rX: a"), ("NUL in a value", b"X: a\0b"), ("NUL in a name", b"X\0: a"), ("a bell in a value", b"X: \x07"),
        ("DEL in a value", b"X: \x7f"), ("space before the colon", b"X : a"), ("tab before the colon", b"X\t: a"), ("no colon", b"nothing"),
        ("no name", b": a"), ("a name in brackets", b"(X): a"), ("a name that is not ASCII", b"\xc3\xbc: a"), ("a colon alone", b":"),
    ]
] + [
    ("space before the first header", head(b"GET @U HTTP/1.1", b" Host: a"), (400,), CLOSES, None, []),
]

LINES = [
    (f"request line {line!r}", head(line, b"Host: a"), (400,), CLOSES, None, [])
    for line in [
        b"GET @U", b"GET", b"", b"GET  @U HTTP/1.1", b"GET @U  HTTP/1.1", b"GET @U HTTP/1.1 ", b" GET @U HTTP/1.1", b"GET\t@U\tHTTP/1.1",
        b"GET @U HTTP/1.10", b"GET @U http/1.1", b"GET @U HTTP/1", b"GET @U HTTP/1.1x", b"GET @U HTTPS/1.1", b"GET @U HTTP/1,1", b"GET @U HTTP/0.9",
        b"GET @U HTTP/1.2", b"GET @U HTTP/3.0", b"GET @U HTTP/2.0", b"GET @U x HTTP/1.1", b"GET @U\rHTTP/1.1", b"GET @U\0 HTTP/1.1", b"GET @U?\x01 HTTP/1.1",
        b"GET \"@U\" HTTP/1.1", b"GET @U<> HTTP/1.1", b"G\0T @U HTTP/1.1", b"G(T) @U HTTP/1.1", b"GET\r\n @U HTTP/1.1", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET http:///@U HTTP/1.1", b"GET http://[::1/@U HTTP/1.1",
    ] if line
] + [
    ("HTTP/0.9", b"GET @U\r\n", (400,), CLOSES, None, []),
    ("HTTP/1.0 without a host", head(b"GET @U HTTP/1.0"), (200,), CLOSES, None, []),
    ("HTTP/1.0 that wants to stay", head(b"GET @U HTTP/1.0", b"Connection: keep-alive"), (200,), STAYS, None, []),
    ("HTTP/1.0 with two hosts", head(b"GET @U HTTP/1.0", b"Host: a", b"Host: b"), (400,), CLOSES, BAD, []),
    ("a preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", (), CLOSES, None, []),
    ("upgrade to h2c", get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"), (200,), STAYS, None, []),
    ("upgrade to a web socket", get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), (200,), STAYS, None, []),
    ("CONNECT", head(b"CONNECT a:80 HTTP/1.1", b"Host: a:80"), (404,), STAYS, "unknown-upload", []),
    ("CONNECT with a path", head(b"CONNECT @U HTTP/1.1", b"Host: a"), (405,), STAYS, "method-not-allowed", []),
    ("TRACE", head(b"TRACE @U HTTP/1.1", b"Host: a", b"Cookie: secret"), (405,), STAYS, "method-not-allowed", []),
    ("a method in small letters", head(b"get @U HTTP/1.1", b"Host: a"), (405,), STAYS, "method-not-allowed", []),
    ("PRI as a method", head(b"PRI @U HTTP/1.1", b"Host: a"), (405,), STAYS, "method-not-allowed", []),
    ("a method of 1000 letters", head(b"G" * 1000 + b" @U HTTP/1.1", b"Host: a"), (405,), STAYS, "method-not-allowed", []),
    ("absolute-form", get(target=b"http://a@U"), (200,), STAYS, None, []),
    ("absolute-form of another host, which counts", get(target=b"http://b@U"), (200,), STAYS, None, []),
    ("absolute-form with a user", get(target=b"http://u@a@U"), (400,), STAYS, BAD, []),
    ("absolute-form without a host header", head(b"GET http://a@U HTTP/1.1"), (400,), STAYS, BAD, []),
    ("asterisk-form of GET", get(target=b"*"), (404,), STAYS, "unknown-upload", []),
    ("asterisk-form of OPTIONS", head(b"OPTIONS * HTTP/1.1", b"Host: a"), (404,), STAYS, "unknown-upload", []),
    ("authority-form of GET", get(target=b"a:80"), (404,), STAYS, "unknown-upload", []),
]

IDS = [
    (f"target {target!r}", get(target=target), (404,), STAYS, "unknown-upload", [])
    for target in [
        b"@U%00", b"@U/", b"@U/.", b"@U.part", b"@U%2e", b"/incoming/frontend/uploads/%2e%2e%2f@I", b"/incoming/frontend/uploads/..%2f@I",
        b"/incoming/frontend/uploads/../uploads/@I", b"/incoming/frontend/uploads/./@I", b"/incoming/frontend/uploads//@I", b"/incoming/frontend//uploads/@I",
        b"/incoming/frontend/uploads%2f@I", b"/incoming%2ffrontend/uploads/@I", b"/INCOMING/frontend/uploads/@I", b"//a@U", b"/%69ncoming/frontend/uploads/@I",
        b"/incoming/frontend/uploads/%", b"/incoming/frontend/uploads/%zz", b"/incoming/frontend/uploads/..%5c..%5cetc", b"/incoming/frontend/uploads/@I;x=y",
        b"/incoming/frontend/uploads/{@I}", b"/incoming/frontend/uploads/urn:uuid:@I", b"/incoming/0.1/0.1/frontend/uploads/@I", b"/../..//etc/passwd",
        b"/incoming/backend/uploads", b"/incoming/backend/new_upload?signalFinishURL=http://a/", b"/metrics", b"/incoming/frontend/../backend/uploads/@I",
    ]
] + [
    ("an id in capitals", get(target=b"/incoming/frontend/uploads/@C"), (404,), STAYS, "unknown-upload", []),
    ("a parameter's name that is not UTF-8", get(target=b"@U?%ff=1"), (200,), STAYS, None, []),
    ("a state that is not UTF-8", get(target=b"@U?state=%ff%fe"), (400,), STAYS, BAD, []),
    ("a wait with NUL", get(target=b"@U?wait=%00"), (400,), STAYS, BAD, []),
    ("a wait of 10^400", get(target=b"@U?wait=1e400"), (400,), STAYS, BAD, []),
    ("a wait of -1", get(target=b"@U?wait=-1"), (400,), STAYS, BAD, []),
    ("a wait of NaN", get(target=b"@U?wait=NaN"), (400,), STAYS, BAD, []),
    ("a thousand parameters", get(target=b"@U?" + b"&".join(b"x=%d" % n for n in range(1000))), (200,), STAYS, None, []),
    ("a query of question marks", get(target=b"@U" + b"?" * 1000), (200,), STAYS, None, []),
]

THREE = b"Content-Length: %d" % (3 * DELETE_BYTES)
PIPELINES = [
    ("three at once", get() * 3, (200, 200, 200), STAYS, None, []),
    ("three hundred at once", get() * 300, (200,) * 300, STAYS, None, []),
    ("a chunk, then a request", sized() + get(), (200, 200), STAYS, None, TEN),
    ("a bad one in the middle", get() + b"junk\r\n\r\n" + get(), (200, 400), CLOSES, None, []),
    ("DELETEs that a bind takes for JSON", head(b"POST @U HTTP/1.1", b"Host: a", THREE) + DELETE * 3, (400,), STAYS, BAD, []),
    ("a request that wants the end, and one more", get(b"Connection: close") + DELETE, (200,), CLOSES, None, []),
] + [
    (f"a DELETE in the body of a PUT that is refused: {name}", raw + DELETE * 3, (status,), CLOSES, code, [])
    for name, raw, status, code in [
        ("no such upload", put(THREE, range_=b"bytes 0-%d/*" % (3 * DELETE_BYTES - 1), target=b"/incoming/frontend/uploads/00000000-0000-4000-8000-000000000000", body=b""),
         404, "unknown-upload"),
        ("nothing there", put(THREE, target=b"/x", body=b""), 404, "unknown-upload"),
        ("a bad range", put(THREE, range_=b"bytes 9-0/20", body=b""), 400, BAD),
        ("another length than the range's", put(THREE, body=b""), 416, RANGE),
        ("a method that is none", head(b"PATCH @U HTTP/1.1", b"Host: a", THREE), 405, "method-not-allowed"),
        ("two hosts", put(b"Host: b", THREE, body=b""), 400, BAD),
        ("asked before", put(b"Expect: 100-continue", THREE, body=b""), 416, RANGE),
        ("a bind too large", head(b"POST @U HTTP/1.1", b"Host: a", b"Content-Length: 70000"), 413, "too-large"),
    ]
]

# What would make the body or the request mean something else.
MEANINGS = [
    ("a body that is compressed", sized(b"Content-Encoding: gzip"), (415,), CLOSES, "unsupported-encoding", []),
    ("two encodings", sized(b"Content-Encoding: identity", b"Content-Encoding: br"), (415,), CLOSES, "unsupported-encoding", []),
    ("identity", sized(b"Content-Encoding: identity"), (200,), STAYS, None, TEN),
    ("another method", sized(b"X-HTTP-Method-Override: DELETE"), (400,), CLOSES, BAD, []),
    ("the same method", sized(b"X-HTTP-Method-Override: put"), (200,), STAYS, None, TEN),
    ("an entity tag", sized(b'If-Match: "a"'), (412,), CLOSES, "wrong-state", []),
    ("any entity", sized(b"If-Match: *"), (200,), STAYS, None, TEN),
    ("none of any", sized(b"If-None-Match: *"), (412,), CLOSES, "wrong-state", []),
    ("parts of ranges", sized(b"Content-Type: multipart/byteranges; boundary=x"), (400,), CLOSES, BAD, []),
]

EXPECTATIONS = [
    ("100-continue, and the body at once", sized(b"Expect: 100-continue"), (100, 200), STAYS, None, TEN),
    ("100-CONTINUE", sized(b"Expect: 100-CONTINUE"), (100, 200), STAYS, None, TEN),
    ("200-ok", sized(b"Expect: 200-ok"), (417,), CLOSES, BAD, []),
    ("an empty one", sized(b"Expect:"), (200,), STAYS, None, TEN),
    ("two", sized(b"Expect: 100-continue", b"Expect: 100-continue"), (100, 200), STAYS, None, TEN),
    ("in HTTP/1.0 there is none", sized(b"Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0"), (200,), CLOSES, None, TEN),
    ("on a GET whose body does not come", get(b"Expect: 100-continue", b"Content-Length: 10"), (200,), CLOSES, None, []),
    ("on a GET without a body", get(b"Expect: 100-continue"), (200,), STAYS, None, []),
]

RANGES = [
    (f"content-range {value!r}", sized(range_=value), (status,), after, code, held)
    for status, after, code, held, values in [
        (400, CLOSES, BAD, [], [
            b"bytes 9-0/20", b"bytes -9/20", b"bytes 0-/20", b"bytes 0/20", b"bytes +0-9/20", b"bytes 0-+9/20", b"bytes -0-9/20", b"bytes 0-4,5-9/20",
            b"bytes 0-4/20, bytes 5-9/20", b"bytes */20", b"bytes */*", b"bytes=0-9/20", b"bytes:0-9/20", b"bytes0-9/20", b"items 0-9/20", b"byte 0-9/20",
            b"bytes  0-9/20", b"bytes\t0-9/20", b"bytes 0-9 /20", b"bytes 0-9/ 20", b"bytes 0 - 9/20", b"bytes 0-9/", b"bytes 0-9", b"bytes", b"", b"bytes ",
            b"bytes 0-9/20/20", b"bytes 0-9/20x", b"bytes 0x0-0x9/0x14", b"bytes 0-9/twenty", b"bytes 0-9/-20", b"bytes 0-9/**", b"bytes 0-9/20;q=1",
            b"bytes 0-9223372036854775807/*", b"bytes 0-18446744073709551615/*", b"bytes 0-18446744073709551616/*", b"bytes 18446744073709551606-18446744073709551615/*",
            b"bytes 9223372036854775800-9223372036854775809/*", b"bytes 0-9/9223372036854775807", b"bytes 0-9/99999999999999999999999", b"bytes 0-9/2\xc2\xb2",
            b"bytes \xef\xbc\x90-9/20", b"none 0-9/20"]),
        (416, CLOSES, RANGE, [], [b"bytes 0-9/9", b"bytes 11-20/20", b"bytes 20-29/20", b"bytes 0-9/0", b"bytes 0-8/20", b"bytes 0-10/20", b"bytes 0-0/20",
                                  b"bytes 0-9223372036854775805/9223372036854775806"]),
        (200, STAYS, None, TEN, [b"bytes 0-9/20", b"BYTES 0-9/20", b"bytes 0-9/*", b"bytes 00-09/020", b" bytes 0-9/20 "]),
    ] for value in values
] + [
    ("content-range twice", sized(b"Content-Range: bytes 0-9/20"), (400,), CLOSES, BAD, []),
    ("a range on a GET means nothing", get(b"Range: bytes=0-0,5-9,-1"), (200,), STAYS, None, []),
    ("a range on a PUT means nothing", sized(b"Range: bytes=99-0"), (200,), STAYS, None, TEN),
]

SHA = b"hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII="
DIGESTS = [
    (f"content-digest {value[:60]!r}", sized(b"Content-Digest: " + value), (400,), CLOSES, BAD, [])
    for value in [b"", b",", b"=", b"sha-256", b"sha-256=", b"sha-256=::", b"sha-256=:AAAA:", b"sha-256=AAAA", b"sha-256=\"%b\"" % SHA, b"SHA-256=:%b:" % SHA,
                  b"sha-256=:%b:," % SHA, b"sha-256=:%b" % SHA, b"sha-256=:!:", b"sha-512=:%b:" % SHA, b"sha-256=:%b:;" % SHA, b"sha-256=(:%b:)" % SHA,
                  b"sha-256=:%b:, x" % SHA, b"sha-256=:\xff:", b"sha-256=:" + b"A" * 30_000 + b":", b"x=:AA==:," * 3000, b"sha-256=:A A:"]
] + [
    ("a digest of other bytes", sized(b"Content-Digest: sha-256=:" + b"A" * 43 + b"=:"), (400,), STAYS, "digest-mismatch", []),
    ("a good digest", sized(b"Content-Digest: sha-256=:" + SHA + b":"), (200,), STAYS, None, TEN),
    ("a good digest with parameters", sized(b"Content-Digest: sha-256=:" + SHA + b":;a;b=1;c=\"x,y\", md5=:AAAA:"), (200,), STAYS, None, TEN),
    ("the last of two for one algorithm counts", sized(b"Content-Digest: sha-256=:" + b"A" * 43 + b"=:, sha-256=:" + SHA + b":"), (200,), STAYS, None, TEN),
    ("an algorithm that is not known", sized(b"Content-Digest: md5=:AAAA:"), (200,), STAYS, None, TEN),
    ("a bad digest on a GET means nothing", get(b"Content-Digest: x"), (200,), STAYS, None, []),
]

BINDS = [
    (f"bind {body[:40]!r}, {len(body)} bytes", post(body), (status,), after, code, [])
    for status, after, code, bodies in [
        (400, STAYS, BAD, [
            b"[" * 8_000, b'{"a":' * 1_600, b"[" * 4_000 + b"]" * 4_000, b'{"length":1e999}', b'{"length":1e1}', b'{"length":20.0}', b'{"length":-0}',
            b'{"length":NaN}', b'{"length":Infinity}', b'{"length":0x14}', b'{"length":020}', b'{"length":+20}', b'{"length":"20"}', b'{"length":true}',
            b'{"length":[20]}', b'{"length":18446744073709551616}', b'{"length":9223372036854775807}', b'{"length":' + b"9" * 8_000 + b"}", b"\xff\xfe{\0}\0",
            b'{"name":"\xff"}', b'{"name":"\xed\xa0\x80"}', b'{"name":"\\ud800"}', b'{"name":"\n"}', b'{"name":"a', b"{}{}", b"{} x", b"null", b"20",
            b'"x"', b"{,}", b'{"a":1,}', b"{'name':'a'}", b'{"name":["a"]}', b'{"type":{}}', b'{"last_modified":"x"}', b"\0", b'{"last_modified":1e999}', b"//\n{}"]),
        (413, CLOSES, "too-large", [b'{"name":"' + b"x" * 8_200 + b'"}', b"[" * 60_000, b" " * 100_000]),
        (200, STAYS, None, [
            b"", b" ", b"{}", b"\xef\xbb\xbf{}", b'{"length":20}', b'{"length":10,"length":20}', b'{"name":"../../etc/passwd"}', b'{"name":"a\\u0000\\u202eb"}', b'{"name":""}',
            b'{"name":"' + b"x" * 8_000 + b'"}', b'{"last_modified":-1e300}', b'{"__proto__":{},"constructor":1}', b'{"length":null}', b'{"a":' + b"[" * 100 + b"]" * 100 + b"}"]),
    ] for body in bodies
]

# The other dialects. What a request says of an offset or length it says once, in digits, or it does not count.
TUS, STREAM = b"Tus-Resumable: 1.0.0", b"Content-Type: application/offset+octet-stream"
PARTIAL = b"Content-Type: application/partial-upload"
MISMATCH, MEDIA = "offset-mismatch", "unsupported-media-type"


def tus(*lines, body=b"0123456789", method=b"PATCH", length=None):
    """Ten bytes, of a file whose length comes with them."""
    return head(method + b" @T HTTP/1.1", b"Host: a", b"Content-Length: %d" % (len(body) if length is None else length), *lines) + body


def append(*lines, **more):
    return tus(TUS, STREAM, *lines, **more)


def partial(*lines, body=b"0123456789", method=b"PATCH", length=None):
    return head(method + b" @R HTTP/1.1", b"Host: a", b"Content-Length: %d" % (len(body) if length is None else length), *lines) + body


SHA1 = b"h6zsF82dzSCnFsws9nQXtxyKcBY="
TUS_CASES = [
    ("a good one", append(b"Upload-Offset: 0"), (204,), STAYS, None, TEN),
    ("with its length", append(b"Upload-Offset: 0", b"Upload-Length: 20"), (204,), STAYS, None, TEN),
    ("no version", tus(STREAM, b"Upload-Offset: 0"), (412,), CLOSES, "unsupported-version", []),
    ("another version", tus(b"Tus-Resumable: 0.2.2", STREAM, b"Upload-Offset: 0"), (412,), CLOSES, "unsupported-version", []),
    ("two versions", tus(TUS, TUS, STREAM, b"Upload-Offset: 0"), (412,), CLOSES, "unsupported-version", []),
    ("no media type", tus(TUS, b"Upload-Offset: 0"), (415,), CLOSES, MEDIA, []),
    ("another media type", tus(TUS, b"Content-Type: application/octet-stream", b"Upload-Offset: 0"), (415,), CLOSES, MEDIA, []),
    ("no offset", append(), (400,), CLOSES, BAD, []),
    ("an offset twice", append(b"Upload-Offset: 0", b"Upload-Offset: 0"), (400,), CLOSES, BAD, []),
    ("an offset ahead", append(b"Upload-Offset: 1"), (409,), CLOSES, MISMATCH, []),
    ("a length twice", append(b"Upload-Offset: 0", b"Upload-Length: 20", b"Upload-Length: 20"), (400,), CLOSES, BAD, []),
    ("more bytes than the length", append(b"Upload-Offset: 0", b"Upload-Length: 9"), (413,), CLOSES, RANGE, []),
    ("a length below the offset", append(b"Upload-Offset: 5", b"Upload-Length: 4"), (400,), CLOSES, BAD, []),
    ("an append inside the body of an append", append(b"Upload-Offset: 0", b"Content-Length: 10"), (204,), STAYS, None, TEN),
    ("two appends at the same offset, pipelined", append(b"Upload-Offset: 0") * 2, (204, 409), CLOSES, MISMATCH, TEN),
    ("append, HEAD, append, pipelined", append(b"Upload-Offset: 0") + tus(TUS, method=b"HEAD", body=b"", length=0)
     + append(b"Upload-Offset: 10", body=b"abcde"), (204, 200, 204), STAYS, None, [[0, 15]]),
    ("a good checksum", append(b"Upload-Offset: 0", b"Upload-Checksum: sha1 " + SHA1), (204,), STAYS, None, TEN),
    ("a checksum of other bytes", append(b"Upload-Offset: 0", b"Upload-Checksum: sha1 " + SHA1, body=b"9876543210"), (460,), STAYS, "digest-mismatch", []),
    ("method override of a PUT", tus(TUS, STREAM, b"Upload-Offset: 0", b"X-HTTP-Method-Override: PATCH", method=b"PUT"), (400,), CLOSES, BAD, []),
    ("method override that is a list", tus(TUS, STREAM, b"Upload-Offset: 0", b"X-HTTP-Method-Override: PATCH, DELETE", method=b"POST"), (400,), CLOSES, BAD, []),
    ("asked before, with an offset ahead", append(b"Upload-Offset: 7", b"Expect: 100-continue"), (409,), CLOSES, MISMATCH, []),
    ("a compressed body", append(b"Upload-Offset: 0", b"Content-Encoding: gzip"), (415,), CLOSES, "unsupported-encoding", []),
    ("a chunked body", head(b"PATCH @T HTTP/1.1", b"Host: a", TUS, STREAM, b"Upload-Offset: 0", TE) + WHOLE, (204,), STAYS, None, TEN),
    ("a chunked body that breaks off", head(b"PATCH @T HTTP/1.1", b"Host: a", TUS, STREAM, b"Upload-Offset: 0", TE) + ONE + b"z\r\n", (503,), CLOSES, "unavailable", TEN),
] + [
    (f"upload-offset {value!r}", append(b"Upload-Offset: " + value), (400,), CLOSES, BAD, [])
    for value in [b"", b"-1", b"+0", b"0x0", b"0.0", b"0,0", b"zero", b"0 0", b"18446744073709551616", b"99999999999999999999999999", b"\xd9\xa0"]
] + [
    (f"upload-checksum {value[:40]!r}", append(b"Upload-Offset: 0", b"Upload-Checksum: " + value), (400,), CLOSES, BAD, [])
    for value in [b"", b"sha1", b"sha1 ", b"md5 AAAA", b"sha1 ::", b"sha1 " + SHA1 + b" x", b"sha1 \xff"]
] + [
    # One of another length matches nothing.
    (f"upload-checksum {value!r}", append(b"Upload-Offset: 0", b"Upload-Checksum: " + value), (460,), CLOSES, "digest-mismatch", [])
    for value in [b"sha1 AAAA", b"sha256 " + SHA1]
]

RESUMABLE_CASES = [
    ("a good one", partial(PARTIAL, b"Upload-Offset: 0", b"Upload-Complete: ?0"), (204,), STAYS, None, TEN),
    ("no media type", partial(b"Upload-Offset: 0", b"Upload-Complete: ?0"), (415,), CLOSES, MEDIA, []),
    ("an offset ahead", partial(PARTIAL, b"Upload-Offset: 3", b"Upload-Complete: ?0"), (409,), CLOSES, MISMATCH, []),
    ("an offset twice", partial(PARTIAL, b"Upload-Offset: 0", b"Upload-Offset: 0", b"Upload-Complete: ?0"), (400,), CLOSES, BAD, []),
    ("no word of the end", partial(PARTIAL, b"Upload-Offset: 0"), (400,), CLOSES, BAD, []),
    ("the fields of tus too", partial(TUS, PARTIAL, b"Upload-Offset: 0", b"Upload-Complete: ?0"), (400,), CLOSES, BAD, []),
    ("append, HEAD, append, pipelined", partial(PARTIAL, b"Upload-Offset: 0", b"Upload-Complete: ?0") + partial(method=b"HEAD", body=b"", length=0)
     + partial(PARTIAL, b"Upload-Offset: 10", b"Upload-Complete: ?0", body=b"abcde"), (204, 204, 204), STAYS, None, [[0, 15]]),
    ("a digest of other bytes", partial(PARTIAL, b"Upload-Offset: 0", b"Upload-Complete: ?0", b"Content-Digest: sha-256=:" + b"A" * 43 + b"=:"),
     (400,), STAYS, "digest-mismatch", []),
] + [
    (f"upload-offset {value!r}", partial(PARTIAL, b"Upload-Offset: " + value, b"Upload-Complete: ?0"), (400,), CLOSES, BAD, [])
    for value in [b"", b"-1", b"0.0", b'"0"', b"?0", b"0, 0", b"zero", b"9999999999999999", b":AA==:", b"(0)"]
] + [
    (f"upload-complete {value!r}", partial(PARTIAL, b"Upload-Offset: 0", b"Upload-Complete: " + value), (400,), CLOSES, BAD, [])
    for value in [b"", b"0", b"?2", b"true", b"?0, ?0", b"?", b"?00"]
]

# hyper looks at a line's end only when the head's is there, unless all came at once.
ONE_PIECE = {"HTTP/0.9", "a preface of HTTP/2"}
GROUPS = {"lengths": LENGTHS, "codings": CODINGS, "chunked bodies": CHUNKS, "hosts": HOSTS, "headers": HEADERS, "request lines": LINES, "ids and queries": IDS,
          "pipelines": PIPELINES, "expectations": EXPECTATIONS, "meanings": MEANINGS, "content-range": RANGES, "content-digest": DIGESTS, "binds": BINDS,
          "tus": TUS_CASES, "resumable": RESUMABLE_CASES}
