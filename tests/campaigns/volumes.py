"""Small file systems of a campaign's own, on a loop device or in memory; all is put back at the end."""

import contextlib
import os
import pathlib
import subprocess
import tempfile
import time

import rig


def command(*words):
    """Runs a program as root, or Skipped with what it said."""
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise rig.Skipped(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


class Volume:
    """A mounted file system of `size` bytes; use it in a `with`."""

    def __init__(self, kind, size):
        self.kind, self.size, self.device = kind, size, None

    def __enter__(self):
        if os.geteuid():
            raise rig.Skipped("mounting needs root")
        self.stack = contextlib.ExitStack()
        try:
            work = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="incoming-volume-")))
            self.path = work / "mount"
            self.path.mkdir()
            if self.kind == "tmpfs":
                command("mount", "-t", "tmpfs", "-o", f"size={self.size}", "none", str(self.path))
            else:
                self.make(work / "image")
                command("mount", "-o", "noatime", self.device, str(self.path))
            self.stack.callback(self.unmount)
        except BaseException:
            self.stack.close()
            raise
        return self

    def make(self, image):
        with open(image, "wb") as file:
            file.truncate(self.size)
        rig.need("losetup", "mount")
        self.device = command("losetup", "--find", "--show", str(image))
        self.stack.callback(lambda: subprocess.run(["losetup", "-d", self.device], check=False))
        if self.kind == "ext4":
            # Without blocks for root alone: root is who runs this.
            command(rig.need("mkfs.ext4", "e2fsprogs"), "-q", "-m", "0", "-E", "lazy_itable_init=0", self.device)
        else:
            command(rig.need("mkfs.xfs", "xfsprogs"), "-q", "-f", self.device)

    def unmount(self):
        # A server that was killed a moment ago may still hold it.
        def gone():
            return not os.path.ismount(self.path) or subprocess.run(["umount", str(self.path)], capture_output=True, check=False).returncode == 0

        rig.until("the volume is unmounted", gone)

    def remount(self, how):
        """Tried for a while: the scan of a start has files open for writing for a moment."""
        end = time.monotonic() + 5
        while True:
            try:
                return command("mount", "-o", f"remount,{how}", str(self.path))
            except rig.Skipped:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def free(self):
        space = os.statvfs(self.path)
        return space.f_bavail * space.f_frsize

    def fill(self, leave):
        """A file that takes all free space but `leave` bytes; its path."""
        path = self.path / "filler"
        with open(path, "wb", buffering=0) as file:
            with contextlib.suppress(OSError):
                while (more := min(self.free() - leave, 1 << 20)) > 0:
                    file.write(b"\xaa" * more)
                    os.fsync(file.fileno())
            # The last bytes, one block at a time.
            with contextlib.suppress(OSError):
                while leave == 0:
                    file.write(b"\xaa" * 512)
                    os.fsync(file.fileno())
        return path

    def clear(self, filler):
        """The space of a filler comes back; some file systems give it later than they say."""
        size = filler.stat().st_size
        filler.unlink()
        rig.until("the space is back", lambda: self.free() >= size // 2)

    def __exit__(self, *_):
        self.stack.close()
