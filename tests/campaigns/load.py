"""A load that has one of everything, and what must be true of it after the server or the machine died.

A `Story` (story.py) is one upload with its plot (PLOTS): what its browser and its backend do with it; created.py has those
that clients create by themselves. A `World` is a storage directory with the stories told on it so far; it survives any number of deaths of its server. After
each, `judge` says whether every promise still holds, `finish` brings all stories to their end, and
`look_back` says whether those that ended long ago stay as they were.
"""

import contextlib
import hashlib
import http.client
import pathlib
import shutil
import socket
import threading

import created
import rig
from rig import dialects
from story import Story, sync

# Each is told once in a round of load.
PLOTS = ["plain", "keep", "take", "digest", "wait", "cancelled", "withdrawn", "takeover", "broken", "empty", "idle", *dialects.NAMES,
         *created.NAMES]


class WebApp(rig.Backend):
    """Answers by the plot, which travels as the ticket's metadata."""

    def __init__(self, place):
        self.place = pathlib.Path(place)
        self.place.mkdir(exist_ok=True)
        super().__init__()
        self.inside, self.accepted, self.called_for = 0, set(), {}
        accept, serve = self.server.process_request, self.server.process_request_thread

        def counted(request, address):
            with self.lock:
                self.inside += 1
                self.accepted.add(address)
            accept(request, address)

        def served(request, address):
            try:
                serve(request, address)
            finally:
                with self.lock:
                    self.inside -= 1

        self.server.process_request, self.server.process_request_thread = counted, served

    def called(self, form):
        if "dialect" in form:
            return self.ticket_for(form)
        plot, id, path = form["metadata"], form["id"], form["filename"]
        form["sha256"], answer = None, "done"
        with self.lock:
            first = id not in self.called_for
        if form["cancelled"] == "no":
            try:
                with contextlib.suppress(FileNotFoundError):
                    form["sha256"] = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
                if plot == "take" and form["sha256"]:
                    shutil.move(path, self.place / id)
            except OSError:
                # The disk has been cut off. Whoever cannot read the file does not take it.
                return 500
            if plot == "wait":
                answer = "wait"
            if plot == "unsteady" and first:
                answer = 503
        form["answered"] = answer
        with self.lock:
            self.called_for.setdefault(id, []).append(form)
        return answer

    def calls_for(self, id):
        with self.lock:
            return list(self.called_for.get(id, ()))

    def forget(self):
        """What is over and judged takes no more memory."""
        with self.lock:
            self.called_for = {}

    def quiet(self):
        """Waits until all who have called by now are answered, and so no file is read. Otherwise the call
        of a dead server would find the file gone that a later one has finished."""
        with socket.create_connection(self.server.server_address) as last:
            rig.until("the backend accepts", lambda: last.getsockname() in self.accepted)
        rig.until("the backend is done", lambda: self.inside == 0)
        self.accepted.clear()

    def handovers(self, id):
        return [call for call in self.calls_for(id) if call["cancelled"] == "no"]

    def notices(self, id):
        return [call for call in self.calls_for(id) if call["cancelled"] == "yes"]


class World:
    """A storage directory, the backend of all that happens there, and the stories so far."""

    def __init__(self, data, app, report, *flags):
        self.data, self.app, self.report, self.flags = pathlib.Path(data), app, report, flags
        self.server = rig.Server(self.data, *flags, "--create-url", app.url, "--resumable-104", "always")
        self.stories, self.over = [], []
        self.answers, self.lock = 0, threading.Lock()
        self.threads, self.power_lost = [], False

    def answered(self):
        with self.lock:
            self.answers += 1

    def start(self, prefix=()):
        self.server.prefix = prefix
        self.server.log.seek(0)
        self.server.log.truncate()
        return self.server.start()

    def kill(self):
        """The server dies; what it had sent to the backend is dealt with."""
        self.server.kill()
        self.app.quiet()

    def begin(self, seed, plots=PLOTS, strict=False):
        """Sets a round of load going; `join` waits for its end. `strict`: until the server dies, no chunk
        may be refused."""
        self.answers = 0

        def go_on(story):
            with contextlib.suppress(OSError, http.client.HTTPException):
                story.resume()

        def tell(plot, seed):
            with contextlib.suppress(OSError, http.client.HTTPException, RuntimeError):
                stories = created.of(self, plot, seed) if plot in created.NAMES else [Story(self, plot, seed)]
                for story in stories:
                    story.reports_to = self.report if strict else None
                with self.lock:
                    self.stories += stories
                self.answered()
                stories[0].live()

        self.threads = [threading.Thread(target=tell, args=(plot, seed * 1000 + at), daemon=True)
                        for at, plot in enumerate(plots)]
        # Those of earlier rounds go on beside the new ones.
        self.threads += [threading.Thread(target=go_on, args=(story,), daemon=True) for story in self.stories]
        for thread in self.threads:
            thread.start()

    def busy(self):
        return any(thread.is_alive() for thread in self.threads)

    def join(self):
        for thread in self.threads:
            thread.join(rig.DEADLINE)
            if thread.is_alive():
                raise TimeoutError("an upload hangs")

    def after_answers(self, count):
        """Waits until so many requests of this round were answered, or the load is over."""
        rig.until("answers", lambda: self.answers >= count or not self.busy())

    def freeze(self):
        """The promises of this moment, by story."""
        with self.lock:
            stories = list(self.stories)
        return {story: story.promises() for story in stories}

    def hold_to(self, frozen):
        """From here on only these promises count; of an upload that is not among them, none does."""
        for story in self.stories:
            vars(story).update(frozen.get(story, {
                "promised": bytearray(story.size), "complete": False, "cancel_told": False, "finish_told": False,
                "calls_at_end": None, "unanswered": True}))

    def judge(self, where, fallen=False):
        for story in self.stories:
            try:
                story.judge(self.report, where, fallen)
            except (OSError, http.client.HTTPException) as broken:
                self.report.lost(f"{where}: {story}: {broken!r}; {self.server.log_text()[-500:]}")
        self.stories = [story for story in self.stories if not story.gone]

    def finish(self, where):
        """All stories to their end; then they are over."""
        threads = [threading.Thread(target=story.finish, args=(self.report, where), daemon=True)
                   for story in self.stories]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * rig.DEADLINE)
        self.over += self.stories
        self.stories = []
        try:
            rig.until("no journal under birth", lambda: not list(self.data.glob("*.journal-new")), 5)
        except TimeoutError as late:
            self.report.lost(f"{where}: {late}")
        # Also of what clients created and never heard of: they send bytes to what they know. After a power cut the scan of
        # the start removes those of forgotten tickets.
        try:
            rig.until("no bytes are left", lambda: not list(self.data.glob("*.part")), 20)
        except TimeoutError:
            left = {path.name: self.server.status(path.stem) for path in self.data.glob("*.part")}
            self.report.lost(f"{where}: all uploads are over, and bytes are left: {left}")

    def look_back(self, where):
        for story in self.over:
            story.look_back(self.report, where)

    def failed_already(self):
        """Enough is lost: what follows would say the same again."""
        return len(self.report.losses) > 20

    # The same moment more than once --------------------------------------------------------------

    def keep_scene(self, place):
        """What lies on the disk and what was promised at this moment, with the server dead."""
        shutil.copytree(self.data, place, symlinks=True)
        with self.app.lock:
            calls = {id: list(calls) for id, calls in self.app.called_for.items()}
        # Without this world, which may go.
        return place, [story.clone(None) for story in self.stories], calls

    def set_scene(self, scene):
        self.kill()
        place, stories, calls = scene
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.copytree(place, self.data, symlinks=True)
        with self.app.lock:
            self.app.called_for = {id: list(calls) for id, calls in calls.items()}
        self.stories, self.over = [story.clone(self) for story in stories], []
