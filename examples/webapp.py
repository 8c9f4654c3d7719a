"""A form that takes large files, with the standard library alone: python3 webapp.py, then http://localhost:8000/. The page has no script of its own."""
import hmac, html, http.server, json, os, re, secrets, sqlite3, sys, urllib.parse

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../helpers/python"))
from incoming_client import DONE, BadSignature, Incoming, Unavailable, new_secret

UPLOADS = os.environ.get("UPLOADS", "http://localhost:4000")  # browsers go there
PORT = int(os.environ.get("PORT", 8000))
INBOX = os.path.abspath("received")
POLICY = f"default-src 'none'; script-src {UPLOADS}; connect-src 'self' {UPLOADS}; img-src data:; form-action 'self'; base-uri 'none'; require-trusted-types-for 'script'"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Send a letter</title><link rel="icon" href="data:,">
<meta name="csrf-token" content="{token}"><script src="{uploads}/incoming/frontend/incoming-ui.js" defer></script>
<h1>Send a letter</h1><p>{error}</p>
<form method="post"><input type="hidden" name="_token" value="{token}">
<label>Subject <input name="subject" value="{subject}"></label>
<p><label for="papers">Papers</label>
<incoming-upload id="papers" name="papers" ticket-url="/ticket" multiple required restore="letter" value="{value}"></incoming-upload></p>
<button>Send</button></form></html>"""
SENT = "<!doctype html><title>Sent</title><link rel=icon href=data:,><p>Sent: {names}"
with open(os.open("secret", os.O_RDWR | os.O_CREAT, 0o600), "r+") as kept:
    SECRET = kept.read() or new_secret()  # kept: a handover may come after a restart
    kept.seek(0), kept.write(SECRET)
SERVER = Incoming(os.environ.get("BACKEND", "http://localhost:4001"), signing_secrets=[SECRET])

def db(sql, *values):
    with sqlite3.connect("letters.sqlite3") as connection:
        connection.execute("create table if not exists files (id text primary key, user text, name text, size integer, path text, letter text)")
        return connection.execute(sql, values).fetchall()

class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        return self.letter({}) if self.path == "/" else self.answer(404, "no")

    def do_POST(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/handover":
            return self.handover()
        form = urllib.parse.parse_qs(self.body.decode()) if self.path == "/" else {}
        given = self.headers.get("X-CSRF-Token") or form.get("_token", [""])[0]
        if not hmac.compare_digest(given.encode(), self.token().encode()):
            return self.answer(403, "no")
        return {"/": self.letter, "/ticket": self.ticket}.get(self.path, lambda form: self.answer(404, "no"))(form)

    def ticket(self, form):
        asked = json.loads(self.body)
        try:
            id = SERVER.new_upload(f"http://localhost:{PORT}/handover", length=asked["size"]).id
        except Unavailable:  # the element asks again later
            return self.answer(503, "no")
        db("insert into files values (?, ?, ?, ?, null, null)", id, self.user(), asked["name"], asked["size"])
        self.answer(200, json.dumps({"id": id}), "application/json")

    def handover(self):
        try:
            call = SERVER.handover(self.body, self.headers)
        except BadSignature:  # not from Incoming!!: a forged call could name any file
            return self.answer(401, "no")
        if not call.cancelled:  # the same call may come twice
            db("update files set path = ? where id = ?", str(call.move_to(INBOX)), call.id)
        self.answer(200, DONE)

    def letter(self, form):
        subject, error = form.get("subject", [""])[0], ""
        # An id in a form is a claim: it counts if it was issued to this user, has arrived and is in no letter yet.
        files = [row for id in form.get("papers", []) for row in
                 db("select id, name, size from files where id = ? and user = ? and path is not null and letter is null", id, self.user())]
        if form and subject and files:
            for id, _, _ in files:
                db("update files set letter = ? where id = ?", subject, id)
            return self.answer(200, SENT.format(names=html.escape(", ".join(name for _, name, _ in files))), "text/html")
        if form:
            error = "Say what it is about." if files else "Choose a file."
        value = html.escape(json.dumps([{"id": id, "name": name, "size": size} for id, name, size in files]))
        page = PAGE.format(uploads=UPLOADS, token=self.token(), error=error, subject=html.escape(subject), value=value)
        self.answer(200, page, "text/html")

    def user(self):  # stands for a login
        known = re.search("(?:^|; )user=([0-9a-f]{64})", self.headers.get("Cookie", ""))
        self.known = known[1] if known else getattr(self, "known", None) or secrets.token_hex()
        return self.known

    def token(self):
        return hmac.new(SECRET.encode(), self.user().encode(), "sha256").hexdigest()

    def answer(self, status, text, kind="text/plain"):
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cache-Control", "no-store")
        if kind == "text/html":
            self.send_header("Set-Cookie", f"user={self.user()}; HttpOnly; SameSite=Lax")
        self.end_headers()
        self.wfile.write(text.encode())

if __name__ == "__main__":
    print(f"http://localhost:{PORT}/", flush=True)
    http.server.ThreadingHTTPServer(("127.0.0.1", PORT), App).serve_forever()
