"""Versions, sessions, certificates by name, reload, client certificates, redirect: judged by openssl and curl."""

import json
import os
import pathlib
import shutil
import signal

from stage import DEADLINE, SCRIPT, UPLOADS, Authority, curl, must, run, s_client, serial, server, shown, until


def versions_and_sessions(folder):
    """TLS 1.2 and 1.3 and nothing older; sessions go on with a ticket, on each, and for their own name alone."""
    ca = Authority(folder, "ca")
    pair = ca.issue(folder / "a", ["a.test", "b.test"])
    with server(folder, "--tls-cert", f"{pair}.pem", "--tls-key", f"{pair}.key") as it:
        for version in ("tls1", "tls1_1"):
            said = s_client(it.public, "a.test", f"-{version}", "-cipher", "ALL@SECLEVEL=0")
            assert "Cipher is (NONE)" in said and "alert" in said, said
        for version in ("tls1_2", "tls1_3"):
            kept, flags = folder / f"{version}.session", (f"-{version}", "-CAfile", ca.pem)
            said = s_client(it.public, "a.test", *flags, "-verify_return_error", "-sess_out", kept)
            assert "Verification: OK" in said and "New, TLSv1." in said and "200 OK" in said, said
            said = s_client(it.public, "a.test", *flags, "-sess_in", kept)
            assert "Reused, TLSv1." in said and "200 OK" in said, said
            said = s_client(it.public, "b.test", *flags, "-sess_in", kept)
            assert "New, TLSv1." in said and "Reused" not in said, said
        said = run("openssl", "s_client", "-connect", f"127.0.0.1:{it.public}", "-servername", "a.test", "-tls1_2", "-reconnect")[1]
        assert said.count("Reused, TLSv1.2") == 5, said
        for offered, chosen in (("h2,http/1.1", "h2"), ("http/1.1", "http/1.1")):
            said = s_client(it.public, "a.test", "-alpn", offered)
            assert f"ALPN protocol: {chosen}\n" in said, said
        assert "no_application_protocol" in s_client(it.public, "a.test", "-alpn", "smtp").replace(" ", "_")


def certificates_by_name(folder):
    """The name chooses, wildcards too; of an ECDSA and an RSA certificate the one that the client can verify."""
    ca = Authority(folder, "ca")
    first = ca.issue(folder / "first", ["first.test"])
    wild = ca.issue(folder / "wild", ["*.wild.test", "wild.test"])
    rsa = ca.issue(folder / "rsa", ["first.test"], key=("rsa", "rsa_keygen_bits:2048"))
    certs = ",".join(f"{pair}.pem" for pair in (first, wild, rsa))
    keys = ",".join(f"{pair}.key" for pair in (first, wild, rsa))
    with server(folder, "--tls-cert", certs, "--tls-key", keys) as it:
        for name, pair in (("first.test", first), ("a.wild.test", wild), ("wild.test", wild), ("a.b.wild.test", first),
                           ("elsewhere.test", first)):
            assert shown(it.public, name)["serial"] == serial(pair), name
        for version in ("-tls1_2", "-tls1_3"):
            for schemes, pair in (("rsa_pss_rsae_sha256", rsa), ("ecdsa_secp256r1_sha256", first)):
                assert shown(it.public, "first.test", version, "-sigalgs", schemes)["serial"] == serial(pair), schemes
        for name in ("first.test", "a.wild.test"):
            url = f"https://{name}:{it.public}{SCRIPT}"
            assert "status 200" in curl("--cacert", ca.pem, "--resolve", f"{name}:{it.public}:127.0.0.1", url)


def reload(folder):
    """New files are taken while it runs; bad ones are not, and the log says which and why."""
    ca = Authority(folder, "ca")
    one, two = ca.issue(folder / "one", ["one.test"]), ca.issue(folder / "two", ["two.test"])
    with server(folder, "--tls-cert", f"{one}.pem,{two}.pem", "--tls-key", f"{one}.key,{two}.key") as it:
        old = serial(one)
        # A key that does not match, beside a good new pair.
        other = ca.issue(folder / "other", ["one.test"])
        os.replace(f"{other}.key", f"{one}.key")
        ca.issue(two, ["two.test"])
        it.child.send_signal(signal.SIGHUP)
        line = it.said("ERROR", "one.pem", "one.key")
        assert "two.pem" not in json.dumps(line), line
        until("the good pair", lambda: shown(it.public, "two.test")["serial"] == serial(two))
        assert shown(it.public, "one.test")["serial"] == old
        # Half a file, as a full disk or a slow copy leaves it; nobody sends a signal.
        whole = pathlib.Path(f"{other}.pem").read_bytes()
        pathlib.Path(f"{one}.pem").write_bytes(whole[:len(whole) // 2])
        it.said("ERROR", "one.pem", "PEM")
        assert shown(it.public, "one.test")["serial"] == old
        pathlib.Path(f"{one}.pem").write_bytes(whole)
        it.child.send_signal(signal.SIGHUP)
        until("the whole file", lambda: shown(it.public, "one.test")["serial"] == serial(other))
        # What is watched is taken without a signal, too.
        ca.issue(one, ["one.test"])
        until("the renewed one", lambda: shown(it.public, "one.test")["serial"] == serial(one))
        it.said("INFO", "certificates reloaded", "one.pem", "ends")


def client_certificates(folder):
    """The backend listener takes clients of its CA alone, and those of yesterday's CA no more."""
    ca, ours, theirs = (Authority(folder, name) for name in ("ca", "ours", "theirs"))
    pair = ca.issue(folder / "server", ["localhost"])
    app = ours.issue(folder / "app", ["app"], usage="clientAuth")
    stranger = theirs.issue(folder / "stranger", ["app"], usage="clientAuth")
    website = ours.issue(folder / "website", ["app"], usage="serverAuth")
    trusted = folder / "trusted.pem"
    shutil.copy(ours.pem, trusted)
    with server(folder, "--backend-tls-cert", f"{pair}.pem", "--backend-tls-key", f"{pair}.key",
                "--backend-tls-client-ca", trusted) as it:
        where = f"https://localhost:{it.backend}{UPLOADS}"
        reach = ("--cacert", ca.pem, "--resolve", f"localhost:{it.backend}:127.0.0.2")

        def answers(identity):
            shows = ("--cert", f"{identity}.pem", "--key", f"{identity}.key") if identity else ()
            tries = (curl(*reach, *shows, "--tls-max", most, where) for most in ("1.2", "1.3"))
            return {said.rsplit("status ", 1)[1].strip() for said in tries}

        def asks(identity):
            [answer] = answers(identity)
            return answer

        assert asks(app) == "200"
        assert asks(None) == "000"
        assert asks(stranger) == "000"
        assert asks(website) == "000"
        kept = {}
        for version in ("tls1_2", "tls1_3"):
            kept[version] = folder / f"{version}.session"
            shows = (f"-{version}", "-cert", f"{app}.pem", "-key", f"{app}.key")
            said = s_client(it.backend, "localhost", *shows, "-sess_out", kept[version], address="127.0.0.2")
            assert "404 Not Found" in said, said
            # No session goes on where clients show certificates: it would when the certificate has expired.
            if not kept[version].exists():
                del kept[version]
                continue
            said = s_client(it.backend, "localhost", *shows, "-sess_in", kept[version], address="127.0.0.2")
            assert "Reused" not in said and "404 Not Found" in said, said
        said = run("openssl", "s_client", "-connect", f"127.0.0.2:{it.backend}", "-servername", "localhost", "-tls1_2", "-reconnect",
                   "-cert", f"{app}.pem", "-key", f"{app}.key")[1]
        assert "New, TLSv1.2" in said and "Reused" not in said, said
        # The CA is changed: whoever the old one vouched for is out, with a session of yesterday too.
        shutil.copy(theirs.pem, trusted)
        it.child.send_signal(signal.SIGHUP)
        # It may come between two asked.
        until("the new CA", lambda: answers(stranger) == {"200"})
        assert asks(app) == "000"
        for version, session in kept.items():
            shows = (f"-{version}", "-cert", f"{app}.pem", "-key", f"{app}.key")
            said = s_client(it.backend, "localhost", *shows, "-sess_in", session, address="127.0.0.2")
            assert "Reused" not in said and "HTTP/1.1" not in said and "alert" in said, said
        # A CA that is none changes nothing.
        trusted.write_text("nobody\n")
        it.child.send_signal(signal.SIGHUP)
        it.said("ERROR", "trusted.pem")
        assert asks(stranger) == "200"
        assert asks(app) == "000"


def redirect(folder):
    """curl follows the plain port to https, with an upload in its hands."""
    ca = Authority(folder, "ca")
    pair = ca.issue(folder / "a", ["a.test"])
    plain = folder / "plain.sock"
    with server(folder, "--tls-cert", f"{pair}.pem", "--tls-key", f"{pair}.key", "--redirect-listen", f"unix:{plain}",
                "--hsts", "180d") as it:
        head = must("curl", "-sS", "-m", DEADLINE, "-D", "-", "-o", "/dev/null", "--unix-socket", plain, f"http://a.test{SCRIPT}")
        assert " 308 " in head and f"location: https://a.test:{it.public}{SCRIPT}" in head.lower(), head
        assert "strict-transport-security" not in head.lower(), head
        secure = ("--cacert", ca.pem, "--resolve", f"a.test:{it.public}:127.0.0.1")
        head = must("curl", "-sS", "-m", DEADLINE, "-D", "-", "-o", "/dev/null", *secure, f"https://a.test:{it.public}{SCRIPT}")
        assert "strict-transport-security: max-age=15552000" in head.lower(), head
        assert "x-content-type-options: nosniff" in head.lower(), head


TESTS = [versions_and_sessions, certificates_by_name, reload, client_certificates, redirect]
