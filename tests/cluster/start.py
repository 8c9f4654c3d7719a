#!/usr/bin/env python3
"""Starts `incoming serve --store s3` over buckets that do not do, and checks what it says: see README.md.

start.py PROGRAM ENDPOINT BUCKET [PORT]. The keys are testkey and testsecret. What a store does not do by itself (another region,
clocks that differ, calls that it lacks) is answered by a small server of this script."""

import contextlib
import http.client
import http.server
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

PROGRAM, ENDPOINT, BUCKET = sys.argv[1:4]
PORT = int(sys.argv[4]) if len(sys.argv) > 4 else 19210
PUBLIC, BACKEND, DOUBLE, CLOSED = range(PORT, PORT + 4)
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


def serve(home, **changed):
    flags = {
        "store": "s3", "s3-bucket": BUCKET, "s3-endpoint": ENDPOINT, "s3-prefix": "start", "s3-access-key": "testkey",
        "s3-secret-key": "testsecret", "storage-dir": home, "listen": f"127.0.0.1:{PUBLIC}",
        "backend-listen": f"127.0.0.1:{BACKEND}",
    } | {name.replace("_", "-"): value for name, value in changed.items()}
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return subprocess.Popen([PROGRAM, "serve", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def call(port, method, path, body=None, headers=()):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.getheader("Retry-After"), answer.read().decode()
    finally:
        connection.close()


def refused(home, said, **changed):
    """The start ends with one line that says this."""
    process = serve(home, **changed)
    try:
        _, text = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        sys.exit(f"{changed}: it was to refuse the start ({said})")
    lines = [line for line in text.splitlines() if said in line]
    if process.returncode in (0, -9) or not lines:
        sys.exit(f"{changed}: it was to say {said!r}, and said (exit {process.returncode}):\n{text}")
    print(f"  {lines[-1]}")


def unready(home, said, then=None, **changed):
    """It starts, and says this where it is asked; clients are told to come again. Answers its process."""
    process = serve(home, **changed)
    try:
        end = time.monotonic() + 30
        while True:
            try:
                status, _, text = call(BACKEND, "GET", "/readyz")
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit(f"{changed}: it does not start:\n{process.stderr.read()}")
                time.sleep(0.05)
        assert status == 503 and said in text, (changed, status, text)
        print(f"  /readyz: {text.strip()[:160]}")
        made = call(BACKEND, "POST", "/incoming/backend/new_upload?signalFinishURL=http%3A%2F%2F127.0.0.1%3A9%2F")
        assert made[0] == 200, made
        status, again, text = call(PUBLIC, "PUT", f"/incoming/frontend/uploads/{made[2]}", b"12345678",
                                   {"Content-Range": "bytes 0-7/8"}.items())
        assert status == 503 and again and "disk" not in text, (status, again, text)
        if then:
            then()
            status, _, text = call(BACKEND, "GET", "/readyz")
            assert status == 200, (status, text)
            status, _, text = call(PUBLIC, "PUT", f"/incoming/frontend/uploads/{made[2]}", b"12345678",
                                   {"Content-Range": "bytes 0-7/8"}.items())
            assert status == 200 and json.loads(text)["offset"] == 8, (status, text)
    finally:
        process.kill()
        process.communicate()


def forward():
    """From the closed port to the store: the store is back."""
    host, port = ENDPOINT.removeprefix("http://").split(":")
    listener = socket.create_server(("127.0.0.1", CLOSED))

    def pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def accept():
        while True:
            client, _ = listener.accept()
            store = socket.create_connection((host, int(port)))
            for pair in ((client, store), (store, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def main():
    double = http.server.ThreadingHTTPServer(("127.0.0.1", DOUBLE), Double)
    threading.Thread(target=double.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{DOUBLE}"
    with tempfile.TemporaryDirectory() as name:
        home = pathlib.Path(name)
        refused(home / "1", "s3_bucket", s3_bucket="not-" + BUCKET)
        refused(home / "2", "access key", s3_access_key="nobodys")
        refused(home / "3", "secret key", s3_secret_key="wrong")
        for status, code, said in [
            (301, "PermanentRedirect", "s3_region"),
            (400, "AuthorizationHeaderMalformed", "s3_region"),
            (404, "NoSuchBucket", "no such bucket"),
            (501, "NotImplemented", "the store cannot do"),
        ]:
            refusal.update(status=status, code=code)
            refused(home / code, said, s3_endpoint=endpoint)
        refusal.update(status=403, code="RequestTimeTooSkewed")
        unready(home / "4", "clocks", s3_endpoint=endpoint)
        refusal.update(status=503, code="SlowDown")
        unready(home / "5", "busy", s3_endpoint=endpoint)
        unready(home / "6", "cannot reach the store", forward, s3_endpoint=f"http://127.0.0.1:{CLOSED}")
    print("start: every bucket that does not do was told")


main()
