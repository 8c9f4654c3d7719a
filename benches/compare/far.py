"""Measures uploads over long and lossy lines, for `benches/compare/run far`: one upload from a client's network namespace to the
server's, through line.py.

The client's kernel sends, so its congestion control counts; the server's is the same. The kernel's buffers are those of most
systems: 6 MB to receive, 4 MB to send.
"""
import hashlib
import http.server
import json
import os
import statistics
import subprocess
import sys
import threading
import urllib.parse

from line import ADDRESSES, Line

MBIT, RMEM, WMEM = 200, 6_291_456, 4_194_304
MIB = 1 << 20
# round trip in ms, loss in percent
LINES = [(100, 0), (200, 0), (20, 1), (100, 1), (200, 1)]
# name, server, TLS, flags of the client, connections
KINDS = [
    ("Incoming!!, HTTP/1.1, 4 connections", "incoming", False, "--parallel 4", 4),
    ("Incoming!!, HTTP/2 + TLS, 1 connection", "incoming", True, "--http2 --parallel 4", 1),
    ("nginx, HTTP/1.1, whole file", "nginx", False, "--as files", 1),
    ("nginx, HTTP/2 + TLS, whole file", "nginx", True, "--as files --http2", 1),
]
# name, tcp_rmem of the server, tcp_wmem of the client
BUFFERS = [("6 MB, 4 MB", RMEM, WMEM), ("32 MB, 4 MB", 32 << 20, WMEM), ("32 MB, 32 MB", 32 << 20, 32 << 20)]
# MiB of a file whose bytes are compared, loss in percent, congestion control
SAME_BYTES = [(8, 1, "cubic"), (1, 10, "cubic"), (2, 20, "bbr")]
# A run has as many bytes as the expected rate carries in so many seconds, and is given up after the bound.
SECONDS, SECONDS_LOSS, BOUND = 20, 45, 240
# Of the server, without TLS and with it
PORTS = {False: 4080, True: 4443}


def size(rtt_ms, loss, cc, connections):
    """Bytes that take about so many seconds, by what is known of TCP (Mathis et al., 1997)."""
    rate = MBIT * 1e6 / 8
    if loss and cc != "bbr":
        rate = min(rate, connections * 1.22 * 1448 / (rtt_ms / 1e3 * (loss / 100) ** 0.5))
    return int(min(320 * MIB, max(2 * MIB, rate * (SECONDS_LOSS if loss else SECONDS))))


def serve(place, tls):
    """The command of a server at the far end, and the socket for its tickets."""
    socket = place.dir / "backend.sock"
    command = [place.bench, "serve", "--listen", f"{ADDRESSES['far']}:{PORTS[tls]}", "--backend-listen", f"unix:{socket}",
               "--storage-dir", str(place.data / "storage")]
    command += ["--tls-cert", str(place.dir / "cert.pem"), "--tls-key", str(place.dir / "key.pem")] if tls else []
    return command, f"unix:{socket}"


def send(place, line, server, client, tls):
    """What a client prints that sends to a server over the line; None if it was not over in time."""
    log = place.dir / "log"
    with line, open(log, "w", encoding="utf-8") as out:
        process = line.start("far", server, stdout=out, stderr=out, cwd=place.dir)
        line.wait_for("far", ADDRESSES["far"], PORTS[tls], process)
        running = line.start("near", client, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            told, wrong = running.communicate(timeout=BOUND)
        except subprocess.TimeoutExpired:
            return None
    # Nothing is sent again by a client that measures: an answer that is not the expected one ends it.
    if running.returncode != 0 or "timeout" in log.read_text():
        sys.exit(f"{' '.join(client)}: {wrong}\n{log.read_text()}")
    if line.counted["missed"]:
        print(f"line.py was too slow for {line.counted['missed']} packets", file=sys.stderr)
    return told


def upload(run, place, kind, rtt_ms, loss, cc, seed, rmem=RMEM, wmem=WMEM):
    """Mbit/s of one upload; None if it was not over in time."""
    _, kind, tls, flags, connections = kind
    total = size(rtt_ms, loss, cc, connections)
    url = f"{'https' if tls else 'http'}://{ADDRESSES['far']}:{PORTS[tls]}/"
    client = [place.bench, "bench", "--json", "--insecure", "--url", url, "--uploads", "1", "--total", str(total), *flags.split()]
    place.empty()
    if kind == "incoming":
        server, backend = serve(place, tls)
        client += ["--backend", backend, "--callback", ADDRESSES["near"], "--chunk", str(min(8 * MIB, total // 16))]
    else:
        server = run.nginx_command(place, ADDRESSES["far"], PORTS[False], PORTS[True], tuned=False)
        client += ["--chunk", str(total)]
    told = send(place, Line(rtt_ms, MBIT, loss, seed, (cc, cc), rmem, wmem), server, client, tls)
    result = told and json.loads(told)
    return result and result["bytes"] * 8 / result["seconds"] / 1e6


def same_bytes(place, rtt_ms, loss, cc, tls, mib):
    """Uploads a file with `incoming upload` and compares what the web app is handed. The answer: how often the client waited to try again."""
    file, handed = place.dir / "sent", []
    place.empty()
    file.write_bytes(os.urandom(mib * MIB))

    class WebApp(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            with open(form["filename"], "rb") as content:
                handed.append(hashlib.file_digest(content, "sha256").hexdigest())
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"done")

        def log_message(self, *_):
            pass

    server, backend = serve(place, tls)
    line = Line(rtt_ms, MBIT, loss, 1, (cc, cc), RMEM, WMEM)
    web_app = line.within("near", lambda: http.server.HTTPServer((ADDRESSES["near"], 0), WebApp))
    threading.Thread(target=web_app.serve_forever, daemon=True).start()
    public = f"{'https' if tls else 'http'}://{ADDRESSES['far']}:{PORTS[tls]}"
    client = [place.bench, "upload", "--json", "--insecure", "--backend", backend, "--public", public, *(["--http2"] if tls else []),
              "--signal-finish-url", f"http://{ADDRESSES['near']}:{web_app.server_port}/", "--chunk-size", "1MiB", str(file)]
    told = send(place, line, server, client, tls)
    web_app.shutdown()
    if told is None or handed != [hashlib.sha256(file.read_bytes()).hexdigest()]:
        sys.exit(f"the file did not arrive as it was sent: {handed} {told}")
    return told.count('"waiting"')


def spread(values):
    values = [value for value in values if value is not None]
    if not values:
        return f"not over in {BOUND} s"
    digits = 0 if min(values) >= 20 else 1
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return f"{statistics.median(values):.{digits}f}" + (f" ({low}-{high})" if low != high else "")


def measure(run, place, rounds, only):
    head = [f"{rtt} ms, {loss} %" for rtt, loss in LINES]
    out = ["", f"| Mbit/s of one upload, line of {MBIT} Mbit/s | client's kernel | {' | '.join(head)} |", "|---|---|" + "---|" * len(LINES)]
    for kind in KINDS:
        for cc in ("cubic", "bbr"):
            cells = []
            for name, (rtt, loss) in zip(head, LINES):
                if only and only not in f"{kind[0]}, {cc}, {name}":
                    cells.append("-")
                    continue
                cells.append(spread([upload(run, place, kind, rtt, loss, cc, seed) for seed in range(1, rounds + 1)]))
                print(f"{kind[0]}, {cc}, {name}: {cells[-1]}", file=sys.stderr)
            out.append(f"| {kind[0]} | {cc} | {' | '.join(cells)} |")
    out += ["", f"| 200 ms, no loss, cubic; `tcp_rmem` of the server, `tcp_wmem` of the client | {' | '.join(name for name, *_ in BUFFERS)} |",
            "|---|" + "---|" * len(BUFFERS)]
    for kind in KINDS[:3]:
        cells = []
        for name, rmem, wmem in BUFFERS:
            if only and only not in f"{kind[0]}, buffers":
                cells.append("-")
                continue
            cells.append(spread([upload(run, place, kind, 200, 0, "cubic", seed, rmem, wmem) for seed in range(1, rounds + 1)]))
            print(f"{kind[0]}, buffers of {name}: {cells[-1]}", file=sys.stderr)
        out.append(f"| {kind[0]} | {' | '.join(cells)} |")
    if not only or only in "same bytes":
        out += ["", "| the same bytes arrived, 200 ms | HTTP/1.1 | HTTP/2 + TLS |", "|---|---|---|"]
        for mib, loss, cc in SAME_BYTES:
            again = [same_bytes(place, 200, loss, cc, tls, mib) for tls in (False, True)]
            out.append(f"| {mib} MiB, loss of {loss} %, {cc} | {' | '.join(f'{count} attempts repeated' for count in again)} |")
            print(out[-1], file=sys.stderr)
    return out
