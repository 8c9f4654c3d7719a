"""HTTP/2 over TLS: the corpus of single wrong frames, and floods of right ones.

Sources of the floods: CVE-2019-9511 to 9518, CVE-2023-44487 (rapid reset), CVE-2024-27316 (CONTINUATION),
CVE-2025-8671 (a server made to reset).
"""

import concurrent.futures
import itertools
import time

import frames as f
from corpus import http2
from ground import MIB
from rig import content, url_of

AT_ONCE = 16
# Streams of one connection that the server serves at once (docs/bounds.md).
MAX_STREAMS = 100
CALM = "GOAWAY ENHANCE_YOUR_CALM"


def run(report, ground, options):
    corpus(report, ground, 1 if options.short else 5)
    for name, flood, peak in FLOODS:
        for _ in range(1 if options.short else 2):
            with ground.attack(name, peak=peak * MIB):
                flood(report, ground, name, 1 if options.short else 3)
            report.count("HTTP/2 floods")


# ---- the corpus ----

def corpus(report, ground, turns):
    cases = [(group, *case) for group, cases in http2.GROUPS.items() for case in cases]
    with ground.attack("the corpus of HTTP/2"):
        for _ in range(turns):
            with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                for done in [pool.submit(one, report, ground, *case) for case in cases]:
                    done.result()
            report.count("HTTP/2 cases", len(cases))


def one(report, ground, group, name, make, outcomes):
    """Sends a case and judges what comes of it; then the upload must be as usable as before."""
    where = f"HTTP/2, {group}, {name}"
    id = ground.server.ticket(removeFileWhenFinished="false")
    with f.Peer(ground.server.port, ground.trust) as peer:
        peer.send(make(url_of(id)))
        if "stays" in outcomes:
            # Whatever comes of it comes before the answer to what is asked next.
            peer.next = 3 if 1 not in peer.status else peer.next
            found = peer.get(url_of(id)) if name != "the highest stream of all" else (peer.until(lambda: peer.status) and 200)
            found = "stays" if found == 200 else found
            if found == "stays" and 1 in peer.resets:
                found = f"RESET {peer.resets[1]}"
        else:
            found = peer.answered(1)
            found = f"RESET {found}" if isinstance(found, str) and found in f.ERRORS else found
            if isinstance(found, int) and {o for o in outcomes if not isinstance(o, int)}:
                # The answer and an end may race; only the corpus says which may be.
                peer.until(lambda: peer.goaway, 0.2)
        # "A generic error code can always be used in place of more specific ones" (RFC 9113, section 5.4).
        generic = found == http2.GOAWAY and any(str(o).startswith("GOAWAY") for o in outcomes)
        if found not in outcomes and not generic:
            report.lost(f"{where}: {found}, not one of {sorted(map(str, outcomes))}")
        elif str(found).startswith("GOAWAY"):
            if not peer.until(lambda: peer.ended, 5) and not peer.ended:
                report.lost(f"{where}: the connection does not end after its {found}")
        elif found != "ended" and not peer.goaway:
            peer.next = max(peer.next, 3)
            if (again := peer.get(url_of(id)) if name != "the highest stream of all" else 200) != 200:
                report.lost(f"{where}: the next request on it is answered {again}")
    usable(report, ground, where, id)


def usable(report, ground, where, id, size=20):
    """An upload that was attacked takes its whole file, and has it."""
    file = http1_file() if size == 20 else content(size, size)
    for _ in range(3):
        code, _, text = ground.server.ask("PUT", url_of(id), file, {"Content-Range": f"bytes 0-{size - 1}/{size}"})
        # The attacker's request may be looked at after its connection is over, and is the newer one then;
        # whoever is told so tries again, as every uploader does.
        if '"superseded"' not in text:
            break
    path = ground.server.data / "files" / id
    if code != 200:
        report.lost(f"{where}: the upload does not take its file afterwards: {code} {text}")
    elif path.read_bytes() != file:
        report.lost(f"{where}: the upload's file is not right")
    path.unlink(missing_ok=True)


def http1_file():
    return b"0123456789abcdefghij"


# ---- the floods: each says what it expects; Ground.attack judges the rest ----

def expect(report, name, found, allowed):
    if found not in allowed:
        report.lost(f"{name}: {found}, not one of {sorted(map(str, allowed))}")


def connections(ground, count, work):
    """So many connections, one after another, each for one `work(peer)`."""
    for _ in range(count):
        with f.Peer(ground.server.port, ground.trust) as peer:
            work(peer)
            ground.told(peer.fate() or "goes on", peer.sent)


def rapid_reset(report, ground, name, times):
    path = url_of(ground.server.ticket())
    for method, fields in [("GET", []), ("PUT", http2.BODY)]:
        def work(peer):
            for _ in range(100):
                burst = b""
                for _ in range(100):
                    stream = peer.stream()
                    burst += f.headers(stream, f.request(method, path, *fields), method == "GET") + f.reset(stream)
                if not peer.send(burst):
                    break
            peer.until(lambda: peer.ended, 5)
            expect(report, name, peer.fate(), {CALM})
        connections(ground, 5 * times, work)


def made_to_reset(report, ground, name, times):
    """The server resets each stream by itself, since the frame after its head is wrong."""
    path = url_of(ground.server.ticket())
    wrongs = [lambda stream: f.window(stream, 0), lambda stream: f.window(stream, f.MOST), lambda stream: f.data(stream, b"x" * 11)]
    for wrong in wrongs:
        def work(peer):
            for _ in range(400):
                burst = b""
                for _ in range(100):
                    stream = peer.stream()
                    burst += f.headers(stream, f.request("PUT", path, *http2.BODY), False) + wrong(stream)
                if not peer.send(burst):
                    break
            peer.until(lambda: peer.ended, 5)
            expect(report, name, peer.fate(), {CALM, http2.GOAWAY})
        connections(ground, times, work)


def continuation_flood(report, ground, name, times):
    path = url_of(ground.server.ticket())
    for piece, count in [(b"\0\1x\x7e" + b"y" * 126, 2000), (b"", 20_000), (f.field("x", "y" * 4000) * 4, 500)]:
        def work(peer):
            peer.send(f.headers(1, f.request("GET", path), True, 0))
            more = f.frame(f.CONTINUATION, 0, 1, piece) * 50
            for _ in range(count // 50):
                if not peer.send(more):
                    break
            peer.until(lambda: peer.ended, 5)
            expect(report, name, peer.fate(), {CALM, "GOAWAY COMPRESSION_ERROR", "GOAWAY PROTOCOL_ERROR", "ended"})
        connections(ground, times, work)


def control_flood(one, reads):
    """Many frames that ask for an answer, or for none; the peer reads, or does not."""
    def flood(report, ground, name, times):
        path = url_of(ground.server.ticket())

        def work(peer):
            peer.reads = reads
            began = time.monotonic()
            for _ in range(4000 * times):
                if not peer.send(one * 100, 3) or time.monotonic() - began > 2 * times:
                    break
            peer.reads = True
            if reads and not peer.ended:
                peer.next = max(peer.next, 3)
                expect(report, name, peer.get(path), {200, CALM, "ended"})
        connections(ground, 2, work)
    return flood


def reset_flood(report, ground, name, times):
    """Resets of streams that are over."""
    path = url_of(ground.server.ticket())

    def work(peer):
        expect(report, name, peer.get(path), {200})
        for _ in range(4000 * times):
            if not peer.send(f.reset(1) * 100):
                break
        if not peer.ended:
            expect(report, name, peer.get(path), {200, CALM, "ended"})
    connections(ground, 2, work)


def empty_data(report, ground, name, times):
    """Frames without a byte, on a body that is read and on one that nobody reads."""
    id = ground.server.ticket(removeFileWhenFinished="false")
    for head in [lambda: f.request("PUT", url_of(id), *http2.BODY), lambda: f.request("GET", url_of(id) + "?wait=20")]:
        def work(peer):
            stream = peer.stream()
            peer.send(f.headers(stream, head(), False))
            for _ in range(2000 * times):
                if not peer.send(f.data(stream) * 100):
                    break
            peer.until(lambda: peer.ended, 1)
            expect(report, name, peer.fate(), {CALM, None})
        connections(ground, 2, work)
    usable(report, ground, name, id)


def small_data(report, ground, name, times):
    """Frames of one byte on bodies that nobody reads, until the windows are full or the server has enough."""
    id = ground.server.ticket(removeFileWhenFinished="false")

    def work(peer):
        streams = [peer.stream() for _ in range(4)]
        for stream in streams:
            peer.send(f.headers(stream, f.request("GET", url_of(id) + "?wait=20"), False))
        for _ in range(8000):
            # Without more room in a window, what is sent on is an error of its own.
            if not peer.send(b"".join(f.data(stream, b"x") for stream in streams) * 50, 3):
                break
    connections(ground, 2, work)
    usable(report, ground, name, id)


def by_bytes(report, ground, name, times):
    """A whole upload in frames of one byte works, or ends; its bytes are right in either case."""
    size = 20_000 * times
    id, file = ground.server.ticket(removeFileWhenFinished="false"), content(size, size)
    with f.Peer(ground.server.port, ground.trust) as peer:
        stream = peer.stream()
        peer.send(f.headers(stream, f.request("PUT", url_of(id), ("content-range", f"bytes 0-{size - 1}/{size}")), False))
        for at in range(0, size, 500):
            burst = b"".join(f.data(stream, file[n:n + 1], n + 1 == size) for n in range(at, min(at + 500, size)))
            if not peer.send(burst):
                break
        found = peer.answered(stream, 30)
        expect(report, name, found, {200, CALM, "ENHANCE_YOUR_CALM"})
        if found == 200:
            report.count("uploads in frames of one byte")
    usable(report, ground, name, id, size)


def many_streams(report, ground, name, times):
    """A thousand long polls at once: a hundred are served, the others refused, and none is forgotten."""
    # More of them than wait at one upload would be answered at once, and let others in meanwhile.
    paths = itertools.cycle([url_of(ground.server.ticket()) + "?wait=2" for _ in range(4)])

    def work(peer):
        streams = [peer.stream() for _ in range(1000)]
        peer.send(b"".join(f.headers(stream, f.request("GET", next(paths))) for stream in streams))
        peer.until(lambda: len(peer.done) + len(peer.resets) >= 1000, 15)
        answered = sum(status == 200 for status in peer.status.values())
        refused = sum(word == "REFUSED_STREAM" for word in peer.resets.values())
        if peer.fate() == CALM:
            report.count("connections that were ended for opening too many streams")
        elif (answered, refused) != (MAX_STREAMS, 1000 - MAX_STREAMS):
            report.lost(f"{name}: {answered} answered and {refused} refused, {peer.fate()}")
        if answered > MAX_STREAMS:
            report.lost(f"{name}: {answered} were served at once")
    connections(ground, times, work)


def header_list(report, ground, name, times):
    """Headers over the limit by a little and by much."""
    path = url_of(ground.server.ticket())
    for count in [33, 40, 64]:
        def work(peer):
            stream = peer.stream()
            fields = f.request("GET", path, *[(f"x-{n}", "y" * 1000) for n in range(count)])
            first, rest = fields[:16_000], fields[16_000:]
            parts = [rest[at:at + 16_000] for at in range(0, len(rest), 16_000)]
            peer.send(f.headers(stream, first, True, 0) + b"".join(
                f.frame(f.CONTINUATION, 4 if part is parts[-1] else 0, stream, part) for part in parts))
            found = peer.answered(stream)
            expect(report, name, found, {431, "PROTOCOL_ERROR", CALM, "GOAWAY PROTOCOL_ERROR"})
            if found == 431:
                expect(report, name, peer.get(path), {200})
        connections(ground, 3 * times, work)


def compression_bomb(report, ground, name, times):
    """A large field goes into the table once and is named again and again: 16 KiB that mean 60 MiB."""
    path = url_of(ground.server.ticket())

    def work(peer):
        for _ in range(20):
            stream = peer.stream()
            bomb = f.request("GET", path) + f.kept("x", "y" * 4000) + f.indexed(62) * 12_000
            if not peer.send(f.headers(stream, bomb)):
                break
            expect(report, name, peer.answered(stream), {431, "PROTOCOL_ERROR", CALM, "GOAWAY COMPRESSION_ERROR"})
    connections(ground, 3 * times, work)


def zero_windows(report, ground, name, times):
    """A hundred answers that may not be sent; and windows of one byte, opened one byte at a time."""
    path = "/incoming/frontend/incoming.js"
    for _ in range(3 * times):
        with f.Peer(ground.server.port, ground.trust, f.PREFACE + f.settings(table=0, window=0)) as peer:
            streams = [peer.stream() for _ in range(MAX_STREAMS)]
            peer.send(b"".join(f.headers(stream, f.request("GET", path)) for stream in streams))
            peer.until(lambda: len(peer.status) >= MAX_STREAMS, 10)
            for _ in range(200):
                peer.send(b"".join(f.window(stream, 1) for stream in streams[:20]))
            peer.until(lambda: min(map(len, peer.body.values()), default=0) >= 100, 2)
            # Back and forth: windows below zero and above again.
            for size in [100, 0, 65_535, 0] * 10:
                peer.send(f.settings(window=size))
            expect(report, name, peer.fate(), {None, CALM, "ended"})


def never_reads(report, ground, name, times):
    """Answers of 40 KB for as many requests as the connection takes, none of them read."""
    path = "/incoming/frontend/incoming.js"
    peers = [f.Peer(ground.server.port, ground.trust, f.PREFACE + f.settings(table=0, window=f.MOST) + f.window(0, f.MOST - 65_535), reads=False)
             for _ in range(5 * times)]
    try:
        for peer in peers:
            for _ in range(10):
                burst = b"".join(f.headers(peer.stream(), f.request("GET", path)) for _ in range(100))
                if not peer.send(burst, 0.3):
                    break
    finally:
        for peer in peers:
            peer.socket.close()


def left_open(report, ground, name, times):
    """Connections that vanish amid a hundred bodies; the gauges are looked at in the end."""
    ids = [ground.server.ticket(removeFileWhenFinished="false") for _ in range(MAX_STREAMS)]

    def work(peer):
        for id in ids:
            stream = peer.stream()
            peer.send(f.headers(stream, f.request("PUT", url_of(id), *http2.BODY), False) + f.data(stream, b"01234"))
    connections(ground, 5 * times, work)
    for id in ids:
        usable(report, ground, name, id)


PING = f.frame(f.PING, 0, 0, bytes(8))
PRIORITY = f.frame(f.PRIORITY, 0, 1, b"\0\0\0\3\xff")
UNKNOWN = f.frame(0xEE, 0xFF, 0, b"x" * 100)
# Name, attack, and how far memory may rise meanwhile, in MiB.
FLOODS = [
    ("rapid reset", rapid_reset, 64),
    ("made to reset", made_to_reset, 64),
    ("CONTINUATION flood", continuation_flood, 64),
    ("SETTINGS flood", control_flood(f.settings(window=65_535, frame=16_384), True), 64),
    ("SETTINGS flood, acknowledgements unread", control_flood(f.settings(window=65_535), False), 64),
    ("PING flood", control_flood(PING, True), 64),
    ("PING flood, answers unread", control_flood(PING, False), 64),
    ("PRIORITY flood", control_flood(PRIORITY, True), 64),
    ("flood of unknown frames", control_flood(UNKNOWN, True), 64),
    ("flood of windows", control_flood(f.window(0, 1), True), 64),
    ("RST_STREAM flood", reset_flood, 64),
    ("empty DATA flood", empty_data, 64),
    ("DATA of one byte that nobody reads", small_data, 256),
    ("an upload in frames of one byte", by_bytes, 64),
    ("a thousand streams at once", many_streams, 64),
    ("header lists over the limit", header_list, 64),
    ("compression bomb", compression_bomb, 64),
    ("zero windows", zero_windows, 64),
    ("answers that nobody reads", never_reads, 160),
    ("connections that vanish amid bodies", left_open, 64),
]
