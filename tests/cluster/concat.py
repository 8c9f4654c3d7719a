#!/usr/bin/env python3
"""Joins partial uploads (tus) in a bucket, and compares each object with its parts: see README.md.

concat.py PROGRAM ENDPOINT BUCKET [FILES] [SEED]. The keys are testkey and testsecret. Every other file is joined while the server is
killed (-9)."""

import base64
import contextlib
import http.client
import os
import pathlib
import random
import sys
import tempfile
import threading
import time
import urllib.parse

sys.dont_write_bytecode = True
from services import BUCKET, packages, over_bucket, request, s3_client

packages.run_by_it()
from clients import litter
from rig import Backend, until

os.environ["INCOMING"], ENDPOINT = sys.argv[1:3]
FILES, SEED = [int(word) for word in sys.argv[4:6]] + [6, random.randrange(1 << 30)][len(sys.argv[4:6]):]
PART = 5 << 20
PREFIX = f"concat-{SEED}-{int(time.time())}"
dice = random.Random(SEED)
TUS = {"Tus-Resumable": "1.0.0"}
web_app = Backend()
kills = 0


def tus(server, method, path, body=None, headers=None):
    """Until the server has an answer that is not its absence."""
    for _ in range(120):
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, text, found = request(server.port, method, path, body, TUS | (headers or {}), 300)
            if status not in (429, 503, 423):
                return status, found, text
        time.sleep(0.25)
    sys.exit(f"{method} {path}: no answer")


def partial(server, data):
    status, head, text = tus(server, "POST", "/incoming/frontend/tus", headers={"Upload-Concat": "partial", "Upload-Length": str(len(data))})
    assert status == 201, (status, text)
    path = urllib.parse.urlsplit(head["location"]).path
    at = 0
    while at < len(data):
        end = min(len(data), at + dice.choice([PART, 2 * PART, dice.randrange(1, 2 * PART)]))
        status, head, text = tus(server, "PATCH", path, data[at:end], {"Upload-Offset": str(at), "Content-Type": "application/offset+octet-stream"})
        assert status == 204, (status, text)
        at = int(head["upload-offset"])
    return path


def join(number, server):
    sizes = [dice.choice([0, 1, PART - 1, PART, PART + 1, dice.randrange(3 * PART)]) for _ in range(dice.randrange(1, 5))]
    parts = [dice.randbytes(size) for size in sizes]
    urls = [partial(server, data) for data in parts]
    killer = None
    if number % 2:
        def kill():
            global kills
            time.sleep(dice.random() * 0.6)
            server.kill()
            server.start()
            kills += 1
        killer = threading.Thread(target=kill)
        killer.start()
    name = base64.b64encode(f"file {number}".encode()).decode()
    status, head, text = tus(server, "POST", "/incoming/frontend/tus", headers={"Upload-Concat": f"final;{' '.join(urls)}", "Upload-Metadata": f"filename {name}"})
    assert status == 201, (status, text, sizes)
    if killer:
        killer.join()
    made = urllib.parse.urlsplit(head["location"]).path.rsplit("/", 1)[1]
    call = web_app.call_for(made)
    whole = b"".join(parts)
    found = store.client().get_object(Bucket=BUCKET, Key=call["key"])["Body"].read()
    assert found == whole, f"file {number}: other bytes; sizes {sizes}"
    return len(whole)


class Store:
    """The bucket, as litter() wants it."""

    @staticmethod
    def client():
        return s3_client(ENDPOINT, "test")


store = Store()


def main():
    print(f"concat.py: seed {SEED}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        # What a killed server leaves of an upload that it has published goes with the upload.
        flags = ["--s3-part-size", "5MiB", "--create-url", web_app.url, "--retain-finished", "40s"]
        server = over_bucket(pathlib.Path(name) / "data", ENDPOINT, PREFIX, *flags).start()
        try:
            size = sum(join(number, server) for number in range(FILES))
            kept = {call["key"] for call in web_app.calls if call.get("key")}
            left = lambda: [key for key in litter(store, PREFIX, set())[0] if key not in kept]
            until("nothing else is left", lambda: not left(), 100)
        finally:
            server.kill()
    print(f"{FILES} files of {size >> 20} MiB in all joined, {kills} kills, nothing else left")


main()
