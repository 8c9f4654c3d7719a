#!/usr/bin/env python3
"""Handovers with a URL that reads the object (`s3_presign`): see README.md.

presigned.py PROGRAM ENDPOINT BUCKET. The keys are testkey and testsecret."""

import os
import pathlib
import random
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from services import over_bucket  # first: it says where `rig` is
from rig import Backend, until

os.environ["INCOMING"], ENDPOINT = sys.argv[1:3]
PREFIX = f"presigned-{int(time.time())}"


def read(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read()


def refused(url):
    try:
        read(url)
    except urllib.error.HTTPError as error:
        return error.code == 403
    return False


def signed(url, name):
    return urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)[f"X-Amz-{name}"][0]


def run(home, lasts, app, data):
    """The first call about an upload and the last one, seconds later, by a server that says everything it can in its log."""
    app.answers = ["not yet", "not yet"]
    server = over_bucket(home, ENDPOINT, PREFIX, "--s3-presign", lasts, log="trace").start()
    try:
        id = server.ticket(app.url)
        server.chunk(id, data)
        calls = until("it is finished", lambda: server.status(id)["state"] == "finished" and app.calls_for(id))
        for said in (server.log_text(), server.back("GET", f"/incoming/backend/uploads/{id}")[2]):
            assert "Signature=" not in said and "X-Amz-Expires" not in said, "the URL is shown"
        return calls[0], calls[-1]
    finally:
        server.kill()


def main():
    app = Backend()
    with tempfile.TemporaryDirectory() as name:
        home = pathlib.Path(name)
        # One object of one request, and one of parts.
        for size in (1_000, 9 << 20):
            data = random.randbytes(size)
            first, last = run(home / str(size), "2h", app, data)
            assert read(first["url"]) == read(last["url"]) == data, "other bytes"
            assert signed(first["url"], "Expires") == "7200", first["url"]
            assert signed(first["url"], "Date") != signed(last["url"], "Date"), "the last call has the URL of the first one"
            assert refused(first["url"].replace("Expires=7200", "Expires=9999")), "anyone can make it last"
        _, last = run(home / "short", "1s", app, b"x")
        until("the URL has ended", lambda: refused(last["url"]))
    app.close()
    print("presigned: objects are read by the URL of each call, until it ends")


main()
