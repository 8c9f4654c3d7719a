"""The power fails: a file system on a loop device is shut down without flushing, with and without its log,
under load; then it is mounted again and everything is judged.

With `ack = durable` every acknowledged byte, ticket, publish, finish and cancel holds. With `written` an
upload may fall back, but never claims what it does not hold; what decides a file's fate holds here too. So
that a claim could be ahead of its bytes, journals are synced from outside just before the cut, and parts
sometimes. Needs root, loop devices, xfsprogs.

`no log` cuts everything that no sync has written, and is the one that matters; `log` writes the file
system's log first, so that names and sizes may be ahead of bytes. The logs of ext4 and XFS keep the order of
names, so that the sync of any file makes an earlier rename durable as well, and a directory that was not
synced does not show here: crash.py looks at the order of the calls for that. Not covered: a disk that loses
what it said it had flushed, the order of writes inside the device, file systems without a log.
"""

import contextlib
import fcntl
import os
import pathlib
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time

import load
import rig
from story import sync

# FS_IOC_SHUTDOWN of ext4 and XFS, as `xfs_io -x -c shutdown` does it, and its flags.
SHUTDOWN = 0x8004587D
CUTS = {"log": 1, "no log": 2}
IMAGE_BYTES = 320 << 20
FILE_SYSTEMS = {
    "ext4": ("e2fsprogs", ("mkfs.ext4", "-q", "-F")),
    "xfs": ("xfsprogs", ("mkfs.xfs", "-q", "-f")),
}
PLOTS = load.PLOTS + ["exposed", "exposed"]
# Cuts after which a campaign that has shown nothing gives up.
MOST_CUTS = 40


def run(report, options):
    if os.geteuid() != 0:
        raise rig.Skipped("mounting needs root")
    seconds = options.seconds or (4 if options.short else 60)
    # Also where it is told to end, nothing stays mounted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    ran = 0
    for name, (package, make) in FILE_SYSTEMS.items():
        for ack in ("durable", "written"):
            with tempfile.TemporaryDirectory(prefix="incoming-power-") as place:
                try:
                    rig.need(make[0], package)
                    disk = Disk(pathlib.Path(place).resolve(), name, make)
                except rig.Skipped as why:
                    report.skip(f"{name}, {ack}", why)
                    continue
                ran += 1
                Campaign(disk, report, ack, options.seed).run(seconds)
    if not ran:
        raise rig.Skipped("no file system could be made and mounted")


class Disk:
    """A file system in an image that can lose its power."""

    def __init__(self, place, name, make):
        self.place, self.name, self.make = place, name, make
        self.image, self.mounted = place / "image", place / "disk"
        self.mounted.mkdir()
        self.format()
        self.mount()
        self.unmount()

    def format(self):
        with open(self.image, "wb") as image:
            image.truncate(IMAGE_BYTES)
        self.do(*self.make, self.image)

    def mount(self):
        self.do("mount", "-t", self.name, "-o", "loop", self.image, self.mounted)

    def unmount(self):
        # Whoever was killed a moment ago may still hold it.
        for _ in range(50):
            if subprocess.run(["umount", self.mounted], capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.mounted} cannot be unmounted")

    def do(self, *command):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise rig.Skipped(f"{command[0]}: {done.stderr.strip()}")

    def cut(self, how):
        directory = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(directory, SHUTDOWN, struct.pack("I", CUTS[how]))
        finally:
            os.close(directory)


class Campaign:
    """One file system, one way to acknowledge; one directory over all cuts."""

    def __init__(self, disk, report, ack, seed):
        self.disk, self.report, self.ack = disk, report, ack
        self.name = f"{disk.name}, {ack}"
        self.chance = random.Random(f"{seed} {self.name}")
        self.app = load.WebApp(disk.place / "taken")
        self.world = load.World(disk.mounted / "data", self.app, report, "--ack", ack)
        self.exposed = 0

    def run(self, seconds):
        self.disk.mount()
        try:
            end, at = time.monotonic() + seconds, 0
            # However few cuts a slow machine makes in that time: until one has shown something.
            shows = lambda: self.ack == "durable" or self.exposed or at >= MOST_CUTS
            while (at < 2 or time.monotonic() < end or not shows()) and not self.world.failed_already():
                self.cut(f"{self.name}, cut {at}", list(CUTS)[at % 2])
                at += 1
            self.recover(f"{self.name}, after the last cut")
            self.world.finish(f"{self.name}, after the last cut")
            self.clean_remount(f"{self.name}, clean remount")
        finally:
            self.world.server.kill()
            self.app.close()
            self.disk.unmount()
        if self.ack == "written" and not self.exposed:
            self.report.lost(f"{self.name}: no journal was ever ahead of its bytes, so nothing was shown")

    def recover(self, where, fallen=False):
        """A start on what the cut has left, and the judgement."""
        self.world.start()
        before = self.report.figures.get("uploads that fell back", 0)
        self.world.judge(where, fallen)
        return self.report.figures.get("uploads that fell back", 0) - before

    def cut(self, where, how):
        self.world.start()
        if len(self.world.stories) > 30:
            self.world.finish(where)
            self.world.look_back(where)
        self.world.begin(self.chance.randrange(1 << 30), PLOTS)
        if self.chance.random() < 0.4:
            time.sleep(self.chance.random() ** 2 * 0.5)
        else:
            self.world.after_answers(self.chance.randrange(1, 60))
        ahead = self.sync_from_outside() if self.ack == "written" else {}
        # What is answered while the file system goes down is no promise: a machine without power answers
        # nothing, and a sync that had begun before may return well here.
        frozen = self.world.freeze()
        self.disk.cut(how)
        self.world.kill()
        self.world.join()
        self.world.hold_to(frozen)
        self.disk.unmount()
        self.disk.mount()
        self.world.power_lost = True
        self.report.count(f"power cuts, {self.name}, {how}")
        whole = {path for path, size in ahead.items() if path.exists() and path.stat().st_size >= size}
        promised = {story: bytes(story.promised) for story in self.world.stories}
        self.recover(f"{where}, {how}", self.ack == "written")
        for story in self.world.stories:
            if self.journal(story) in whole and promised[story].count(1) > story.promised.count(1):
                # The journal says more than the disk holds, and that was noticed.
                self.exposed += 1
                self.report.count(f"journals ahead of their bytes, {self.name}")
        self.world.server.kill()

    def journal(self, story):
        return self.world.data / f"{story.id}.journal"

    def sync_from_outside(self):
        """Journals get to the disk, their parts do not, as the kernel may choose to write them back."""
        ahead = {}
        for story in list(self.world.stories):
            with contextlib.suppress(OSError):
                if self.chance.random() < 0.1:
                    sync(story.part())
        if self.chance.random() < 0.5:
            self.world.after_answers(self.world.answers + self.chance.randrange(1, 10))
        for story in list(self.world.stories):
            with contextlib.suppress(OSError):
                ahead[self.journal(story)] = sync(self.journal(story))
        return ahead

    def clean_remount(self, where):
        """A clean stop leaves nothing that a remount could cost, also with `written`."""
        self.world.begin(self.chance.randrange(1 << 30), PLOTS)
        self.world.after_answers(25)
        code = self.world.server.stop()
        self.world.join()
        self.app.quiet()
        if code != 0:
            self.report.lost(f"{where}: the stop ended with {code}")
        self.disk.unmount()
        self.disk.mount()
        self.recover(where)
        self.world.finish(where)
        self.world.look_back(where)
        self.report.count("clean remounts")
