import hmac, http.server, os, secrets, urllib.parse, urllib.request

UPLOADS = "http://localhost:4000/incoming/frontend"  # browsers go there
BACKEND = "http://localhost:4001/incoming/backend"  # only this program does
INBOX = os.path.abspath("received")
PAGE = f"""<!doctype html><meta charset="utf-8"><title>Upload</title>
<script src="{UPLOADS}/incoming.js"></script>
<input type="file" id="file"> <progress id="bar" value="0"></progress> <output id="state"></output>
<script>document.getElementById("file").onchange = async (event) => {{
  const file = event.target.files[0];
  if (!file) return;
  bar.value = 0; state.textContent = "";
  const answer = await fetch("/ticket", {{ method: "POST" }}).catch(() => ({{ ok: false }}));
  if (!answer.ok) return (state.textContent = "No uploads just now, try again later.");
  const uploader = incoming.Uploader(await answer.text(), file);
  uploader.onprogress = (u) => {{ bar.value = u.frac_complete; state.textContent = u.state_msg; }};
  uploader.start();
}};</script>"""
with open(os.open("secret", os.O_RDWR | os.O_CREAT, 0o600), "r+") as kept:
    SECRET = kept.read() or secrets.token_hex()  # kept: a handover may come after a restart
    kept.seek(0), kept.write(SECRET)

def ticket(form):
    asked = {"signalFinishURL": "http://localhost:8000/handover", "backendSecret": SECRET}
    asked = urllib.parse.urlencode(asked).encode()
    return urllib.request.urlopen(BACKEND + "/new_upload", asked).read()

def handover(form):
    if not hmac.compare_digest(form.get("backendSecret", "").encode(), SECRET.encode()):
        return None  # not Incoming!!: anybody could have us move any file
    if form["cancelled"] == "no":
        home = os.path.join(INBOX, form["id"])
        mine = os.path.join(home, form["filenameFromBrowser"])  # one harmless name
        os.makedirs(home, exist_ok=True)
        if not os.path.exists(mine):  # the same call may come twice
            os.replace(form["filename"], mine)  # both lie on one disk
        os.sync()  # "done" lets go of the only other copy
    return b"done"

class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(PAGE.encode() if self.path == "/" else None, "text/html")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        call = {"/ticket": ticket, "/handover": handover}.get(self.path)
        form = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
        self.answer(call and call(form), "text/plain")

    def answer(self, body, kind):
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body or b"no")

http.server.ThreadingHTTPServer(("localhost", 8000), App).serve_forever()
