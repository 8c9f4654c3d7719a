#!/usr/bin/env python3
"""Joins partial uploads (tus) in a bucket, and compares each object with its parts: see README.md.

concat.py PROGRAM ENDPOINT BUCKET [FILES] [SEED] [PORT]. The keys are testkey and testsecret; needs boto3. Every other file is joined
while the server is killed (-9)."""

import base64
import hashlib
import http.client
import http.server
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid

import boto3
from botocore.config import Config

PROGRAM, ENDPOINT, BUCKET = sys.argv[1:4]
FILES, SEED, PORT = [int(word) for word in sys.argv[4:7]] + [6, random.randrange(1 << 30), 19250][len(sys.argv[4:7]):]
PUBLIC, BACKEND, WEB_APP = PORT, PORT + 1, PORT + 2
PART = 5 << 20
PREFIX = f"concat-{SEED}-{int(time.time())}"
dice = random.Random(SEED)
calls, kills = {}, 0
TUS = {"Tus-Resumable": "1.0.0"}
s3 = boto3.client("s3", endpoint_url=ENDPOINT, aws_access_key_id="testkey", aws_secret_access_key="testsecret", region_name="us-east-1",
                  config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3}))


# The uploads that are none: src/storage/s3/{probe,sweep}.rs.
NO_UPLOADS = [hashlib.sha256(uuid.UUID(text).bytes).hexdigest()[:32]
              for text in ("00000000-0000-4000-8000-000000000000", "ffffffff-ffff-4fff-bfff-ffffffffffff")]


class WebApp(http.server.BaseHTTPRequestHandler):
    """Takes every file, and makes every ticket."""

    def do_POST(self):
        fields = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode(), keep_blank_values=True))
        answer = b"done"
        if self.path == "/create":
            answer = json.dumps({"signalFinishURL": f"http://127.0.0.1:{WEB_APP}/done"}).encode()
        else:
            calls[fields["id"]] = fields
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def call(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict((name.lower(), value) for name, value in answer.getheaders()), answer.read()
    finally:
        connection.close()


def tus(method, path, body=None, headers=None):
    """Until the server has an answer that is not its absence."""
    for _ in range(120):
        try:
            status, found, text = call(PUBLIC, method, path, body, TUS | (headers or {}))
            if status not in (429, 503, 423):
                return status, found, text
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.25)
    sys.exit(f"{method} {path}: no answer")


class Server:
    def __init__(self, home):
        self.home, self.log = home, open(home / "log", "ab")
        self.start()

    def start(self):
        flags = {
            "store": "s3", "s3-bucket": BUCKET, "s3-endpoint": ENDPOINT, "s3-prefix": PREFIX, "s3-part-size": "5MiB",
            "s3-access-key": "testkey", "s3-secret-key": "testsecret", "storage-dir": self.home / "data",
            "listen": f"127.0.0.1:{PUBLIC}", "backend-listen": f"127.0.0.1:{BACKEND}", "create-url": f"http://127.0.0.1:{WEB_APP}/create",
            # What a killed server leaves of an upload that it has published goes with the upload.
            "retain-finished": "40s",
        }
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        self.process = subprocess.Popen([PROGRAM, "serve", *words], stdout=self.log, stderr=self.log)
        for _ in range(200):
            try:
                if call(BACKEND, "GET", "/healthz")[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
        sys.exit("the server does not start")

    def kill(self):
        global kills
        self.process.kill()
        self.process.wait()
        kills += 1


def partial(data):
    status, head, text = tus("POST", "/incoming/frontend/tus", headers={"Upload-Concat": "partial", "Upload-Length": str(len(data))})
    assert status == 201, (status, text)
    path = urllib.parse.urlsplit(head["location"]).path
    at = 0
    while at < len(data):
        end = min(len(data), at + dice.choice([PART, 2 * PART, dice.randrange(1, 2 * PART)]))
        status, head, text = tus("PATCH", path, data[at:end], {"Upload-Offset": str(at), "Content-Type": "application/offset+octet-stream"})
        assert status == 204, (status, text)
        at = int(head["upload-offset"])
    return path


def join(number, server):
    sizes = [dice.choice([0, 1, PART - 1, PART, PART + 1, dice.randrange(3 * PART)]) for _ in range(dice.randrange(1, 5))]
    parts = [dice.randbytes(size) for size in sizes]
    urls = [partial(data) for data in parts]
    killer = None
    if number % 2:
        def kill():
            time.sleep(dice.random() * 0.6)
            server.kill()
            server.start()
        killer = threading.Thread(target=kill)
        killer.start()
    name = base64.b64encode(f"file {number}".encode()).decode()
    status, head, text = tus("POST", "/incoming/frontend/tus", headers={"Upload-Concat": f"final;{' '.join(urls)}", "Upload-Metadata": f"filename {name}"})
    assert status == 201, (status, text, sizes)
    if killer:
        killer.join()
    made = urllib.parse.urlsplit(head["location"]).path.rsplit("/", 1)[1]
    for _ in range(240):
        if made in calls:
            break
        time.sleep(0.25)
    else:
        sys.exit(f"file {number}: no handover; sizes {sizes}")
    whole = b"".join(parts)
    found = s3.get_object(Bucket=BUCKET, Key=calls[made]["key"])["Body"].read()
    assert found == whole, f"file {number}: other bytes; sizes {sizes}"
    return len(whole)


def main():
    print(f"concat.py: seed {SEED}", flush=True)
    web_app = http.server.ThreadingHTTPServer(("127.0.0.1", WEB_APP), WebApp)
    threading.Thread(target=web_app.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name:
        server = Server(pathlib.Path(name))
        try:
            size = sum(join(number, server) for number in range(FILES))
            kept = {fields["key"] for fields in calls.values() if fields.get("key")}
            for _ in range(200):
                left = [one["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=PREFIX)
                        for one in page.get("Contents", []) if one["Key"] not in kept and not any(none in one["Key"] for none in NO_UPLOADS)]
                left += [one["Key"] for one in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) if one["Key"].startswith(PREFIX)]
                if not left:
                    break
                time.sleep(0.5)
            assert not left, left
        finally:
            server.process.kill()
            server.process.wait()
    print(f"{FILES} files of {size >> 20} MiB in all joined, {kills} kills, nothing else left")


main()
