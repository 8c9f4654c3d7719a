"""What may stand between servers and their database, or in its place: a pooler, and a standby that becomes the primary."""
import contextlib
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import sys

from rig import until
from services import POSTGRES, Postgres, ports

POOLER = """[databases]
incoming = host=127.0.0.1 port={far} dbname=incoming
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {users}
pool_mode = transaction
max_client_conn = 200
default_pool_size = 10
"""


class Pooler:
    """pgbouncer in transaction mode, in front of the database on the port `far`."""

    def __init__(self, work, far):
        if not shutil.which("pgbouncer"):
            sys.exit("pgbouncer is missing: install the Debian package of this name")
        home = pathlib.Path(work) / "pgbouncer"
        home.mkdir()
        self.port = ports(1)[0]
        users, config = home / "users", home / "pgbouncer.ini"
        users.write_text('"incoming" "secret"\n')
        config.write_text(POOLER.format(far=far, port=self.port, users=users))
        as_user = {}
        # It refuses to run as root.
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        log = open(home / "log", "wb")
        self.process = subprocess.Popen(["pgbouncer", str(config)], cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, **as_user)

        def answers():
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
        until("pgbouncer listens", answers)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Pair:
    """A primary and a standby that it waits for (synchronous_standby_names). `primary` is the one that was promoted last."""

    def __init__(self, work):
        self.work = pathlib.Path(work)
        self.members = [Postgres(self.work, name="postgres0"), None]
        self.primary = self.members[0]
        self.join(1)

    def join(self, number):
        """A new copy of the primary becomes its standby, in the place of what was there; then commits wait for it."""
        old = self.members[number]
        home = self.work / f"postgres{number}"
        if old:
            with contextlib.suppress(subprocess.CalledProcessError):
                old.stop()
            shutil.rmtree(old.data)
        self.members[number] = Postgres(self.work, port=old and old.port, name=home.name, copy_of=self.primary)
        self.primary.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.primary.ask("SELECT pg_reload_conf()")
        until("commits wait for the standby", lambda: self.primary.ask("SELECT sync_state FROM pg_stat_replication") == ["sync"])

    def fail_over(self, between):
        """The primary is killed (-9); `between` is called while there is none; the standby is promoted. Answers the number of
        the old one."""
        old = self.members.index(self.primary)
        self.primary.kill()
        between()
        promoted = self.members[1 - old]
        # As every manager of a pair does: else no commit would end before there is another standby.
        promoted.ask("ALTER SYSTEM SET synchronous_standby_names = ''")
        promoted.ask("SELECT pg_reload_conf()")
        promoted.run("pg_ctl", "-D", promoted.data, "-w", "promote")
        self.primary = promoted
        return old

    def stop(self):
        for one in self.members:
            with contextlib.suppress(Exception):
                one.stop()
