#!/usr/bin/env python3
"""Emulates a long network line between two network namespaces: TCP ends in the near one and in the far one, and packets between
them are forwarded with a delay, a rate and random loss. benches/delay.rs, in contrast, ends TCP in its proxy.

    benches/compare/line.py [--rtt MS] [--mbit N] [--loss PERCENT] [--seed N] [--near-cc NAME] [--far-cc NAME] [--rmem BYTES]
                            [--wmem BYTES] [--seconds N] [--far COMMAND --near COMMAND]

Without commands it measures one TCP connection from near to far for some seconds: with `--loss 0 --rtt 0 --mbit 100000` what the
program itself can carry. With commands it starts the far one, runs the near one, and ends both. The near end is 10.77.0.1, the far
one 10.77.0.2. Needs Linux, root, /dev/net/tun and iproute2. The namespaces have no names: they end with their last process.

Each direction is a queue of one bandwidth-delay product (64 packets at least) that drops what does not fit, then the rate, then the
loss, then half of the round trip. Packets are read and written every half millisecond. Both directions lose packets.
"""
import argparse
import collections
import ctypes
import fcntl
import json
import os
import random
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

ADDRESSES = {"near": "10.77.0.1", "far": "10.77.0.2"}
PACKET, TICK = 1500, 0.0005
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET, PR_SET_PDEATHSIG, TUNSETIFF, IFF_TUN_NO_PI = 0x40000000, 1, 0x400454CA, 0x1001


def call(function, *arguments):
    if function(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Direction:
    """Packets of one direction that are under way."""

    def __init__(self, source, sink, rtt, mbit, loss, seed):
        self.source, self.sink, self.delay, self.loss = source, sink, rtt / 2, loss
        self.second_per_byte = 8 / (mbit * 1e6)
        self.queue = max(rtt, 64 * PACKET * self.second_per_byte)
        self.random = random.Random(seed)
        self.free, self.packets = 0.0, collections.deque()
        self.carried = self.lost = self.dropped = 0

    def take(self, now):
        """Everything that waits to be sent."""
        try:
            while packet := os.read(self.source, 65535):
                free = max(self.free, now)
                if free - now > self.queue:
                    self.dropped += 1
                    continue
                self.free = free + len(packet) * self.second_per_byte
                if self.random.random() < self.loss:
                    self.lost += 1
                else:
                    self.packets.append((self.free + self.delay, packet))
        except BlockingIOError:
            pass

    def give(self, now):
        """Everything that has arrived."""
        while self.packets and self.packets[0][0] <= now:
            try:
                os.write(self.sink, self.packets.popleft()[1])
                self.carried += 1
            except OSError:
                pass  # the device has gone


class Line:
    """The namespaces and the process that forwards between them, until the end of a `with`."""

    def __init__(self, rtt_ms, mbit, loss_percent, seed=1, cc=("cubic", "cubic"), rmem=None, wmem=None):
        self.here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.spaces, self.started = {}, []
        tuns = [self._side(side, other, cc[number], rmem, wmem) for number, (side, other) in enumerate((("near", "far"), ("far", "near")))]
        self.result, result = os.pipe()
        self.forwarder = os.fork()
        if self.forwarder == 0:
            os.close(self.result)
            try:
                forward(tuns, result, rtt_ms / 1e3, mbit, loss_percent / 100, seed)
            finally:
                os._exit(1)
        for fd in (*tuns, result):
            os.close(fd)

    def _side(self, side, other, cc, rmem, wmem):
        """A namespace with a device: the descriptor of that."""
        try:
            call(LIBC.unshare, CLONE_NEWNET)
            self.spaces[side] = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"line", IFF_TUN_NO_PI))
            for words in ("link set lo up", f"link set line up mtu {PACKET} txqueuelen 20000", f"addr add {ADDRESSES[side]}/32 dev line",
                          # For this route, so that no setting of the machine changes.
                          f"route add {ADDRESSES[other]} dev line src {ADDRESSES[side]} congctl {cc}"):
                subprocess.run(["ip", *words.split()], check=True)
            settings = {"tcp_no_metrics_save": 1}
            if rmem:
                settings["tcp_rmem"] = f"4096 131072 {rmem}"
            if wmem:
                settings["tcp_wmem"] = f"4096 16384 {wmem}"
            for name, value in settings.items():
                with open(f"/proc/sys/net/ipv4/{name}", "w") as setting:
                    setting.write(str(value))
            return tun
        finally:
            call(LIBC.setns, self.here, CLONE_NEWNET)

    def within(self, side, action):
        """What `action` returns, called inside of that namespace."""
        call(LIBC.setns, self.spaces[side], CLONE_NEWNET)
        try:
            return action()
        finally:
            call(LIBC.setns, self.here, CLONE_NEWNET)

    def start(self, side, command, **options):
        process = self.within(side, lambda: subprocess.Popen(command, preexec_fn=die_with_parent, **options))
        self.started.append(process)
        return process

    def wait_for(self, side, host, port, process):
        """Until something listens there."""
        for _ in range(200):
            if process.poll() is not None:
                raise RuntimeError(f"{process.args} ended")
            with self.within(side, socket.socket) as probe:
                if probe.connect_ex((host, port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"{process.args} does not listen")

    def connection(self, seconds):
        """Mbit/s of one TCP connection from near to far, without anything above it."""
        with self.within("far", socket.socket) as listener, self.within("near", socket.socket) as sender:
            listener.bind((ADDRESSES["far"], 0))
            listener.listen()
            sender.connect(listener.getsockname())
            receiver = listener.accept()[0]
            ended = time.monotonic() + seconds
            sender.settimeout(seconds)

            def send():
                zeros = bytes(256 << 10)
                try:
                    while time.monotonic() < ended:
                        sender.send(zeros)
                except OSError:
                    pass

            thread = threading.Thread(target=send)
            thread.start()
            received, buffer = 0, bytearray(1 << 20)
            with receiver:
                while (left := ended - time.monotonic()) > 0:
                    if select.select([receiver], [], [], left)[0]:
                        received += receiver.recv_into(buffer)
            thread.join()
            return received * 8 / seconds / 1e6

    def end(self):
        """Ends what runs on it. The answer: packets carried, lost by chance, dropped by the queue, and missed by this program."""
        for process in self.started:
            process.terminate()
        for process in self.started:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        missed = 0
        for side in self.spaces:
            shown = self.within(side, lambda: subprocess.run(["ip", "-json", "-s", "link", "show", "line"], capture_output=True, text=True))
            missed += json.loads(shown.stdout)[0]["stats64"]["tx"]["dropped"] if shown.returncode == 0 else 0
        os.kill(self.forwarder, signal.SIGTERM)
        with open(self.result) as result:
            counted = json.loads(result.read() or "{}")
        os.waitpid(self.forwarder, 0)
        for fd in (*self.spaces.values(), self.here):
            os.close(fd)
        return {**counted, "missed": missed}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.counted = self.end()


def forward(tuns, result, rtt, mbit, loss, seed):
    """Forwards until SIGTERM, then writes what it counted."""
    die_with_parent()
    stopped = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        print("line: no real-time priority: other programs delay packets", file=sys.stderr)
    near, far = tuns
    directions = [Direction(near, far, rtt, mbit, loss, seed), Direction(far, near, rtt, mbit, loss, seed + 1)]
    while not stopped:
        for direction in directions:
            direction.take(time.monotonic())
            direction.give(time.monotonic())
        time.sleep(TICK)
    counted = {name: sum(getattr(direction, name) for direction in directions) for name in ("carried", "lost", "dropped")}
    os.write(result, json.dumps(counted).encode())
    os._exit(0)


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    parser.add_argument("--rtt", type=float, default=100)
    parser.add_argument("--mbit", type=float, default=100)
    parser.add_argument("--loss", type=float, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--near-cc", default="cubic")
    parser.add_argument("--far-cc", default="cubic")
    parser.add_argument("--rmem", type=int)
    parser.add_argument("--wmem", type=int)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--near")
    parser.add_argument("--far")
    asked = parser.parse_args()
    code = 0
    with Line(asked.rtt, asked.mbit, asked.loss, asked.seed, (asked.near_cc, asked.far_cc), asked.rmem, asked.wmem) as line:
        if asked.far:
            line.start("far", shlex.split(asked.far))
        if asked.near:
            code = line.start("near", shlex.split(asked.near)).wait()
        elif not asked.far:
            print(f"one TCP connection, {asked.near_cc}: {line.connection(asked.seconds):.1f} Mbit/s")
    print(f"packets: {line.counted}, seed {asked.seed}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
