"""A disk that refuses while partial uploads are joined (tus), and while a creation is answered with a 104 (IETF).

A join that failed leaves each part with its bytes, and the same list makes the file as soon as the disk is well: once, and of
the right bytes. No 104 names an upload that could not be stored.
"""

import json
import pathlib
import tempfile

import created
import faults
import rig
from rig import dialects
from tamper import Case, Tampered

SIZE, CHUNK = 200_000, 100_000

# `first` is the first part, `part` and `journal` are of the file.
JOINS = [
    Case("join", "copy_file_range", "first", "error=EIO:when=1", True),
    Case("join", "copy_file_range", "first", "error=ENOSPC:when=1", True),
    Case("join", "copy_file_range", "first", "error=EDQUOT:when=1", False),
    Case("join", "copy_file_range", "first", "error=EINTR:when=1+2", False),
    # The kernel cannot: the bytes are read and written.
    Case("join", "copy_file_range", "first", "error=EOPNOTSUPP", True),
    Case("join", "fdatasync", "first journal", "error=EIO:when=1", True),
    Case("join", "pwrite64", "first journal", "error=ENOSPC:when=1", False),
    Case("join", "pwrite64", "journal", "error=EIO:when=1", False),
    Case("join", "fdatasync", "journal", "error=EIO:when=1", False),
    Case("join", "pwrite64", "journal", "error=ENOSPC:when=1", False),
    Case("join", "fsync", "part", "error=EIO:when=1", True),
    Case("join", "rename", "part", "error=EIO:when=1", False),
    Case("join", "rename", "part", "error=ENOSPC:when=1", True),
    Case("join", "fsync", "files", "error=EIO:when=1", False),
]
CREATIONS = [
    Case("creation", "pwrite64", "journal", "error=EIO:when=1", False),
    Case("creation", "pwrite64", "journal", "error=ENOSPC:when=1", True),
    Case("creation", "fdatasync", "journal", "error=EIO:when=1", True),
    Case("creation", "pwritev", "part", "error=EIO:when=1", True),
    Case("creation", "pwritev", "part", "error=ENOSPC:when=1", False),
]


class App(rig.Backend):
    """Gives out one ticket that is known before."""

    def __init__(self):
        super().__init__()
        self.prepared = None

    def ticket_for(self, form):
        id, self.prepared = self.prepared, None
        return id or super().ticket_for(form)


class Known(rig.Upload):
    """An upload whose id an answer has told."""

    def ticket(self, _url, parameters):
        return parameters["id"]


class House:
    """A server, its web app, and the ticket that the next creation gets."""

    def __init__(self, stack):
        self.app = App()
        stack.callback(self.app.close)
        self.data = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
        self.server = rig.Server(self.data, "--create-url", self.app.url, "--resumable-104", "always").start()
        stack.callback(self.server.kill)
        self.id = self.app.prepared = self.server.ticket(self.app.url)
        self.parts = []

    def add_parts(self, options):
        for number in range(3):
            part = rig.Upload(self.server, options.seed + number, SIZE, CHUNK, self.app.url, "tus",
                              uploadConcat="partial", length=SIZE)
            part.partial = True
            if (sent := part.send()) is not True:
                raise RuntimeError(f"a part is answered {sent}")
            self.parts.append(part)

    def paths(self, where):
        first = self.parts[0].id if self.parts else None
        return {"first": [self.data / f"{first}.part"], "first journal": [self.data / f"{first}.journal"],
                "part": [self.data / f"{self.id}.part"], "journal": [self.data / f"{self.id}.journal"],
                "files": [self.data / "files"]}[where]

    def join(self):
        """Status, what is told, and which upload the file is."""
        words = f"final;{' '.join(map(dialects.url_of, self.parts))}"
        code, headers, text = self.server.ask("POST", "/incoming/frontend/tus", None,
                                              {"Tus-Resumable": "1.0.0", "Upload-Concat": words})
        return code, json.loads(text) if text else {}, headers.get("Location", "").rsplit("/", 1)[-1]

    def create(self, file):
        """A creation with its file: where a 104 says that it is, status, what is told."""
        speaker, interim = dialects.Resumable(False, 8), None
        with self.server.dial() as peer:
            fields = {"Host": "localhost", **speaker.common(), **speaker.complete(True), "Content-Length": len(file)}
            lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            peer.sendall(f"POST /incoming/frontend/resumable HTTP/1.1\r\n{lines}\r\n".encode())
            answers = peer.makefile("rb")
            code, headers = created.head(answers)
            if code == 104:
                interim = headers["Location"].rsplit("/", 1)[-1]
                peer.sendall(file)
                code, headers = created.head(answers)
            text = answers.read(int(headers.get("Content-Length", 0)))
        return interim, code, json.loads(text) if text else {}

    def ready(self):
        return self.server.back("GET", "/readyz")[0]

    def restart(self):
        self.server.kill()
        self.server.start()


def run(report, options):
    for case in faults.chosen(JOINS, options):
        faults.each(report, faults.name_of(case), joining, options, case)
    for case in faults.chosen(CREATIONS, options):
        faults.each(report, faults.name_of(case), creating, options, case)


def expected(case):
    """Status and code: of a full disk, of a fault, or none."""
    if "EINTR" in case.how or "EOPNOTSUPP" in case.how:
        return 201, None
    return (500, "fault") if "EIO" in case.how else (507, "no-space")


def tampered(report, house, case, do):
    with Tampered(house.server, case.calls, case.how, *house.paths(case.where)) as tampering:
        answer = do()
        hits = rig.until("strace says that it injected", tampering.hits, 5)
    report.count("calls made to fail", len(hits))
    return answer


def joining(report, stack, options, case):
    where, house = faults.name_of(case), House(stack)
    house.add_parts(options)
    code, told, id = tampered(report, house, case, house.join)
    if (code, told.get("code")) != expected(case):
        report.lost(f"{where}: answered {code} {told}")
    if house.ready() != (503 if code == 500 else 200):
        report.lost(f"{where}: readiness is {house.ready()}")
    if code != 201:
        for part in house.parts:
            part.judge(report, where)
    if code == 500:
        # Where it was not yet the file of these parts, another ticket may be.
        again, _, other = house.join()
        if again != 500 and (again != 201 or other == house.id):
            report.lost(f"{where}: tried again over it: {again}")
        house.restart()
    again, told, now = house.join()
    if again != 201 or code == 201 and now != id:
        report.lost(f"{where}: well again, the same list is answered {again} {told}, {now} after {id}")
    placed(report, where, house, now, b"".join(part.file for part in house.parts))


def placed(report, where, house, id, file):
    """Handed over once, and right; nothing is left of what it was made of."""
    calls = rig.until("the handover", lambda: house.app.calls_for(id))
    if calls[-1]["sha256"] != rig.hashlib.sha256(file).hexdigest():
        report.lost(f"{where}: another file than was sent")
    other = {call["id"] for call in house.app.calls if call["cancelled"] == "no"} - {id}
    if other:
        report.lost(f"{where}: handed over as {other} too")
    try:
        rig.until("removal", lambda: not list(house.data.glob("*.part")) and not list((house.data / "files").iterdir()), 10)
    except TimeoutError:
        report.lost(f"{where}: left at the end: {sorted(path.name for path in house.data.rglob('*'))}")
    faults.well(report, where, house)


def creating(report, stack, options, case):
    where, house, file = faults.name_of(case), House(stack), rig.content(options.seed, SIZE)
    interim, code, told = tampered(report, house, case, lambda: house.create(file))
    if (code, told.get("code")) != expected(case):
        report.lost(f"{where}: answered {code} {told}")
    if (case.where == "journal") != (interim is None):
        report.lost(f"{where}: a 104 names {interim}")
    if code == 500:
        house.restart()
    if interim is None:
        interim, code, told = house.create(file)
        if not interim or code != 200:
            report.lost(f"{where}: well again, answered {code} {told}")
    else:
        upload = Known(house.server, options.seed, SIZE, CHUNK, dialect="resumable", id=interim)
        if (sent := upload.send()) is not True:
            report.lost(f"{where}: well again, it does not go on at the URL of its 104: {sent}")
    placed(report, where, house, interim, file)
