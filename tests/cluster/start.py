#!/usr/bin/env python3
"""Starts `incoming serve --store s3` over buckets that do not do, and checks what it says: see README.md.

start.py PROGRAM ENDPOINT BUCKET. The keys are testkey and testsecret. What a store does not do by itself (another region,
clocks that differ, calls that it lacks) is answered by a small server of this script."""

import http.server
import json
import os
import pathlib
import sys
import tempfile
import threading

from services import BUCKET, over_bucket  # first: it says where `rig` is
from proxies import Wire
from rig import free_port, url_of

os.environ["INCOMING"], ENDPOINT = sys.argv[1:3]
refusal = {}


class Double(http.server.BaseHTTPRequestHandler):
    """Refuses everything with one code."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = f"<Error><Code>{refusal['code']}</Code></Error>".encode()
        self.send_response(refusal["status"])
        self.send_header("Content-Length", "0" if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

    def log_message(self, *_):
        pass


def refused(home, said, endpoint=ENDPOINT, **changed):
    """The start ends with one line that says this."""
    server = over_bucket(home, endpoint, "start", **changed)
    try:
        server.start(30)
    except ChildProcessError:
        pass
    lines = [line for line in server.log_text().splitlines() if said in line]
    if server.running() or server.process.returncode in (0, -9) or not lines:
        server.kill()
        sys.exit(f"{endpoint} {changed}: it was to refuse the start and say {said!r} (exit {server.process.returncode}):\n{server.log_text()}")
    print(f"  {lines[-1]}")


def unready(home, said, endpoint, then=None):
    """It starts, and says this where it is asked; clients are told to come again."""
    server = over_bucket(home, endpoint, "start").start(30)
    try:
        status, _, text = server.back("GET", "/readyz")
        assert status == 503 and said in text, (endpoint, status, text)
        print(f"  /readyz: {text.strip()[:160]}")
        put = ("PUT", url_of(server.ticket()), b"12345678", {"Content-Range": "bytes 0-7/8"})
        status, headers, text = server.ask(*put)
        assert status == 503 and "Retry-After" in headers and "disk" not in text, (status, text)
        if then:
            then()
            status, _, text = server.back("GET", "/readyz")
            assert status == 200, (status, text)
            status, _, text = server.ask(*put)
            assert status == 200 and json.loads(text)["offset"] == 8, (status, text)
    finally:
        server.kill()


def main():
    double = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Double)
    threading.Thread(target=double.serve_forever, daemon=True).start()
    endpoint, closed = f"http://127.0.0.1:{double.server_port}", free_port()
    # The store is back.
    forward = lambda: Wire(int(ENDPOINT.rpartition(":")[2]), closed)
    with tempfile.TemporaryDirectory() as name:
        home = pathlib.Path(name)
        refused(home / "1", "s3_bucket", bucket="not-" + BUCKET)
        refused(home / "2", "access key", access_key="nobodys")
        refused(home / "3", "secret key", secret_key="wrong")
        for status, code, said in [
            (301, "PermanentRedirect", "s3_region"),
            (400, "AuthorizationHeaderMalformed", "s3_region"),
            (404, "NoSuchBucket", "no such bucket"),
            (501, "NotImplemented", "the store cannot do"),
        ]:
            refusal.update(status=status, code=code)
            refused(home / code, said, endpoint)
        refusal.update(status=403, code="RequestTimeTooSkewed")
        unready(home / "4", "clocks", endpoint)
        refusal.update(status=503, code="SlowDown")
        unready(home / "5", "busy", endpoint)
        unready(home / "6", "cannot reach the store", f"http://127.0.0.1:{closed}", forward)
    print("start: every bucket that does not do was told")


main()
