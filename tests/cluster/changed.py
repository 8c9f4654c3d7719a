#!/usr/bin/env python3
"""`incoming upload` of a file whose time has changed, to a server that cannot compare its bytes: see README.md.

changed.py PROGRAM ENDPOINT BUCKET. The keys are testkey and testsecret."""

import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

from services import BUCKET, over_bucket, s3_client  # first: it says where `rig` is
from rig import Backend, until, url_of

os.environ["INCOMING"], ENDPOINT = sys.argv[1:3]
PREFIX = f"changed-{int(time.time())}"
PART = 8 << 20


def main():
    with tempfile.TemporaryDirectory() as name:
        home = pathlib.Path(name)
        app, path, data = Backend(), home / "film.mp4", random.randbytes(3 * PART)
        path.write_bytes(data)
        began = path.stat()
        server = over_bucket(home / "data", ENDPOINT, PREFIX).start()
        try:
            id = server.ticket(app.url)
            server.chunk(id, data, 0, PART)
            environment = os.environ | {"XDG_STATE_HOME": str(home / "state")}
            upload = [sys.argv[1], "upload", "--url", f"http://127.0.0.1:{server.port}{url_of(id)}", str(path)]
            started = lambda: subprocess.Popen(upload, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            # It remembers the file before it asks.
            server.kill()
            first = started()
            until("it remembers the file", lambda: list(home.glob("state/incoming/uploads/*.json")))
            first.kill()
            first.communicate()
            server.start()

            # What is at the server is of this file, and could be of another one.
            path.write_bytes(data[:PART // 2] + b"x" + data[PART // 2 + 1:])
            os.utime(path, ns=(began.st_atime_ns, began.st_mtime_ns + 5_000_000_000))
            second = started()
            said = second.communicate(timeout=120)[1]
            assert second.returncode == 1 and "cannot compare its bytes yet" in said, (second.returncode, said)
            assert server.status(id)["received"] == [[0, PART]], "nothing more is sent"

            path.write_bytes(data)
            os.utime(path, ns=(began.st_atime_ns, began.st_mtime_ns))
            third = started()
            said = third.communicate(timeout=120)[1]
            assert third.returncode == 0, said
            found = s3_client(ENDPOINT, "test").get_object(Bucket=BUCKET, Key=app.call_for(id)["key"])["Body"].read()
            assert found == data, "other bytes"
        finally:
            server.kill()
            app.close()
    print("changed: no two files are mixed where bytes cannot be compared")


main()
