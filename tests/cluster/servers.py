#!/usr/bin/env python3
"""Three servers over one database see each other, one that stops and one that is killed: see README.md.

servers.py PROGRAM ENDPOINT BUCKET DATABASE. DATABASE is the URL of an empty one. The keys are testkey and testsecret."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from services import over_bucket  # first: it says where `rig` is
from rig import until

os.environ["INCOMING"], ENDPOINT = sys.argv[1:3]
DATABASE = sys.argv[4]


def ask(sql):
    told = subprocess.run(["psql", DATABASE, "-XAtc", sql], check=True, capture_output=True, text=True)
    return told.stdout.splitlines()


def overview(server):
    status, _, text = server.back("GET", "/incoming/backend/overview")
    assert status == 200, (status, text)
    return json.loads(text)


def states(server):
    """The state of each by its address, as this server knows it."""
    shown = overview(server)
    assert shown["shared"], shown
    return {one["address"]: one["state"] for one in shown["servers"]}


def address(server):
    return f"127.0.0.1:{server.backend_port}"


def main():
    with tempfile.TemporaryDirectory() as name:
        flags = ["--journal", "postgres", "--postgres-url", DATABASE, "--backend-open", "true"]
        servers = [over_bucket(pathlib.Path(name) / str(number), ENDPOINT, "servers", *flags) for number in range(3)]
        one, two, three = servers
        try:
            for server in servers:
                server.start()
            see_each_other(one, two, three)
        finally:
            for server in servers:
                server.kill()
    print("servers: each saw which were there, which had stopped and which were away")


def see_each_other(one, two, three):
    known = {address(server): "ready" for server in (one, two, three)}
    for server in (one, two, three):
        until("three servers are ready", lambda: states(server) == known)
        first, *others = overview(server)["servers"]
        assert first["address"] == address(server) and "rates" in first and first["id"], first
        for other in others:
            assert other["seen_s"] <= 10 and other["version"] == first["version"] and other["name"] == first["name"], other
            assert other["problems"] == [] and "rates" not in other and other["load"]["connections"] >= 0, other
    assert ask("SELECT version FROM incoming.meta") == ["3"]

    assert two.stop() == 0
    three.kill()
    until("one has stopped", lambda: states(one)[address(two)] == "stopped")
    until("one is away", lambda: states(one)[address(three)] == "away")
    assert states(one)[address(one)] == "ready"

    # What was started again is listed once, as soon as its former self was silent for a while.
    two.start()
    three.start()
    until("all are ready again", lambda: states(one) == known and len(overview(one)["servers"]) == 3)
    # A server runs on beside tables of a later version, and starts beside none.
    ask("UPDATE incoming.meta SET version = 4")
    status, _, text = one.back("GET", "/readyz")
    assert status == 200, (status, text)
    two.stop()
    try:
        two.start(30)
        raise AssertionError("it was to refuse the start")
    except ChildProcessError:
        assert "version 4" in two.log_text(), two.log_text()
    ask("UPDATE incoming.meta SET version = 3")
    # What it may not write there costs nothing else.
    ask("ALTER TABLE incoming.server RENAME TO hidden")
    until("its row is not taken", lambda: "takes no report of this server" in one.log_text())
    status, _, text = one.back("GET", "/readyz")
    assert status == 200, (status, text)
    one.ticket()
    ask("ALTER TABLE incoming.hidden RENAME TO server")
    two.start()
    until("it is listed again", lambda: states(one) == known)


main()
