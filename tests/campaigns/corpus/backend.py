"""Calls of the backend surface as no honest web app makes them: (name, method, target, headers, body, status).

Data alone; hostile_http1.py sends it.
"""

NEW = b"/incoming/backend/new_upload"
GOOD = b"signalFinishURL=http://127.0.0.1:9/"
FORM, JSON = b"Content-Type: application/x-www-form-urlencoded", b"Content-Type: application/json"
NOBODY = b"00000000-0000-4000-8000-000000000000"


def parts(*fields, end=b"--x--\r\n"):
    return b"".join(b"--x\r\nContent-Disposition: form-data; " + name + b"\r\n\r\n" + value + b"\r\n" for name, value in fields) + end


MULTI = b"Content-Type: multipart/form-data; boundary=x"
URL = (b'name="signalFinishURL"', b"http://127.0.0.1:9/")

CASES = [
    (f"query {query[:60]!r}", b"POST", NEW + b"?" + query, [], None, 400)
    for query in [
        b"", b"signalFinishURL=", b"signalFinishURL=http://", b"signalFinishURL=http:///x", b"signalFinishURL=//a/", b"signalFinishURL=/x", b"signalFinishURL=ftp://a/",
        b"signalFinishURL=javascript:alert(1)", b"signalFinishURL=file:///etc/passwd", b"signalFinishURL=http://[::1", b"signalFinishURL=http://a:99999/",
        b"signalFinishURL=http://a:0/", b"signalFinishURL=http://a:x/", b"signalFinishURL=http://u@v@a/", b"signalFinishURL=http://%00/", b"signalFinishURL=http://a%0d%0ab/",
        GOOD + b"&maxBytes=-1", GOOD + b"&maxBytes=1e3", GOOD + b"&maxBytes=0x10", GOOD + b"&maxBytes=99999999999999999999", GOOD + b"&maxBytes=9223372036854775807",
        GOOD + b"&maxBytes=1%00", GOOD + b"&length=-1", GOOD + b"&length=1.5", GOOD + b"&length=18446744073709551616", GOOD + b"&length=+1",
        GOOD + b"&removeFileWhenFinished=maybe", GOOD + b"&removeFileWhenFinished=true%00", GOOD + b"&destType=dir", GOOD + b"&destType=file%00", GOOD + b"&digest=md5",
        GOOD + b"&idleTimeout=0", GOOD + b"&idleTimeout=-1", GOOD + b"&idleTimeout=forever", GOOD + b"&idleTimeout=99999999999999999999h", GOOD + b"&idleTimeout=18446744073709551615",
    ]
] + [
    ("a target of 40 KiB", b"POST", NEW + b"?" + GOOD + b"&metadata=" + b"x" * 40_000, [], None, 431),
    ("NUL in the metadata is opaque", b"POST", NEW + b"?" + GOOD + b"&metadata=%00", [], None, 200),
    ("metadata that is not UTF-8", b"POST", NEW + b"?" + GOOD + b"&metadata=%00%ff", [], None, 400),
    ("metadata of 16 KiB", b"POST", NEW + b"?" + GOOD, [FORM], b"metadata=" + b"x" * 16_384, 200),
    ("metadata of a byte more", b"POST", NEW + b"?" + GOOD, [FORM], b"metadata=" + b"x" * 16_385, 400),
    ("metadata of 200 KB", b"POST", NEW + b"?" + GOOD, [FORM], b"metadata=" + b"x" * 200_000, 400),
    ("metadata of 300 KB", b"POST", NEW + b"?" + GOOD, [FORM], b"metadata=" + b"x" * 300_000, 413),
    ("ten thousand parameters", b"POST", NEW + b"?" + GOOD, [FORM], b"&".join(b"a%d=1" % n for n in range(10_000)), 200),
    ("a form of ampersands", b"POST", NEW + b"?" + GOOD, [FORM], b"&" * 100_000, 200),
    ("a media type that is none", b"POST", NEW + b"?" + GOOD, [b"Content-Type: text/html"], b"x", 400),
    ("two media types", b"POST", NEW + b"?" + GOOD, [FORM, JSON], b"a=b", 400),
    ("a media type that is not text", b"POST", NEW + b"?" + GOOD, [b"Content-Type: \xff"], b"a=b", 400),
    ("JSON that is a list", b"POST", NEW + b"?" + GOOD, [JSON], b"[]", 400),
    ("JSON without end", b"POST", NEW + b"?" + GOOD, [JSON], b'{"a":', 400),
    ("JSON far too deep", b"POST", NEW + b"?" + GOOD, [JSON], b'{"a":' * 20_000, 400),
    ("JSON with a list for a text", b"POST", NEW + b"?" + GOOD, [JSON], b'{"metadata":["a"]}', 400),
    ("JSON with NaN", b"POST", NEW + b"?" + GOOD, [JSON], b'{"length":NaN}', 400),
    ("JSON with 1e400", b"POST", NEW + b"?" + GOOD, [JSON], b'{"length":1e400}', 400),
    ("JSON that is not UTF-8", b"POST", NEW + b"?" + GOOD, [JSON], b'{"metadata":"\xff"}', 400),
    ("a form that says it is JSON", b"POST", NEW, [JSON], GOOD, 400),
    ("a good multipart", b"POST", NEW, [MULTI], parts(URL), 200),
    ("multipart without a boundary", b"POST", NEW, [b"Content-Type: multipart/form-data"], parts(URL), 400),
    ("multipart with another boundary", b"POST", NEW, [MULTI.replace(b"=x", b"=y")], parts(URL), 400),
    ("multipart with an empty boundary", b"POST", NEW, [b"Content-Type: multipart/form-data; boundary="], parts(URL), 400),
    ("multipart without end", b"POST", NEW, [MULTI], parts(URL, end=b""), 400),
    ("multipart cut in a head", b"POST", NEW, [MULTI], parts(URL)[:30], 400),
    ("multipart without a name", b"POST", NEW, [MULTI], parts((b"x=y", b"http://127.0.0.1:9/")), 400),
    ("multipart with a bad head", b"POST", NEW, [MULTI], b"--x\r\n\0\0\r\n\r\na\r\n--x--\r\n", 400),
    ("multipart of a thousand parts", b"POST", NEW, [MULTI], parts(*[(b'name="a%d"' % n, b"") for n in range(1000)], URL), 200),
    ("multipart of dashes", b"POST", NEW, [MULTI], b"-" * 100_000, 400),
    ("no id", b"POST", b"/incoming/backend/cancel_upload", [], None, 400),
    ("an id with NUL", b"POST", b"/incoming/backend/cancel_upload?id=%00", [], None, 400),
    ("an id that is a path", b"POST", b"/incoming/backend/finish_upload?id=../../etc/passwd", [], None, 400),
    ("an id of nobody", b"POST", b"/incoming/backend/finish_upload?id=" + NOBODY, [], None, 400),
    ("an id of 30 KB", b"POST", b"/incoming/backend/retry_handover?id=" + b"0" * 30_000, [], None, 400),
    ("a GET that would change things", b"GET", NEW + b"?" + GOOD, [], None, 405),
    ("a PUT", b"PUT", NEW + b"?" + GOOD, [], b"x", 405),
    ("a DELETE of an upload", b"DELETE", b"/incoming/backend/uploads/" + NOBODY, [], None, 405),
    ("a list with a limit of 0", b"GET", b"/incoming/backend/uploads?limit=0", [], None, 400),
    ("a list with a limit of -1", b"GET", b"/incoming/backend/uploads?limit=-1", [], None, 400),
    ("a list with a limit of 10^20", b"GET", b"/incoming/backend/uploads?limit=99999999999999999999", [], None, 400),
    ("a list after a path", b"GET", b"/incoming/backend/uploads?after=..%2f..", [], None, 400),
    ("a list of a state that is none", b"GET", b"/incoming/backend/uploads?state=%00", [], None, 400),
    ("an upload that is a path", b"GET", b"/incoming/backend/uploads/..%2f..%2fetc%2fpasswd", [], None, 404),
    ("an upload on the wrong listener", b"GET", b"/incoming/frontend/uploads/" + NOBODY, [], None, 404),
    ("metrics by POST", b"POST", b"/metrics", [], b"x", 405),
    ("an Accept without sense", b"GET", b"/incoming/backend/uploads", [b"Accept: ;;;,,,q=q=;\xff"], None, 200),
]
