"""A form that takes large files into a bucket, in Flask: python app.py, then http://localhost:8000/. Bytes go from the upload
server to the bucket; this program notes where they are, and sends visitors there. The page has no script of its own."""
import json, os, secrets, sqlite3, sys, urllib.parse

import boto3
from botocore.config import Config
from flask import Flask, abort, jsonify, redirect, render_template_string, request, session

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../helpers/python"))
from incoming_client import DONE, BadSignature, Incoming, new_secret

UPLOADS = os.environ.get("UPLOADS", "http://localhost:4000")  # browsers go there
PORT = int(os.environ.get("PORT", 8000))
OWN_URL = os.environ.get("OWN_URL", f"http://localhost:{PORT}")  # the upload server calls there
# Keys and region: as boto3 finds them (AWS_ACCESS_KEY_ID, ...). This program reads objects, and removes those that it no longer needs.
STORE = boto3.client("s3", endpoint_url=os.environ.get("S3_ENDPOINT"), region_name=os.environ.get("S3_REGION", "us-east-1"),
                     config=Config(signature_version="s3v4"))
POLICY = f"default-src 'none'; script-src {UPLOADS}; connect-src 'self' {UPLOADS}; img-src data:; form-action 'self'; base-uri 'none'; require-trusted-types-for 'script'"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Send a letter</title><link rel="icon" href="data:,">
<meta name="csrf-token" content="{{ token }}"><script src="{{ uploads }}/incoming/frontend/incoming-ui.js" defer></script>
<h1>Send a letter</h1><p>{{ error }}</p>
<form method="post"><input type="hidden" name="_token" value="{{ token }}">
<label>Subject <input name="subject" value="{{ subject }}"></label>
<p><label for="papers">Papers</label>
<incoming-upload id="papers" name="papers" ticket-url="/ticket" multiple required restore="letter" value="{{ value }}"></incoming-upload></p>
<button>Send</button></form></html>"""
SENT = """<!doctype html><title>Sent</title><link rel=icon href=data:,><p>Sent:{% for id, name, _ in files %} <a href="/files/{{ id }}">{{ name }}</a>{% endfor %}"""
with open(os.open("secret", os.O_RDWR | os.O_CREAT, 0o600), "r+") as kept:
    SECRET = kept.read() or new_secret()  # kept: a handover may come after a restart
    kept.seek(0), kept.write(SECRET)
SERVER = Incoming(os.environ.get("BACKEND", "http://localhost:4001"), token=os.environ.get("BACKEND_TOKEN"), signing_secrets=[SECRET])
app = Flask(__name__)
app.config.update(SECRET_KEY=SECRET, SESSION_COOKIE_SAMESITE="Lax")

def db(sql, *values):
    with sqlite3.connect("letters.sqlite3") as connection:
        connection.execute("create table if not exists files (id text primary key, user text, name text, size integer, bucket text, key text, version text, letter text)")
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
    id = SERVER.new_upload(f"{OWN_URL}/handover", length=request.json["size"], remove_file=False).id
    db("insert into files values (?, ?, ?, ?, null, null, null, null)", id, session["user"], request.json["name"], request.json["size"])
    return jsonify(id=id)

@app.post("/handover")
def handover():
    try:
        call = SERVER.handover(request.get_data(), request.headers)
    except BadSignature:  # not from Incoming!!: a forged call could name any file
        abort(401)
    if not call.cancelled:  # the same call may come twice
        here = call.object
        version = {"VersionId": here.version} if here.version else {}
        assert STORE.head_object(Bucket=here.bucket, Key=here.key, **version)["ContentLength"] == call.length
        db("update files set bucket = ?, key = ?, version = ? where id = ?", here.bucket, here.key, here.version, call.id)
    return DONE

@app.get("/files/<id>")
def file(id):
    found = db("select bucket, key, version, name from files where id = ? and user = ? and key is not null", id, session["user"])
    if not found:
        abort(404)
    (bucket, key, version, name), = found
    safe = f"attachment; filename*=UTF-8''{urllib.parse.quote(name)}"  # never shown as a page of the bucket's origin
    asked = {"Bucket": bucket, "Key": key, "ResponseContentDisposition": safe, **({"VersionId": version} if version else {})}
    return redirect(STORE.generate_presigned_url("get_object", Params=asked, ExpiresIn=60))

@app.route("/", methods=["GET", "POST"])
def letter():
    subject, error = request.form.get("subject", ""), ""
    # An id in a form is a claim: it counts if it was issued to this user, has arrived and is in no letter yet.
    files = [(id, name, size) for wanted in request.form.getlist("papers") for id, name, size in
             db("select id, name, size from files where id = ? and user = ? and key is not null and letter is null", wanted, session["user"])]
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    if request.method == "POST" and subject and files:
        for id, _, _ in files:
            db("update files set letter = ? where id = ?", subject, id)
        return render_template_string(SENT, files=files), headers
    if request.method == "POST":
        error = "Say what it is about." if files else "Choose a file."
    value = json.dumps([{"id": id, "name": name, "size": size} for id, name, size in files])
    return render_template_string(PAGE, uploads=UPLOADS, token=session["token"], error=error, subject=subject, value=value), headers

if __name__ == "__main__":
    app.run(os.environ.get("HOST", "127.0.0.1"), PORT, threaded=True)
