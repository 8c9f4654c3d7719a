"""Uploads that clients create by themselves: the parts of a file and the file made of them (tus, concatenation), and
creations that tell where they are by `104` alone (resumable uploads of the IETF).

What a client knows of such an upload is what it was answered, and each answer is a promise. A part that was created is
there and keeps its bytes. A file made of parts that was answered 201 is whole and in its place; asked for again, it is the
same. At the URL of a 104 an upload goes on, also where no other answer ever came. Where an answer is lost the client asks
again, and what it never heard of must not be handed over beside the rest.
"""

import base64
import contextlib
import http.client
import itertools
import threading
import urllib.parse

import rig
from rig import dialects
from story import CHUNK, SIZE, Story

NAMES = ("parallel", "interim")
# Of a part: some come in two chunks, and one may be empty.
PART_CHUNK = 30_000
NUMBERS = itertools.count(1)


def of(world, plot, seed):
    """The stories of one plot; the first one lives for all of them."""
    if plot == "interim":
        return [Interim(world, plot, seed)]
    whole = Whole(world, plot, seed)
    cuts = sorted(whole.random.sample(range(1, SIZE), 2))
    if whole.random.random() < 0.3:
        cuts.append(cuts[-1])
    pieces = zip([0, *cuts], [*cuts, SIZE])
    return [whole, *(Part(world, whole, number, whole.file[a:b]) for number, (a, b) in enumerate(pieces))]


class Created(Story):
    """An upload whose id its client learns by an answer."""

    def __init__(self, world, plot, seed):
        # What its backend is told as metadata, so that one is known which its client has never heard of.
        self.name = f"{plot}@{next(NUMBERS)}"
        super().__init__(world, plot, seed)

    def ticket(self, _url, _parameters):
        return None

    def refused(self, what, answer):
        if self.reports_to is not None:
            self.reports_to.lost(f"{self}: {what} was answered {answer}")

    def judge(self, report, where, fallen=False):
        if self.id is None:
            return
        super().judge(report, where, fallen)
        if self.gone:
            # A power cut took it: its client creates it again.
            self.gone, self.id, self.promised = None, None, bytearray(self.size)

    def step(self):
        if self.id is None:
            self.complete_it()
            return False
        return super().step()

    def judge_end(self, report, where):
        super().judge_end(report, where)
        with self.world.app.lock:
            ids = {id for id, calls in self.world.app.called_for.items() for call in calls
                   if call["metadata"] == self.name and call["cancelled"] == "no"}
        if ids != {self.id}:
            report.lost(f"{where}: {self}: its backend got it as {ids}")

    def metadata(self):
        return f"filename {base64.b64encode(self.name.encode()).decode()}"

    def __str__(self):
        return f"{self.id} ({self.name})"


class Whole(Created):
    """The file that parts make."""

    def __init__(self, world, plot, seed):
        super().__init__(world, plot, seed)
        # Whether it was asked for, answered or not.
        self.asked = False

    def parts(self):
        with self.world.lock:
            found = [story for story in self.world.stories if isinstance(story, Part) and story.of == self.name]
        return sorted(found, key=lambda part: part.number)

    def complete_it(self):
        """All parts at once, and the file when they are there."""
        parts = self.parts()
        threads = [threading.Thread(target=part.come, daemon=True) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(rig.DEADLINE)
        if all(part.id and 0 not in part.promised for part in parts):
            self.put_together(parts)

    def put_together(self, parts):
        """By a request of the client, or the web app's own route."""
        self.asked = True
        words = f"final;{' '.join(map(dialects.url_of, parts))}"
        if self.random.random() < 0.5:
            fields = {"Tus-Resumable": "1.0.0", "Upload-Concat": words, "Upload-Metadata": self.metadata()}
            code, headers, text = self.server.ask("POST", "/incoming/frontend/tus", None, fields)
            id = headers.get("Location", "").rsplit("/", 1)[-1]
        else:
            query = {"signalFinishURL": self.world.app.url, "metadata": self.name, "uploadConcat": words}
            code, _, text = self.server.back("POST", "/incoming/backend/new_upload", body=urllib.parse.urlencode(query),
                                             headers={"Content-Type": "application/x-www-form-urlencoded"})
            id = text
        self.world.answered()
        if code not in (200, 201):
            return self.refused("the file of its parts", (code, text))
        with self.lock:
            if self.complete and self.id != id:
                self.untrue(f"the same parts were answered as {self.id} and as {id}")
            self.id, self.complete = id, True
        return None


class Part(Created):
    """A part of a file. It has no backend, and is over when the file has its bytes."""

    def __init__(self, world, whole, number, file):
        super().__init__(world, "part", whole.random.randrange(1 << 30))
        self.of, self.number, self.partial = whole.name, number, True
        self.file, self.promised, self.chunk, self.breaks = file, bytearray(len(file)), PART_CHUNK, 1
        # A part by the web app's own route says its length there.
        self.by_app = self.random.random() < 0.5
        self.speaker = dialects.Tus(not self.by_app and len(file) > 0 and self.random.random() < 0.5)

    def come(self):
        """Whatever is missing of it."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            if self.id is None:
                self.create()
            if self.id and not self.complete:
                self.send(on_answer=self.world.answered)

    def create(self):
        if self.by_app:
            query = urllib.parse.urlencode({"signalFinishURL": self.world.app.url, "metadata": self.name,
                                            "uploadConcat": "partial", "length": self.size})
            code, _, text = self.server.back("POST", f"/incoming/backend/new_upload?{query}")
            id = text
        else:
            fields = {**self.speaker.creation(self.size), "Upload-Metadata": self.metadata(), "Upload-Concat": "partial"}
            code, headers, text = self.server.ask("POST", "/incoming/frontend/tus", None, fields)
            id = headers.get("Location", "").rsplit("/", 1)[-1]
        if code in (200, 201):
            self.id = id
        else:
            self.refused("the creation of a part", (code, text))
        self.world.answered()

    def judge(self, report, where, fallen=False):
        if self.id and self.unanswered and self.is_plain():
            # Its creation was answered while the power failed, which is no promise, and only its ticket got to the disk.
            self.ask("DELETE")
            self.id, self.promised = None, bytearray(self.size)
            return
        super().judge(report, where, fallen)
        if self.complete:
            self.promised = bytearray(b"\1" * self.size)
            with self.world.lock:
                asked = any(isinstance(story, Whole) and story.name == self.of and story.asked for story in self.world.stories)
            if not asked:
                report.lost(f"{where}: {self} is over, and nobody asked for its file")

    def is_plain(self):
        """Whether it is there, and no part."""
        code, headers, _ = self.server.ask("HEAD", dialects.url_of(self), None, {"Tus-Resumable": "1.0.0"})
        return code == 200 and headers.get("Upload-Concat") != "partial"

    def complete_it(self):
        """Its file does that."""

    def judge_end(self, report, where):
        if self.world.app.calls_for(self.id):
            report.lost(f"{where}: {self}: its backend was called for a part")
        try:
            rig.until("removal", lambda: not self.part().exists(), 5)
        except TimeoutError:
            report.lost(f"{where}: {self}: its bytes are left after its file has them")
        report.count("parts joined")


class Interim(Created):
    """A creation with its body in one request, whose client waits for the 104 and breaks off at some moment after it."""

    def __init__(self, world, plot, seed):
        super().__init__(world, plot, seed)
        versions = [version for version in dialects.VERSIONS if version]
        self.speaker = dialects.Resumable(False, self.random.choice(versions))

    def complete_it(self):
        if self.id is None:
            with self.server.dial() as peer:
                self.create(peer)
                if self.id and self.random.random() < 0.3:
                    # The creation is not over yet: what comes later is newer.
                    self.send(on_answer=self.world.answered)
        if self.id:
            self.send(on_answer=self.world.answered)

    def create(self, peer):
        at_once = self.random.random() < 0.7
        end = self.size if at_once else CHUNK
        fields = {"Host": "localhost", **self.speaker.common(), **self.speaker.complete(at_once), "Upload-Length": self.size,
                  "Content-Disposition": f'attachment; filename="{self.name}"', "Content-Length": end}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        peer.sendall(f"POST /incoming/frontend/resumable HTTP/1.1\r\n{lines}\r\n".encode())
        answers = peer.makefile("rb")
        code, headers = head(answers)
        self.world.answered()
        if code != 104:
            return self.refused("a creation", (code, headers, answers.read1(4096)))
        self.id = headers["Location"].rsplit("/", 1)[-1]
        self.world.report.count("creations with a 104")
        sent = self.random.choice((0, end // 3, end))
        peer.sendall(self.file[:sent])
        if sent == end:
            code, headers = head(answers)
            self.world.answered()
            if code not in (200, 201):
                return self.refused("a creation after its 104", (code, headers))
            dialects.heard(self, self.size if code == 200 else int(headers["Upload-Offset"]), True)
        return None


def head(answers):
    """Status and headers of the next answer."""
    line = answers.readline().decode("latin-1").split(" ")
    if len(line) < 2:
        raise http.client.RemoteDisconnected("no answer")
    return int(line[1]), http.client.parse_headers(answers)
