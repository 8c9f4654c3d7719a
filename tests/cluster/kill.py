#!/usr/bin/env python3
"""Kills `incoming serve --store s3` (-9) while clients send, and checks what is in the bucket: see README.md.

kill.py PROGRAM ENDPOINT BUCKET UPLOADS [SEED] [PORT]. The keys are testkey and testsecret."""

import http.client
import http.server
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import boto3
from botocore.config import Config

PROGRAM, ENDPOINT, BUCKET, UPLOADS = sys.argv[1:4] + [int(sys.argv[4])]
SEED = int(sys.argv[5]) if len(sys.argv) > 5 else random.randrange(1 << 30)
PORT = int(sys.argv[6]) if len(sys.argv) > 6 else 19200
PUBLIC, BACKEND, WEB_APP = PORT, PORT + 1, PORT + 2
PART = 8 << 20
PREFIX = f"kill-{SEED}-{int(time.time())}"
BROKEN = (OSError, http.client.HTTPException)

dice = random.Random(SEED)
calls = {}
counts = {"kills": 0, "acks": 0, "by incoming upload": 0}


class WebApp(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        fields = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
        calls.setdefault(fields["id"], fields)
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"done")

    def log_message(self, *_):
        pass


class Server:
    def __init__(self, home):
        self.home = home
        self.log = open(home / "log", "ab")
        self.start()

    def start(self):
        flags = {
            "store": "s3", "s3-bucket": BUCKET, "s3-endpoint": ENDPOINT, "s3-prefix": PREFIX,
            "s3-access-key": "testkey", "s3-secret-key": "testsecret", "storage-dir": self.home / "data",
            "listen": f"127.0.0.1:{PUBLIC}", "backend-listen": f"127.0.0.1:{BACKEND}", # Longer than a client is away, which would find its upload forgotten.
            "retain-finished": "20s",
        }
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        self.process = subprocess.Popen([PROGRAM, "serve", *words], stdout=self.log, stderr=self.log)
        for _ in range(200):
            try:
                if request(BACKEND, "GET", "/healthz")[0] == 200:
                    return
            except BROKEN:
                time.sleep(0.05)
        sys.exit("the server does not start")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        counts["kills"] += 1


def request(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Browser:
    """Four chunks at a time, sent again until they are acknowledged."""

    def __init__(self, data):
        form = urllib.parse.urlencode({"signalFinishURL": f"http://127.0.0.1:{WEB_APP}/"})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self.id = request(BACKEND, "POST", "/incoming/backend/new_upload", form, headers)[1].decode().strip()
        self.data, self.acknowledged, self.lock = data, [], threading.Lock()
        self.waiting, aligned, at = [], dice.random() < 0.5, 0
        while at < len(data):
            end = min(len(data), at + (PART if aligned else dice.randint(1, 9_000_000)))
            self.waiting.append((at, end))
            at = end
        dice.shuffle(self.waiting)
        self.threads = [threading.Thread(target=self.send, daemon=True) for _ in range(4)]
        [thread.start() for thread in self.threads]

    def send(self):
        while True:
            with self.lock:
                if not self.waiting:
                    return
                start, end = self.waiting.pop()
            status = None
            try:
                range_of = {"Content-Range": f"bytes {start}-{end - 1}/{len(self.data)}"}
                path = f"/incoming/frontend/uploads/{self.id}"
                status, _ = request(PUBLIC, "PUT", path, self.data[start:end], range_of)
            except BROKEN:
                time.sleep(0.1)
            with self.lock:
                (self.acknowledged if status == 200 else self.waiting).append((start, end))

    def runs(self):
        return any(thread.is_alive() for thread in self.threads)

    def check(self, before):
        """After a start: what was acknowledged before it is there."""
        state = json.loads(request(PUBLIC, "GET", f"/incoming/frontend/uploads/{self.id}")[1])
        if state["state"] not in ("new", "uploading"):
            return
        for start, end in before:
            if not any(a <= start and end <= b for a, b in state["received"]):
                sys.exit(f"seed {SEED}: {start}..{end} was acknowledged and is missing: {state}")

    def end(self):
        counts["acks"] += len(self.acknowledged)


class Command:
    """`incoming upload`, which waits for the server by itself."""

    def __init__(self, data, home):
        path = home / "file"
        path.write_bytes(data)
        self.acknowledged, self.lock = [], threading.Lock()
        flags = ["--backend", f"http://127.0.0.1:{BACKEND}", "--public", f"http://127.0.0.1:{PUBLIC}"]
        url = ["--signal-finish-url", f"http://127.0.0.1:{WEB_APP}/"]
        self.before = set(calls)
        self.said = open(home / "upload.log", "ab")
        self.process = subprocess.Popen([PROGRAM, "upload", *flags, *url, path], stdout=subprocess.DEVNULL, stderr=self.said)

    def runs(self):
        return self.process.poll() is None

    def check(self, _):
        pass

    def end(self):
        if self.process.wait() != 0:
            sys.exit(f"seed {SEED}: incoming upload failed")
        counts["by incoming upload"] += 1
        self.id = next(iter(set(calls) - self.before), None)


def main():
    keys = {"aws_access_key_id": "testkey", "aws_secret_access_key": "testsecret", "region_name": "us-east-1"}
    bucket = boto3.client("s3", endpoint_url=ENDPOINT, config=Config(s3={"addressing_style": "path"}), **keys)
    web_app = http.server.ThreadingHTTPServer(("127.0.0.1", WEB_APP), WebApp)
    threading.Thread(target=web_app.serve_forever, daemon=True).start()
    home = pathlib.Path(tempfile.mkdtemp(prefix="incoming-kill-"))
    server = Server(home)
    try:
        run(server, bucket, home)
    finally:
        server.process.kill()


def run(server, bucket, home):
    for _ in range(UPLOADS):
        size = dice.choice([1, 5000, 100_000, PART, PART + 1, 20_000_000, 33_000_000])
        data = dice.randbytes(size)
        client = Command(data, home) if dice.random() < 0.3 else Browser(data)
        deadline = time.time() + 180
        while client.runs():
            if time.time() > deadline:
                sys.exit(f"seed {SEED}: the upload does not end; log in {home}")
            time.sleep(dice.random() * 0.9)
            if dice.random() < 0.7:
                with client.lock:
                    before = list(client.acknowledged)
                server.kill()
                server.start()
                client.check(before)
        client.end()
        deadline = time.time() + 60
        while client.id not in calls:
            if time.time() > deadline:
                sys.exit(f"seed {SEED}: no handover of {client.id}; log in {home}")
            time.sleep(0.1)
            if isinstance(client, Command):
                client.id = next(iter(set(calls) - client.before), None)
        fields = calls[client.id]
        found = bucket.get_object(Bucket=fields["bucket"], Key=fields["key"])["Body"].read()
        if found != data:
            sys.exit(f"seed {SEED}: other bytes in {fields['key']}: {len(found)} of {size}")
    deadline = time.time() + 120
    while left := litter(bucket):
        if time.time() > deadline:
            sys.exit(f"seed {SEED}: left over: {left}; log in {home}")
        time.sleep(1)
    print(f"seed {SEED}: {UPLOADS} uploads, {counts}, nothing lost, nothing left")


def litter(bucket):
    parts = bucket.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}/parts/").get("Contents", [])
    uploads = bucket.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    uploads = [upload["Key"] for upload in uploads if upload["Key"].startswith(f"{PREFIX}/")]
    return [part["Key"] for part in parts] + uploads


main()
