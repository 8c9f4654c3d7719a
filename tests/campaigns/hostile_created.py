"""What nobody honest asks of creations: files of parts that are none, and creations whose 104 is not read or not used.

A refused list leaves all parts as they were: afterwards the file is made of them. A creation that is broken off after its 104
can go on there.
"""

import concurrent.futures
import random
import socket
import struct
import time

import rig
from corpus import http1
from ground import MIB
from hostile_http1 import Raw

TUS = {"Tus-Resumable": "1.0.0"}
CREATION = b"POST /incoming/frontend/resumable HTTP/1.1"
NAMED = (b"Host: localhost", b"Upload-Draft-Interop-Version: 8")


def flags(web):
    return "--create-url", web.url, "--resumable-104", "always"


def run(report, field, options):
    times, dice = 1 if options.short else 8, random.Random(options.seed)
    for name, way in WAYS:
        with field.attack(name, peak=128 * MIB):
            way(report, field.server, field.web, name, times, dice)
        report.count("ways with creations")


# ---- parts ----

class Part:
    """A whole part."""

    def __init__(self, server, web, file):
        self.id, self.file = server.ticket(web.url, uploadConcat="partial", length=len(file)), file
        self.url = f"/incoming/frontend/tus/{self.id}"
        code, _, text = server.ask("PATCH", self.url, file, {
            **TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"})
        if code != 204:
            raise RuntimeError(f"a part is answered {code} {text}")

    def there(self, server):
        code, headers, _ = server.ask("HEAD", self.url, None, TUS)
        return code == 200 and headers["Upload-Offset"] == str(len(self.file))


def join(server, urls):
    """Status and id."""
    code, headers, _ = server.ask("POST", "/incoming/frontend/tus", None, {**TUS, "Upload-Concat": f"final;{' '.join(urls)}"})
    return code, headers.get("Location", "").rsplit("/", 1)[-1]


def made(report, server, web, name, parts):
    """Afterwards the file is made of these parts, and right."""
    code, id = join(server, [part.url for part in parts])
    if code != 201:
        return report.lost(f"{name}: afterwards the file of good parts is answered {code}")
    return right(report, web, name, id, parts)


def right(report, web, name, id, parts):
    calls = rig.until("the handover", lambda: web.calls_for(id))
    if calls[0]["sha256"] != rig.hashlib.sha256(b"".join(part.file for part in parts)).hexdigest():
        report.lost(f"{name}: the file {id} is not its parts")


def huge_lists(report, server, web, name, times, _dice):
    """Heads full of URLs, 64 at once: of nothing, of too many, of more than a head may have, of parts without bytes."""
    parts = [Part(server, web, b"1"), Part(server, web, b"2")]
    url = "/incoming/frontend/tus/%s"
    empty = [url % server.ticket(web.url, uploadConcat="partial", length=9) for _ in range(256)]
    unknown = [url % f"00000000-0000-4000-8000-{at:012x}" for at in range(700)]
    lists = [(unknown[:256], 400), (unknown[:400], 400), (unknown, 431), (empty, 400), (empty[:255] + [parts[0].url], 400)]
    for _ in range(times):
        peers = [(Raw(server.port), *lists[at % len(lists)]) for at in range(64)]
        for peer, urls, _ in peers:
            peer.send(http1.head(b"POST /incoming/frontend/tus HTTP/1.1", b"Host: localhost", b"Tus-Resumable: 1.0.0",
                                 b"Content-Length: 0", b"Upload-Concat: final;" + " ".join(urls).encode()))
        for peer, urls, status in peers:
            answer = peer.answer()
            if not answer or answer[0] != status:
                report.lost(f"{name}: {len(urls)} URLs are answered {answer and answer[0]}, not {status}")
            peer.close()
    made(report, server, web, name, parts)


def no_parts(report, server, web, name, times, _dice):
    """Other people's uploads, a part twice, a file of files, a part of another file, one that is cancelled, or not whole."""
    for _ in range(times):
        parts = [Part(server, web, rig.content(at, 10_000)) for at in range(4)]
        one, two, gone, used = (part.url for part in parts)
        server.ask("DELETE", gone, None, TUS)
        code, final = join(server, [used])
        if code != 201:
            report.lost(f"{name}: the first file is answered {code}")
        final = f"/incoming/frontend/tus/{final}"
        other = f"/incoming/frontend/tus/{server.ticket(web.url)}"
        begun = f"/incoming/frontend/tus/{server.ticket(web.url, uploadConcat='partial', length=9)}"
        native = one.replace("/tus/", "/uploads/")
        for words in ([other], [one, other], [one, one], [one, two, one], [final], [final, one], [used, one], [one, gone],
                      [one, begun], [native, two], [], ["/incoming/frontend/tus/../tus/"], [one + "/", two]):
            code, _ = join(server, words)
            if code != 400:
                report.lost(f"{name}: {words} is answered {code}, not 400")
            report.count("lists of no parts")
        if not parts[0].there(server) or not parts[1].there(server):
            report.lost(f"{name}: a part is not there any more")
        made(report, server, web, name, parts[:2])


def deleted_meanwhile(report, server, web, name, times, dice):
    """A part is deleted while its file is made: either there is no file, or it has the part."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for turn in range(12 * times):
            parts = [Part(server, web, rig.content(turn * 3 + at, MIB)) for at in range(3)]
            joined = pool.submit(join, server, [part.url for part in parts])
            time.sleep(dice.random() * 0.02)
            deleted = server.ask("DELETE", parts[1].url, None, TUS)[0]
            code, id = joined.result()
            report.count(f"a part deleted meanwhile: {deleted}, and its file {code}")
            if code == 201:
                right(report, web, name, id, parts)
            elif (code, deleted) != (400, 204):
                report.lost(f"{name}: the file is answered {code}, the deletion {deleted}")
            elif not parts[0].there(server) or not parts[2].there(server):
                report.lost(f"{name}: another part is gone too")


# ---- 104 ----

def never_read(report, server, web, name, times, _dice):
    """Creations by the hundred, on connections that read nothing, in parallel and one after another."""
    tiny = http1.head(CREATION, *NAMED, b"Upload-Complete: ?0", b"Content-Length: 1") + b"x"
    large = http1.head(CREATION, *NAMED, b"Upload-Complete: ?1", b"Content-Length: 1000000") + b"x" * 1000
    peers = [Raw(server.port) for _ in range(40 * times)]
    try:
        for at, peer in enumerate(peers):
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.socket.settimeout(0.2)
            try:
                peer.socket.sendall(tiny * 100 if at % 8 == 0 else large)
            except OSError:
                pass
        time.sleep(1)
        # Without a version there is no 104, which Python's client would take for the answer.
        code = server.ask("POST", "/incoming/frontend/resumable", b"abc", {"Upload-Complete": "?1"})[0]
        if code not in (200, 503):
            report.lost(f"{name}: meanwhile an honest creation is answered {code}")
    finally:
        for peer in peers:
            peer.close()


def broken_off(report, server, web, name, times, dice):
    """Creations that end as soon as their 104 has come, some with a reset: each can go on."""
    def one(_):
        peer = Raw(server.port)
        try:
            peer.send(http1.head(CREATION, *NAMED, b"Upload-Complete: ?1", b"Content-Length: 10"))
            answer = peer.answer()
            if dice.random() < 0.5:
                peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            peer.close()
        return answer

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(one, range(200 * times)))
    wrong = [answer for answer in answers if not answer or answer[0] != 104]
    if wrong:
        report.lost(f"{name}: {len(wrong)} creations were answered {wrong[0]}")
    urls = {answer[1]["location"] for answer in answers if answer not in wrong}
    if len(urls) != len(answers) - len(wrong):
        report.lost(f"{name}: {len(urls)} uploads of {len(answers)} creations")
    report.count("creations broken off after their 104", len(urls))
    for url in sorted(urls)[:20]:
        code, headers, _ = server.ask("HEAD", url)
        if code != 204 or headers["Upload-Offset"] != "0":
            report.lost(f"{name}: HEAD is answered {code} {headers['Upload-Offset']}")
        code = server.ask("PATCH", url, b"0123456789", {
            "Upload-Offset": "0", "Upload-Complete": "?1", "Content-Type": "application/partial-upload"})[0]
        if code != 200:
            report.lost(f"{name}: it does not go on: {code}")


WAYS = [
    ("huge lists of parts", huge_lists),
    ("lists of what is no part", no_parts),
    ("a part deleted while its file is made", deleted_meanwhile),
    ("creations whose 104 nobody reads", never_read),
    ("creations broken off after their 104", broken_off),
]
