"""Uploads as clients of the other dialects send them: tus 1.0 and the IETF's resumable uploads. They append where `HEAD`
says, and ask it again after each break.

What `HEAD` says is judged each time: the offset is not behind what was acknowledged, and what lies before it is on the
disk as it was sent. An upload that speaks a dialect is given its `Dialect` as `speaker`; answers come back as the native
ones are: 200 with `received` and `state`, or the status and the problem.
"""

import base64
import contextlib
import hashlib
import http.client
import json

NAMES = ("tus", "tus-deferred", "resumable", "resumable-deferred")
# Versions of the draft: the text without a number, and such as differ in statuses and fields.
VERSIONS = (None, 3, 6, 8)
# Conflicts in a row: nobody else sends the same file.
MOST_CONFLICTS = 5


def of(name, random):
    """The dialect of this name; `None` is the native one."""
    if name is None:
        return None
    deferred = name.endswith("-deferred")
    return Tus(deferred) if name.startswith("tus") else Resumable(deferred, random.choice(VERSIONS))


class Tus:
    """tus 1.0; `deferred`: the length comes with the last chunk."""

    path, digests = "tus", ("sha1", "sha256", "sha512")

    def __init__(self, deferred):
        self.deferred = deferred

    def common(self):
        return {"Tus-Resumable": "1.0.0"}

    def creation(self, size):
        length = {"Upload-Defer-Length": "1"} if self.deferred else {"Upload-Length": str(size)}
        return {**self.common(), **length, "Upload-Metadata": f"filename {base64.b64encode(b'a.bin').decode()}"}

    def append(self, start, end, size):
        length = {"Upload-Length": str(size)} if self.deferred and end == size else {}
        return {**self.common(), **length, "Upload-Offset": str(start), "Content-Type": "application/offset+octet-stream"}

    def digest(self, name, body):
        return {"Upload-Checksum": f"{name} {base64.b64encode(hashlib.new(name, body).digest()).decode()}"}


class Resumable:
    """A version of the IETF's draft; `deferred`: only the last chunk says where the file ends."""

    path, digests = "resumable", ("sha-256",)

    def __init__(self, deferred, version):
        self.deferred, self.version = deferred, version

    def common(self):
        return {"Upload-Draft-Interop-Version": str(self.version)} if self.version else {}

    def complete(self, complete):
        if self.version == 3:
            return {"Upload-Incomplete": "?0" if complete else "?1"}
        return {"Upload-Complete": "?1" if complete else "?0"}

    def creation(self, size):
        length = {} if self.deferred else {"Upload-Length": str(size)}
        return {**self.common(), **length, **self.complete(False)}

    def append(self, start, end, size):
        return {**self.common(), **self.complete(end == size), "Upload-Offset": str(start),
                "Content-Type": "application/partial-upload"}

    def digest(self, name, body):
        return {"Content-Digest": f"{name}=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"}


def url_of(upload):
    return f"/incoming/frontend/{upload.speaker.path}/{upload.id}"


def ask(upload, connection, method, headers, body=None):
    """One request: status, headers, what is told."""
    connection.request(method, url_of(upload), body, headers)
    answer = connection.getresponse()
    text = answer.read()
    return answer.status, answer.headers, json.loads(text) if text else {}


def head(upload, connection):
    """Where to go on: status, offset and whether the length is known. Judged before it is used."""
    code, headers, _ = ask(upload, connection, "HEAD", upload.speaker.common())
    if code not in (200, 204):
        return code, None, False
    offset, known = int(headers["Upload-Offset"]), "Upload-Length" in headers
    with upload.lock:
        promised = prefix(upload.promised)
    if offset < promised:
        upload.untrue(f"HEAD says {offset}, acknowledged are {promised}")
    if (held := on_disk(upload)) is not None and held[:offset] != upload.file[:offset]:
        upload.untrue(f"HEAD says {offset}, and other bytes are held before it")
    upload.judged_offset()
    heard(upload, offset, known)
    return code, offset, known


def on_disk(upload):
    """The bytes that lie in the storage directory; None where the file may have been handed over."""
    paths = [upload.server.data / f"{upload.id}.part", upload.server.data / "files" / upload.id]
    for path in (paths[0], paths[1], paths[0]):
        with contextlib.suppress(FileNotFoundError):
            return path.read_bytes()
    return None


def heard(upload, offset, known):
    """What an answer promises, as the native one would say it."""
    complete = known and offset == upload.size and not upload.partial
    with upload.lock:
        upload.promised[:offset] = b"\1" * offset
        upload.complete |= complete
    return {"received": [[0, offset]] if offset else [], "state": "handing_over" if complete else "uploading"}


def prefix(flags):
    end = flags.find(0)
    return len(flags) if end < 0 else end


def create(upload, connection):
    code, _, told = ask(upload, connection, "POST", upload.speaker.creation(upload.size))
    return code, told


def append(upload, connection, start, end, headers=()):
    """One chunk: as `put` of a native upload."""
    speaker, body = upload.speaker, upload.body(start, end)
    fields = speaker.append(start, end, upload.size)
    if upload.random.random() < 0.5 and isinstance(body, bytes):
        fields |= speaker.digest(upload.random.choice(speaker.digests), body)
    code, told_in, told = ask(upload, connection, "PATCH", {**fields, **dict(headers)}, body)
    if code not in (200, 201, 204):
        return code, told
    known = end == upload.size or not speaker.deferred
    return 200, heard(upload, int(told_in["Upload-Offset"]), known)


def spoiled(upload, connection, start, end):
    """A chunk whose checksum is of other bytes: it must not count."""
    fields = upload.speaker.append(start, end, upload.size)
    fields |= upload.speaker.digest(upload.speaker.digests[-1], upload.file[start:end] + b"x")
    fields.pop("Upload-Length", None)
    code, _, told = ask(upload, connection, "PATCH", fields, upload.file[start:end])
    if code < 400 or code < 500 and told.get("code") != "digest-mismatch":
        upload.untrue(f"a chunk with a wrong checksum is answered {code} {told}")
    return code, told


def broken(upload, start, end):
    """Half of a chunk, and the end of the connection. It was taken before: what comes later is newer."""
    connection = upload.server.connection()
    try:
        connection.putrequest("PATCH", url_of(upload))
        for name, value in upload.speaker.append(start, end, upload.size).items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(end - start))
        connection.putheader("Expect", "100-continue")
        connection.endheaders()
        if b" 100 " in connection.sock.recv(4096).split(b"\r\n")[0]:
            connection.send(upload.file[start:(start + end) // 2])
    finally:
        connection.close()


def send(upload, on_answer=lambda: None):
    """Sends the rest of the file: as `rig.Upload.send`."""
    connection, conflicts = upload.server.connection(), 0
    try:
        code, offset, known = head(upload, connection)
        if code in (200, 204) and not known and not upload.speaker.deferred:
            code, told = create(upload, connection)
            on_answer()
            if code != 201:
                return code, told
        while True:
            if code not in (200, 201, 204):
                return code, {}
            if offset == upload.size and (known or not upload.speaker.deferred):
                return True
            end = min(offset + upload.chunk, upload.size)
            chance = upload.random.random()
            if upload.breaks and chance < 0.35 and end > offset:
                upload.breaks -= 1
                if chance < 0.2:
                    broken(upload, offset, end)
                elif (code := spoiled(upload, connection, offset, end)[0]) >= 500:
                    return code, {}
                before = offset
                code, offset, known = head(upload, connection)
                if chance >= 0.2 and offset not in (before, None):
                    upload.untrue(f"HEAD says {offset} after a wrong checksum at {before}")
                continue
            code, told = upload.put(connection, offset, end)
            on_answer()
            if code == 409 and conflicts < MOST_CONFLICTS:
                conflicts += 1
                code, offset, known = head(upload, connection)
            elif code != 200:
                return code, told
            else:
                offset, known = prefix(upload.promised), end == upload.size or not upload.speaker.deferred
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
