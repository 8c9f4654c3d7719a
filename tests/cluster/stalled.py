#!/usr/bin/env python3
"""How much memory `incoming serve --store s3` takes while clients have stopped in the middle of their bodies: see README.md.

stalled.py PROGRAM ENDPOINT BUCKET [CLIENTS] [PART_MEMORY_MIB] [KIB_EACH] [PORT]. The keys are testkey and testsecret. Each client
has an upload of its own, of which it sends some bytes of the first part, and stops. One more client uploads a file meanwhile."""

import pathlib
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time

from services import request

PROGRAM, ENDPOINT, BUCKET = sys.argv[1:4]
CLIENTS, MEMORY, EACH, PORT = [int(word) for word in sys.argv[4:8]] + [1000, 64, 512, 19220][len(sys.argv[4:8]):]
PUBLIC, BACKEND = PORT, PORT + 1
PART, ALLOWED = 8 << 20, 120


def call(*words):
    return request(*words, timeout=120)[:2]


def ticket():
    status, made = call(BACKEND, "POST", "/incoming/backend/new_upload?signalFinishURL=http%3A%2F%2F127.0.0.1%3A9%2F")
    assert status == 200, made
    return f"/incoming/frontend/uploads/{made.decode()}"


def memory(process, word):
    return int(re.search(rf"{word}:\s+(\d+) kB", pathlib.Path(f"/proc/{process.pid}/status").read_text())[1]) / 1024


def stalled():
    """A client that sends some of its first part, and stops. Its socket."""
    client = socket.create_connection(("127.0.0.1", PUBLIC))
    head = f"PUT {ticket()} HTTP/1.1\r\nHost: a\r\nContent-Range: bytes 0-{PART - 1}/{3 * PART}\r\nContent-Length: {PART}\r\n\r\n"
    client.sendall(head.encode() + b"x" * (EACH << 10))
    return client


def measured(store):
    """Memory of a server over this store, at most, while the clients have stopped."""
    with tempfile.TemporaryDirectory() as name:
        flags = {
            "store": store, "s3-bucket": BUCKET, "s3-endpoint": ENDPOINT, "s3-prefix": f"stalled-{int(time.time())}",
            "s3-access-key": "testkey", "s3-secret-key": "testsecret", "storage-dir": f"{name}/data",
            "listen": f"127.0.0.1:{PUBLIC}", "backend-listen": f"127.0.0.1:{BACKEND}", "part-memory": f"{MEMORY}MiB",
            "body-timeout": "10m", "min-rate": "0", "log": "error",
        }
        process = subprocess.Popen([PROGRAM, "serve", *(word for pair in flags.items() for word in (f"--{pair[0]}", pair[1]))])
        try:
            for _ in range(200):
                try:
                    call(BACKEND, "GET", "/healthz")
                    break
                except OSError:
                    time.sleep(0.05)
            clients = [stalled() for _ in range(CLIENTS)]
            # Another one, which does not stop, is served beside them.
            url, since = ticket(), time.monotonic()
            for start in range(0, 3 * PART, PART):
                status, answer = call(PUBLIC, "PUT", url, b"y" * PART,
                                      {"Content-Range": f"bytes {start}-{start + PART - 1}/{3 * PART}"})
                assert status == 200, (status, answer)
            took, peak = time.monotonic() - since, memory(process, "VmHWM")
            print(f"store {store}: {CLIENTS} clients stopped after {EACH} KiB each: {peak:.0f} MiB at most; another client's 24 MiB took {took:.1f} s",
                  flush=True)
            assert all(client.fileno() >= 0 for client in clients)
            return peak
        finally:
            process.kill()
            process.wait()


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (CLIENTS + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    more = measured("s3") - measured("file")
    print(f"the bucket takes {more:.0f} MiB more than files, with part_memory = {MEMORY} MiB")
    if more > MEMORY + ALLOWED:
        sys.exit(f"more than part_memory + {ALLOWED} MiB")


main()
