#!/usr/bin/env python3
"""Uploads to a store that removes unfinished multipart uploads: see README.md.

lifetime.py PROGRAM ENDPOINT BUCKET [UPLOADS] [PORT] [--broken]. The keys are testkey and testsecret; needs boto3. This script removes
each multipart upload that is older than 10 s, as MinIO does after 24 h. The server makes them objects after 3 s. Clients send a
part, and pause for longer than either. With --broken the server is told nothing of it, and acknowledged bytes must be found missing."""

import json
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

import boto3
from botocore.config import Config

from services import request

BROKEN = "--broken" in sys.argv
WORDS = [word for word in sys.argv[1:] if word != "--broken"]
PROGRAM, ENDPOINT, BUCKET = WORDS[:3]
UPLOADS, PORT = [int(word) for word in WORDS[3:5]] + [4, 19230][len(WORDS[3:5]):]
PUBLIC, BACKEND = PORT, PORT + 1
PART, PAUSE, OLD = 5 << 20, 13, 10
PREFIX = f"lifetime-{int(time.time())}"
s3 = boto3.client("s3", endpoint_url=ENDPOINT, aws_access_key_id="testkey", aws_secret_access_key="testsecret", region_name="us-east-1",
                  config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3}))
removed = 0


def call(*words):
    return request(*words, timeout=120)[:2]


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


def upload(seed, found):
    """A part, a pause, a part: what was acknowledged stays so, and the object is the file."""
    dice = random.Random(seed)
    url, made = ticket()
    data = dice.randbytes(4 * PART + dice.randrange(PART))
    order = list(range(0, len(data), PART))
    dice.shuffle(order)
    sent = 0
    for start in order:
        end = min(start + PART, len(data))
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
        status, answer = call(PUBLIC, "PUT", url, data[start:end], headers)
        assert status == 200, (status, answer)
        sent += end - start
        time.sleep(PAUSE if start != order[-1] else 0)
        received = sum(b - a for a, b in json.loads(call(PUBLIC, "GET", url)[1])["received"])
        if received < sent:
            found.append(f"upload {seed}: {received} of {sent} acknowledged bytes")
            return
    for _ in range(60):
        status = json.loads(call(BACKEND, "GET", f"/incoming/backend/uploads/{made}")[1])
        if status["path"]:
            break
        time.sleep(0.5)
    key = status["path"].removeprefix(f"s3://{BUCKET}/")
    if s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() != data:
        found.append(f"upload {seed}: the object is not the file")


def ticket():
    status, made = call(BACKEND, "POST", "/incoming/backend/new_upload?signalFinishURL=http%3A%2F%2F127.0.0.1%3A9%2F")
    assert status == 200, made
    return f"/incoming/frontend/uploads/{made.decode()}", made.decode()


def main():
    over, found = threading.Event(), []
    with tempfile.TemporaryDirectory() as name:
        flags = {
            "store": "s3", "s3-bucket": BUCKET, "s3-endpoint": ENDPOINT, "s3-prefix": PREFIX, "s3-part-size": "5MiB",
            "s3-access-key": "testkey", "s3-secret-key": "testsecret", "storage-dir": f"{name}/data",
            "listen": f"127.0.0.1:{PUBLIC}", "backend-listen": f"127.0.0.1:{BACKEND}", "log": "warn",
        } | ({} if BROKEN else {"s3-multipart-lifetime": "3s"})
        log = open(pathlib.Path(name) / "log", "ab")
        words = [word for pair in flags.items() for word in (f"--{pair[0]}", pair[1])]
        process = subprocess.Popen([PROGRAM, "serve", *words], stdout=log, stderr=log)
        try:
            for _ in range(200):
                try:
                    call(BACKEND, "GET", "/healthz")
                    break
                except OSError:
                    time.sleep(0.05)
            watch = threading.Thread(target=rule, args=(over,))
            clients = [threading.Thread(target=upload, args=(seed, found)) for seed in range(UPLOADS)]
            for thread in (watch, *clients):
                thread.start()
            for thread in clients:
                thread.join()
            over.set()
            watch.join()
        finally:
            process.kill()
            process.wait()
    print(f"{UPLOADS} uploads, {removed} multipart uploads removed by the store, {len(found)} losses {found[:2]}")
    if BROKEN != bool(found):
        sys.exit("no loss was found where there must be one" if BROKEN else "acknowledged bytes were lost")


main()
