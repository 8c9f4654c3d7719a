"""The web app of the tests: gives tickets in the three ways there are, takes files, and says which bytes it got.

usage: webapp.py PORT BACKEND_URL
"""

import hashlib
import http.server
import json
import sys
import threading
import urllib.parse
import urllib.request

PORT, BACKEND = int(sys.argv[1]), sys.argv[2]
TAKEN = {}  # upload id -> the handover's fields, with the file's digest
CHANGED = threading.Condition()


def new_upload(**parameters):
    """A ticket, as JSON."""
    parameters["signalFinishURL"] = f"http://127.0.0.1:{PORT}/finished"
    request = urllib.request.Request(
        f"{BACKEND}/incoming/backend/new_upload",
        data=urllib.parse.urlencode(parameters).encode(),
        headers={"Accept": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body="", headers=()):
        body = body.encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/uploads":
            # The web app's own route is the client's endpoint.
            told = {"length": self.headers.get("Upload-Length"), "uploadMetadata": self.headers.get("Upload-Metadata")}
            ticket = new_upload(**{name: value for name, value in told.items() if value})
            self.answer(201, headers=[("Location", ticket["tus_url"]), ("Tus-Resumable", "1.0.0")])
        elif self.path == "/create":
            # The server asks here, for a client whose endpoint is the server.
            self.answer(200, new_upload()["id"])
        elif self.path == "/ticket":
            self.answer(200, json.dumps(new_upload(**json.loads(body or "{}"))))
        elif self.path == "/finished":
            fields = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
            if fields["cancelled"] == "no":
                with open(fields["filename"], "rb") as file:
                    fields["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
            with CHANGED:
                TAKEN[fields["id"]] = fields
                CHANGED.notify_all()
            self.answer(200, "done")
        else:
            self.answer(404)

    def do_GET(self):
        """`/taken/ID`: the fields of that upload's handover, once it was made."""
        id = self.path.rpartition("/")[2]
        with CHANGED:
            CHANGED.wait_for(lambda: id in TAKEN, timeout=20)
            taken = TAKEN.get(id)
        self.answer(200 if taken else 404, json.dumps(taken))

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), App).serve_forever()
