"""What many peers may make the server hold at once: bodies that are sent while nothing is taken.

The disk's writes are held up (by strace, on the running server), so that every body stands still while its
sender goes on as long as it may. Then resident memory may rise by what `receive_memory` bytes in frames take,
and a stated overhead for each connection.
"""

import contextlib
import os
import signal
import subprocess
import time

import frames as f
import rig
from ground import MIB
from rig import url_of

BUDGET = 64 * MIB
# What a byte of it takes in the frames that browsers send, which lie in blocks a little larger.
BLOCKS = 1.5
# Beside its share, a connection has its tasks, its TLS session, and for each of its eight streams the books and
# a frame of 16 KiB in hand.
OVERHEAD = 512 << 10
FLAGS = ["--receive-memory", "64MiB", "--max-connections", "300"]
SIZE = 64 * MIB
# What a byte of a body in a hostile frame may cost while nobody takes it. Measured: 1.2 to 1.4 in the frames
# that browsers send, 2.4 at worst, in frames that fill their blocks of memory by half, or of 257 bytes,
# which h2 holds for large ones. Frames that are smaller end the connection.
WORST = 2.75
FRAMES = [16_384, 8193, 4097, 257, 100, 1]


@contextlib.contextmanager
def held_up(server):
    """Each write of the server takes a second longer, until the end of the block."""
    rig.need("strace", "strace")
    calls = "pwrite64,pwritev,pwritev2,fdatasync"
    holder = subprocess.Popen(["strace", "-f", "-p", str(server.pid), "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:delay_enter=1s"],
                              stderr=subprocess.PIPE)
    try:
        rig.until("strace holds the server", lambda: traced(server.pid) or holder.poll() is not None, 10)
        if holder.poll() is not None:
            raise rig.Skipped(f"strace may not trace: {holder.stderr.read().decode().strip()}")
        yield
    finally:
        if holder.poll() is None:
            holder.send_signal(signal.SIGINT)
            holder.wait(rig.DEADLINE)


def traced(pid):
    """Whether every thread is."""
    states = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/status") as status:
            states.append("TracerPid:\t0\n" not in status.read())
    return all(states)


def run(report, server, web, options):
    """So many connections, each with bodies for eight uploads, sent until nothing moves any more."""
    count = 60 if options.short else 250
    ids = [server.ticket(web.url, removeFileWhenFinished="false") for _ in range(16)]
    before = server.memory()
    peers = []
    try:
        with held_up(server):
            peers += [f.Peer(server.port, server.trust) for _ in range(count)]
            sent = flood(peers, ids, 4 if options.short else 20)
            risen = server.memory() - before
            allowed = BLOCKS * BUDGET + count * OVERHEAD
            report.most("memory under bodies that nobody takes, MiB", risen / MIB)
            print(f"bodies that nobody takes: {count} connections got rid of {sent / MIB:.0f} MiB, memory +{risen / MIB:.0f} MiB "
                  f"of {allowed / MIB:.0f}", flush=True)
            if risen > allowed:
                report.lost(f"memory rose by {risen // MIB} MiB under bodies that nobody takes, more than {allowed / MIB:.0f} MiB")
            if sent < BUDGET // 8:
                report.lost(f"only {sent} bytes were taken: the test does not test")
            report.count("connections with bodies that nobody takes", count)
            for peer in peers:
                peer.socket.close()
    finally:
        for peer in peers:
            peer.socket.close()
    if not server.running():
        return report.lost(f"the server is gone: {server.log_text()[-2000:]}")
    rig.until("the bodies are let go", lambda: server.metric("incoming_chunks_in_flight") == 0, 120)
    for id in ids:
        # What was kept of the bodies is right; the rest is taken.
        status = server.status(id)
        if not status or status["state"] != "uploading":
            report.lost(f"the upload {id} is {status and status['state']} afterwards")
    return None


def frames(report, server, size, count):
    """The windows of so many connections filled with frames of one size, on requests that take no body."""
    path = url_of(server.ticket()) + "?wait=30"
    before, burst, sent = server.memory(), b"x" * size, 0
    peers = [f.Peer(server.port, server.trust) for _ in range(count)]
    try:
        for peer in peers:
            streams = [peer.stream() for _ in range(4)]
            peer.send(b"".join(f.headers(stream, f.request("GET", path), False) for stream in streams))
            peer.until(lambda: peer.counts.get(f.SETTINGS, 0) > 1 and peer.shared > 65_535, 2)
            for stream in streams:
                while peer.room(stream) >= 50 * size and not peer.ended and not peer.goaway:
                    peer.send(f.data(stream, burst) * 50)
                    peer.used(stream, 50 * size)
                    sent += 50 * size
                    peer.take()
        time.sleep(0.5)
        risen = server.memory() - before
        # A connection whose frames are too small is ended, having held what h2 allows: half a window of it.
        allowed = WORST * max(sent, 4 * MIB * count) + count * MIB
        print(f"bodies in frames of {size} bytes: {sent / MIB:.0f} MiB sent, memory {risen / MIB:+.0f} MiB of {allowed / MIB:.0f}", flush=True)
        if risen > allowed:
            report.lost(f"{sent // MIB} MiB in frames of {size} bytes take {risen // MIB} MiB")
        if sent < 7 * MIB * count and size > 256:
            report.lost(f"only {sent} bytes in frames of {size} were taken: the test does not test")
        report.count("sizes of frames for windows that are full")
    finally:
        for peer in peers:
            peer.socket.close()
    rig.until("the connections are gone", lambda: server.metric("incoming_connections_open") == 1, 30)


def flood(peers, ids, seconds):
    """Each peer opens eight streams and sends on all of them as long as something moves. Bytes sent."""
    for number, peer in enumerate(peers):
        streams = [peer.stream() for _ in range(8)]
        for at, stream in enumerate(streams):
            id = ids[(number + at) % len(ids)]
            start = (number * 8 + at) * SIZE
            fields = [("content-range", f"bytes {start}-{start + SIZE - 1}/*")]
            peer.send(f.headers(stream, f.request("PUT", url_of(id), *fields), False), 2)
        peer.until(lambda: f.SETTINGS in peer.counts, 5)
    piece, end = b"x" * 16_384, time.monotonic() + seconds
    while time.monotonic() < end:
        # Within its windows a good sender goes on; so does this one, and no further.
        if not any([step(peer, piece) for peer in peers if not (peer.stuck or peer.ended or peer.goaway)]):
            time.sleep(0.05)
    return sum(peer.sent for peer in peers)


def step(peer, piece):
    """One frame on each stream whose window has room. Says whether something went."""
    peer.take()
    went = False
    for number in range(1, 17, 2):
        if peer.room(number) >= len(piece) and number not in peer.done and number not in peer.resets:
            went |= peer.send(f.data(number, piece), 0.2)
            peer.used(number, len(piece))
    return went
