"""Restarts in a row under running uploads, with sockets that outlive the server and without: no upload fails, none
is sent again from its start, and where the sockets stay open no connection is refused. What is judged is bytes sent
again, never time."""

import contextlib
import http.client
import pathlib
import random
import select
import socket
import subprocess
import tempfile
import threading
import time

import rig
from stop import Client, Paced, stopped

UPLOADS, CHUNK = 50, 50_000
# Chunks of each upload between two restarts.
STRIDE = 2


class Activated(rig.Server):
    """A server whose sockets are held here, as a service manager holds them: each process in turn gets them as
    descriptors 3 and 4, through a shell that becomes the server."""

    SHELL = ("exec 3<&0 4<&1 </dev/null >&2; export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=public:backend; "
             'exec "$@"')

    def __init__(self, data, *flags):
        super().__init__(data, *flags)
        self.sockets = [self.listening(port) for port in (self.port, self.backend_port)]

    def listening(self, port):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(1024)
        return listener

    def popen(self, command, env):
        public, backend = self.sockets
        return subprocess.Popen(["sh", "-c", self.SHELL, "sh", *command], stdin=public, stdout=backend,
                                stderr=self.log, env=env)

    def start(self, seconds=rig.DEADLINE):
        """The sockets take connections before the server does: it is asked, so that it runs when it is stopped."""
        super().start(seconds)
        self.back("GET", "/readyz", timeout=seconds)
        return self

    def close(self):
        self.kill()
        for listener in self.sockets:
            listener.close()


class Gate:
    """Lets uploads on as far as the restarts are done, so that every restart meets all of them amid their files."""

    def __init__(self):
        self.passed, self.changed = 0, threading.Condition()

    def open(self):
        with self.changed:
            self.passed += 1
            self.changed.notify_all()

    def wait(self, chunk):
        with self.changed:
            if not self.changed.wait_for(lambda: chunk < self.passed * STRIDE, 2 * rig.DEADLINE):
                raise RuntimeError("the gate stays closed")


class Counted(Paced):
    """Counts the bytes of bodies that were handed to the socket, and how many chunks are acknowledged."""

    pause = 0.02

    def __init__(self, gate, *more, **parameters):
        super().__init__(*more, **parameters)
        self.gate, self.sent = gate, 0

    def body(self, start, end):
        for piece in super().body(start, end):
            yield piece
            # What was asked for after this piece: it has been taken by the socket.
            self.sent += len(piece)

    def put(self, connection, start, end, headers=()):
        self.gate.wait(sum(self.promised) // CHUNK)
        # As every client that keeps connections: one that the server has closed meanwhile is not written to.
        if connection.sock and select.select([connection.sock], [], [], 0)[0]:
            raise ConnectionAbortedError("closed while it was idle")
        return super().put(connection, start, end, headers)


class Counting(Client):
    """A client that tells refused connections from broken ones, and goes on after both."""

    refused = 0

    def attempt(self):
        try:
            super().attempt()
        except ConnectionRefusedError:
            self.refused += 1
            raise


def run(report, options):
    checks = [("sockets that stay", Activated, 20), ("sockets that close", rig.Server, 3 if options.short else 20)]
    for what, kind, times in checks:
        try:
            with contextlib.ExitStack() as stack:
                restarts(report, stack, options, what, kind, times)
            report.count("checks")
        except (OSError, RuntimeError, TimeoutError, ValueError) as error:
            report.lost(f"{what}: {error!r}")


def restarts(report, stack, options, what, kind, times):
    work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    server = kind(work / "data", "--shutdown-grace", "10s")
    stack.callback(getattr(server, "close", server.kill))
    server.start()
    backend, gate = rig.Backend(), Gate()
    stack.callback(backend.close)
    size = CHUNK * STRIDE * (times + 1)
    uploads = [Counted(gate, server, options.seed * 1000 + n, size, CHUNK, backend.url, removeFileWhenFinished="false")
               for n in range(UPLOADS)]
    clients = [Counting(upload, time.monotonic() + 240) for upload in uploads]
    for client in clients:
        client.start()
    chance = random.Random(options.seed)
    for _ in range(times):
        gate.open()
        time.sleep(chance.uniform(0.02, 0.25))
        running = sum(client.is_alive() for client in clients)
        if running < UPLOADS:
            report.lost(f"{what}: a restart met {running} uploads of {UPLOADS}: the check proves nothing")
        stopped(report, what, server, 10)
        server.start()
        report.count(f"{what}: restarts under {UPLOADS} running uploads")
    gate.open()
    for client in clients:
        client.join(260)
    for client in clients:
        if client.failed or not client.done:
            report.lost(f"{what}: an upload failed: {client.failed}")
    for upload, client in zip(uploads, clients):
        again = upload.sent - size
        # A restart breaks off or puts off what is under way: one chunk. Never what was acknowledged.
        if again > times * CHUNK:
            report.lost(f"{what}: {again} bytes of {upload.id} were sent again, in {times} restarts")
        report.most(f"{what}: most bytes of one upload sent again (of {size})", again)
        report.count(f"{what}: bytes sent again, all uploads (of {size * UPLOADS})", again)
        report.count(f"{what}: connections refused", client.refused)
        report.count(f"{what}: connections that broke, all resumed", client.breaks - client.refused)
        report.count(f"{what}: answers 503, all resumed", client.later)
        calls = rig.until("the handover", lambda: backend.calls_for(upload.id))
        if calls[-1]["sha256"] != upload.sha256():
            report.lost(f"{what}: another file than was sent")
    again = sum(upload.sent for upload in uploads) - size * UPLOADS
    # Ends of chunks that meet the stop itself: measured 0.07 and 0.17 chunks for each upload and restart, 0.49 with SIGKILL.
    if again > UPLOADS * times * CHUNK * (0.25 if kind is Activated else 0.45):
        report.lost(f"{what}: {again} bytes were sent again: restarts do not let chunks end")
    refused = report.figures[f"{what}: connections refused"]
    if kind is Activated and refused:
        report.lost(f"{what}: {refused} connections were refused")
    stopped(report, what, server, 10)
