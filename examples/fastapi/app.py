"""A form that takes large files, in FastAPI: python app.py, then http://localhost:8000/. The page has no script of its own."""
import asyncio, html, json, os, secrets, sqlite3, sys

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, PlainTextResponse
from starlette.middleware.sessions import SessionMiddleware

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../helpers/python"))
from incoming_client import DONE, BadSignature, Incoming, new_secret

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
with open(os.open("secret", os.O_RDWR | os.O_CREAT, 0o600), "r+") as kept:
    SECRET = kept.read() or new_secret()  # kept: a handover may come after a restart
    kept.seek(0), kept.write(SECRET)
SERVER = Incoming(os.environ.get("BACKEND", "http://localhost:4001"), signing_secrets=[SECRET])
app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key=SECRET, same_site="lax")

def db(sql, *values):
    with sqlite3.connect("letters.sqlite3") as connection:
        connection.execute("create table if not exists files (id text primary key, user text, name text, size integer, path text, letter text)")
        return connection.execute(sql, values).fetchall()

async def user(request: Request):  # stands for a login
    mine = request.session
    for key in ("user", "token"):
        mine.setdefault(key, secrets.token_hex())
    if request.method == "POST":
        given = request.headers.get("X-CSRF-Token") or (await request.form()).get("_token", "")
        if not secrets.compare_digest(given, mine["token"]):
            raise HTTPException(403)
    return mine["user"]

@app.post("/ticket")
async def ticket(request: Request, mine: str = Depends(user)):
    asked = await request.json()
    new = await asyncio.to_thread(SERVER.new_upload, f"http://localhost:{PORT}/handover", length=asked["size"])
    db("insert into files values (?, ?, ?, ?, null, null)", new.id, mine, asked["name"], asked["size"])
    return {"id": new.id}

@app.post("/handover", response_class=PlainTextResponse)
async def handover(request: Request):
    try:
        call = SERVER.handover(await request.body(), request.headers)
    except BadSignature:  # not from Incoming!!: a forged call could name any file
        raise HTTPException(401)
    if not call.cancelled:  # the same call may come twice
        path = await asyncio.to_thread(call.move_to, INBOX)
        db("update files set path = ? where id = ?", str(path), call.id)
    return DONE

@app.api_route("/", methods=["GET", "POST"])
async def letter(request: Request, mine: str = Depends(user)):
    form = await request.form()
    subject, error = form.get("subject", ""), ""
    # An id in a form is a claim: it counts if it was issued to this user, has arrived and is in no letter yet.
    files = [(id, name, size) for wanted in form.getlist("papers") for id, name, size in
             db("select id, name, size from files where id = ? and user = ? and path is not null and letter is null", wanted, mine)]
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    if request.method == "POST" and subject and files:
        for id, _, _ in files:
            db("update files set letter = ? where id = ?", subject, id)
        return HTMLResponse("<!doctype html><title>Sent</title><link rel=icon href=data:,><p>Sent: " + ", ".join(html.escape(name) for _, name, _ in files), headers=headers)
    if request.method == "POST":
        error = "Say what it is about." if files else "Choose a file."
    value = json.dumps([{"id": id, "name": name, "size": size} for id, name, size in files])
    shown = {"uploads": UPLOADS, "token": request.session["token"], "error": error, "subject": subject, "value": value}
    return HTMLResponse(PAGE.format(**{key: html.escape(text) for key, text in shown.items()}), headers=headers)

if __name__ == "__main__":
    print(f"http://localhost:{PORT}/", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")
