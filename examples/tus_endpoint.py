"""A web app whose route /uploads is the endpoint of tus clients. Standard library only.

    incoming serve --frontend-url http://localhost:4000/incoming/frontend
    BACKEND_SECRET=... python3 tus_endpoint.py

With the packages BACKEND is unix:/run/incoming/backend.sock.
"""
import hmac, http.client, http.server, json, os, socket, sys, urllib.error, urllib.parse, urllib.request

PORT = int(os.environ.get("PORT", 8000))
BACKEND = os.environ.get("BACKEND", "http://localhost:4001/incoming/backend")  # only this program calls it
TOKEN = os.environ.get("BACKEND_TOKEN")  # if the server has a backend_token
SECRET = os.environ.get("BACKEND_SECRET") or sys.exit("BACKEND_SECRET is not set")
INBOX = os.path.abspath("received")

class UnixConnection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(BACKEND.removeprefix("unix:"))

class UnixHandler(urllib.request.HTTPHandler):
    def http_open(self, request):
        return self.do_open(UnixConnection, request)

if BACKEND.startswith("unix:"):
    URL = "http://localhost/incoming/backend/new_upload"
    BACKEND_CALLS = urllib.request.build_opener(urllib.request.ProxyHandler({}), UnixHandler)
else:
    URL = BACKEND + "/new_upload"
    BACKEND_CALLS = urllib.request.build_opener()

def user(headers):
    return "somebody"  # check the session here; None refuses

def create(headers):
    """Status, headers and text of the answer to the creation of an upload."""
    owner = user(headers)
    if owner is None:
        return 401, {}
    asked = urllib.parse.urlencode({
        "signalFinishURL": f"http://localhost:{PORT}/handover", "backendSecret": SECRET, "metadata": owner,
        "length": headers.get("Upload-Length", ""), "uploadMetadata": headers.get("Upload-Metadata", ""),
        "uploadConcat": headers.get("Upload-Concat", "")})
    request = urllib.request.Request(URL, asked.encode(), {"Accept": "application/json"})
    if TOKEN:
        request.add_header("Authorization", f"Bearer {TOKEN}")
    try:
        with BACKEND_CALLS.open(request, timeout=600) as answer:  # a file of parts is copied first
            return 201, {"Location": json.load(answer)["tus_url"]}
    except urllib.error.HTTPError as error:
        why = error.read()
        print("new_upload:", error.code, why.decode(), file=sys.stderr)
        if error.code in (400, 413):
            return error.code, {}, why  # the client should not try again
    except OSError as error:
        print("new_upload:", error, file=sys.stderr)
    return 503, {"Retry-After": "5"}  # clients try again on 5xx

def handover(form):
    if not hmac.compare_digest(form.get("backendSecret", "").encode(), SECRET.encode()):
        return None  # not Incoming!!: anybody could have us move any file
    if form["cancelled"] == "no":
        home = os.path.join(INBOX, form["metadata"], form["id"])
        mine = os.path.join(home, form["filenameFromBrowser"])  # one harmless name
        os.makedirs(home, exist_ok=True)
        if not os.path.exists(mine):  # the same call may come twice
            os.replace(form["filename"], mine)  # both lie on one disk
        os.sync()  # "done" lets go of the only other copy
    return b"done"

class App(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        if self.path in ("/uploads", "/uploads/"):
            return self.answer(*create(self.headers))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        word = self.path == "/handover" and handover(dict(urllib.parse.parse_qsl(body, keep_blank_values=True)))
        self.answer(200 if word else 404, {}, word or b"")

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in {"Tus-Resumable": "1.0.0", **headers, "Content-Length": len(body)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("localhost", PORT), App).serve_forever()
