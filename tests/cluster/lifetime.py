#!/usr/bin/env python3
"""Uploads to a store that removes unfinished multipart uploads: see README.md.

lifetime.py PROGRAM ENDPOINT BUCKET [UPLOADS] [--broken]. The keys are testkey and testsecret. This script removes
each multipart upload that is older than 10 s, as MinIO does after 24 h. The server makes them objects after 3 s. Clients send a
part, and pause for longer than either. With --broken the server is told nothing of it, and acknowledged bytes must be found missing."""

import json
import os
import pathlib
import random
import sys
import tempfile
import threading
import time

from services import BUCKET, over_bucket, s3_client  # first: it says where `rig` is
from rig import until

BROKEN = "--broken" in sys.argv
os.environ["INCOMING"], ENDPOINT, _, *UPLOADS = [word for word in sys.argv[1:] if word != "--broken"]
UPLOADS = int(UPLOADS[0]) if UPLOADS else 4
PART, PAUSE, OLD = 5 << 20, 13, 10
PREFIX = f"lifetime-{int(time.time())}"
s3 = s3_client(ENDPOINT, "test")
removed = 0


def rule(over):
    """Removes what is old, by the time at which it was seen first."""
    global removed
    seen = {}
    while not over.wait(1):
        for upload in s3.list_multipart_uploads(Bucket=BUCKET, Prefix=PREFIX).get("Uploads", []):
            name = upload["Key"], upload["UploadId"]
            if time.monotonic() - seen.setdefault(name, time.monotonic()) > OLD:
                s3.abort_multipart_upload(Bucket=BUCKET, Key=name[0], UploadId=name[1])
                removed += 1


def upload(server, seed, found):
    """A part, a pause, a part: what was acknowledged stays so, and the object is the file."""
    dice = random.Random(seed)
    id = server.ticket()
    data = dice.randbytes(4 * PART + dice.randrange(PART))
    order = list(range(0, len(data), PART))
    dice.shuffle(order)
    sent = 0
    for start in order:
        end = min(start + PART, len(data))
        server.chunk(id, data, start, end)
        sent += end - start
        time.sleep(PAUSE if start != order[-1] else 0)
        received = sum(b - a for a, b in server.status(id)["received"])
        if received < sent:
            found.append(f"upload {seed}: {received} of {sent} acknowledged bytes")
            return
    path = until("it has its place", lambda: json.loads(server.back("GET", f"/incoming/backend/uploads/{id}")[2])["path"])
    if s3.get_object(Bucket=BUCKET, Key=path.removeprefix(f"s3://{BUCKET}/"))["Body"].read() != data:
        found.append(f"upload {seed}: the object is not the file")


def main():
    over, found = threading.Event(), []
    with tempfile.TemporaryDirectory() as name:
        flags = ["--s3-part-size", "5MiB", *([] if BROKEN else ["--s3-multipart-lifetime", "3s"])]
        server = over_bucket(pathlib.Path(name) / "data", ENDPOINT, PREFIX, *flags).start()
        try:
            watch = threading.Thread(target=rule, args=(over,))
            clients = [threading.Thread(target=upload, args=(server, seed, found)) for seed in range(UPLOADS)]
            for thread in (watch, *clients):
                thread.start()
            for thread in clients:
                thread.join()
            over.set()
            watch.join()
        finally:
            server.kill()
    print(f"{UPLOADS} uploads, {removed} multipart uploads removed by the store, {len(found)} losses {found[:2]}")
    if BROKEN != bool(found):
        sys.exit("no loss was found where there must be one" if BROKEN else "acknowledged bytes were lost")


main()
