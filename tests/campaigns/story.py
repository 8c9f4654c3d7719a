"""One upload under load: its plot, all that was promised of it, and what must be true of it after a death."""

import contextlib
import copy
import http.client
import json
import os
import threading
import urllib.parse

import rig
from rig import dialects

SIZE, CHUNK = 150_000, 50_000
# States of an upload that takes bytes.
OPEN = ("new", "uploading")


class Story(rig.Upload):
    """One upload, its plot, and all that was promised about it."""

    def __init__(self, world, plot, seed):
        more = {"metadata": plot}
        if plot in ("keep", "take"):
            more["removeFileWhenFinished"] = "false"
        if plot == "digest":
            more["digest"] = "sha-256"
        size = 0 if plot == "empty" else SIZE
        dialect = plot if plot in dialects.NAMES else None
        super().__init__(world.server, seed, size, CHUNK, world.app.url, dialect, **more)
        self.breaks = 2
        self.world, self.plot = world, plot
        # Asked: perhaps it happened. Told: it was answered, and stands.
        self.cancel_asked = self.cancel_told = self.finish_asked = self.finish_told = False
        self.calls_at_end = self.reports_to = self.gone = None
        # Whether the ticket itself came too late to count.
        self.unanswered = False

    # What happens ------------------------------------------------------------------------------

    def live(self):
        """Its whole life; ends early, without a word, when the server dies."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            if self.plot in ("cancelled", "withdrawn"):
                if self.connected(lambda connection: self.put(connection, 0, CHUNK))[0] == 200:
                    self.cancel()
            elif self.plot == "idle":
                pass
            elif self.plot == "exposed":
                # The last chunk first, and some get it to the disk: then the part has its full length, and
                # what follows is a hole there until somebody syncs it.
                for start in range(SIZE - CHUNK, 0, -CHUNK):
                    self.connected(lambda connection, at=start: self.put(connection, at, at + CHUNK))
                    if start == SIZE - CHUNK and self.random.random() < 0.5:
                        sync(self.part())
            else:
                if self.plot in ("takeover", "broken"):
                    self.send_half(self.plot == "takeover")
                self.complete_it()

    def resume(self):
        """The next life after one that was cut short."""
        if self.cancel_asked:
            if not self.cancel_told:
                self.cancel()
        elif self.plot != "idle":
            self.complete_it()

    def complete_it(self):
        if self.size == 0:
            return self.ask("POST", json.dumps({"name": "empty.bin", "length": 0}))
        self.send(on_answer=self.world.answered)
        if self.plot == "wait" and self.complete:
            self.confirm()

    def confirm(self):
        """The backend said `wait` and says `finish_upload` now."""
        with contextlib.suppress(TimeoutError):
            rig.until("the wait was heard", lambda: self.world.app.handovers(self.id) or not self.server.running(), 5)
        self.finish_asked = True
        if self.back("finish_upload")[0] == 200:
            self.finish_told = True
            self.note_end()

    def cancel(self):
        self.cancel_asked = True
        if self.plot == "withdrawn":
            self.cancel_told |= self.back("cancel_upload")[0] == 200
        else:
            self.cancel_told |= self.ask("DELETE")[0] == 200

    def send_half(self, takeover):
        """Half a chunk, then either silence while another request takes over, or the end of the connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=rig.DEADLINE)
        try:
            connection.putrequest("PUT", rig.url_of(self.id))
            connection.putheader("Content-Range", f"bytes 0-{CHUNK - 1}/{self.size}")
            connection.putheader("Content-Length", str(CHUNK))
            connection.endheaders(self.file[:CHUNK // 2])
            if takeover:
                self.connected(lambda other: self.put(other, CHUNK // 4, CHUNK))
        finally:
            connection.close()

    def connected(self, work):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=rig.DEADLINE)
        try:
            return work(connection)
        finally:
            connection.close()
            self.world.answered()

    def put(self, connection, start, end, headers=()):
        code, told = super().put(connection, start, end, headers)
        if code == 200:
            self.learn(told)
        elif self.reports_to is not None and code != 409:
            self.reports_to.lost(f"{self}: a chunk was answered with {code}: {told}")
        return code, told

    def untrue(self, what):
        self.world.report.lost(f"{self}: {what}")

    def judged_offset(self):
        self.world.report.count("offsets of HEAD judged")

    def ask(self, method, body=None):
        code, _, text = self.server.ask(method, rig.url_of(self.id), body)
        told = json.loads(text) if text else {}
        if code == 200:
            self.learn(told)
        return code, told

    def back(self, call):
        query = urllib.parse.urlencode({"id": self.id})
        code, _, text = self.server.back("POST", f"/incoming/backend/{call}?{query}")
        self.world.answered()
        return code, text

    def learn(self, told):
        """Whatever is answered about it is a promise."""
        with self.lock:
            for a, b in told["received"] if told["state"] in OPEN else ():
                self.promised[a:b] = b"\1" * (b - a)
            self.complete |= told["state"] in ("handing_over", "finished")
        if told["state"] == "finished":
            self.note_end()

    def note_end(self):
        if self.calls_at_end is None:
            self.calls_at_end = len(self.world.app.handovers(self.id))

    def promises(self):
        """What has been promised up to now."""
        with self.lock:
            return {"promised": bytearray(self.promised), "complete": self.complete, "cancel_told": self.cancel_told,
                    "finish_told": self.finish_told, "calls_at_end": self.calls_at_end, "unanswered": self.id is None}

    def clone(self, world):
        """The same promises, to be judged on a copy of the directory."""
        twin = copy.copy(self)
        twin.world, twin.server = world, world and world.server
        twin.promised, twin.lock = bytearray(self.promised), threading.Lock()
        return twin

    def __str__(self):
        return f"{self.id} ({self.plot})"

    # What must be true -------------------------------------------------------------------------

    def part(self):
        return self.server.data / f"{self.id}.part"

    def published(self):
        return self.server.data / "files" / self.id

    def held(self):
        """The bytes of it that lie in the storage directory, wherever they are by now."""
        for path in (self.part(), self.published(), self.part()):
            with contextlib.suppress(FileNotFoundError):
                return path.read_bytes()
        return b""

    def judge(self, report, where, fallen=False):
        """Right after a start. `fallen`: a power cut with `ack = written`, which may cost what was only
        written, but never makes a claim untrue."""
        def lost(text):
            report.lost(f"{where}: {self}: {text}")

        held = self.held()
        code, told = self.look()
        if code == 404 and (fallen or self.unanswered) and not (self.complete or self.cancel_told or self.finish_told):
            self.gone = True
            return
        if code != 200:
            return lost(f"its status is {code}, {told}")
        state, received = told["state"], told["received"]
        report.count("uploads judged")
        if state == "cancelled":
            if not self.cancel_asked:
                lost("cancelled by nobody")
        elif state in OPEN:
            if self.cancel_told or self.complete or self.finish_told:
                lost(f"was answered to be over or complete and is {state}")
            claimed = bytearray(self.size)
            for a, b in received:
                claimed[a:b] = b"\1" * (b - a)
                if held[a:b] != self.file[a:b]:
                    lost(f"claims {a}..{b} and holds other bytes")
            missing = int.from_bytes(self.promised) & ~int.from_bytes(claimed)
            if missing and fallen:
                report.count("uploads that fell back")
            elif missing:
                lost(f"{missing.bit_count()} acknowledged bytes are not received any more: {received}")
            self.promised = claimed
            if self.speaker and not self.head_agrees(received):
                lost(f"HEAD names another offset than {received}")
        else:
            if self.cancel_told:
                lost(f"was cancelled and is {state}")
            if (self.finish_told or self.calls_at_end is not None) and state != "finished":
                lost(f"was finished and is {state}")
            if state == "handing_over" and self.plot != "take" and self.published_bytes() is None:
                # The end of the handover may have removed it a moment ago.
                if self.look()[1].get("state") == "handing_over":
                    lost("is handed over and its file is not there")
            # What the backend took is not ours to keep, also where a power cut brings it back.
            kept = self.published_bytes() if self.plot != "take" or state != "finished" else None
            if kept is not None and kept != self.file:
                lost("its published file is not the file")
        self.unanswered = False
        with self.lock:
            self.complete |= state in ("handing_over", "finished")
        self.cancel_told |= state == "cancelled"
        if state == "finished":
            self.note_end()

    def look(self):
        """Its status, without taking it for a promise yet."""
        code, _, text = self.server.ask("GET", rig.url_of(self.id))
        return code, json.loads(text) if text else {}

    def published_bytes(self):
        with contextlib.suppress(FileNotFoundError):
            return self.published().read_bytes()
        return None

    def finish(self, report, where):
        """Brings it to its end, as its browser and its backend would, and looks at that."""
        try:
            rig.until(f"{self} comes to its end", self.step, 30)
        except TimeoutError as late:
            return report.lost(f"{where}: {late}; {self.look()}")
        except (OSError, http.client.HTTPException) as broken:
            return report.lost(f"{where}: {self}: {broken!r}")
        self.judge_end(report, where)

    def step(self):
        code, told = self.ask("GET")
        if code != 200:
            return False
        state = told["state"]
        if state == "cancelled":
            return self.plot == "withdrawn" or self.world.app.notices(self.id)
        if state in OPEN and self.cancel_asked:
            self.cancel()
        elif state in OPEN:
            self.complete_it()
        elif state == "handing_over" and self.plot == "wait":
            self.confirm()
        return state == "finished"

    def judge_end(self, report, where):
        """What its backend was told, and what is left of it."""
        def lost(text):
            report.lost(f"{where}: {self}: {text}")

        app = self.world.app
        calls, notices = app.handovers(self.id), app.notices(self.id)
        cancelled = self.calls_at_end is None
        if cancelled and calls:
            lost("cancelled and handed over")
        if cancelled and self.plot == "withdrawn" and notices:
            lost("the backend withdrew it and was called all the same")
        if not cancelled and (notices or not calls and not self.finish_told):
            lost(f"finished with {len(calls)} handover calls and {len(notices)} notices")
        for at, call in enumerate(calls):
            taken = self.plot == "take" and at > 0 or self.finish_asked
            if call["sha256"] != self.sha256() and not (taken and call["sha256"] is None):
                lost(f"call {at} of its handover led to {call['sha256'] and 'other bytes' or 'no file'}")
            if self.plot == "digest" and call.get("digest") != f"sha-256={self.sha256()}":
                lost(f"its digest was told as {call.get('digest')}")
        if self.plot == "take" and not cancelled and (app.place / self.id).read_bytes() != self.file:
            lost("the backend holds other bytes")
        kept = not cancelled and self.plot == "keep"
        # What the backend moved away, but never synced, comes back after a power cut, and nobody removes it.
        again = self.plot == "take" and self.world.power_lost

        def settled():
            return not self.part().exists() and (again or self.published().exists() == kept)

        try:
            rig.until("removal", settled, 5)
        except TimeoutError:
            lost(f"left at its end: part {self.part().exists()}, file {self.published().exists()}")
        if kept and self.published_bytes() != self.file:
            lost("its file does not stay as it was")
        report.count("uploads finished" if not cancelled else "uploads cancelled")

    def look_back(self, report, where):
        """It ended a while ago: so it stays, and nobody is called for it any more."""
        code, told = self.look()
        state = told.get("state")
        cancelled = self.calls_at_end is None
        if state != ("cancelled" if cancelled else "finished"):
            return report.lost(f"{where}: {self} was over and is {code} {state}")
        # A call that began before a `finish_upload` may end after it.
        allowed = (self.calls_at_end or 0) + self.finish_asked
        if (calls := len(self.world.app.handovers(self.id))) > allowed:
            report.lost(f"{where}: {self}: called {calls - allowed} times after it had been finished")
        if self.plot == "keep" and not cancelled and self.published_bytes() != self.file:
            report.lost(f"{where}: {self}: its file is gone or changed after the handover")


def sync(path):
    """Syncs one file from outside, as the kernel may choose to, and tells how long it was."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        os.fdatasync(file.fileno())
        return size
