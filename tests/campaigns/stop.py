"""Planned stops and starts under running uploads: no upload fails, nothing acknowledged is lost, exit 0
within `shutdown_grace`; a second signal ends at once."""

import contextlib
import http.client
import json
import os
import pathlib
import random
import signal
import tempfile
import threading
import time

import rig
from peers import certificates, tcp
from tamper import Tampered

UPLOADS, GRACE = 50, 5
# The end itself: threads, the last sync, on a busy machine.
SLACK = 3


class Paced(rig.Upload):
    """Sends each chunk in two halves with a pause between them, so that a stop meets bodies half sent."""

    pause = 0.04

    def body(self, start, end):
        half = (start + end) // 2
        yield self.file[start:half]
        time.sleep(self.pause)
        yield self.file[half:end]

    def put(self, connection, start, end, headers=()):
        return super().put(connection, start, end, {"Content-Length": str(end - start), **dict(headers)})


class Client(threading.Thread):
    """What a resuming uploader does: asks how things stand, sends what is missing, begins again when the
    connection breaks or the server says later. `failed` says what it could not resume from."""

    def __init__(self, upload, until):
        super().__init__(daemon=True)
        self.upload, self.until = upload, until
        self.breaks, self.later, self.failed, self.done = 0, 0, None, False

    def run(self):
        while not self.done and not self.failed:
            if time.monotonic() > self.until:
                self.failed = "not done in time"
                return
            try:
                self.attempt()
            except (OSError, http.client.HTTPException):
                self.breaks += 1
                time.sleep(0.05)

    def attempt(self):
        connection = self.upload.server.connection()
        try:
            connection.request("GET", rig.url_of(self.upload.id))
            answer = connection.getresponse()
            told = json.loads(answer.read())
            if answer.status == 503:
                return self.wait()
            if answer.status != 200:
                self.failed = f"status {answer.status} {told}"
                return
            held = bytearray(self.upload.size)
            for a, b in told["received"]:
                held[a:b] = b"\1" * (b - a)
            promised = self.upload.promised
            if lost := [at for at in range(0, self.upload.size, 512) if promised[at] and not held[at]]:
                self.failed = f"acknowledged and lost, first at {lost[0]}: {told}"
                return
            for start, end in self.upload.missing(told):
                code, told = self.upload.put(connection, start, end)
                if code == 503:
                    return self.wait()
                if code != 200:
                    self.failed = f"{code} {told}"
                    return
            self.done = True
        finally:
            connection.close()

    def wait(self):
        self.later += 1
        time.sleep(0.05)


def run(report, options):
    modes = [("durable", "http"), ("written", "https")]
    if not options.short:
        modes += [("durable", "https"), ("written", "http")]
    checks = [(f"restarts, {ack}, {scheme}", restarts, ack, scheme) for ack, scheme in modes]
    checks += [("stuck bodies", stuck), ("second signal", second_signal), ("idle connections", idle),
               ("handover under way", handover), ("publish under way", publish, False)]
    if not options.short:
        checks.append(("publish under way, client gone", publish, True))
    for what, check, *more in checks:
        try:
            with contextlib.ExitStack() as stack:
                check(report, stack, options, what, *more)
            report.count("checks")
        except rig.Skipped as why:
            report.skip(what, why)
        except (OSError, RuntimeError, TimeoutError, ValueError) as error:
            report.lost(f"{what}: {error!r}")


def served(stack, *flags, scheme="http"):
    work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    context = None
    if scheme == "https":
        more, make = certificates(work / "certs")
        flags, context = (*flags, *more), make("http/1.1")
    server = rig.Server(work / "data", *flags, tls=context).start()
    stack.callback(server.kill)
    return server


def stopped(report, what, server, grace):
    """SIGTERM; exit 0 in time."""
    began = time.monotonic()
    code = server.stop(grace + 60)
    took = time.monotonic() - began
    slowest = f"{what}: slowest stop, ms"
    report.figures[slowest] = max(report.figures.get(slowest, 0), round(1000 * took))
    if code != 0:
        report.lost(f"{what}: exit code {code}: {server.log_text()[-1000:]}")
    if took > grace + SLACK:
        report.lost(f"{what}: the stop took {took:.1f} s")
    if "panicked" in server.log_text():
        report.lost(f"{what}: panicked: {server.log_text()[-1000:]}")


def restarts(report, stack, options, what, ack, scheme):
    """Restarts in a row under uploads with clients that resume: zero of them fail."""
    server = served(stack, "--ack", ack, "--shutdown-grace", f"{GRACE}s", scheme=scheme)
    backend = rig.Backend()
    stack.callback(backend.close)
    chance, times = random.Random(options.seed), 3 if options.short else 12
    size = 2_000_000 if options.short else 4_000_000
    uploads = [Paced(server, options.seed * 1000 + n, size, 50_000, backend.url, removeFileWhenFinished="false")
               for n in range(UPLOADS)]
    clients = [Client(upload, time.monotonic() + 150) for upload in uploads]
    for client in clients:
        client.start()
    under_way = 0
    for _ in range(times):
        time.sleep(chance.uniform(0.2, 0.8))
        running = sum(client.is_alive() for client in clients)
        under_way += running
        stopped(report, what, server, GRACE)
        if running:
            report.count("stops under running uploads")
        server.start()
    for client in clients:
        client.join(200)
        if client.failed or not client.done:
            report.lost(f"{what}: an upload failed: {client.failed}")
    report.count("uploads", len(uploads))
    report.count("uploads that were running at a stop, summed", under_way)
    report.count("connections that broke, all resumed", sum(client.breaks for client in clients))
    report.count("answers 503, all resumed", sum(client.later for client in clients))
    if not under_way:
        report.lost(f"{what}: no stop met a running upload: the check proves nothing")
    for upload in uploads:
        calls = rig.until("the handover", lambda: backend.calls_for(upload.id))
        if calls[-1]["sha256"] != upload.sha256():
            report.lost(f"{what}: another file than was sent")
        upload.judge(report, what)
    stopped(report, what, server, GRACE)


def half_sent(upload, start=0, end=50_000):
    """A PUT whose body stops half-way."""
    peer = tcp(upload.server.port)
    head = f"PUT {rig.url_of(upload.id)} HTTP/1.1\r\nHost: x\r\nContent-Range: bytes {start}-{end - 1}/{upload.size}\r\n"
    peer.sendall(f"{head}Content-Length: {end - start}\r\n\r\n".encode() + upload.file[start:(start + end) // 2])
    return peer


def stuck(report, stack, options, what):
    """Bodies that never end do not hold up the end for longer than the grace; their prefixes are kept."""
    grace = 2
    server = served(stack, "--shutdown-grace", f"{grace}s")
    uploads = [rig.Upload(server, options.seed + n, 200_000, 50_000) for n in range(UPLOADS)]
    peers = [half_sent(upload) for upload in uploads]
    rig.until("the halves are there", lambda: server.metric("incoming_received_bytes_total") >= 25_000 * UPLOADS)
    stopped(report, what, server, grace)
    server.start()
    for peer, upload in zip(peers, uploads):
        peer.close()
        if server.status(upload.id)["received"] != [[0, 25_000]]:
            report.lost(f"{what}: the prefix is not kept: {server.status(upload.id)}")
        if upload.send() is not True:
            report.lost(f"{what}: cannot be sent to its end")
        upload.judge(report, what)


def second_signal(report, stack, options, what):
    """130, at once, whatever is under way; what was acknowledged holds."""
    server = served(stack, "--shutdown-grace", "30s")
    upload = rig.Upload(server, options.seed, 200_000, 50_000)
    connection = server.connection()
    upload.put(connection, 100_000, 150_000)
    connection.close()
    peer = half_sent(upload)
    rig.until("the half is there", lambda: server.metric("incoming_received_bytes_total") >= 75_000)
    os.kill(server.pid, signal.SIGTERM)
    time.sleep(0.5)
    if not server.running():
        report.lost(f"{what}: the first one did not let the body end")
    began = time.monotonic()
    os.kill(server.pid, signal.SIGINT)
    code = server.ended()
    took = time.monotonic() - began
    report.count(f"{what}: ms to the end", round(1000 * took))
    if code != 130 or took > 2:
        report.lost(f"{what}: exit code {code} after {took:.1f} s")
    peer.close()
    server.start()
    upload.judge(report, what)
    if upload.send() is not True:
        report.lost(f"{what}: cannot be sent to its end")
    upload.judge(report, what)


def idle(report, stack, options, what):
    """Idle connections and long polls end at once."""
    server = served(stack, "--shutdown-grace", "30s")
    id = server.ticket()
    peers = []
    for ask in ("", "?wait=50"):
        for _ in range(UPLOADS):
            peers.append(tcp(server.port))
            peers[-1].sendall(f"GET {rig.url_of(id)}{ask} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    for peer in peers[:UPLOADS]:
        peer.recv(4096)
    stopped(report, what, server, 2)
    polls = [peer.recv(4096) for peer in peers[UPLOADS:]]
    if not all(b" 200 " in answer[:20] for answer in polls):
        report.lost(f"{what}: long polls are not answered: {polls[0][:100]}")


class Holding(rig.Backend):
    """Answers when it is let."""

    def __init__(self):
        self.asked, self.let = threading.Event(), threading.Event()
        super().__init__()

    def called(self, form):
        self.asked.set()
        self.let.wait(rig.DEADLINE)
        return super().called(form)


def handover(report, stack, options, what):
    """A call under way is cut off and made again after the start."""
    server, backend = served(stack, "--shutdown-grace", "5s"), Holding()
    stack.callback(backend.close)
    stack.callback(backend.let.set)
    upload = rig.Upload(server, options.seed, 200_000, 50_000, backend.url, removeFileWhenFinished="false")
    if upload.send() is not True or not backend.asked.wait(rig.DEADLINE):
        raise RuntimeError("no call")
    stopped(report, what, server, 5)
    backend.let.set()
    server.start()
    rig.until("finished", lambda: server.status(upload.id)["state"] == "finished")
    last = backend.calls_for(upload.id)[-1]
    if last["attempt"] != "2" or last["sha256"] != upload.sha256():
        report.lost(f"{what}: the second call: {last}")
    calls = len(backend.calls_for(upload.id))
    stopped(report, what, server, 5)
    server.start()
    time.sleep(0.5)
    if len(backend.calls_for(upload.id)) != calls:
        report.lost(f"{what}: called again after done")


def publish(report, stack, options, what, client_goes):
    """A publish that hangs in its rename when the signal comes is brought to its end."""
    server = served(stack, "--shutdown-grace", "10s")
    upload = rig.Upload(server, options.seed, 200_000, 50_000)
    connection = server.connection()
    for start in (0, 50_000, 100_000):
        upload.put(connection, start, start + 50_000)
    part = server.data / f"{upload.id}.part"
    with Tampered(server, "rename", "delay_enter=1500000", part) as tampering:
        connection.putrequest("PUT", rig.url_of(upload.id))
        connection.putheader("Content-Range", "bytes 150000-199999/200000")
        connection.putheader("Content-Length", "50000")
        connection.endheaders()
        connection.send(upload.file[150_000:])
        rig.until("the bytes are there", lambda: server.metric("incoming_received_bytes_total") >= 200_000)
        time.sleep(0.5)
        if client_goes:
            connection.close()
        stopped(report, what, server, 10)
        if not client_goes:
            answer = connection.getresponse()
            told = json.loads(answer.read())
            if (answer.status, told["state"]) != (200, "handing_over"):
                report.lost(f"{what}: answered {answer.status} {told}")
        tampering.detach()
        if not any("rename" in line for line in tampering.hits()):
            report.lost(f"{what}: no rename was held up: the check proves nothing")
    connection.close()
    upload.complete = True
    server.start()
    upload.judge(report, what)
    if server.status(upload.id)["state"] != "handing_over" or not (server.data / "files" / upload.id).exists():
        report.lost(f"{what}: {server.status(upload.id)}")
