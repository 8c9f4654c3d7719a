"""What tests have from PyPI and npm (tests/requirements.txt, tests/package-lock.json), installed once for all of them.

As a program it installs all of both, before tests that run side by side would wait for each other.
"""
import contextlib
import fcntl
import hashlib
import os
import pathlib
import subprocess
import sys

TESTS = pathlib.Path(__file__).resolve().parent.parent
HOME = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TESTS.parent / "target")).resolve() / "tests-venv"
PYTHON = HOME / "bin/python"


@contextlib.contextmanager
def installed(folder):
    """What was installed in this folder so far, a line each, to be added to. Tests run side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".installed", "a+") as done:
        fcntl.flock(done, fcntl.LOCK_EX)
        done.seek(0)
        lines = done.read().splitlines()
        known = len(lines)
        yield lines
        done.writelines(f"{line}\n" for line in lines[known:])


def python(*names):
    """A Python that has tests/requirements.txt, or these of it, in an environment beside what cargo builds."""
    if inside():
        return PYTHON
    lines = (TESTS / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line and line[0] != "#" and (not names or line.split("==")[0] in names)]
    with installed(HOME) as there:
        if missing := [line for line in wanted if line not in there]:
            if not PYTHON.exists():
                subprocess.run([sys.executable, "-m", "venv", HOME], check=True)
            subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *missing], check=True)
            there += missing
    return PYTHON


def inside():
    """Whether this program is run by that Python."""
    return pathlib.Path(sys.prefix) == HOME


def run_by_it(*names):
    """Runs this program again by that Python, unless that one runs it."""
    if not inside():
        os.execv(python(*names), [str(PYTHON), *sys.argv])


def node_modules():
    """tests/node_modules, with the packages of the lock file: where programs below tests/ find them."""
    folder = TESTS / "node_modules"
    lock = hashlib.sha256((TESTS / "package-lock.json").read_bytes()).hexdigest()
    # (Not in the folder: npm ci empties it.)
    with installed(HOME.with_name("tests-npm")) as there:
        if there[-1:] != [lock] or not (folder / ".package-lock.json").exists():
            subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=TESTS, check=True)
            there.append(lock)
    return folder


if __name__ == "__main__":
    python()
    node_modules()
