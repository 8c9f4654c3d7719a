"""Runs a program and kills it at its N-th system call on one directory: exactly there, counted over all
of its threads. (strace's `inject=...:when=N` counts for each thread on its own, so that most N never come.)

    python3 killer.py LOG N entry|exit start|arm|term DIRECTORY PROGRAM ARGUMENT...

With `entry` the call is not made any more, with `exit` it has been made and nobody hears of it. Counting
begins with the start, at a SIGURG (swallowed) or at a SIGTERM (delivered). N = 0 kills nothing. LOG gets a
line for each call counted, and at the end `killed` where it did. Standard library, Linux on x86-64.
"""

import ctypes
import os
import signal
import struct
import sys

# Whether the first argument names the file by its descriptor, or which one by its path.
BY_DESCRIPTOR, BY_PATH, BY_SECOND_PATH = range(3)
CALLS = {
    1: ("write", BY_DESCRIPTOR), 2: ("open", BY_PATH), 18: ("pwrite64", BY_DESCRIPTOR),
    20: ("writev", BY_DESCRIPTOR), 74: ("fsync", BY_DESCRIPTOR), 75: ("fdatasync", BY_DESCRIPTOR),
    76: ("truncate", BY_PATH), 77: ("ftruncate", BY_DESCRIPTOR), 82: ("rename", BY_PATH),
    83: ("mkdir", BY_PATH), 84: ("rmdir", BY_PATH), 86: ("link", BY_PATH), 87: ("unlink", BY_PATH),
    90: ("chmod", BY_PATH), 91: ("fchmod", BY_DESCRIPTOR), 257: ("openat", BY_SECOND_PATH),
    258: ("mkdirat", BY_SECOND_PATH), 263: ("unlinkat", BY_SECOND_PATH), 264: ("renameat", BY_SECOND_PATH),
    268: ("fchmodat", BY_SECOND_PATH), 277: ("sync_file_range", BY_DESCRIPTOR),
    285: ("fallocate", BY_DESCRIPTOR), 296: ("pwritev", BY_DESCRIPTOR), 316: ("renameat2", BY_SECOND_PATH),
    326: ("copy_file_range", BY_DESCRIPTOR), 328: ("pwritev2", BY_DESCRIPTOR),
}
OPENS = {"open": 1, "openat": 2}  # which argument holds the flags
AUDIT_ARCH_X86_64 = 0xC000003E
TRACEME, CONT, SYSCALL, SETOPTIONS, GET_SYSCALL_INFO = 0, 7, 24, 0x4200, 0x420E
# Stops of system calls are marked; forks, clones, exec and the filter are told; it dies with the tracer.
OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000
EVENT_SECCOMP = 7
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def filter_calls():
    """Has the kernel stop this process at the calls above, and at no other."""
    def instruction(code, yes, no, value):
        return struct.pack("HBBI", code, yes, no, value)

    count = len(CALLS)
    program = [instruction(0x20, 0, 0, 4), instruction(0x15, 1, 0, AUDIT_ARCH_X86_64),
               instruction(0x06, 0, 0, 0x7FFF0000), instruction(0x20, 0, 0, 0)]
    for at, number in enumerate(CALLS):
        program.append(instruction(0x15, count - at, 0, number))
    program += [instruction(0x06, 0, 0, 0x7FFF0000), instruction(0x06, 0, 0, 0x7FF00000)]
    code = ctypes.create_string_buffer(b"".join(program))
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code)))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(head)), 0, 0):
        os._exit(126)


def child(command):
    libc.ptrace(TRACEME, 0, None, None)
    os.kill(os.getpid(), signal.SIGSTOP)
    filter_calls()
    os.execv(command[0], command)


def text_at(pid, address):
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        memory.seek(address)
        return memory.read(512).split(b"\0")[0].decode(errors="replace")


class Tracer:
    def __init__(self, log, number, form, begin, directory, pid):
        self.log, self.number, self.form, self.begin = log, number, form, begin
        self.directory, self.leader = directory.rstrip("/"), pid
        self.counting = begin == "start"
        self.count, self.chosen, self.killed = 0, None, False

    def kill(self):
        if not self.killed:
            self.killed = True
            os.kill(self.leader, signal.SIGKILL)

    def about(self, tid):
        """`call kind-of-file` if the stopped call changes something in the directory, else None."""
        info = ctypes.create_string_buffer(96)
        if libc.ptrace(GET_SYSCALL_INFO, tid, 96, ctypes.addressof(info)) < 0:
            return None
        number, *arguments = struct.unpack_from("7Q", info.raw, 24)
        name, by = CALLS[number]
        if name in OPENS and not arguments[OPENS[name]] & os.O_CREAT:
            return None
        try:
            if by == BY_DESCRIPTOR:
                path = os.readlink(f"/proc/{tid}/fd/{arguments[0]}")
            else:
                path = text_at(tid, arguments[1 if by == BY_SECOND_PATH else 0])
        except OSError:
            return None
        if path != self.directory and not path.startswith(self.directory + "/"):
            return None
        inner = path[len(self.directory) + 1:]
        kind = ("directory" if not inner else "files" if inner == "files" else "file"
                if inner.startswith("files/") else inner.rsplit(".", 1)[-1])
        return f"{name} {kind}"

    def call(self, tid):
        """A stop at the entry of a call; how to go on."""
        if self.killed or not self.counting or not (about := self.about(tid)):
            return CONT
        self.count += 1
        print(about, file=self.log, flush=True)
        if self.count != self.number:
            return CONT
        if self.form == "entry":
            self.kill()
            return CONT
        self.chosen = tid
        return SYSCALL

    def run(self):
        known, code = {self.leader}, 0
        while True:
            try:
                tid, status = os.waitpid(-1, WALL)
            except ChildProcessError:
                break
            if not os.WIFSTOPPED(status):
                if tid == self.leader:
                    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
                continue
            stop, event, go, deliver = os.WSTOPSIG(status), status >> 16, CONT, 0
            if event == EVENT_SECCOMP:
                go = self.call(tid)
            elif stop == signal.SIGTRAP | 0x80:
                if tid == self.chosen:
                    self.kill()
            elif event or stop == signal.SIGTRAP:
                pass
            elif stop == signal.SIGSTOP and tid not in known:
                known.add(tid)
            elif stop == signal.SIGURG and self.begin == "arm":
                self.counting = True
            else:
                self.counting |= stop == signal.SIGTERM and self.begin == "term"
                deliver = stop
            libc.ptrace(go, tid, None, deliver)
        if self.killed:
            print("killed", file=self.log, flush=True)
        return code


def main():
    log, number, form, begin, directory, *command = sys.argv[1:]
    pid = os.fork()
    if pid == 0:
        child(command)
    os.waitpid(pid, WALL)
    libc.ptrace(SETOPTIONS, pid, None, OPTIONS)
    libc.ptrace(CONT, pid, None, None)
    with open(log, "w") as log:
        code = Tracer(log, int(number), form, begin, directory, pid).run()
    sys.exit(code)


if __name__ == "__main__":
    main()
