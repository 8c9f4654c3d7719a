"""The good client beside an attack: uploads files in chunks, one after another, over connections of its
own, and notes how long each answer took. A process of its own, so that the attacker's work is not in its way.

    neighbour.py PORT BACKEND_PORT BACKEND_URL TRUST|- SEED LOG

It writes `BEGAN TOOK OUTCOME` for each chunk to LOG (seconds of the system's monotonic clock) and
`file ID SHA256` for each file that is complete. It ends when its standard input does, after its last file.
"""

import http.client
import pathlib
import ssl
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import rig  # noqa: E402
from rig import dialects  # noqa: E402

CHUNK = 16 * 1024
CHUNKS = 64
# Between two chunks: it is there all the time, and takes little of the processor.
PAUSE = 0.02


def main(port, backend_port, url, trust, seed, log):
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    context = None if trust == "-" else ssl.create_default_context(cafile=trust)
    seed = int(seed)
    with open(log, "w", buffering=1) as out:
        while not stop.is_set():
            seed += 1
            upload(int(port), int(backend_port), url, context, seed, out)


def connect(port, context):
    if context:
        return http.client.HTTPSConnection("localhost", port, timeout=30, context=context)
    return http.client.HTTPConnection("127.0.0.1", port, timeout=30)


def upload(port, backend_port, url, context, seed, out):
    """One file, chunk by chunk, each on the kept connection."""
    file = rig.content(seed, CHUNK * CHUNKS)
    back = http.client.HTTPConnection("127.0.0.1", backend_port, timeout=30)
    back.request("POST", "/incoming/backend/new_upload?" + urllib.parse.urlencode({"signalFinishURL": url}))
    id = back.getresponse().read().decode()
    back.close()
    front = connect(port, context)
    # One dialect after the other; all of them bring the length with the last chunk at the latest.
    speaker = dialects.of((None, "tus-deferred", "resumable-deferred")[seed % 3], rig.random.Random(seed))
    for at in range(0, len(file), CHUNK):
        end = at + CHUNK
        method, path, fields = "PUT", rig.url_of(id), {"Content-Range": f"bytes {at}-{end - 1}/{len(file)}"}
        if speaker:
            method, path, fields = "PATCH", f"/incoming/frontend/{speaker.path}/{id}", speaker.append(at, end, len(file))
        began = time.monotonic()
        try:
            front.request(method, path, file[at:end], fields)
            answer = front.getresponse()
            answer.read()
            outcome = 200 if answer.status in (201, 204) and speaker else answer.status
        except (OSError, http.client.HTTPException) as error:
            outcome = type(error).__name__
        out.write(f"{began:.6f} {time.monotonic() - began:.6f} {outcome}\n")
        if outcome != 200:
            front.close()
            return
        time.sleep(PAUSE)
    front.close()
    out.write(f"file {id} {rig.hashlib.sha256(file).hexdigest()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
