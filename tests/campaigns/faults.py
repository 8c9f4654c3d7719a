"""A disk that refuses, lies half-way, fills up, goes read-only, or is no longer there.

A failed write or sync is never answered 2xx and never tried again: the upload stops until a restart
reloads what is true. A full disk is only waited for. So it is in each dialect. Injected system calls come from strace; full and
read-only disks are real, on volumes of the campaign's own.
"""

import contextlib
import json
import pathlib
import random
import shutil
import subprocess
import tempfile
import threading
import time

import faults_created
import rig
from rig import dialects
from tamper import Case, Tampered, panics
from volumes import Volume, command

SIZE, CHUNK = 400_000, 100_000

FAULTS = [
    Case("chunk", "pwritev", "part", "error=EIO:when=1", True),
    Case("chunk", "fdatasync", "part", "error=EIO:when=1", True),
    Case("chunk", "fdatasync", "part", "error=ENOSPC:when=1", False),
    Case("chunk", "fallocate", "part", "error=EIO:when=1", False),
    Case("chunk", "pwrite64", "journal", "error=EIO:when=1", True),
    Case("chunk", "fdatasync", "journal", "error=EIO:when=1", True),
    Case("chunk", "fdatasync", "journal", "error=EDQUOT:when=1", False),
    Case("first", "fsync", "directory", "error=EIO:when=1", True),
    Case("bind", "pwrite64", "journal", "error=EIO:when=1", False),
    Case("bind", "fdatasync", "journal", "error=EIO:when=1", False),
    Case("cancel", "fdatasync", "journal", "error=EIO:when=1", False),
    Case("last", "ftruncate", "part", "error=EIO:when=1", False),
    Case("last", "fsync", "part", "error=EIO:when=1", True),
    Case("last", "fsync", "part", "error=ENOSPC:when=1", False),
    Case("last", "rename", "part", "error=EIO:when=1", False),
    Case("last", "fsync", "files", "error=EIO:when=1", False),
    Case("whole", "fsync", "directory", "error=EIO:when=1", True),
    Case("last", "pwrite64", "journal", "error=EIO:when=1", False),
    Case("last", "fdatasync", "journal", "error=EIO:when=1", True),
]
FULL = [
    Case("first", "openat", "part", "error=ENOSPC", False),
    Case("chunk", "pwritev", "part", "error=ENOSPC:when=1", True),
    Case("chunk", "pwritev", "part", "error=EDQUOT:when=1", True),
    Case("chunk", "fallocate", "part", "error=ENOSPC:when=1", True),
    Case("chunk", "fallocate", "part", "error=EDQUOT:when=1", False),
    Case("chunk", "pwrite64", "journal", "error=ENOSPC:when=1", True),
    Case("chunk", "pwrite64", "journal", "error=EDQUOT:when=1", False),
    Case("bind", "pwrite64", "journal", "error=ENOSPC:when=1", False),
    Case("cancel", "pwrite64", "journal", "error=ENOSPC:when=1", False),
    Case("last", "ftruncate", "part", "error=ENOSPC:when=1", False),
    Case("last", "pwrite64", "journal", "error=ENOSPC:when=1", True),
    Case("last", "pwrite64", "journal", "error=EDQUOT:when=1", False),
    Case("last", "rename", "part", "error=ENOSPC:when=1", True),
    Case("last", "rename", "part", "error=EDQUOT:when=1", False),
]
# Tickets: the journal's name is not known before, so these are the next such calls of the server at all.
TICKETS = [
    Case("ticket", "pwrite64", None, "error=EIO", True),
    Case("ticket", "fsync", None, "error=EIO", False),
    Case("ticket", "rename", None, "error=EIO", False),
    Case("ticket", "fsync", "directory", "error=EIO", True),
    Case("ticket", "openat", None, "error=ENOSPC", False),
    Case("ticket", "pwrite64", None, "error=ENOSPC", True),
    Case("ticket", "pwrite64", None, "error=EDQUOT", False),
    Case("ticket", "rename", None, "error=ENOSPC", False),
]
# As many open files as there may be: nothing has failed, so nothing stops for good.
EXHAUSTED = [
    Case("first", "openat", "part", "error=EMFILE", True),
    Case("chunk", "openat", "journal", "error=EMFILE", True),
    Case("ticket", "openat", None, "error=EMFILE", True),
]
# Interrupted calls and writes that did only a part: the server goes on as if nothing had been.
INTERRUPTED = [
    Case("chunk", "pwritev", "part", "error=EINTR:when=1+2", True),
    Case("chunk", "fallocate", "part", "error=EINTR:when=1+2", False),
    Case("chunk", "fdatasync", "part", "error=EINTR:when=1+2", False),
    Case("chunk", "pwrite64", "journal", "error=EINTR:when=1+2", False),
    Case("chunk", "fdatasync", "journal", "error=EINTR:when=1+2", True),
    Case("last", "fsync", "part", "error=EINTR:when=1+2", False),
    Case("last", "ftruncate", "part", "error=EINTR:when=1+2", False),
]


# Steps that send bytes: what a client of another dialect does too.
SENDING = ("first", "chunk", "last")


def name_of(case, dialect=None):
    speaks = f", {dialect}" if dialect else ""
    return f"{case.how.split(':')[0].removeprefix('error=')} at {case.calls} of the {case.where or 'journal'}, {case.step}{speaks}"


class House:
    """A server with a victim and a neighbour, each a chunk far."""

    def __init__(self, stack, options, first=True, url="http://127.0.0.1:9/", flags=(), dialect=None):
        self.data = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
        self.server = rig.Server(self.data, *flags).start()
        stack.callback(self.server.kill)
        self.victim, self.neighbour = (
            rig.Upload(self.server, options.seed + n, SIZE, CHUNK, url, dialect) for n in (1, 2))
        for upload in (self.victim, self.neighbour):
            if dialect:
                self.create(upload)
        if first:
            self.expect(self.put(self.victim, 0), 200)
        self.expect(self.put(self.neighbour, 0), 200)

    def put(self, upload, at, bytes_=CHUNK):
        connection = self.server.connection()
        try:
            return upload.put(connection, at, min(at + bytes_, SIZE))
        finally:
            connection.close()

    def create(self, upload):
        connection = self.server.connection()
        try:
            self.expect(dialects.create(upload, connection), 201)
        finally:
            connection.close()

    def expect(self, answer, code):
        if answer[0] != code:
            raise RuntimeError(f"{answer[0]} instead of {code}: {answer[1]}")

    def paths(self, where):
        return {"part": [self.data / f"{self.victim.id}.part"], "journal": [self.data / f"{self.victim.id}.journal"],
                "directory": [self.data], "files": [self.data / "files"], None: []}[where]

    def step(self, step):
        """Does the step to the victim; status and JSON."""
        if step == "whole":
            return self.put(self.victim, 0, SIZE)
        if step in ("chunk", "first", "last"):
            return self.put(self.victim, {"first": 0, "chunk": CHUNK, "last": 3 * CHUNK}[step])
        if step == "ticket":
            code, _, text = self.server.back("POST", "/incoming/backend/new_upload?signalFinishURL=http://127.0.0.1:9/",
                                             headers={"Accept": "application/json"})
        elif step == "bind":
            code, _, text = self.server.ask("POST", rig.url_of(self.victim.id), json.dumps({"length": SIZE, "name": "x"}))
        else:
            code, _, text = self.server.ask("DELETE", rig.url_of(self.victim.id))
        return code, json.loads(text)

    def ready(self):
        return self.server.back("GET", "/readyz")[0]

    def restart(self):
        self.server.kill()
        self.server.start()

    def finish(self, report, where, *uploads):
        """All of these can be sent to their end, and hold what was sent."""
        for upload in uploads:
            sent = upload.send()
            if sent is not True:
                report.lost(f"{where}: {upload.id} cannot be finished: {sent}")
            # With nothing left to send, the publish goes on by itself since the restart.
            if sent is True:
                rig.until("what is sent is complete", lambda: self.server.status(upload.id)["state"] != "uploading", 20)
            upload.judge(report, where)


def run(report, options):
    if shutil.which("strace"):
        injected(report, options)
    else:
        report.skip("injected faults", "strace is missing (Debian package strace)")
    for kind, size in [("ext4", 32 << 20), ("tmpfs", 24 << 20), ("xfs", 320 << 20)][:1 if options.short else 3]:
        each(report, f"a full {kind}", full_volume, options, kind, size)
    each(report, "a full disk amid a record", full_amid_record, options)
    if not options.short:
        each(report, "min_free_space", reserve, options)
    each(report, "remounted read-only", read_only, options)
    if not options.short:
        each(report, "read-only by an error of the disk", failed_volume, options)
    each(report, "the directory is renamed away", renamed, options)
    each(report, "the directory is removed", removed, options)


def injected(report, options):
    for cases, check in ((FAULTS, fault), (FULL, full), (INTERRUPTED, interrupted)):
        for number, case in enumerate(chosen(cases, options)):
            each(report, name_of(case), check, options, case, None)
            # One of them in the short form: each is a server of its own.
            speaks = [dialects.NAMES[(number + options.seed) % len(dialects.NAMES)]] if options.short else dialects.NAMES
            for dialect in speaks if case.step in SENDING else ():
                each(report, name_of(case, dialect), check, options, case, dialect)
    for case in chosen(TICKETS, options):
        each(report, name_of(case), ticket, options, case)
    for case in chosen(EXHAUSTED, options):
        each(report, name_of(case), exhausted, options, case)
    faults_created.run(report, options)
    each(report, "short writes", short_writes, options)
    each(report, "a disk that hangs", hangs, options)
    if not options.short:
        each(report, "a call that cannot be recorded", handover, options)
    for turn in range(2 if options.short else 24):
        each(report, f"a storm of errors, {turn}", storm, options, turn)


def chosen(cases, options):
    return [case for case in cases if case.short or not options.short]


def each(report, what, check, options, *more):
    """One check, with all it sets up put back; what the machine cannot do is a skip."""
    before = len(report.losses)
    try:
        with contextlib.ExitStack() as stack:
            check(report, stack, options, *more)
    except rig.Skipped as why:
        return report.skip(what, why)
    except (OSError, RuntimeError, TimeoutError, ValueError) as error:
        report.lost(f"{what}: {error!r}")
    report.count("cases")
    if len(report.losses) == before:
        report.count("cases as promised")


def well(report, where, house):
    """The process lives, and did not panic."""
    if not house.server.running():
        report.lost(f"{where}: the server has ended")
    for line in panics(house.server):
        report.lost(f"{where}: {line}")


def tampered(house, case):
    """The answer to a step that is tampered with; an error where nothing was."""
    with Tampered(house.server, case.calls, case.how, *house.paths(case.where)) as tampering:
        answer = house.step(case.step)
        rig.until("strace says that it injected", tampering.hits, 5)
        time.sleep(0.05)
        hits = tampering.hits()
    return answer, hits


def prepared(stack, options, case, dialect=None):
    house = House(stack, options, first=case.step not in ("first", "whole"), dialect=dialect)
    if case.step == "last":
        house.expect(house.put(house.victim, CHUNK), 200)
        house.expect(house.put(house.victim, 2 * CHUNK), 200)
    return house


def fault(report, stack, options, case, dialect):
    """EIO, or any failed sync: 500, latched, others go on, the restart knows what is true."""
    where, house = name_of(case, dialect), prepared(stack, options, case, dialect)
    (code, told), hits = tampered(house, case)
    report.count("calls made to fail", len(hits))
    if code != 500 or told.get("code") != "fault":
        report.lost(f"{where}: answered {code} {told}")
    again, told = house.step(case.step)
    if again != 500 or told.get("code") != "fault":
        report.lost(f"{where}: tried again over it: {again} {told}")
    if house.ready() != 503:
        report.lost(f"{where}: still ready: {house.ready()}")
    code, told = house.put(house.neighbour, CHUNK)
    if code != 200:
        report.lost(f"{where}: the neighbour is not served: {code} {told}")
    if house.server.status(house.victim.id) is None:
        report.lost(f"{where}: the status cannot be read")
    well(report, where, house)
    house.restart()
    if house.ready() != 200:
        report.lost(f"{where}: not ready after the restart")
    # A cancel that was answered 500 may have happened or not.
    cancelled = case.step == "cancel" and house.server.status(house.victim.id)["state"] == "cancelled"
    left = [house.neighbour] if cancelled else [house.victim, house.neighbour]
    for upload in left:
        upload.judge(report, where)
    house.finish(report, where, *left)
    well(report, where, house)


def full(report, stack, options, case, dialect):
    """ENOSPC, EDQUOT: 507; the same process goes on."""
    where, house = name_of(case, dialect), prepared(stack, options, case, dialect)
    (code, told), hits = tampered(house, case)
    report.count("calls made to fail", len(hits))
    if code != 507 or told.get("code") != "no-space":
        report.lost(f"{where}: answered {code} {told}")
    if house.ready() != 200:
        report.lost(f"{where}: not ready though the disk has space again")
    house.victim.judge(report, where)
    if dialect:
        # What came is recorded, perhaps; such a client asks first.
        sent = house.victim.send()
        code, told = (200, {}) if sent is True else sent or (0, "broken off")
    else:
        code, told = house.step(case.step)
    if code != 200:
        report.lost(f"{where}: with space again: {code} {told}")
    uploads = [house.neighbour] if case.step == "cancel" else [house.victim, house.neighbour]
    house.finish(report, where, *uploads)
    house.restart()
    for upload in uploads:
        upload.judge(report, where)
    well(report, where, house)


def ticket(report, stack, options, case):
    where, house = name_of(case), House(stack, options)
    (code, told), hits = tampered(house, case)
    report.count("calls made to fail", len(hits))
    is_full = "EIO" not in case.how
    if (code, told.get("code")) != ((507, "no-space") if is_full else (500, "fault")):
        report.lost(f"{where}: answered {code} {told}")
    if house.ready() != (200 if is_full else 503):
        report.lost(f"{where}: readiness is {house.ready()}")
    again = house.step("ticket")[0]
    if again != (500 if case.where == "directory" else 200):
        report.lost(f"{where}: the next ticket is answered {again}")
    if case.where == "directory":
        # Nothing that needs a name in it is promised any more; what has its name goes on.
        house.expect(house.put(house.neighbour, CHUNK), 200)
    else:
        house.finish(report, where, house.victim, house.neighbour)
    well(report, where, house)
    house.restart()
    house.expect(house.step("ticket"), 200)
    known = len(list(house.data.glob("*.journal")))
    if known != (3 if again == 500 else 4):
        report.lost(f"{where}: {known} journals")
    house.finish(report, where, house.victim, house.neighbour)


def exhausted(report, stack, options, case):
    """EMFILE, ENFILE: 503, and the same is done as soon as there are descriptors."""
    where, house = name_of(case), prepared(stack, options, case)
    if case.where == "journal":
        # In memory, with its journal not open yet.
        house.restart()
        house.server.status(house.victim.id)
    (code, told), hits = tampered(house, case)
    report.count("calls made to fail", len(hits))
    if code != 503 or told.get("code") != "unavailable":
        report.lost(f"{where}: answered {code} {told}")
    if house.ready() != 200:
        report.lost(f"{where}: not ready though nothing has failed")
    code, told = house.step(case.step)
    if code != 200:
        report.lost(f"{where}: with descriptors again: {code} {told}")
    house.finish(report, where, house.victim, house.neighbour)
    well(report, where, house)


def interrupted(report, stack, options, case, dialect):
    where, house = name_of(case, dialect), prepared(stack, options, case, dialect)
    (code, told), hits = tampered(house, case)
    report.count("calls interrupted", len(hits))
    if code != 200:
        report.lost(f"{where}: answered {code} {told}")
    house.finish(report, where, house.victim, house.neighbour)
    well(report, where, house)


def short_writes(report, stack, options):
    """The first write of a chunk is said to have written 4096 bytes, and wrote none: all that follows has
    to come from the next writes, at the right place."""
    house = House(stack, options)
    part, said = house.data / f"{house.victim.id}.part", 4096
    case = Case("chunk", "pwritev", "part", f"retval={said}:when=1", True)
    (code, told), hits = tampered(house, case)
    report.count("writes made short", len(hits))
    house.expect((code, told), 200)
    held = part.read_bytes()[CHUNK:2 * CHUNK]
    wanted = house.victim.file[CHUNK:2 * CHUNK]
    # strace counts for each thread: a later write may have been shortened as well.
    lies = [at for line in hits if (at := int(line.split("], ")[-1].split(", ")[1].split(")")[0])) is not None]
    for at in lies:
        hole = at - CHUNK
        if held[hole:hole + said] != bytes(said):
            report.lost("short writes: what strace kept from being written is there: the check proves nothing")
        wanted = wanted[:hole] + bytes(said) + wanted[hole + said:]
    if held != wanted:
        report.lost("short writes: what a write left over was not written in its place")
    well(report, "short writes", house)


def held(server):
    """Whether strace holds a thread of the server."""
    for status in pathlib.Path(f"/proc/{server.pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            if status.read_text().rsplit(") ", 1)[1].startswith("t"):
                return True
    return False


def hangs(report, stack, options):
    """Every write of the disk takes four seconds: the backend's listener answers all the same, and what was
    sent meanwhile is acknowledged in the end."""
    house = House(stack, options)
    uploads = [house.victim, house.neighbour]
    with Tampered(house.server, "pwritev,pwrite64", "delay_enter=4000000") as tampered:
        answers = []
        threads = [threading.Thread(target=lambda u=u, at=at: answers.append(house.put(u, at)), daemon=True)
                   for u in uploads for at in (CHUNK, 2 * CHUNK)]
        for thread in threads:
            thread.start()
        rig.until("a write hangs", lambda: held(house.server), 20)
        # /healthz waits for a turn of every worker, one that meets the hanging write too: for 5 s at most, and then
        # says which is stalled.
        patience = {"/healthz": 6, "/metrics": 2, f"/incoming/backend/uploads/{house.victim.id}": 2}
        for path, seconds in patience.items():
            began = time.monotonic()
            code, _, _ = house.server.back("GET", path)
            took = time.monotonic() - began
            if code != 200 and (path, code) != ("/healthz", 503):
                report.lost(f"a disk that hangs: {path} is answered {code}")
            what = "/healthz" if path == "/healthz" else "the backend's listener else"
            report.most(f"ms that {what} took while the disk hung", round(1000 * took))
            if took > seconds:
                report.lost(f"a disk that hangs: {path} took {took:.1f} s")
        for thread in threads:
            thread.join(rig.DEADLINE)
        tampered.detach()
        report.count("writes that hung", len(tampered.hits()))
    if sorted(answer[0] for answer in answers) != [200] * 4:
        report.lost(f"a disk that hangs: {answers}")
    house.finish(report, "a disk that hangs", *uploads)


def handover(report, stack, options):
    """A call whose beginning cannot be recorded is not made; after the restart it is."""
    backend = rig.Backend()
    stack.callback(backend.close)
    backend.answers = [500]
    house = House(stack, options, url=backend.url)
    victim = house.victim
    house.finish(report, "handover", victim)
    rig.until("the first call", lambda: backend.calls_for(victim.id))
    with Tampered(house.server, "fdatasync", "error=EIO:when=1", *house.paths("journal")) as tampering:
        rig.until("the second call is recorded", tampering.hits)
        time.sleep(1)
    if len(backend.calls_for(victim.id)) != 1:
        report.lost("handover: a call was made that is not recorded")
    if house.ready() != 503:
        report.lost("handover: still ready")
    house.restart()
    rig.until("the call after the restart", lambda: len(backend.calls_for(victim.id)) == 2)
    rig.until("finished", lambda: house.server.status(victim.id)["state"] == "finished")
    if backend.calls_for(victim.id)[-1]["sha256"] != victim.sha256():
        report.lost("handover: another file than was sent")


def storm(report, stack, options, turn):
    """Errors of all kinds now and then, under uploads that run at once; then all is as it was promised."""
    chance, ack = random.Random(options.seed * 100 + turn), ("durable", "written")[turn % 2]
    where = f"a storm of errors, {turn}, {ack}"
    backend = rig.Backend()
    stack.callback(backend.close)
    house = House(stack, options, flags=("--ack", ack))
    speaks = [None, None, *dialects.NAMES, None, None]
    uploads = [rig.Upload(house.server, options.seed + 10 + n, 800_000, 50_000, backend.url, dialect,
                          removeFileWhenFinished="false") for n, dialect in enumerate(speaks)]
    calls = ["pwritev", "pwrite64", "fdatasync", "fsync", "rename", "ftruncate", "fallocate", "openat"]
    how = f"error={chance.choice(['EIO', 'ENOSPC', 'EDQUOT'])}:when={chance.randint(1, 12)}+{chance.randint(7, 40)}"
    only = ",".join(chance.sample(calls, chance.randint(1, 3)))
    with Tampered(house.server, only, how, *[path for upload in uploads for path in
                  (house.data / f"{upload.id}.part", house.data / f"{upload.id}.journal")], house.data, house.data / "files") as tampering:
        for _ in range(3):
            for sent in rig.send_all(uploads):
                # Broken off is what an answer before the end of a body looks like, now and then.
                if sent not in (True, False) and sent[0] not in (404, 500, 507):
                    report.lost(f"{where}: answered {sent}")
        # Whoever finds no status gives up; so none may be unknown only because it cannot be read.
        for upload in uploads:
            if house.server.ask("GET", rig.url_of(upload.id))[0] == 404:
                report.lost(f"{where}: {upload.id} is said to be unknown")
        hits = tampering.hits()
    report.count("calls made to fail, storms", len(hits))
    well(report, where, house)
    for upload in uploads:
        upload.judge(report, where)
    house.restart()
    for upload in uploads:
        # What was only written is forgotten where the disk has failed.
        if ack == "written" and hits:
            upload.forgive()
        upload.judge(report, where)
    for upload, sent in zip(uploads, rig.send_all(uploads)):
        if sent is not True:
            report.lost(f"{where}: after the restart {upload.id} cannot be finished: {sent}")
            continue
        called = rig.until("the handover", lambda: backend.calls_for(upload.id))
        if called[-1]["sha256"] != upload.sha256():
            report.lost(f"{where}: another file than was sent")
    well(report, where, house)


def full_volume(report, stack, options, kind, size):
    """A disk that is really full: 507, nothing lost, and the same process goes on when there is space."""
    where = f"a full {kind}"
    volume = stack.enter_context(Volume(kind, size))
    backend = rig.Backend()
    stack.callback(backend.close)
    server = rig.Server(volume.path / "data").start()
    stack.callback(server.kill)
    uploads = [rig.Upload(server, options.seed + n, 3_000_000, 256 * 1024, backend.url, dialect,
                          removeFileWhenFinished="false") for n, dialect in enumerate((None, *dialects.NAMES[:3]))]
    refused = 0
    for turn in range(1 if options.short else 4):
        filler = volume.fill(leave=(2 << 20) if turn % 2 == 0 else 0)
        for sent in rig.send_all(uploads):
            if sent is not True and (not isinstance(sent, tuple) or sent[0] != 507 or sent[1].get("code") != "no-space"):
                report.lost(f"{where}: answered {sent}")
            refused += sent is not True
        for upload in uploads:
            upload.judge(report, where)
        code, _, text = server.back("POST", f"/incoming/backend/new_upload?signalFinishURL={backend.url}")
        if code not in (200, 507):
            report.lost(f"{where}: a ticket is answered {code} {text}")
        volume.clear(filler)
    if not refused:
        report.lost(f"{where}: it was never full")
    report.count("uploads refused by a full disk", refused)
    if server.back("GET", "/readyz")[0] != 200:
        report.lost(f"{where}: not ready though there is space again")
    for upload, sent in zip(uploads, rig.send_all(uploads)):
        if sent is not True:
            report.lost(f"{where}: with space again: {sent}")
        calls = rig.until("the handover", lambda: backend.calls_for(upload.id))
        if calls[-1]["sha256"] != upload.sha256():
            report.lost(f"{where}: another file than was sent")
    for line in panics(server):
        report.lost(f"{where}: {line}")
    server.stop()


def full_amid_record(report, stack, options):
    """A record that begins in a journal's last block and needs the next one, on a disk without any: what
    was written of it is cut off, 507, and later it is there."""
    where = "a full disk amid a record"
    volume = stack.enter_context(Volume("ext4", 16 << 20))
    server = rig.Server(volume.path / "data").start()
    stack.callback(server.kill)

    def begun(metadata):
        upload = rig.Upload(server, options.seed, 4000, 1000, metadata=metadata)
        connection = server.connection()
        try:
            code, told = upload.put(connection, 0, 1000)
        finally:
            connection.close()
        if code != 200:
            raise RuntimeError(f"{where}: {code} {told}")
        return upload, server.data / f"{upload.id}.journal"

    _, journal = begun("x")
    bare = journal.stat().st_size - 1
    upload, journal = begun("x" * (4096 - 10 - bare))
    before = journal.stat().st_size
    if before != 4086:
        raise RuntimeError(f"{where}: the journal has {before} bytes: the check proves nothing")
    filler = volume.fill(leave=0)
    # A bind: a chunk would be refused before it by its own need of space.
    with Tampered(server, "pwrite64,ftruncate", "delay_exit=1", journal) as trace:
        code, _, told = server.ask("POST", rig.url_of(upload.id), json.dumps({"name": "n" * 200}))
    if code != 507:
        report.lost(f"{where}: answered {code} {told}")
    torn = [line for line in trace.lines() if "pwrite64" in line and "4086) = 10" in line]
    if not torn:
        raise rig.Skipped(f"this disk did not tear the record: {trace.lines()}")
    report.count("records torn by a full disk", len(torn))
    if journal.stat().st_size != before:
        report.lost(f"{where}: the torn record is still there: {journal.stat().st_size} bytes")
    upload.judge(report, where)
    volume.clear(filler)
    code, _, told = server.ask("POST", rig.url_of(upload.id), json.dumps({"name": "n" * 200}))
    if code != 200 or json.loads(told)["name"] != "n" * 200:
        report.lost(f"{where}: with space again: {code} {told}")
    if upload.send() is not True:
        report.lost(f"{where}: with space again it cannot be finished")
    upload.judge(report, where)
    server.kill()
    server.start()
    upload.judge(report, where)
    if server.status(upload.id)["name"] != "n" * 200:
        report.lost(f"{where}: the name is not recorded")


def reserve(report, stack, options):
    """Chunks leave min_free_space free."""
    where, keep = "min_free_space", 8 << 20
    volume = stack.enter_context(Volume("ext4", 32 << 20))
    server = rig.Server(volume.path / "data", reserve=str(keep)).start()
    stack.callback(server.kill)
    uploads = [rig.Upload(server, options.seed + n, 10 << 20, 300_000) for n in range(4)]
    for sent in rig.send_all(uploads):
        if sent is True or sent[0] != 507:
            report.lost(f"{where}: answered {sent}")
    # What journals and the file system's own tables take is not counted.
    if volume.free() < keep - (1 << 20):
        report.lost(f"{where}: {volume.free()} bytes are free, {keep} should be")
    if volume.free() > keep + (2 << 20):
        report.lost(f"{where}: refused with {volume.free()} bytes free")
    code, told = server.ask("GET", rig.url_of(uploads[0].id))[0], server.back("GET", "/readyz")[0]
    report.count("bytes left above min_free_space", volume.free() - keep)
    if (code, told) not in ((200, 200), (200, 503)):
        report.lost(f"{where}: status {code}, readiness {told}")
    for upload in uploads:
        upload.judge(report, where)
    server.stop()


def read_only(report, stack, options):
    """Remounted read-only while it serves (nothing open for writing), and back."""
    where = "remounted read-only"
    volume = stack.enter_context(Volume("ext4", 32 << 20))
    server = rig.Server(volume.path / "data").start()
    stack.callback(server.kill)
    uploads = [rig.Upload(server, options.seed + n, SIZE, CHUNK) for n in range(2)]
    connection = server.connection()
    for upload in uploads:
        upload.put(connection, 0, CHUNK)
    connection.close()
    server.stop()
    server.start()
    volume.remount("ro")
    refuses_all(report, where, server, uploads)
    volume.remount("rw")
    if server.back("GET", "/readyz")[0] == 200:
        report.count("read-only and back without a restart")
    else:
        report.count("read-only and back after a restart")
        server.kill()
        server.start()
    for upload in uploads:
        if (sent := upload.send()) is not True:
            report.lost(f"{where}: writable again, answered {sent}")
        upload.judge(report, where)
    server.stop()


def failed_volume(report, stack, options):
    """The file system finds an error and makes itself read-only, with uploads under way."""
    where = "read-only by an error of the disk"
    volume = stack.enter_context(Volume("ext4", 32 << 20))
    trigger = pathlib.Path(f"/sys/fs/ext4/{pathlib.Path(volume.device).name}/trigger_fs_error")
    if not trigger.exists():
        raise rig.Skipped("this kernel has no trigger_fs_error")
    volume.remount("errors=remount-ro")
    server = rig.Server(volume.path / "data").start()
    stack.callback(server.kill)
    uploads = [rig.Upload(server, options.seed + n, SIZE, CHUNK) for n in range(2)]
    connection = server.connection()
    for upload in uploads:
        upload.put(connection, 0, CHUNK)
    connection.close()
    trigger.write_text("1")
    refuses_all(report, where, server, uploads)
    server.kill()
    volume.unmount()
    subprocess.run(["e2fsck", "-fy", volume.device], capture_output=True, check=False)
    command("mount", volume.device, str(volume.path))
    server.start()
    for upload in uploads:
        upload.judge(report, where)
        if (sent := upload.send()) is not True:
            report.lost(f"{where}: after the repair, answered {sent}")
        upload.judge(report, where)
    server.stop()


def refuses_all(report, where, server, uploads):
    """Neither chunk nor ticket is taken; statuses are read or an honest error; not ready; no panic."""
    for upload in uploads:
        connection = server.connection()
        try:
            code, told = upload.put(connection, CHUNK, 2 * CHUNK)
        finally:
            connection.close()
        if code != 500:
            report.lost(f"{where}: a chunk is answered {code} {told}")
        code = server.ask("GET", rig.url_of(upload.id))[0]
        if code not in (200, 500):
            report.lost(f"{where}: a status is answered {code}")
        if (ready := server.back("GET", "/readyz")[0]) != 503:
            report.lost(f"{where}: readiness is {ready}")
    code, _, text = server.back("POST", "/incoming/backend/new_upload?signalFinishURL=http://127.0.0.1:9/")
    if code != 500:
        report.lost(f"{where}: a ticket is answered {code} {text}")
    if server.back("GET", "/healthz")[0] != 200 or not server.running():
        report.lost(f"{where}: the server does not live")
    for line in panics(server):
        report.lost(f"{where}: {line}")


def vanishing(stack, options):
    """A server, an upload in its memory, and one that is only on the disk."""
    house = House(stack, options)
    house.restart()
    house.expect((house.server.ask("GET", rig.url_of(house.victim.id))[0], ""), 200)
    house.expect(house.put(house.victim, CHUNK), 200)
    return house


def renamed(report, stack, options):
    where, house = "the directory is renamed away", vanishing(stack, options)
    away = house.data.with_name("away")
    house.data.rename(away)
    for upload, at in ((house.victim, 2 * CHUNK), (house.neighbour, CHUNK)):
        code, told = house.put(upload, at)
        report.count(f"{where}: a chunk answered {code}")
        if code == 404 or code < 300 and not on_disk(away, upload, told):
            report.lost(f"{where}: a chunk is answered {code} {told}")
        code = house.server.ask("GET", rig.url_of(upload.id))[0]
        if code not in (200, 500):
            report.lost(f"{where}: a status is answered {code}: clients give up by that")
    if (code := house.step("ticket")[0]) < 500:
        report.lost(f"{where}: a ticket is answered {code}")
    if house.ready() != 503:
        report.lost(f"{where}: still ready")
    well(report, where, house)
    away.rename(house.data)
    house.restart()
    house.finish(report, where, house.victim, house.neighbour)


def on_disk(data, upload, told):
    """Whether the bytes that this answer acknowledges can be found below `data`."""
    held = [path for path in (data / f"{upload.id}.part", data / "files" / upload.id) if path.exists()]
    return held and all(held[0].read_bytes()[a:b] == upload.file[a:b] for a, b in told["received"])


def removed(report, stack, options):
    where, house = "the directory is removed", vanishing(stack, options)
    shutil.rmtree(house.data)
    for upload, at in ((house.victim, 2 * CHUNK), (house.neighbour, CHUNK), (house.victim, 2 * CHUNK)):
        code, told = house.put(upload, at)
        report.count(f"{where}: a chunk answered {code}")
        if code < 300:
            report.lost(f"{where}: a chunk is answered {code} {told}")
        if code == 404:
            report.lost(f"{where}: a chunk is answered 404 while nobody can know")
    if (code := house.step("ticket")[0]) < 500:
        report.lost(f"{where}: a ticket is answered {code}")
    if house.ready() != 503:
        report.lost(f"{where}: still ready")
    if house.server.back("GET", "/healthz")[0] != 200:
        report.lost(f"{where}: the server does not live")
    well(report, where, house)
