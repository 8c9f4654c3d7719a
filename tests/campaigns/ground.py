"""What every attack is measured against: the server's memory, its processor time, its log, its gauges, and
the neighbour who uploads meanwhile. An attack that leaves one of them worse than stated is a loss.
"""

import contextlib
import http.client
import os
import pathlib
import ssl
import subprocess
import sys
import tempfile
import time

import rig

MIB = 1 << 20
# A chunk of the neighbour is answered within this time, whatever goes on beside it.
LATEST = 1.0
# Where so many threads for each processor want to run, the system's own queue takes longer than that:
# then late answers prove nothing, and are told as skipped. The campaign itself makes two.
CROWDED = 4
# What an attack may leave behind in resident memory: what the allocator keeps of freed memory, not a part of
# what was sent, which is a multiple of it.
KEPT = 48 * MIB
# The processor is idle again within this many seconds after an attack.
IDLE_WITHIN = 5
TICK = os.sysconf("SC_CLK_TCK")


class TlsServer(rig.Server):
    """A server whose public listener has a certificate."""

    def __init__(self, data, certificates, *flags, **more):
        self.trust = str(certificates / "ca.pem")
        tls = ["--tls-cert", str(certificates / "server.pem"), "--tls-key", str(certificates / "server-key.pem")]
        super().__init__(data, *tls, *flags, **more)

    def ask(self, method, path, body=None, headers=(), backend=False, timeout=rig.DEADLINE):
        if backend:
            return super().ask(method, path, body, headers, True, timeout)
        context = ssl.create_default_context(cafile=self.trust)
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=timeout, context=context)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()


def certificates(directory):
    """A throw-away CA and a certificate for localhost."""
    rig.need("openssl", "openssl")
    made = pathlib.Path(directory)
    subprocess.run([rig.ROOT / "certs-example/make-certs", "--out", made, "localhost", "127.0.0.1"], check=True, stdout=subprocess.DEVNULL)
    return made


def scratch():
    """A directory for the server: in memory where the system has that, since disks are other campaigns' matter."""
    memory = pathlib.Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, ignore_cleanup_errors=True)


class Ground:
    """A server, its neighbour, and the measures."""

    def __init__(self, report, server, web, seed, trust="-"):
        self.report, self.server, self.web, self.trust = report, server, web, trust
        self.log_seen, self.fates, self.sent = 0, {}, 0
        self.lines = tempfile.NamedTemporaryFile("r")
        self.neighbour = subprocess.Popen(
            [sys.executable, str(pathlib.Path(__file__).with_name("neighbour.py")), str(server.port), str(server.backend_port), web.url, trust, str(seed),
             self.lines.name], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        rig.until("the neighbour uploads", lambda: len(self.puts()) > 20)
        self.quiet_share = self.share(1)

    def told(self, fate, sent):
        """What became of one of the attacker's connections, and how many bytes it got rid of."""
        self.fates[fate] = self.fates.get(fate, 0) + 1
        self.sent += sent

    # ---- the neighbour ----

    def puts(self, since=0):
        """Its PUTs that began at `since` or later: (began, took, outcome)."""
        self.lines.seek(0)
        lines = [line.split() for line in self.lines.read().splitlines() if line[:1].isdigit()]
        return [(float(line[0]), float(line[1]), line[2]) for line in lines if len(line) == 3 and float(line[0]) >= since]

    def finish(self):
        """Ends the neighbour after its present file; every file of it must have been handed over, and right.
        Then no connection and no chunk may be left."""
        self.neighbour.stdin.close()
        self.neighbour.wait(rig.DEADLINE)
        if self.neighbour.returncode:
            self.report.lost(f"the neighbour broke off: {self.neighbour.returncode}")
        puts = self.puts()
        self.report.count("chunks of the neighbour", len(puts))
        self.report.most("slowest answer to the neighbour, ms", max(took for _, took, _ in puts) * 1000)
        self.lines.seek(0)
        files = [line.split()[1:] for line in self.lines.read().splitlines() if line.startswith("file")]
        self.report.count("files of the neighbour", len(files))
        for id, sha256 in files:
            rig.until(f"the handover of {id}", lambda: self.web.calls_for(id), 20)
            if self.web.calls_for(id)[0]["sha256"] != sha256:
                self.report.lost(f"the neighbour's file {id} is not what it sent")
        self.empty("at the end")
        self.lines.close()

    def close(self):
        if self.neighbour.poll() is None:
            self.neighbour.kill()
            self.neighbour.wait()

    # ---- the server ----

    def spent(self):
        """Seconds of processor time so far."""
        fields = pathlib.Path(f"/proc/{self.server.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def share(self, seconds):
        """The part of one processor that it takes now."""
        before, began = self.spent(), time.monotonic()
        time.sleep(seconds)
        return (self.spent() - before) / (time.monotonic() - began)

    def peak(self):
        for line in pathlib.Path(f"/proc/{self.server.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
        return 0

    def reset_peak(self):
        with contextlib.suppress(OSError):
            pathlib.Path(f"/proc/{self.server.pid}/clear_refs").write_text("5")

    def empty(self, where):
        """No connection but the asking one, and no chunk."""
        gauges = ["incoming_chunks_in_flight", "incoming_connections_open"]
        found = []

        def all_ended():
            found[:] = [self.server.metric(gauge) for gauge in gauges]
            return found == [0, 1]

        try:
            rig.until("gauges", all_ended, 30)
        except TimeoutError:
            self.report.lost(f"{where}: {dict(zip(gauges, found))} are left, not 0 and 1")

    @contextlib.contextmanager
    def attack(self, name, peak=96 * MIB, kept=KEPT):
        """Around one attack: what must hold during it and after it. `peak`: how far resident memory may
        rise above what it was before; `kept`: how much of that may stay."""
        before, began, spent = self.server.memory(), time.monotonic(), self.spent()
        self.reset_peak()
        self.fates, self.sent = {}, 0
        try:
            yield
        except Exception as error:
            self.report.lost(f"{name}: the attack itself broke: {type(error).__name__}: {error}")
        took = time.monotonic() - began
        if not self.server.running():
            self.report.lost(f"{name}: the server is gone: {self.server.log_text()[-2000:]}")
            raise ChildProcessError("the server is gone")
        self.idle(name)
        spent = self.spent() - spent
        risen, left = self.peak() - before, self.server.memory() - before
        if risen > peak:
            self.report.lost(f"{name}: memory rose by {risen // MIB} MiB, more than {peak // MIB} MiB")
        if left > kept:
            self.report.lost(f"{name}: {left // MIB} MiB stay, more than {kept // MIB} MiB")
        self.report.most("memory above that before an attack, MiB", risen / MIB)
        text = self.server.log_text()
        new, self.log_seen = text[self.log_seen:], len(text)
        if "panicked" in new:
            self.report.lost(f"{name}: a panic: {new[-2000:]}")
        puts = self.puts(began)
        slowest = max((took for _, took, _ in puts), default=None)
        if slowest is None:
            self.report.lost(f"{name}: the neighbour sent nothing meanwhile")
        elif slowest > LATEST:
            load, processors = os.getloadavg()[0], os.cpu_count() or 1
            if load > CROWDED * processors and slowest < 10 * LATEST:
                self.report.skip(f"{name}: the neighbour's times", f"{slowest:.2f} s on a machine with a load of {load:.0f} on {processors}")
            else:
                self.report.lost(f"{name}: the neighbour waited {slowest:.2f} s")
        if bad := [outcome for _, _, outcome in puts if outcome != "200"]:
            self.report.lost(f"{name}: the neighbour was answered {bad[:5]}")
        fates = ", ".join(f"{count} {fate}" for fate, count in self.fates.items())
        sent = f" ({self.sent:,} bytes; connections: {fates})" if fates else ""
        print(f"{name}{sent}: {took:.1f} s, processor {spent:.2f} s, memory +{risen / MIB:.1f} MiB, {left / MIB:+.1f} MiB stay, "
              f"neighbour {len(puts)} chunks, slowest {1000 * (slowest or 0):.0f} ms", flush=True)

    def idle(self, name):
        """Waits until the processor does no more than the neighbour asks for."""
        end = time.monotonic() + IDLE_WITHIN
        most = 2 * self.quiet_share + 0.05
        while (share := self.share(0.3)) > most:
            if time.monotonic() > end:
                return self.report.lost(f"{name}: {share:.0%} of a processor {IDLE_WITHIN} s after it, {self.quiet_share:.0%} before")
        return None
