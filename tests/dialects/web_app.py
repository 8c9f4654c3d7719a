"""A web app for clients of other protocols, and the server that it uses: what a test of such a client runs against.

The app answers `create_url` with the id of a ticket, is a tus client's endpoint by itself (`/uploads`), gives tickets
(`/ticket`) and takes every file. It knows what it was called about, and can make the server die. Standard library only.
"""

import contextlib
import http.client
import http.server
import json
import pathlib
import sys
import threading
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from rig import Backend, Server, free_port, until  # noqa: E402

# What the hook is told of the last creation.
CREATION = ["dialect", "length", "name", "type", "uploadMetadata", "uploadConcat", "origin", "client"]


class WebApp:
    """The app and its server. `flags` are the server's, besides those that every run has."""

    def __init__(self, directory, *flags):
        self.backend = Backend()
        self.port, self.creations, self.headers, self.last = free_port(), [], [], None
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = Server(directory, *flags, "--create-url", f"{self.url}/create")
        self.front = f"http://127.0.0.1:{self.server.port}/incoming/frontend"
        self.server.flags += ("--frontend-url", self.front)
        self.tus, self.resumable = f"{self.front}/tus", f"{self.front}/resumable"

    def __enter__(self):
        app = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_OPTIONS(self):
                self.say(204)

            def do_GET(self):
                self.do_POST()

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                path, _, query = self.path.partition("?")
                form = dict(urllib.parse.parse_qsl(body or query, True))
                try:
                    self.say(*app.answer(path, form, self.headers))
                except (TimeoutError, RuntimeError) as error:
                    self.say(504, str(error))

            def say(self, status, said="", headers=()):
                text = said if isinstance(said, str) else json.dumps(said)
                self.send_response(status)
                for name, value in {"Content-Type": "text/plain", "Access-Control-Allow-Origin": "*",
                                    "Access-Control-Allow-Headers": "tus-resumable, upload-length, upload-metadata",
                                    "Access-Control-Expose-Headers": "Location", **dict(headers)}.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode() if status != 204 else b"")

            def log_message(self, *_):
                pass

        class App(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # clients that break off

        self.listener = App(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.kill()
        self.listener.shutdown()
        self.backend.close()

    def ticket(self, **parameters):
        """A new upload: what `new_upload` answers as JSON."""
        asked = urllib.parse.urlencode({"signalFinishURL": self.backend.url, **parameters})
        status, _, text = self.server.back("POST", "/incoming/backend/new_upload", body=asked, headers={
            "Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"})
        if status != 200:
            raise RuntimeError(f"no ticket: {status} {text}")
        made = json.loads(text)
        self.last = made["id"]
        return made

    def answer(self, path, form, headers):
        """Status, text or JSON, and headers of the answer to a request."""
        what, _, about = path[1:].partition("/")
        match what:
            case "create":
                self.creations.append(form)
                self.headers.append({name.lower(): value for name, value in headers.items()})
                if form["name"].startswith("refused"):
                    return 403, "the web app refuses this name"
                return 200, self.ticket()["id"]
            case "uploads":
                ticket = self.ticket(length=headers.get("Upload-Length", ""),
                                     uploadMetadata=headers.get("Upload-Metadata", ""),
                                     uploadConcat=headers.get("Upload-Concat", ""))
                return 201, "", {"Location": ticket["tus_url"], "Tus-Resumable": "1.0.0"}
            case "ticket":
                return 200, self.ticket(**form)
            case "creations":
                return 200, [{name: form[name] for name in CREATION} for form in self.creations]
            case "taken" | "cancelled":
                state = "yes" if what == "cancelled" else "no"
                return 200, until(f"{about} is {what}", lambda: self.call(about, state), 30)
            case "last":
                return 200, self.last
            case "cancel_last":
                return self.server.back("POST", f"/incoming/backend/cancel_upload?id={self.last}")[0], "cancelled"
            case "outage":
                self.server.kill()
                self.server.start()
                return 200, "back again"
            case "known":
                return 200, {"bytes": self.known()}
        return 404, "nothing here"

    def call(self, id, cancelled):
        calls = [call for call in self.backend.calls_for(id) if call["cancelled"] == cancelled]
        return calls[0] if calls else None

    def known(self):
        """Bytes that the server has acknowledged since its start."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.server.metric("incoming_received_bytes_total")
        return 0
