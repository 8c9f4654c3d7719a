"""The stage of the TLS tests: an authority of openssl's making, a server, and clients that share nothing with it.

Standard library only. What a test starts ends with it.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from rig import program  # noqa: E402
# What is waited for happens within this many seconds, or never.
DEADLINE = 30
SCRIPT = "/incoming/frontend/incoming.js"
UPLOADS = "/incoming/backend/uploads"


def needs(*commands):
    for command in commands:
        if not shutil.which(command):
            raise Skipped(f"{command} is not installed")


def run(*words, send=b"", limit=DEADLINE):
    """Runs a program to its end; its exit code, and all that it said."""
    done = subprocess.run([str(word) for word in words], input=send, capture_output=True, timeout=limit)
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


def must(*words):
    code, said = run(*words)
    assert code == 0, f"{words}: {said}"
    return said


def until(what, probe):
    begun = time.monotonic()
    while not (found := probe()):
        assert time.monotonic() - begun < DEADLINE, f"waited in vain: {what}"
        time.sleep(0.05)
    return found


class Authority:
    """A certificate authority of openssl's making."""

    def __init__(self, folder, name):
        self.pem, self.key = folder / f"{name}.pem", folder / f"{name}.key"
        must("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
             "-days", "30", "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
             "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", self.key, "-out", self.pem)

    def issue(self, stem, names, *, key=("ec", "ec_paramgen_curve:P-256"), usage="serverAuth", days=30):
        """Writes STEM.pem and STEM.key, each in one step."""
        new = stem.with_name(f"new-{stem.name}")
        must("openssl", "req", "-newkey", key[0], "-pkeyopt", key[1], "-noenc", "-subj", f"/CN={names[0]}",
             "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names),
             "-addext", f"extendedKeyUsage={usage}", "-addext", "keyUsage=digitalSignature",
             "-keyout", f"{new}.key", "-out", f"{new}.csr")
        must("openssl", "x509", "-req", "-in", f"{new}.csr", "-CA", self.pem, "-CAkey", self.key,
             "-days", days, "-copy_extensions", "copyall", "-out", f"{new}.pem")
        for kind in ("key", "pem"):
            os.rename(f"{new}.{kind}", f"{stem}.{kind}")
        return stem


class Server:
    """A running server; its log is JSON."""

    def __init__(self, folder, *flags, listen=0, binary=None):
        self.log = open(folder / "log", "w+")
        self.child = subprocess.Popen(
            [binary or program(), "serve", "--listen", f"127.0.0.1:{listen}", "--backend-listen", "127.0.0.2:0", "--min-free-space", "0",
             "--storage-dir", str(folder / "data"), "--log-format", "json", *(str(flag) for flag in flags)],
            stderr=self.log, stdin=subprocess.DEVNULL, cwd=folder, env={"PATH": os.environ["PATH"]})
        self.public = until("a public port", lambda: self.port("Public"))
        self.backend = until("a backend port", lambda: self.port("Backend"))

    def lines(self):
        with open(self.log.name) as log:
            return [json.loads(line) for line in log.read().splitlines()]

    def port(self, surface):
        assert self.child.poll() is None, self.lines()
        found = [line for line in self.lines() if line.get("surface") == surface]
        return int(found[0]["address"].rsplit(":", 1)[1]) if found else None

    def said(self, *words):
        """The first line of the log that has all these words, once it is there."""
        fits = lambda line: all(word in json.dumps(line) for word in words)  # noqa: E731
        return until(f"{words} in the log", lambda: [line for line in self.lines() if fits(line)])[0]

    def end(self):
        self.child.terminate()
        try:
            self.child.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            raise
        finally:
            self.log.close()


@contextlib.contextmanager
def server(folder, *flags, **more):
    running = Server(folder, *flags, **more)
    try:
        yield running
    finally:
        running.end()


def free_port():
    """A port that nobody has at this moment."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def s_client(port, name, *flags, address="127.0.0.1"):
    """What openssl says of one connection, on which one request is made, so that tickets are read."""
    request = f"GET {SCRIPT} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
    return run("openssl", "s_client", "-connect", f"{address}:{port}", "-servername", name, "-ign_eof", *flags, send=request)[1]


def curl(*words):
    """An HTTP status, or 000 where there was no answer; and what curl said."""
    return run("curl", "-sS", "-m", DEADLINE, "-w", "%{stderr}\nstatus %{http_code}\n", "-o", "/dev/null", *words)[1]


def shown(port, name, *flags):
    """The certificate that is shown for a name: its serial, its names and its key's kind."""
    said = s_client(port, name, *flags)
    pem = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", said, re.S)
    assert pem, said
    code, text = run("openssl", "x509", "-noout", "-serial", "-ext", "subjectAltName", "-text", send=pem[0].encode())
    assert code == 0, text
    return {"serial": re.search(r"serial=(\w+)", text)[1], "names": sorted(set(re.findall(r"DNS:([^,\s]+)", text))),
            "key": re.search(r"Public Key Algorithm: (\S+)", text)[1]}


def serial(stem):
    return must("openssl", "x509", "-noout", "-serial", "-in", f"{stem}.pem").strip().split("=")[1]


class Skipped(Exception):
    """This machine cannot do it; the text says what is missing."""
