"""A form that takes large files, in Flask: python app.py, then http://localhost:8000/. The page has no script of its own."""
import json, os, secrets, sqlite3, sys

from flask import Flask, abort, jsonify, render_template_string, request, session

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../helpers/python"))
from incoming_client import DONE, BadSignature, Incoming, new_secret

UPLOADS = os.environ.get("UPLOADS", "http://localhost:4000")  # browsers go there
PORT = int(os.environ.get("PORT", 8000))
INBOX = os.path.abspath("received")
POLICY = f"default-src 'none'; script-src {UPLOADS}; connect-src 'self' {UPLOADS}; img-src data:; form-action 'self'; base-uri 'none'; require-trusted-types-for 'script'"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Send a letter</title><link rel="icon" href="data:,">
<meta name="csrf-token" content="{{ token }}"><script src="{{ uploads }}/incoming/frontend/incoming-ui.js" defer></script>
<h1>Send a letter</h1><p>{{ error }}</p>
<form method="post"><input type="hidden" name="_token" value="{{ token }}">
<label>Subject <input name="subject" value="{{ subject }}"></label>
<p><label for="papers">Papers</label>
<incoming-upload id="papers" name="papers" ticket-url="/ticket" multiple required restore="letter" value="{{ value }}"></incoming-upload></p>
<button>Send</button></form></html>"""
SENT = """<!doctype html><title>Sent</title><link rel=icon href=data:,><p>Sent: {{ names|join(", ") }}"""
with open(os.open("secret", os.O_RDWR | os.O_CREAT, 0o600), "r+") as kept:
    SECRET = kept.read() or new_secret()  # kept: a handover may come after a restart
    kept.seek(0), kept.write(SECRET)
SERVER = Incoming(os.environ.get("BACKEND", "http://localhost:4001"), signing_secrets=[SECRET])
app = Flask(__name__)
app.config.update(SECRET_KEY=SECRET, SESSION_COOKIE_SAMESITE="Lax")

def db(sql, *values):
    with sqlite3.connect("letters.sqlite3") as connection:
        connection.execute("create table if not exists files (id text primary key, user text, name text, size integer, path text, letter text)")
        return connection.execute(sql, values).fetchall()

@app.before_request
def login():  # stands for one
    if request.path == "/handover":
        return
    for key in ("user", "token"):
        session.setdefault(key, secrets.token_hex())
    if request.method == "POST" and not secrets.compare_digest(request.headers.get("X-CSRF-Token") or request.form.get("_token", ""), session["token"]):
        abort(403)

@app.post("/ticket")
def ticket():
    id = SERVER.new_upload(f"http://localhost:{PORT}/handover", length=request.json["size"]).id
    db("insert into files values (?, ?, ?, ?, null, null)", id, session["user"], request.json["name"], request.json["size"])
    return jsonify(id=id)

@app.post("/handover")
def handover():
    try:
        call = SERVER.handover(request.get_data(), request.headers)
    except BadSignature:  # not from Incoming!!: a forged call could name any file
        abort(401)
    if not call.cancelled:  # the same call may come twice
        db("update files set path = ? where id = ?", str(call.move_to(INBOX)), call.id)
    return DONE

@app.route("/", methods=["GET", "POST"])
def letter():
    subject, error = request.form.get("subject", ""), ""
    # An id in a form is a claim: it counts if it was issued to this user, has arrived and is in no letter yet.
    files = [(id, name, size) for wanted in request.form.getlist("papers") for id, name, size in
             db("select id, name, size from files where id = ? and user = ? and path is not null and letter is null", wanted, session["user"])]
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    if request.method == "POST" and subject and files:
        for id, _, _ in files:
            db("update files set letter = ? where id = ?", subject, id)
        return render_template_string(SENT, names=[name for _, name, _ in files]), headers
    if request.method == "POST":
        error = "Say what it is about." if files else "Choose a file."
    value = json.dumps([{"id": id, "name": name, "size": size} for id, name, size in files])
    return render_template_string(PAGE, uploads=UPLOADS, token=session["token"], error=error, subject=subject, value=value), headers

if __name__ == "__main__":
    app.run("127.0.0.1", PORT, threaded=True)
