"""The Go client of tus/rufh-implementations: a client that knows where its upload is by 104 alone. It is killed in mid-upload,
the server too, and it goes on."""

import hashlib
import os
import subprocess
import time

from web_app import WebApp

SIZE = 200 << 20


def run(sources, work):
    """Whether all of it went well. `sources`: a checkout of tus/rufh-implementations."""
    program = work / "rufh"
    subprocess.run(["go", "build", "-o", program, "main.go"], cwd=f"{sources}/clients/go", check=True,
                   env={**os.environ, "GO111MODULE": "off", "GOCACHE": str(work / "cache")})
    file, state = work / "file", work / "state"
    file.write_bytes(os.urandom(SIZE))
    with WebApp(work / "data", "--resumable-104", "always") as app:
        def start():
            command = [program, "-endpoint", app.resumable, "-file", file, "-state", state]
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

        def stopped_at(client, share, stop):
            while app.known() < SIZE * share and client.poll() is None:
                time.sleep(0.005)
            stop()
            return client.communicate(timeout=60)[0]

        client = start()
        said = stopped_at(client, 0.1, client.kill)
        if client.returncode == 0 or "Received 104 response.\nLocation is:" not in said:
            print(f"killed, it had no 104, or was done: {said}")
            return False
        client = start()
        print(stopped_at(client, 0.3, lambda: app.server.kill()))
        app.server.start()
        client = start()
        said = client.communicate(timeout=120)[0]
        print(said)
        url = state.read_text()
        call = app.answer(f"/taken/{url.rsplit('/', 1)[1]}", {}, {})[1]
    good = client.returncode == 0 and "Upload offset is: 0" not in said
    same = call["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    print(f"go: {'as it should be' if good and same else 'FAILED'}")
    return good and same
