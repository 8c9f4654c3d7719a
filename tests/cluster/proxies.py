"""Between a server and what it depends on: `Store` breaks single requests to the bucket, `Wire` passes bytes or stops."""
import collections
import contextlib
import random
import re
import select
import socket
import struct
import threading
import time

# What becomes of a request that is not simply passed on. `Store.fate` chooses by `weights`.
FATES = [
    "500", "502", "503", "504",  # a proxy's answer; the store has not seen the request
    "SlowDown", "InternalError",  # the store's own words; it has not acted
    "acted, 500",  # the store has acted and says that it failed
    "200 with an error",  # of Complete: nothing was done, which only the body says
    "reset before the body", "reset in the body",
    "answer lost", "answer cut",  # the store has acted
    "silence",  # the store has acted; the answer comes when the server has given up
    "ghost",  # reset; the store gets the request some seconds later
]
# Longer than a server waits for an answer that does not come (10 s).
SILENCE = 13
BLOCK = 256 << 10


class Listener:
    """A thread for each connection to a port of its own."""

    def __init__(self, port=0):
        self.open = True
        self.listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while self.open:
            with contextlib.suppress(OSError):
                near, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(near,), daemon=True).start()

    def close(self):
        self.open = False
        self.listener.close()


class Store(Listener):
    """An HTTP proxy of one server in front of the bucket. Counts requests by kind and remembers when each was answered."""

    def __init__(self, port, seed=1, one_in=0, ghost_seconds=(1, 8)):
        self.far, self.dice, self.one_in = port, random.Random(seed), one_in
        self.ghost_seconds, self.counts, self.lock = ghost_seconds, collections.Counter(), threading.Lock()
        self.kinds, self.ghosts_pending, self.down = collections.Counter(), 0, False
        # Keys that a request may have written after its server gave it up.
        self.late_keys = set()
        self.answers = []
        # Called with (kind, moment) where moment is "before" or "after" the store has acted.
        self.on_step = lambda kind, moment: None
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"

    def fate(self, kind):
        with self.lock:
            if not self.one_in or self.dice.random() * self.one_in >= 1:
                return None
            fate = self.dice.choice(FATES)
            if fate == "200 with an error" and kind != "complete":
                fate = "answer lost"
            self.counts[fate] += 1
            return fate

    def serve(self, near):
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader, far = near.makefile("rb", BLOCK), None
        try:
            while head := read_head(reader):
                if self.down:
                    return reset(near)
                far = self.one(near, reader, far, *head)
                if far is None:
                    return
        except (OSError, ValueError):
            pass
        finally:
            for one in (near, far):
                if one is not None:
                    with contextlib.suppress(OSError):
                        one.close()

    def one(self, near, reader, far, head, length):
        """One request; the connection to the store if both may be used again."""
        kind = kind_of(head)
        with self.lock:
            self.kinds[kind] += 1
        fate = self.fate(kind)
        if fate == "reset before the body":
            return reset(near)
        if fate == "reset in the body":
            body = reader.read(length // 2)
            far = self.connect()
            far.sendall(head + body)
            reset(far)
            return reset(near)
        body = read_all(reader, length)
        if fate in ("500", "502", "503", "504"):
            near.sendall(answer(int(fate), b"<html>no</html>"))
            return far or self.connect()
        if fate in ("SlowDown", "InternalError"):
            near.sendall(answer(503 if fate == "SlowDown" else 500, error(fate)))
            return far or self.connect()
        if fate == "200 with an error":
            near.sendall(answer(200, error("InternalError")))
            return far or self.connect()
        if fate == "ghost":
            with self.lock:
                self.ghosts_pending += 1
                self.late_keys.add(path_of(head))
                after = self.dice.uniform(*self.ghost_seconds)
            threading.Thread(target=self.deliver, args=(head + body, after), daemon=True).start()
            return reset(near)
        self.on_step(kind, "before")
        far, text = self.ask(far, head, body)
        self.on_step(kind, "after")
        if fate == "acted, 500":
            near.sendall(answer(500, error("InternalError")))
        elif fate == "answer lost":
            return reset(near)
        elif fate == "answer cut":
            near.sendall(text[:len(text) // 2])
            return reset(near)
        else:
            if fate == "silence":
                time.sleep(SILENCE)
            near.sendall(text)
            with self.lock:
                self.answers.append((time.monotonic(), kind))
        return far

    def connect(self):
        far = socket.create_connection(("127.0.0.1", self.far), 60)
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return far

    def ask(self, far, head, body):
        """The store's whole answer, over `far` or a new connection: the store ends those that rest."""
        for kept in (far, None):
            if kept is None and far is not None:
                far.close()
            kept = kept or self.connect()
            kept.sendall(head)
            if body:
                kept.sendall(body)
            if text := read_answer(kept, head.startswith(b"HEAD")):
                return kept, text
            far = kept
        raise OSError("the store gives no answer")

    def deliver(self, request, after):
        time.sleep(after)
        with contextlib.suppress(OSError):
            far = self.connect()
            far.sendall(request)
            read_answer(far, request.startswith(b"HEAD"))
            far.close()
        with self.lock:
            self.ghosts_pending -= 1


def kind_of(head):
    """part, copy (of a part), put, get, head, delete, create, complete, abort, list."""
    method, target = head.split(b" ", 2)[:2]
    _, _, query = target.partition(b"?")
    if method == b"PUT":
        if b"\nx-amz-copy-source:" in head.lower():
            return "copy"
        return "part" if b"partNumber" in query else "put"
    if method == b"POST":
        return "create" if b"uploads" in query else "complete"
    if method == b"DELETE":
        return "abort" if b"uploadId" in query else "delete"
    if method == b"GET" and (b"list-type" in query or b"uploads" in query or b"uploadId" in query):
        return "list"
    return method.decode().lower()


def path_of(head):
    return head.split(b" ", 2)[1].partition(b"?")[0].decode()


def read_head(reader):
    """The head of a request and the length of its body; None at the end."""
    lines = []
    while line := reader.readline(65536):
        lines.append(line)
        if line == b"\r\n":
            head = b"".join(lines)
            found = re.search(rb"(?im)^content-length: *(\d+)", head)
            return head, int(found[1]) if found else 0
    return None


def read_all(reader, length):
    body = reader.read(length)
    if len(body) < length:
        raise OSError("the server broke off")
    return body


def read_answer(far, no_body):
    """All of an answer as bytes; empty if the connection was at its end."""
    text = b""
    while b"\r\n\r\n" not in text:
        try:
            more = far.recv(BLOCK)
        except ConnectionResetError:
            return b""
        if not more:
            return b""
        text += more
    head, _, _ = text.partition(b"\r\n\r\n")
    start, status = len(head) + 4, int(text[9:12])
    found = re.search(rb"(?im)^content-length: *(\d+)", head)
    pieces, size = [text], len(text)
    if no_body or status in (204, 304):
        return text
    if found:
        wanted = start + int(found[1])
        while size < wanted:
            pieces.append(far.recv(min(BLOCK, wanted - size)) or fail())
            size += len(pieces[-1])
        return b"".join(pieces)
    while not text.endswith(b"0\r\n\r\n"):
        text += far.recv(BLOCK) or fail()
    return text


def fail():
    raise OSError("the store broke off")


def answer(status, body):
    return b"HTTP/1.1 %d Fault\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def error(code):
    return b'<?xml version="1.0"?><Error><Code>%s</Code><Message>no</Message></Error>' % code.encode()


def reset(connection):
    """Ends it with a RST."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


class Wire(Listener):
    """TCP to a port of this machine. `stopped`: nothing goes through, as where packets are dropped; new connections
    hang. `on_bytes("out" | "back")` is called before bytes go on."""

    def __init__(self, far, port=0):
        self.far, self.stopped = far, threading.Event()
        self.on_bytes = lambda way: None
        self.pairs, self.lock = set(), threading.Lock()
        super().__init__(port)

    def serve(self, near):
        far = None
        try:
            while self.stopped.is_set():
                time.sleep(0.02)
            far = socket.create_connection(("127.0.0.1", self.far), 10)
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.pairs.add((near, far))
            while True:
                for one in select.select([near, far], [], [], 60)[0]:
                    data = one.recv(BLOCK)
                    # What was read before the stop waits as well.
                    while self.stopped.is_set():
                        time.sleep(0.02)
                    if not data:
                        return
                    self.on_bytes("out" if one is near else "back")
                    (far if one is near else near).sendall(data)
        except (OSError, ValueError):
            pass
        finally:
            with self.lock:
                self.pairs.discard((near, far))
            for one in (near, far):
                if one is not None:
                    with contextlib.suppress(OSError):
                        one.close()

    def lead_to(self, port):
        """The address of another program from now on."""
        self.far = port
        self.cut()

    def cut(self):
        """Ends all connections."""
        with self.lock:
            pairs = list(self.pairs)
        for pair in pairs:
            for one in pair:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.stopped.clear()
        super().close()
        self.cut()
