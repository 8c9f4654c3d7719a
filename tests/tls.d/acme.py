"""Certificates that the server orders by itself, from pebble, which looks at its proofs for real: Debian's pebble asks
pebble-challtestsrv where the names are, and connects to the server there.
"""

import contextlib
import json
import os
import pathlib
import ssl
import subprocess
import urllib.request

from stage import SCRIPT, UPLOADS, Authority, curl, free_port, needs, s_client, server, shown, until
import rig  # beside campaigns, where stage looks too

NAMES = ["one.test", "two.test"]


@contextlib.contextmanager
def child(folder, name, *words, **variables):
    with open(folder / f"log-{name}", "a") as log:
        started = subprocess.Popen([str(word) for word in words], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                   cwd=folder, env={"PATH": os.environ["PATH"], **variables})
        try:
            yield started
        finally:
            started.terminate()
            started.wait(30)


class Pebble:
    """An authority; its ports stay the same when it comes back."""

    def __init__(self, folder, tls_port, *, valid_s=None):
        self.folder, self.dns, self.port, self.management = folder, free_port(), free_port(), free_port()
        self.ca = Authority(folder, "directory-ca")
        pair = self.ca.issue(folder / "directory", ["localhost"])
        config = {"listenAddress": f"127.0.0.1:{self.port}", "managementListenAddress": f"127.0.0.1:{self.management}",
                  "certificate": f"{pair}.pem", "privateKey": f"{pair}.key", "httpPort": free_port(), "tlsPort": tls_port,
                  "ocspResponderURL": "", "externalAccountBindingRequired": False}
        if valid_s:
            config["certificateValidityPeriod"] = valid_s
        (folder / "pebble.json").write_text(json.dumps({"pebble": config}))

    def flags(self):
        return ["--acme-domains", ",".join(NAMES), "--acme-contact", "ops@one.test", "--acme-cache", self.folder / "acme",
                "--acme-directory", f"https://localhost:{self.port}/dir", "--acme-directory-ca", self.ca.pem]

    @contextlib.contextmanager
    def up(self):
        with child(self.folder, "names", "pebble-challtestsrv", "-dns01", f"127.0.0.1:{self.dns}", "-http01", "", "-https01", "",
                   "-tlsalpn01", "", "-management", f"127.0.0.1:{free_port()}", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""), \
             child(self.folder, "pebble", "pebble", "-config", self.folder / "pebble.json", "-dnsserver", f"127.0.0.1:{self.dns}",
                   PEBBLE_VA_NOSLEEP="1", PEBBLE_WFE_NONCEREJECT="0"):
            until("pebble", lambda: self.ask("roots/0"))
            yield

    def ask(self, path):
        trust = ssl.create_default_context(cafile=self.ca.pem)
        try:
            with urllib.request.urlopen(f"https://localhost:{self.management}/{path}", timeout=10, context=trust) as answer:
                return answer.read()
        except OSError:
            return None

    def root(self):
        path = self.folder / "root.pem"
        path.write_bytes(self.ask("roots/0"))
        return path


def answers(it, name, root):
    """Whether curl, which trusts the authority's root alone, gets an answer."""
    url = f"https://{name}:{it.public}{SCRIPT}"
    return "status 200" in curl("--cacert", root, "--resolve", f"{name}:{it.public}:127.0.0.1", url)


def ordered_kept_and_renewed(folder):
    needs("pebble", "pebble-challtestsrv")
    binary, listen = rig.build(), free_port()
    pebble = Pebble(folder, listen)
    # No authority yet: the server runs, says so, and tries again.
    with server(folder, *pebble.flags(), listen=listen, binary=binary) as it:
        it.said("ERROR", "ACME order failed", *NAMES)
        assert "self-signed" in s_client(it.public, "one.test")
        assert "status 200" in curl(f"http://127.0.0.2:{it.backend}{UPLOADS}")
        with pebble.up():
            it.said("INFO", "ACME certificate in force")
            root = pebble.root()
            for name in NAMES:
                assert answers(it, name, root), name
            first = shown(it.public, "one.test")
            assert first["names"] == NAMES, first
            # Nobody gets a proof, or anything else, who asks for one now.
            said = s_client(it.public, "one.test", "-alpn", "acme-tls/1")
            assert "HTTP/1.1" not in said and "alert" in said, said
            assert answers(it, "one.test", root)
    for kept in (folder / "acme").iterdir():
        assert kept.stat().st_mode & 0o777 == 0o600, kept
    assert (folder / "acme").stat().st_mode & 0o777 == 0o700
    # A start without the authority serves what is kept, and has nothing to warn of.
    with server(folder, *pebble.flags(), "--backend-open", listen=listen, binary=binary) as it:
        assert shown(it.public, "one.test") == first
        assert answers(it, "two.test", root)
        assert not [line for line in it.lines() if line["level"] in ("ERROR", "WARN")], it.lines()


def a_certificate_that_ends_soon_is_renewed(folder):
    needs("pebble", "pebble-challtestsrv")
    binary, listen = rig.build(), free_port()
    pebble = Pebble(folder, listen, valid_s=12)
    with pebble.up(), server(folder, *pebble.flags(), listen=listen, binary=binary) as it:
        it.said("INFO", "ACME certificate in force")
        first = shown(it.public, "one.test")
        until("another certificate", lambda: shown(it.public, "one.test") != first)


TESTS = [ordered_kept_and_renewed, a_certificate_that_ends_soon_is_renewed]
