"""A form that takes large files, in Django: python app.py, then http://localhost:8000/. The page has no script of its own."""
import html, json, os, secrets, sqlite3, sys

import django
from django.conf import settings
from django.core.management import call_command
from django.http import HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../helpers/python"))
from incoming_client import DONE, BadSignature, Incoming, new_secret

UPLOADS = os.environ.get("UPLOADS", "http://localhost:4000")  # browsers go there
BACKEND = os.environ.get("BACKEND", "http://localhost:4001")  # only this program does
PORT = os.environ.get("PORT", "8000")
INBOX = os.path.abspath("received")
POLICY = f"default-src 'none'; script-src {UPLOADS}; connect-src 'self' {UPLOADS}; img-src data:; form-action 'self'; base-uri 'none'; require-trusted-types-for 'script'"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Send a letter</title><link rel="icon" href="data:,">
<script src="{uploads}/incoming/frontend/incoming-ui.js" defer></script>
<h1>Send a letter</h1><p>{error}</p>
<form method="post"><input type="hidden" name="csrfmiddlewaretoken" value="{token}">
<label>Subject <input name="subject" value="{subject}"></label>
<p><label for="papers">Papers</label>
<incoming-upload id="papers" name="papers" ticket-url="/ticket" multiple required restore="letter" value="{value}"></incoming-upload></p>
<button>Send</button></form></html>"""
with open(os.open("secret", os.O_RDWR | os.O_CREAT, 0o600), "r+") as kept:
    SECRET = kept.read() or new_secret()  # kept: a handover may come after a restart
    kept.seek(0), kept.write(SECRET)
SERVER = Incoming(BACKEND, signing_secrets=[SECRET])

def db(sql, *values):
    with sqlite3.connect("letters.sqlite3") as connection:
        connection.execute("create table if not exists files (id text primary key, user text, name text, size integer, path text, letter text)")
        return connection.execute(sql, values).fetchall()

def user(request):  # stands for a login
    return request.session.setdefault("user", secrets.token_hex())

@require_POST
def ticket(request):
    asked = json.loads(request.body)
    id = SERVER.new_upload(f"http://localhost:{PORT}/handover", length=asked["size"]).id
    db("insert into files values (?, ?, ?, ?, null, null)", id, user(request), asked["name"], asked["size"])
    return JsonResponse({"id": id})

@csrf_exempt
@require_POST
def handover(request):
    try:
        call = SERVER.handover(request.body, request.headers)
    except BadSignature:  # not from Incoming!!: a forged call could name any file
        return HttpResponse(status=401)
    if not call.cancelled:  # the same call may come twice
        db("update files set path = ? where id = ?", str(call.move_to(INBOX)), call.id)
    return HttpResponse(DONE)

def letter(request):
    mine, subject, error = user(request), request.POST.get("subject", ""), ""
    # An id in a form is a claim: it counts if it was issued to this user, has arrived and is in no letter yet.
    files = [(id, name, size) for wanted in request.POST.getlist("papers") for id, name, size in
             db("select id, name, size from files where id = ? and user = ? and path is not null and letter is null", wanted, mine)]
    if request.method == "POST" and subject and files:
        for id, _, _ in files:
            db("update files set letter = ? where id = ?", subject, id)
        return answer("<!doctype html><title>Sent</title><link rel=icon href=data:,><p>Sent: " + ", ".join(html.escape(name) for _, name, _ in files))
    if request.method == "POST":
        error = "Say what it is about." if files else "Choose a file."
    value = json.dumps([{"id": id, "name": name, "size": size} for id, name, size in files])
    shown = {"uploads": UPLOADS, "token": get_token(request), "error": error, "subject": subject, "value": value}
    return answer(PAGE.format(**{key: html.escape(text) for key, text in shown.items()}))

def answer(page):
    return HttpResponse(page, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-store"})

urlpatterns = [path("", letter), path("ticket", ticket), path("handover", handover)]

if __name__ == "__main__":
    settings.configure(
        ROOT_URLCONF=__name__, SECRET_KEY=SECRET, ALLOWED_HOSTS=["localhost"], SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.csrf.CsrfViewMiddleware"])
    django.setup()
    call_command("runserver", f"127.0.0.1:{PORT}", "--noreload", "--skip-checks")
