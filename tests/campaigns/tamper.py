"""System calls of a running server made to fail, or to wait: strace, attached for a while.

Nothing is believed to have failed unless strace says that it injected it.
"""

import collections
import signal
import subprocess
import tempfile

import rig

# What is tampered with: `calls` on `where`, at `step` of an upload's life.
Case = collections.namedtuple("Case", "step calls where how short")


class Tampered:
    """While this is open, `calls` of the server (on `paths`, where there are any) end as `how` says, for
    example `error=EIO:when=1`. strace counts `when` for each thread. `hits` are the tampered calls."""

    def __init__(self, server, calls, how, *paths):
        self.strace = rig.need("strace", "strace")
        self.pid, self.calls, self.how, self.paths = server.pid, calls, how, paths

    def __enter__(self):
        self.trace = tempfile.NamedTemporaryFile("r")
        self.said = tempfile.NamedTemporaryFile("r")
        only = [word for path in self.paths for word in ("-P", str(path))]
        command = [self.strace, "-f", "-o", self.trace.name, "-p", str(self.pid), *only,
                   "-e", f"trace={self.calls}", "-e", f"inject={self.calls}:{self.how}"]
        with open(self.said.name, "w") as said:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)

        def attached():
            text = self.told()
            if self.process.poll() is not None:
                raise rig.Skipped(f"strace cannot attach here: {text.strip()}")
            return "attached" in text

        rig.until("strace attaches", attached)
        return self

    def told(self):
        self.said.seek(0)
        return self.said.read()

    def lines(self):
        """All traced calls, whole lines only."""
        self.trace.seek(0)
        text = self.trace.read()
        return text[:text.rfind("\n") + 1].splitlines()

    def hits(self):
        """The calls that were tampered with."""
        return [line for line in self.lines() if "(INJECTED)" in line or "(DELAYED)" in line]

    def detach(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(rig.DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(rig.DEADLINE)

    def __exit__(self, *_):
        self.detach()


def panics(server):
    """What the server's log says of panics: nobody wants any."""
    return [line for line in server.log_text().splitlines() if "panicked" in line]


