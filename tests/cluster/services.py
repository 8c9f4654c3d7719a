"""SeaweedFS and PostgreSQL in an empty directory, on loopback, and the Python packages that talk to them. Others: ceph.py, databases.py."""
import contextlib
import http.client
import json
import os
import pathlib
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from rig import Server, packages, until  # noqa: E402

POSTGRES = pathlib.Path("/usr/lib/postgresql/15/bin")
BUCKET = "incoming"


def request(port, method, path, body=None, headers=None, timeout=30):
    """Status, body and headers of an answer, over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def ports(count):
    """Free ports in a row whose neighbours 10,000 above are free too: SeaweedFS takes those for gRPC."""
    while True:
        base = random.SystemRandom().randrange(12_000, 20_000)
        held = []
        try:
            for port in (base + n + above for n in range(count) for above in (0, 10_000)):
                held.append(socket.create_server(("127.0.0.1", port)))
            return range(base, base + count)
        except OSError:
            continue
        finally:
            for one in held:
                one.close()


def over_bucket(home, url, prefix, *flags, bucket=BUCKET, access_key="testkey", secret_key="testsecret", **more):
    """A server in this directory whose files are in the bucket below `prefix`. It is not started."""
    return Server(home, "--store", "s3", "--s3-bucket", bucket, "--s3-endpoint", url, "--s3-prefix", prefix, "--s3-access-key", access_key,
                  "--s3-secret-key", secret_key, *flags, **more)


def s3_client(url, who):
    """boto3's client with the keys of `who`."""
    import boto3
    from botocore.config import Config
    config = Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 0}, max_pool_connections=32,
                    s3={"addressing_style": "path"})
    return boto3.client("s3", endpoint_url=url, aws_access_key_id=f"{who}key",
                        aws_secret_access_key=f"{who}secret", region_name="us-east-1", config=config)


def object_store(kind, work):
    """SeaweedFS or Ceph, started."""
    if kind == "ceph":
        from ceph import Ceph
        return Ceph(work)
    return Seaweed(work)


class Seaweed:
    """A store with one bucket. `testkey` has what a server needs and no more, `adminkey` has all rights."""

    def __init__(self, work, max_volumes=100):
        self.work = pathlib.Path(work)
        allowed = [f"{what}:{BUCKET}" for what in ("Read", "List", "Write")]
        identities = [("test", allowed), ("admin", ["Admin", "Read", "List", "Write"])]
        config = self.work / "s3.json"
        config.write_text(json.dumps({"identities": [
            {"name": name, "credentials": [{"accessKey": f"{name}key", "secretKey": f"{name}secret"}], "actions": actions}
            for name, actions in identities
        ]}))
        master, volume, filer, s3 = ports(4)
        data = self.work / "weed"
        data.mkdir()
        log = open(self.work / "weed.log", "wb")
        self.master, self.port, self.authority, self.url = master, s3, f"127.0.0.1:{s3}", f"http://127.0.0.1:{s3}"
        weed = pathlib.Path(sys.prefix) / "bin/weed"
        self.process = subprocess.Popen(
            [weed, "server", f"-dir={data}", "-ip=127.0.0.1", f"-master.port={master}", f"-volume.port={volume}",
             "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={config}",
             f"-volume.max={max_volumes}", "-master.volumeSizeLimitMB=256"],
            cwd=self.work, stdout=log, stderr=log)
        try:
            until("SeaweedFS takes an object", self.takes_objects, 120)
        except TimeoutError:
            self.stop()
            sys.exit(f"SeaweedFS does not start:\n{(self.work / 'weed.log').read_text(errors='replace')[-2000:]}")

    def takes_objects(self):
        import botocore.exceptions
        if self.process.poll() is not None:
            raise TimeoutError
        admin = self.client("admin")
        try:
            admin.create_bucket(Bucket=BUCKET)
            admin.put_object(Bucket=BUCKET, Key="first", Body=b"1")
            admin.delete_object(Bucket=BUCKET, Key="first")
            return True
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
            return False

    def client(self, who="test", url=None):
        """boto3's client of one of the two."""
        return s3_client(url or self.url, who)

    def vacuum(self):
        """What was deleted gives its space back: by itself it takes a quarter of an hour."""
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{self.master}/vol/vacuum?garbageThreshold=0.05", timeout=120).read()

    def stop(self):
        self.process.kill()
        self.process.wait()


class Postgres:
    """A database of its own, with a superuser; or a standby, which is a copy of another one. Its programs refuse to run as root."""

    def __init__(self, work, port=None, name="postgres", copy_of=None):
        if not POSTGRES.is_dir():
            sys.exit(f"{POSTGRES} is missing: install the Debian package postgresql-15")
        self.port = port or ports(1)[0]
        home = pathlib.Path(work) / name
        home.mkdir(exist_ok=True)
        self.as_user = []
        secret = home / "secret"
        secret.write_text("secret\n")
        if os.geteuid() == 0:
            self.as_user = ["runuser", "-u", "postgres", "--"]
            shutil.chown(home, pwd.getpwnam("postgres").pw_uid)
            shutil.chown(secret, "postgres")
        self.data, self.log = home / "data", home / "log"
        server = f"postgres://incoming:secret@127.0.0.1:{self.port}"
        self.url = f"{server}/incoming"
        self.options = f"-p {self.port} -k {home} -c listen_addresses=127.0.0.1"
        if copy_of:
            self.run("pg_basebackup", "-D", self.data, "-d", copy_of.url, "-c", "fast", "-R")
            return self.start()
        self.run("initdb", "-D", self.data, "-U", "incoming", "-A", "scram-sha-256", "--pwfile", secret, "--no-locale", "-E", "UTF8")
        self.start()
        try:
            subprocess.run([POSTGRES / "createdb", f"--maintenance-db={server}/postgres", "incoming"], check=True)
        except BaseException:
            self.stop()
            raise

    def run(self, program, *words):
        subprocess.run([*self.as_user, POSTGRES / program, *map(str, words)], cwd="/", check=True, stdout=subprocess.DEVNULL)

    def start(self):
        self.run("pg_ctl", "-D", self.data, "-w", "-o", self.options, "-l", self.log, "start")

    def stop(self):
        """Immediate: as a crash."""
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "stop")

    def kill(self):
        """SIGKILL to its first process, and to all that it has begun: what those may still write is not waited for."""
        first = int((self.data / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(["pgrep", "-P", str(first)], capture_output=True, text=True).stdout.split()
        for process in [first, *map(int, children)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        until("the database is gone", lambda: not pathlib.Path(f"/proc/{first}").exists())

    def ask(self, sql):
        """The rows that `sql` gives, unaligned."""
        told = subprocess.run(["psql", self.url, "-XAtc", sql], check=True, capture_output=True, text=True)
        return told.stdout.splitlines()
