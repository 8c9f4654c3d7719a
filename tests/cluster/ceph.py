"""Ceph in an empty directory, on loopback: one monitor, one manager, one OSD and one RADOS gateway."""
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import uuid

from rig import until
from services import BUCKET, ports, s3_client

CONFIG = """[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]
public network = 127.0.0.0/8
ms bind ipv4 = true
run dir = {home}/run
admin socket = {home}/run/$name.asok
log file = {home}/log/$name.log
pid file = {home}/run/$name.pid
keyring = {home}/keyring
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
mon warn on pool no redundancy = false
mon allow pool size one = true
mon data avail warn = 1
mon data avail crit = 1
[mon.a]
mon data = {home}/mon
[mgr.x]
mgr data = {home}/mgr
[osd]
osd data = {home}/osd
osd objectstore = bluestore
bluestore block size = {block}
osd memory target = 1073741824
[client.rgw]
keyring = {home}/keyring
rgw frontends = beast endpoint=127.0.0.1:{s3}
rgw data = {home}/rgw
rgw thread pool size = 64
rgw enable usage log = false
rgw run sync thread = false
rgw gc obj min wait = 10
rgw gc processor period = 10
rgw gc processor max time = 10
"""
# Who may do what.
KEYS = [
    ("mon.", ["mon", "allow *"]),
    ("client.admin", ["mon", "allow *", "osd", "allow *", "mgr", "allow *"]),
    ("mgr.x", ["mon", "allow profile mgr", "osd", "allow *"]),
    ("osd.0", ["mon", "allow profile osd", "mgr", "allow profile osd", "osd", "allow *"]),
    ("client.rgw", ["mon", "allow rw", "osd", "allow rwx", "mgr", "allow rw"]),
]


class Ceph:
    """A store with one bucket, as services.Seaweed. Both of its keys belong to the owner of the bucket."""

    def __init__(self, work, gigabytes=12):
        if missing := [name for name in ("ceph-mon", "ceph-mgr", "ceph-osd", "radosgw") if not shutil.which(name)]:
            sys.exit(f"{missing[0]} is missing: install the Debian packages ceph-mon ceph-mgr ceph-osd radosgw")
        self.home = pathlib.Path(work) / "ceph"
        for name in ("mon", "mgr", "osd", "rgw", "run", "log"):
            (self.home / name).mkdir(parents=True)
        v2, v1, s3 = ports(3)
        self.port, self.authority, self.url = s3, f"127.0.0.1:{s3}", f"http://127.0.0.1:{s3}"
        fsid = str(uuid.uuid4())
        # Sparse: it takes what is stored.
        text = CONFIG.format(home=self.home, fsid=fsid, v1=v1, v2=v2, s3=s3, block=gigabytes << 30)
        (self.home / "ceph.conf").write_text(text)
        self.processes = []
        try:
            self.begin(fsid, v1, v2)
        except BaseException:
            self.stop()
            raise

    def begin(self, fsid, v1, v2):
        keyring, monmap = self.home / "keyring", self.home / "monmap"
        self.run("ceph-authtool", "--create-keyring", keyring)
        for name, rights in KEYS:
            caps = [word for what, may in zip(rights[::2], rights[1::2]) for word in ("--cap", what, may)]
            self.run("ceph-authtool", keyring, "--gen-key", "-n", name, *caps)
        self.run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]", monmap)
        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        self.serve("ceph-mon", "-i", "a")
        self.run("ceph", "-s")
        self.serve("ceph-mgr", "-i", "x")
        self.run("ceph", "osd", "create")
        self.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", str(uuid.uuid4()))
        self.serve("ceph-osd", "-i", "0")
        until("the OSD is up", lambda: "1 up" in self.run("ceph", "osd", "stat"), 120)
        self.serve("radosgw", "-n", "client.rgw")
        user = ["--uid=test", "--display-name=test", "--access-key=testkey", "--secret-key=testsecret"]
        self.run("radosgw-admin", "user", "create", *user)
        self.run("radosgw-admin", "key", "create", "--uid=test", "--key-type=s3", "--access-key=adminkey", "--secret-key=adminsecret")
        until("Ceph takes an object", self.takes_objects, 120)

    def run(self, program, *words):
        """A program of Ceph to its end; what it says."""
        command = [program, "-c", self.home / "ceph.conf", *words] if program != "ceph-authtool" else [program, *words]
        return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, timeout=120).stdout

    def serve(self, program, *words):
        log = open(self.home / "log" / f"{program}.out", "wb")
        root = ["--setuser", "root", "--setgroup", "root"] if os.geteuid() == 0 else []
        command = [program, "-f", "-c", str(self.home / "ceph.conf"), *words, *root]
        self.processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def takes_objects(self):
        import botocore.exceptions
        with contextlib.suppress(botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
            admin = self.client("admin")
            admin.create_bucket(Bucket=BUCKET)
            admin.put_object(Bucket=BUCKET, Key="first", Body=b"1")
            admin.delete_object(Bucket=BUCKET, Key="first")
            return True
        return False

    def client(self, who="test", url=None):
        """boto3's client with one of the two keys."""
        return s3_client(url or self.url, who)

    def vacuum(self):
        """Its collector of garbage runs every 10 s."""

    def stop(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()
