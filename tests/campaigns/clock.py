"""The clock of the machine is set while the server runs: by a second, by hours, by days, to 1970, and back, at every
stage of an upload's life and with restarts between. Nothing acknowledged is lost, nothing ends early, and no call to a
backend comes early or late.

libfaketime stands between the server and the wall clock; the clocks that nobody can set are left alone. That the
server sees each jump is checked by the date at which a ticket expires.
"""

import contextlib
import datetime
import http.client
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import time

import rig

HOUR, DAY = 3600, 86400
# Seconds by which the clock is off after each jump.
JUMPS = [1, -1, 13 * HOUR, -13 * HOUR, 8 * DAY, -8 * DAY, 0, "1970", 0]
RESTARTS = ["none", "stop", "kill"]
# A call comes this much after its pause at most, on a machine with other work.
SLACK = 4
CONFIRM = 3
# Longer than the server sleeps without looking at its timers.
WATCHED = 65


def run(report, options):
    library = preload()
    for restart in RESTARTS[options.seed % 3:][:1] if options.short else RESTARTS:
        for what, check in (("set amid all stages", stages), ("set while things are due", ends)):
            with contextlib.ExitStack() as stack:
                try:
                    check(report, stack, options, Clock(stack, library), restart)
                    report.count(f"{what}: rounds")
                except (OSError, RuntimeError, TimeoutError, http.client.HTTPException) as error:
                    report.lost(f"{what}, restarts by {restart}: {error!r}")


def preload():
    """Where libfaketime lies, if the program can be made to load it."""
    rig.need("faketime", "faketime")
    linked = subprocess.run(["ldd", rig.program()], capture_output=True, text=True)
    if "libc.so" not in linked.stdout:
        raise rig.Skipped("a static program loads no library before itself")
    found = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise rig.Skipped("libfaketimeMT.so.1 is not where its Debian package puts it")
    return str(found[0])


class Clock:
    """What the server takes for the wall clock."""

    def __init__(self, stack, library):
        place = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.file, self.offset = place / "faketime", 0
        self.env = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
                    "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
        self.set(0)

    def set(self, jump):
        self.offset = DAY - int(time.time()) if jump == "1970" else jump
        new = self.file.with_suffix(".new")
        new.write_text(f"{self.offset:+d}")
        os.replace(new, self.file)

    def seen_by(self, server):
        """Whether the server's dates are this clock's. (Not `Date`: that one stands still where a clock is set back.)"""
        path = "/incoming/backend/new_upload?signalFinishURL=http://127.0.0.1:9/&idleTimeout=12h"
        _, _, text = server.back("POST", path, headers={"Accept": "application/json"})
        told = datetime.datetime.fromisoformat(json.loads(text)["expires"].replace("Z", "+00:00")).timestamp()
        return abs(told - 12 * HOUR - time.time() - self.offset) < 5


class Scripted(rig.Backend):
    """Answers each upload by a script of its own and remembers when it was called."""

    def __init__(self):
        super().__init__()
        self.scripts, self.times = {}, {}

    def called(self, form):
        with self.lock:
            script = self.scripts.setdefault(form["id"], [])
            self.times.setdefault(form["id"], []).append(time.monotonic())
            self.answers = [script.pop(0) if script else "done"]
        return super().called(form)


def whole(server, backend, seed, script, **parameters):
    """An upload that is sent to its end."""
    upload = rig.Upload(server, seed, 200_000, 100_000, backend.url, **parameters)
    backend.scripts[upload.id] = list(script)
    if upload.send() is not True:
        raise RuntimeError("an upload was not taken")
    return upload


def stages(report, stack, options, clock, restart):
    """One upload in each state that lasts, and for each jump some that are on their way."""
    data = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
    backend = Scripted()
    stack.callback(backend.close)
    seed = options.seed * 1000
    # Whatever is not answered at once has failed.
    server = rig.Server(data, "--handover-retry-for", "1ms", env=clock.env)
    stack.callback(server.kill)
    server.start()
    failed = whole(server, backend, seed, [500], removeFileWhenFinished="false")
    rig.until("the failed handover", lambda: server.status(failed.id)["state"] == "failed")
    server.stop()
    server.flags = ("--handover-confirm-timeout", f"{CONFIRM}s")
    server.start()
    finished = whole(server, backend, seed + 1, [], removeFileWhenFinished="false")
    rig.until("the handover", lambda: server.status(finished.id)["state"] == "finished")
    cancelled = rig.Upload(server, seed + 2, 1000, url=backend.url)
    server.back("POST", f"/incoming/backend/cancel_upload?id={cancelled.id}")
    fresh, bound, half = [rig.Upload(server, seed + n, 400_000, 100_000, backend.url) for n in (3, 4, 5)]
    server.ask("POST", rig.url_of(bound.id), '{"length": 400000}', {"Content-Type": "application/json"})
    connection = server.connection()
    half.put(connection, 0, 100_000)
    connection.close()
    lasting = [(failed, "failed"), (finished, "finished"), (cancelled, "cancelled"), (fresh, "new"),
               (bound, "uploading"), (half, "uploading")]

    def judge(where):
        for upload, state in lasting:
            found = server.status(upload.id)
            if found is None or found["state"] != state:
                report.lost(f"{where}: {state} became {found and found['state']}")
            if not (data / f"{upload.id}.journal").exists():
                report.lost(f"{where}: the journal of an upload that is {state} has gone")
        half.judge(report, where)
        failed.judge(report, where)
        if not (data / "files" / finished.id).exists():
            report.lost(f"{where}: a file that the backend keeps has gone")

    judge("before")
    for number, jump in enumerate(JUMPS):
        where = f"set to {jump} s, restarts by {restart}"
        base = seed + 100 + 10 * number
        unanswered = whole(server, backend, base, [500, 500], removeFileWhenFinished="false")
        waiting = whole(server, backend, base + 1, ["wait"], removeFileWhenFinished="false")
        for upload in (unanswered, waiting):
            rig.until("the first call", lambda: backend.times.get(upload.id))
        sending = Sending(server, base + 2, backend.url) if restart == "none" else None
        if restart == "stop":
            server.stop()
            clock.set(jump)
            server.start()
        elif restart == "kill":
            clock.set(jump)
            server.kill()
            server.start()
        else:
            clock.set(jump)
        rig.until("the server sees the clock", lambda: clock.seen_by(server), 10)
        # One more timer: the server looks at all that it has.
        more = rig.Upload(server, base + 3, 1000, url=backend.url)
        if sending and not sending.end():
            report.lost(f"{where}: a chunk under way was not taken")
        judge(where)
        calls(report, where, server, backend, unanswered, [1, 2], restart)
        # What waits for a confirmation is called again after that time, however often it was called.
        calls(report, where, server, backend, waiting, [CONFIRM], restart, doubles=False)
        for upload in (unanswered, waiting):
            rig.until("the end of a handover", lambda: (server.status(upload.id) or {})["state"] == "finished")
        judge(where)
        if (server.status(more.id) or {}).get("state") != "new":
            report.lost(f"{where}: a ticket that was given out then is gone")
        report.count("set amid all stages: jumps")
    if not options.short and restart == "none":
        for jump in (8 * DAY, 0):
            clock.set(jump)
            time.sleep(WATCHED)
            judge(f"{WATCHED} s after being set to {jump} s")
    for upload in (fresh, bound, half):
        if upload.send() is not True or not rig.until("the handover", lambda: backend.calls_for(upload.id)):
            report.lost("an upload cannot be finished after all that")
        elif backend.calls_for(upload.id)[-1]["sha256"] != upload.sha256():
            report.lost("another file than was sent")
    server.stop()


def calls(report, where, server, backend, upload, pauses, restart, doubles=True):
    """Each call comes after its pause, no later by more than the slack. A restart may bring it forward: then all that is
    owed is called at once, also where an answer was not recorded yet. A call that was begun when the server was killed,
    and that nobody heard, counts as one without an answer: each pause behind it is twice as long (`doubles`)."""
    count = len(pauses) + 1
    most = 2 if doubles and restart == "kill" else 1
    end = most * sum(pauses) * 1.2 + 2 * SLACK
    with contextlib.suppress(TimeoutError):
        rig.until("the calls", lambda: len(backend.times[upload.id]) >= count, end)
    times = list(backend.times[upload.id])
    unheard = begun(server, upload) - len(times)
    if not 0 <= unheard < most:
        report.lost(f"{where}: {unheard} calls were begun that nobody heard")
    report.count("calls begun that nobody heard", max(unheard, 0))
    factor = 2 ** max(unheard, 0) if doubles else 1
    for n, pause in enumerate(pauses):
        if len(times) < n + 2:
            return report.lost(f"{where}: call {n + 2} is late: not within {end:.0f} s")
        gap, longest = times[n + 1] - times[n], 1.2 * pause * factor
        report.most("longest delay of a call after its pause, ms", max(0, gap - longest) * 1000)
        if gap > longest + SLACK:
            report.lost(f"{where}: call {n + 2} is late: after {gap:.1f} s in place of {pause * factor} s")
        if gap < 0.8 * pause - 0.1 and restart == "none":
            report.lost(f"{where}: call {n + 2} is early: after {gap:.1f} s in place of {pause} s")
    return None


def begun(server, upload):
    """The calls for it that are recorded as begun."""
    return json.loads(server.back("GET", f"/incoming/backend/uploads/{upload.id}")[2])["handover_attempts"]


class Sending:
    """A chunk whose first half has left when the clock is set."""

    def __init__(self, server, seed, url):
        self.upload, self.go, self.code = rig.Upload(server, seed, 100_000, 100_000, url), threading.Event(), None
        self.half = threading.Event()
        self.thread = threading.Thread(target=self.work, args=(server,), daemon=True)
        self.thread.start()
        self.half.wait(rig.DEADLINE)

    def work(self, server):
        connection = server.connection()
        file = self.upload.file
        connection.putrequest("PUT", rig.url_of(self.upload.id))
        connection.putheader("Content-Length", str(len(file)))
        connection.putheader("Content-Range", f"bytes 0-{len(file) - 1}/{len(file)}")
        connection.endheaders(file[:50_000])
        self.half.set()
        self.go.wait(rig.DEADLINE)
        connection.send(file[50_000:])
        self.code = connection.getresponse().status
        connection.close()

    def end(self):
        self.go.set()
        self.thread.join(rig.DEADLINE)
        return self.code == 200


def ends(report, stack, options, clock, restart):
    """What is due comes to its end in its time, though the clock says that it is long before."""
    short = 3
    for jump in (-8 * DAY, "1970"):
        where = f"due, set to {jump} s, restarts by {restart}"
        clock.set(0)
        data = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
        backend = Scripted()
        stack.callback(backend.close)
        times = [f"{short}s"] * 3
        server = rig.Server(data, "--max-idle", times[0], "--failed-retention", times[1], "--retain-finished", times[2],
                            "--handover-retry-for", "1ms", env=clock.env)
        stack.callback(server.kill)
        server.start()
        failed = whole(server, backend, options.seed, [500], removeFileWhenFinished="false")
        finished = whole(server, backend, options.seed + 1, [], removeFileWhenFinished="true")
        idle = rig.Upload(server, options.seed + 2, 1000, url=backend.url)
        # A restart before that would repeat the call, and the answer would be another.
        for upload, state in ((failed, "failed"), (finished, "finished")):
            rig.until(f"what is {state}", lambda: (server.status(upload.id) or {"state": state})["state"] == state)
        clock.set(jump)
        if restart == "stop":
            server.stop()
            server.start()
        elif restart == "kill":
            server.kill()
            server.start()
        rig.until("the server sees the clock", lambda: clock.seen_by(server), 10)
        for what, upload, times in (("failed", failed, 1), ("finished", finished, 1), ("idle", idle, 2)):
            # A crash costs the count what was not written down yet, and an idle upload is kept for a while once more.
            try:
                rig.until(f"the end of what is {what}", lambda: server.status(upload.id) is None,
                          times * 2 * short + 20 + 2 * SLACK)
                report.count("set while things are due: ends that came")
            except TimeoutError as error:
                report.lost(f"{where}: {error}")
        left = [data / f"{upload.id}.{end}" for upload in (failed, finished, idle) for end in ("journal", "part")]
        left = [path.name for path in [*left, *(data / "files").iterdir()] if path.exists()]
        if left:
            report.lost(f"{where}: left behind: {left}")
        server.kill()
