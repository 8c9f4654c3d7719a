"""The web app of `tests/helpers`, with the helper for Python. PORT, SERVER, SECRETS, TOKEN and FILES are in the environment."""
import http.server
import json
import os
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "python"))
from incoming_client import DONE, WAIT, BadSignature, Incoming, Refused, Unavailable  # noqa: E402

SERVER = Incoming(os.environ["SERVER"], token=os.environ["TOKEN"], signing_secrets=os.environ["SECRETS"].split())
NOWHERE = Incoming("http://127.0.0.1:9", timeout=2)
URL = f"http://127.0.0.1:{os.environ['PORT']}/handover"
taken = []


def handover(body, headers):
    call = SERVER.handover(body, headers)
    about = {"id": call.id, "cancelled": call.cancelled, "reason": call.reason, "name": call.name, "length": call.length, "metadata": call.json(),
             "digest": call.digest, "attempt": call.attempt}
    if call.object:
        about["object"] = call.object.__dict__
    elif not call.cancelled:
        about["path"] = str(call.move_to(os.environ["FILES"]))
    taken.append(about)
    return WAIT if call.json().get("wait") and not call.cancelled else DONE


def act(path, argument):
    if path == "/ticket":
        return SERVER.new_upload(URL, metadata=argument, digest=True).__dict__
    if path == "/taken":
        return taken
    if path == "/uploads":
        return [one["id"] for one in SERVER.uploads(state="new")]
    if path == "/nowhere":
        return NOWHERE.show("x")
    if path == "/wrong":
        return SERVER.new_upload("ftp://x/")
    return {"/finish": SERVER.finish, "/cancel": SERVER.cancel, "/retry": SERVER.retry, "/show": SERVER.show}[path](argument)


class App(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status = 200
        try:
            text = handover(body, self.headers) if self.path == "/handover" else json.dumps(act(self.path, json.loads(body or b"null")))
        except BadSignature as error:
            status, text = 401, str(error)
        except (Refused, Unavailable) as error:
            status, text = 400, json.dumps({"kind": type(error).__name__, "status": getattr(error, "status", None), "text": str(error)})
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), App).serve_forever()
