"""The server dies at each of its system calls on the storage directory, and at random moments. Nothing
that was acknowledged is lost, nothing is claimed that is not held, every upload comes to its end.

A `point` is one call of a run under load (load.py), counted over all threads (killer.py): the server is
killed before it is made (`entry`) or right after (`exit`). The same is done to the start, on what a death
left behind, and to the stop. What a kill cannot show, a missing sync, power.py shows.
"""

import contextlib
import os
import pathlib
import platform
import random
import re
import shutil
import signal
import sys
import tempfile
import time

import journal
import killer
import load
import rig

FORMS = ("entry", "exit")
# Calls on the storage directory that change nothing there.
HARMLESS = {"read", "pread64", "readv", "preadv", "statx", "stat", "lstat", "fstat", "newfstatat", "lseek", "close",
            "getdents64", "flock", "fcntl", "readlink", "readlinkat", "statfs", "fstatfs", "access", "faccessat2",
            "execve", "ioctl", "poll", "epoll_ctl", "mmap", "getcwd", "chdir", "fadvise64", "dup", "fchdir"}
# Deaths after which a start has most to do.
RICH = ("rename part", "fsync files", "fsync part", "unlink file", "unlink part", "rename journal-new",
        "openat journal-new", "ftruncate part", "fsync directory", "pwrite64 journal", "openat part")
# What stands one behind the other: a ticket, a chunk, a file that gets to its place, a record.
BORN = ["pwrite64 journal-new", "fsync journal-new", "rename journal-new", "fsync directory"]
STORED = ["pwritev part", "fdatasync part", "fsync directory", "pwrite64 journal", "fdatasync journal"]
PLACED = ["fsync part", "pwrite64 journal", "fdatasync journal", "rename part", "fsync files"]
RECORDED = ["pwrite64 journal", "fdatasync journal"]


def run(report, options):
    if platform.machine() != "x86_64" or sys.platform != "linux":
        raise rig.Skipped("the killer knows the system calls of Linux on x86-64 only")
    # Also where it is told to end, nothing stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    chance = random.Random(options.seed)
    seconds = options.seconds or (3 if options.short else 40)
    with tempfile.TemporaryDirectory(prefix="incoming-crash-") as place:
        place = pathlib.Path(place).resolve()
        app = load.WebApp(place / "taken")
        try:
            with campaign(place / "trace", app, report, "durable") as one:
                one.no_call_is_missed(options.seed)
                one.syncs_in_order(options.seed)
                one.joins_in_order(options.seed)
            for ack in ("durable", "written"):
                with campaign(place / ack, app, report, ack) as one:
                    one.points(options.seed, 8 if options.short else None)
                    one.joins(options.seed, 3 if options.short else None)
                    one.starts(4 if options.short else 40, 1 if options.short else 3)
                    one.compactions(chance)
                    one.stops(chance, 3 if options.short else 40)
                with campaign(place / f"{ack}-random", app, report, ack) as one:
                    one.random_moments(chance, seconds)
        finally:
            app.close()


@contextlib.contextmanager
def campaign(place, app, report, ack):
    place.mkdir()
    one = Campaign(place, app, report, ack)
    try:
        yield one
    finally:
        one.world.server.kill()
        shutil.rmtree(place)


class Campaign:
    """One way to acknowledge, on directories below one place."""

    def __init__(self, place, app, report, ack):
        self.place, self.app, self.report, self.ack = place, app, report, ack
        self.log = place / "calls"
        self.scenes = {}
        self.world, self.worlds = None, 0
        self.new_world()

    def new_world(self):
        if self.world:
            self.world.kill()
        self.worlds += 1
        self.app.forget()
        self.world = load.World(self.place / f"data-{self.worlds}", self.app, self.report, "--ack", self.ack)

    def prefix(self, number, form, begin):
        return (sys.executable, "-S", killer.__file__, self.log, str(number), form, begin, str(self.world.data))

    def calls(self):
        """What the killer counted, and whether it killed."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        killed = lines[-1:] == ["killed"]
        return lines[:-1] if killed else lines, killed

    def arm(self):
        os.kill(self.world.server.pid, signal.SIGURG)

    def recover(self, where, prefix=()):
        """A start after a death: everything is judged and brought to its end."""
        self.world.start(prefix)
        self.world.judge(where)
        self.world.finish(where)

    def look_back(self, where):
        """One start more, and what was over stays over."""
        self.world.kill()
        self.world.start()
        self.world.look_back(where)
        self.world.kill()

    # The load ------------------------------------------------------------------------------------

    def no_call_is_missed(self, seed):
        """The calls that strace sees on the directory are calls that the killer knows."""
        try:
            rig.need("strace", "strace")
        except rig.Skipped as why:
            return self.report.skip("a second look at the calls", why)
        trace = self.place / "strace"
        self.world.start(("strace", "-f", "-y", "-qq", "-e", "trace=%file,%desc", "-o", str(trace)))
        self.world.begin(seed)
        self.world.join()
        self.world.finish("traced")
        self.world.server.stop()
        inside = re.escape(str(self.world.data))
        seen = {match[1] for line in trace.read_text(errors="replace").splitlines()
                if (match := re.match(r"\d+ +(\w+)\(", line)) and re.search(rf"[\"<]{inside}[\"/>]", line)}
        known = {name for name, _ in killer.CALLS.values()}
        if unknown := seen - known - HARMLESS:
            self.report.lost(f"calls that are never killed: {sorted(unknown)}")
        if not {"fdatasync", "fsync", "rename", "pwrite64"} <= seen:
            self.report.lost(f"the trace shows too little: {sorted(seen)}")
        self.report.count("kinds of storage calls", len(seen & known))

    def syncs_in_order(self, seed):
        """One upload alone: each sync stands where it has to, also those that no file system here would miss."""
        calls = self.calls_of(seed, "keep")
        self.in_order(calls, [*BORN, *STORED, "pwritev part", *PLACED])
        # Nothing is recorded between the rename and the sync that makes it durable.
        rename = calls.index("rename part")
        if calls[rename:rename + 2] != PLACED[3:]:
            self.report.lost(f"after the rename: {calls[rename:rename + 2]}")

    def joins_in_order(self, seed):
        """Parts and their file alone: what a part is kept for is recorded before its bytes are copied, and it keeps them
        until the file is in its place."""
        calls = self.calls_of(seed, "parallel")
        copy = calls.index("copy_file_range part") if "copy_file_range part" in calls else len(calls)
        self.in_order(calls[:copy], BORN + STORED + RECORDED)
        # The file's name is made durable beside its bytes.
        self.in_order(calls[copy:], ["copy_file_range part", "fsync directory", *PLACED[1:]])
        placed = self.in_order(calls[copy:], ["copy_file_range part", *PLACED])
        self.in_order(calls[copy:][placed:], [*RECORDED, "unlink part"])
        if "unlink part" in calls[:copy + placed]:
            self.report.lost(f"a part is removed before its file is in its place: {calls[:copy + placed]}")

    def calls_of(self, seed, plot):
        """What one plot alone does with the storage directory."""
        self.new_world()
        self.world.start(self.prefix(0, "entry", "arm"))
        self.arm()
        self.world.begin(seed, [plot])
        self.world.join()
        self.world.finish("alone")
        self.world.kill()
        return self.calls()[0]

    def in_order(self, calls, wanted):
        """Where these calls, perhaps with others between them, end."""
        at = 0
        for call in wanted:
            if call not in calls[at:]:
                self.report.lost(f"no {call!r} after {calls[:at]}: {calls[at:]}")
                return at
            at = calls.index(call, at) + 1
        self.report.count("syncs found in their places", sum("sync " in call for call in wanted))
        return at

    def points(self, seed, some):
        count = self.counted(seed)
        self.report.count(f"calls of a run, {self.ack}", count)
        kinds = set()
        numbers = list(range(1, count + 1)) if some is None else sorted(
            {1 + at * count // some + seed % max(1, count // some) for at in range(some)})
        for form in FORMS:
            for at, number in enumerate(numbers):
                if self.world.failed_already():
                    return
                if at % 40 == 39:
                    self.look_back(f"{self.ack} before {form} {number}")
                    self.new_world()
                kinds |= self.point(seed + number, number, form)
            self.recover(f"{self.ack} after the last {form}")
            self.look_back(f"{self.ack} after the last {form}")
            self.new_world()
        self.report.count(f"kinds of points, {self.ack}", len(kinds))

    def counted(self, seed):
        """The number of storage calls of a run that nobody disturbs."""
        self.world.start(self.prefix(0, "entry", "arm"))
        self.arm()
        self.world.begin(seed, strict=True)
        self.world.join()
        self.world.finish("undisturbed")
        self.world.kill()
        # `finish` completes the idle ticket as well: some of the last points are not reached.
        return len(self.calls()[0])

    def joins(self, seed, some):
        """The same at the calls of a join, with nothing else under way."""
        calls = self.calls_of(seed, "parallel")
        first = calls.index("copy_file_range part") + 1
        for form in FORMS:
            for number in range(first, len(calls) + 1, 1 if some is None else max(1, (len(calls) - first) // some)):
                if self.world.failed_already():
                    return
                if self.point(seed, number, form, ["parallel"]):
                    self.report.count(f"crash points of joins, {self.ack}")
        self.recover(f"{self.ack} after the joins")

    def point(self, seed, number, form, plots=load.PLOTS):
        where = f"{self.ack}, {form} {number}"
        self.recover(where, self.prefix(number, form, "arm"))
        self.arm()
        self.world.begin(seed, plots, strict=True)
        self.world.join()
        # The calls to the backend and what follows from them.
        with contextlib.suppress(TimeoutError):
            rig.until("the kill", lambda: not self.world.server.running(), 0.3)
        alive = self.world.server.running()
        self.world.kill()
        calls, killed = self.calls()
        if not killed:
            if not alive:
                self.report.lost(f"{where}: the server ended by itself: {self.world.server.log_text()[-500:]}")
            self.report.count("points beyond the end of the load")
            return set()
        self.report.count(f"crash points, {self.ack}, at {form}")
        rich = calls[-1] in RICH and calls[-1] not in self.scenes
        if rich and len(self.world.stories) > 5:
            self.scenes[calls[-1]] = self.world.keep_scene(self.place / f"scene-{len(self.scenes)}")
        return {f"{form} {calls[-1]}"}

    # The start and the stop ------------------------------------------------------------------------

    def starts(self, some, scenes):
        """The start is killed at each call it makes on what a death has left."""
        for name in sorted(self.scenes, key=RICH.index)[:scenes]:
            scene = self.scenes[name]
            self.world.set_scene(scene)
            self.world.start(self.prefix(0, "entry", "start"))
            time.sleep(0.5)
            self.world.kill()
            count = len(self.calls()[0])
            numbers = range(1, count + 1, max(1, count // some))
            for number in numbers:
                for form in FORMS:
                    if self.world.failed_already():
                        return
                    self.start(scene, f"{self.ack}, start after {name}, {form} {number}", number, form)

    def start(self, scene, where, number, form):
        self.world.set_scene(scene)
        with contextlib.suppress(ChildProcessError):
            self.world.start(self.prefix(number, form, "start"))
        with contextlib.suppress(TimeoutError):
            rig.until("the kill", lambda: not self.world.server.running(), 0.5)
        self.world.kill()
        if self.calls()[1]:
            self.report.count(f"crash points of the start, {self.ack}")
            self.recover(where)
            if number % 5 == 0:
                self.look_back(where)

    def compactions(self, chance):
        """Journals that have grown are replaced at the start: killed at each call of that."""
        self.new_world()
        self.world.start()
        self.world.begin(chance.randrange(1 << 30), ["plain", "digest", "keep"])
        self.world.after_answers(12)
        self.world.kill()
        self.world.join()
        grown = [path for path in self.world.data.glob("*.journal") if journal.grow(path, 200_000)]
        scene = self.world.keep_scene(self.place / "grown")
        self.world.set_scene(scene)
        self.world.start(self.prefix(0, "entry", "start"))
        rig.until("short journals", lambda: all(
            (self.world.data / path.name).stat().st_size < 64 << 10 for path in grown), 10)
        self.world.kill()
        calls = self.calls()[0]
        replacing = [at for at, call in enumerate(calls, 1) if call.endswith("journal-new") or call == "fsync directory"]
        if not grown or "rename journal-new" not in calls:
            return self.report.lost(f"{self.ack}: no journal of {len(grown)} was replaced: {calls}")
        for number in replacing[:12]:
            for form in FORMS:
                if self.world.failed_already():
                    return
                self.start(scene, f"{self.ack}, compaction, {form} {number} {calls[number - 1]}", number, form)
                self.report.count(f"crash points of compactions, {self.ack}")

    def stops(self, chance, times):
        """The stop is killed at one call after the other, until it ends by itself."""
        self.new_world()
        number = {form: 1 for form in FORMS}
        for at in range(times):
            if self.world.failed_already():
                return
            form = FORMS[at % 2]
            where = f"{self.ack}, stop, {form} {number[form]}"
            self.recover(where, self.prefix(number[form], form, "term"))
            self.world.begin(chance.randrange(1 << 30))
            self.world.after_answers(chance.randrange(5, 25))
            with contextlib.suppress(ProcessLookupError):
                code = self.world.server.stop()
            self.world.join()
            if self.calls()[1]:
                self.report.count(f"crash points of the stop, {self.ack}")
                number[form] += 1
            else:
                self.report.count(f"stops that ended by themselves, {self.ack}")
                number[form] = 1
                if code != 0:
                    self.report.lost(f"{where}: a stop ended with {code}")
        self.recover(f"{self.ack}, after the stops")
        self.look_back(f"{self.ack}, after the stops")

    # Random moments ----------------------------------------------------------------------------------

    def random_moments(self, chance, seconds):
        """One directory, one death after the other; what was not finished goes on in the next round."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.world.failed_already():
            where = f"{self.ack}, random moment"
            self.world.start()
            self.world.judge(where)
            if len(self.world.stories) > 40:
                self.world.finish(where)
                self.world.look_back(where)
            self.world.begin(chance.randrange(1 << 30), load.PLOTS + ["unsteady", "plain", "digest"], strict=True)
            if chance.random() < 0.5:
                time.sleep(chance.random() ** 2 * 0.4)
            else:
                self.world.after_answers(chance.randrange(1, 60))
            if not self.world.server.running():
                self.report.lost(f"{where}: the server ended by itself: {self.world.server.log_text()[-500:]}")
            self.world.kill()
            self.world.join()
            self.report.count(f"kills at random moments, {self.ack}")
        self.recover(f"{self.ack}, after the random moments")
        self.look_back(f"{self.ack}, after the random moments")
