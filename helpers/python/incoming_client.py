"""Incoming!! for web apps in Python: tickets, handovers with a verified signature, files moved in safely.

    server = Incoming("http://localhost:4001", signing_secrets=[os.environ["UPLOAD_SECRET"]])
    ticket = server.new_upload("https://app.example.org/handover", metadata={"user": 7})
    ...
    handover = server.handover(request.body, request.headers)   # raises BadSignature
    path = handover.move_to("/srv/files")                       # repeat-proof
    return DONE

One file without dependencies, for Python 3.9 and newer: copy it, or put its folder on the path. Every call blocks; in asyncio use
`await asyncio.to_thread(server.new_upload, ...)`.
"""

from __future__ import annotations

import base64
import hmac
import http.client
import json
import os
import re
import secrets
import shutil
import socket
import ssl
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Mapping, Optional, Union

__all__ = ["DONE", "WAIT", "BadSignature", "Handover", "Incoming", "Refused", "StoredObject", "Ticket", "Unavailable", "new_secret", "safe_path"]

# Answers to a handover: the file is taken; the app works on it and calls `finish`.
DONE, WAIT = "done", "wait"

TOLERANCE_S = 300
# Two secrets are given while one replaces the other.
MAX_SIGNATURES = 16
Metadata = Union[str, Mapping[str, Any], list]


class BadSignature(Exception):
    """The call is not from the upload server, or too old. Answer 401."""


class Refused(Exception):
    """The upload server said no, and will say so again."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status, self.code, self.detail = status, code, detail


class Unavailable(Exception):
    """No answer, or 429, 503, 507 or another 5xx: try again after `retry_after` seconds, if it is known."""

    def __init__(self, why: str, retry_after: Optional[int] = None) -> None:
        super().__init__(why)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Ticket:
    """An upload that may begin. The page needs `id`; `url` is a path on the upload server."""

    id: str
    url: str
    expires: str


@dataclass(frozen=True)
class StoredObject:
    """Where a server with `store = "s3"` keeps a file. `version` is None in a bucket without versions, `url` without `s3_presign`."""

    bucket: str
    key: str
    etag: str
    version: Optional[str]
    url: Optional[str] = None


@dataclass(frozen=True)
class Handover:
    """What the server says of an upload that is complete, or cancelled. A complete one has a `path`, or an `object` in a bucket."""

    id: str
    cancelled: bool
    reason: str
    path: Optional[Path]
    object: Optional[StoredObject]
    name: str
    length: Optional[int]
    metadata: str
    digest: Optional[str]
    attempt: int

    def json(self) -> Any:
        """`metadata`, where `new_upload` was given an object."""
        return json.loads(self.metadata)

    def move_to(self, directory: Union[str, os.PathLike]) -> Path:
        """Moves the file to `directory/ID/NAME`, durably, and says where it is. Called again it finds the file there.

        Raises FileNotFoundError if the file is neither here nor there, ValueError for a cancelled upload and for an object.
        """
        if self.path is None:
            raise ValueError(f"upload {self.id} is cancelled, or an object in a bucket: there is no file")
        folder = Path(directory) / self.id
        target = folder / (safe_path(self.name).rpartition("/")[2] or "unnamed")
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _move(self.path, target)
        # Also where it was moved before: that call may have ended in between.
        for changed in (target, folder, folder.parent):
            _sync(changed)
        return target


class Incoming:
    """The backend API of one upload server.

    `url` is `http://HOST:PORT`, `https://...`, or `unix:/run/incoming/backend.sock`. `signing_secrets`: the first one signs the
    calls about new uploads, all of them are accepted.
    """

    def __init__(self, url: str, *, token: Optional[str] = None, signing_secrets: Iterable[str] = (), timeout: float = 10) -> None:
        if not url.startswith(("http://", "https://", "unix:")):
            raise ValueError(f"url {url!r}: expected http://HOST:PORT, https://HOST or unix:/PATH")
        self._url, self._token, self._timeout = url, token, timeout
        self._secrets = [signing_secrets] if isinstance(signing_secrets, str) else list(signing_secrets)
        self._keys = [_key(one) for one in self._secrets]

    def new_upload(
        self, signal_finish_url: str, *, length: Optional[int] = None, max_bytes: Optional[int] = None, digest: bool = False,
        metadata: Metadata = "", idle_timeout: Optional[str] = None, remove_file: Optional[bool] = None, name: Optional[str] = None,
    ) -> Ticket:
        """A ticket for one file. `digest`: the handover says the file's SHA-256. `remove_file`: whether the server removes the
        file after DONE; where it is not given, files go and objects in a bucket stay. Raises Refused, Unavailable."""
        parameters = {
            "signalFinishURL": signal_finish_url, "length": length, "maxBytes": max_bytes, "digest": "sha-256" if digest else None,
            "metadata": metadata if isinstance(metadata, str) else json.dumps(metadata), "idleTimeout": idle_timeout, "name": name,
            "removeFileWhenFinished": remove_file, "signingSecret": self._secrets[0] if self._secrets else None,
        }
        answer = self._post("new_upload", parameters)
        return Ticket(answer["id"], answer["url"], answer["expires"])

    def handover(self, body: bytes, headers: Mapping[str, str], *, now: Optional[float] = None) -> Handover:
        """Reads a call of the server: the body as it came, and its headers. Raises BadSignature."""
        if not self._keys:
            raise BadSignature("no signing secret is set: calls cannot be told from forged ones")
        given = {str(key).lower().replace("_", "-"): value for key, value in headers.items()}
        # Headers as WSGI has them are called HTTP_WEBHOOK_ID.
        id, at, signatures = (given.get(f"webhook-{key}") or given.get(f"http-webhook-{key}") for key in ("id", "timestamp", "signature"))
        if not id or not signatures or not re.fullmatch(r"\d{1,12}", at or ""):
            raise BadSignature("the call has no signature")
        if abs((time.time() if now is None else now) - int(at)) > TOLERANCE_S:
            raise BadSignature("the call is more than 5 minutes old, or a clock is wrong")
        signed = f"{id}.{at}.".encode(errors="replace") + body
        good = ["v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in self._keys]
        # Each is compared, so that the time says nothing.
        offered = [one.encode(errors="replace") for one in signatures.split(" ") if one.startswith("v1,")][:MAX_SIGNATURES]
        matches = [hmac.compare_digest(one.encode(), sent) for one in good for sent in offered]
        if not any(matches):
            raise BadSignature("the signature is wrong")
        form = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))
        if form["id"] != id:
            raise BadSignature("the signature is of another upload")
        stored = StoredObject(form["bucket"], form["key"], form["etag"], form["versionId"] or None, form.get("url")) if "bucket" in form else None
        path = Path(form["filename"]) if form["filename"] and not stored else None
        return Handover(
            id=id, cancelled=form["cancelled"] == "yes", reason=form["cancelReason"], path=path, object=stored, name=form["filenameFromBrowser"], length=int(form["length"]) if form["length"] else None, metadata=form["metadata"],
            digest=form.get("digest"), attempt=int(form["attempt"]),
        )

    def finish(self, id: str) -> None:
        """The app that answered WAIT has the file. Raises Refused, Unavailable."""
        self._post("finish_upload", {"id": id})

    def cancel(self, id: str) -> None:
        """Ends an upload that is not complete; no handover follows. Raises Refused, Unavailable."""
        self._post("cancel_upload", {"id": id})

    def retry(self, id: str) -> None:
        """Has a failed handover made again, or one that waits made now. Raises Refused, Unavailable."""
        self._post("retry_handover", {"id": id})

    def show(self, id: str) -> dict[str, Any]:
        """What the server says of one upload. Raises Refused (status 404 if there is none), Unavailable."""
        return self._call("GET", f"uploads/{urllib.parse.quote(id, safe='')}")

    def uploads(self, *, state: Optional[str] = None) -> Iterable[dict[str, Any]]:
        """All uploads, or those in one state, page by page. Raises Refused, Unavailable."""
        after = None
        while True:
            query = {key: value for key, value in {"state": state, "after": after}.items() if value}
            page = self._call("GET", f"uploads?{urllib.parse.urlencode(query)}")
            yield from page["uploads"]
            after = page["next"]
            if after is None:
                return

    def _post(self, call: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        words = {True: "true", False: "false"}
        form = {key: words.get(value, value) if isinstance(value, bool) else value for key, value in parameters.items() if value is not None}
        return self._call("POST", call, urllib.parse.urlencode(form))

    def _call(self, method: str, path: str, body: Optional[str] = None) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        connection = self._connection()
        try:
            connection.request(method, f"/incoming/backend/{path}", body, headers)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"the upload server does not answer: {error}") from error
        finally:
            connection.close()
        try:
            said = json.loads(text)
        except ValueError:
            said = {}
        is_object = isinstance(said, dict)
        if answer.status == 200 and is_object:
            return said
        problem = said if is_object else {}
        code, detail = problem.get("code", ""), problem.get("detail", text[:200])
        if answer.status in (408, 429) or answer.status >= 500:
            after = answer.getheader("Retry-After") or ""
            raise Unavailable(f"{answer.status} {detail}", int(after) if after.isdigit() else None)
        raise Refused(answer.status, code, detail)

    def _connection(self) -> http.client.HTTPConnection:
        if self._url.startswith("unix:"):
            return _UnixConnection(self._url[len("unix:"):], self._timeout)
        url = urllib.parse.urlsplit(self._url)
        if url.scheme == "https":
            return http.client.HTTPSConnection(url.hostname or "", url.port, timeout=self._timeout, context=ssl.create_default_context())
        return http.client.HTTPConnection(url.hostname or "", url.port, timeout=self._timeout)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def new_secret() -> str:
    """A signing secret, to be kept where the app's other secrets are."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def safe_path(text: str) -> str:
    """A path of a browser, such as of a folder that was dropped, without what could lead elsewhere: `a/../b\\\\c.txt` is `a/b/c.txt`."""
    parts = []
    for part in re.split(r"[/\\]", text):
        part = _HIDDEN.sub("", part).strip()
        part = part.encode()[:255].decode(errors="ignore")
        if part not in ("", ".", ".."):
            parts.append(part)
    return "/".join(parts)


# Control characters, and those that turn the direction of text or end a line.
_HIDDEN = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")


def _key(secret: str) -> bytes:
    if not secret.startswith("whsec_"):
        raise ValueError("a signing secret begins with whsec_: make one with new_secret()")
    key = base64.b64decode(secret[len("whsec_"):], validate=True)
    if not 24 <= len(key) <= 64:
        raise ValueError(f"the signing secret has {len(key)} bytes, expected 24 to 64")
    return key


def _move(path: Path, target: Path) -> None:
    try:
        return os.rename(path, target)
    except FileNotFoundError:
        raise
    except OSError:
        # Another file system, or no right to move. The server removes its file after DONE.
        part = target.with_name(f".part-{secrets.token_hex(8)}")
    try:
        shutil.copyfile(path, part)
        _sync(part)
        os.rename(part, target)
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
