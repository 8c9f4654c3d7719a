"""What testssl.sh says of the server: A or better from Debian's, whichever version it is."""

import json
import shutil

from stage import Authority, Skipped, run, server


def grade(folder):
    """What testssl.sh says: no finding of a server's making, A with a CA it trusts, A+ with hsts."""
    testssl = next(filter(None, map(shutil.which, ("testssl", "testssl.sh"))), None)
    if not testssl:
        raise Skipped("testssl.sh is not installed (Debian package testssl.sh)")
    ca = Authority(folder, "ca")
    # Ninety days, as usual authorities give: under thirty it complains.
    ecdsa = ca.issue(folder / "ecdsa", ["localhost"], days=90)
    rsa = ca.issue(folder / "rsa", ["localhost"], key=("rsa", "rsa_keygen_bits:2048"), days=90)
    with server(folder, "--tls-cert", f"{ecdsa}.pem,{rsa}.pem", "--tls-key", f"{ecdsa}.key,{rsa}.key", "--hsts", "400d") as it:
        found = folder / "found.json"
        code, said = run(testssl, "--quiet", "--warnings", "off", "--color", "0", "--nodns", "none", "--ip", "127.0.0.1",
                         "--add-ca", ca.pem, "--jsonfile", found, f"https://localhost:{it.public}/", limit=600)
    found = json.loads(found.read_text())
    assert len(found) > 100, said
    judge(found)


def judge(found):
    """Findings to a verdict: testssl's own grade where it has one (3.2), else the rules it goes by."""
    of = {}
    for finding in found:
        of.setdefault(finding["id"].split(" ")[0], []).append(finding)
    bad = [finding for finding in found if finding["severity"] in ("LOW", "MEDIUM", "HIGH", "CRITICAL")
           and finding["id"].split(" ")[0] not in THROW_AWAY | DELIBERATE]
    assert not bad, "\n".join(f"{it['severity']} {it['id']}: {it['finding']}" for it in bad)
    if graded := of.get("overall_grade"):
        assert graded[0]["finding"] == "A+", graded
        print("testssl.sh: A+, its own grade")
        return
    for old in ("SSLv2", "SSLv3", "TLS1", "TLS1_1"):
        assert "not offered" in of[old][0]["finding"], of[old]
    for new in ("TLS1_2", "TLS1_3"):
        assert of[new][0]["finding"].startswith("offered"), of[new]
    assert all(it["finding"].startswith("passed") for it in of["cert_chain_of_trust"]), of["cert_chain_of_trust"]
    assert all("not vulnerable" in it["finding"] for name in ("heartbleed", "CCS", "ticketbleed", "ROBOT", "CRIME_TLS")
               for it in of[name]), of
    assert of["PFS"][0]["finding"].startswith("offered"), of["PFS"]
    assert int(of["HSTS_time"][0]["finding"].split()[0]) >= 180, of["HSTS_time"]
    # SSL Labs' guide: 0.3 protocols + 0.3 key exchange + 0.4 ciphers; A from 80 up, + with HSTS and no warning.
    exchange = min({"EC 256": 100, "RSA 2048": 90}[" ".join(it["finding"].split()[:2])] for it in of["cert_keySize"])
    score = 0.3 * 100 + 0.3 * exchange + 0.4 * (80 + 100) / 2
    assert score >= 80, score
    print(f"testssl.sh without grades: no weakness, by its later rules {score:.0f} of 100 and HSTS, which is A+")


# What comes of a throw-away certificate, of a machine without DNS, and of a missing openssl engine.
THROW_AWAY = {"cert_revocation", "DNS_CAArecord", "engine_problem", "cert_ocspURL", "cert_crlDistributionPoints"}
# All ciphers are strong; the client knows whether its processor likes AES or ChaCha20 better.
DELIBERATE = {"cipher_order"}
TESTS = [grade]
