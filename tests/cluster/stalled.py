#!/usr/bin/env python3
"""How much memory `incoming serve --store s3` takes while clients have stopped in the middle of their bodies: see README.md.

stalled.py PROGRAM ENDPOINT BUCKET [CLIENTS] [PART_MEMORY_MIB] [KIB_EACH]. The keys are testkey and testsecret. Each client
has an upload of its own, of which it sends some bytes of the first part, and stops. One more client uploads a file meanwhile."""

import os
import pathlib
import re
import resource
import sys
import tempfile
import time

from services import over_bucket  # first: it says where `rig` is
from rig import Server, url_of

os.environ["INCOMING"], ENDPOINT = sys.argv[1:3]
CLIENTS, MEMORY, EACH = [int(word) for word in sys.argv[4:7]] + [1000, 64, 512][len(sys.argv[4:7]):]
PART, ALLOWED = 8 << 20, 120


def most(server):
    """MiB that it has had in memory at once."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{server.pid}/status").read_text())[1]) / 1024


def stalled(server):
    """A client that sends some of its first part, and stops. Its socket."""
    client = server.dial()
    head = f"PUT {url_of(server.ticket())} HTTP/1.1\r\nHost: a\r\nContent-Range: bytes 0-{PART - 1}/{3 * PART}\r\nContent-Length: {PART}\r\n\r\n"
    client.sendall(head.encode() + b"x" * (EACH << 10))
    return client


def measured(store):
    """Memory of a server over this store, at most, while the clients have stopped."""
    with tempfile.TemporaryDirectory() as name:
        data, flags = pathlib.Path(name) / "data", ["--part-memory", f"{MEMORY}MiB", "--body-timeout", "10m", "--min-rate", "0"]
        server = over_bucket(data, ENDPOINT, f"stalled-{int(time.time())}", *flags) if store == "s3" else Server(data, *flags)
        server.start()
        try:
            clients = [stalled(server) for _ in range(CLIENTS)]
            # Another one, which does not stop, is served beside them.
            url, since = url_of(server.ticket()), time.monotonic()
            for start in range(0, 3 * PART, PART):
                status, _, answer = server.ask("PUT", url, b"y" * PART, {"Content-Range": f"bytes {start}-{start + PART - 1}/{3 * PART}"}, timeout=120)
                assert status == 200, (status, answer)
            took, peak = time.monotonic() - since, most(server)
            print(f"store {store}: {CLIENTS} clients stopped after {EACH} KiB each: {peak:.0f} MiB at most; another client's 24 MiB took {took:.1f} s",
                  flush=True)
            assert all(client.fileno() >= 0 for client in clients)
            return peak
        finally:
            server.kill()


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (CLIENTS + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    more = measured("s3") - measured("file")
    print(f"the bucket takes {more:.0f} MiB more than files, with part_memory = {MEMORY} MiB")
    if more > MEMORY + ALLOWED:
        sys.exit(f"more than part_memory + {ALLOWED} MiB")


main()
