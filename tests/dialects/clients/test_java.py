"""tus-java-client, which tus-android-client sends with: chunked bodies, `Expect: 100-continue`, new uploads on 404 alone."""

import os
import pathlib
import re
import subprocess
import unittest

from uploads import APP, MIB, TUS, Uploads, ask

CLASSES = os.environ["CLASSES"]
DOCS = pathlib.Path(__file__).resolve().parents[3] / "docs/clients"


def java(program, *args, cwd=None):
    command = ["java", "-cp", CLASSES, "-Dfile.encoding=UTF-8", program, *map(str, args)]
    return subprocess.Popen(command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Java(Uploads):
    def run_client(self, endpoint, request_bytes, *stop, between=None):
        """Sends the file to its end; what was printed."""
        with java("Client", endpoint, self.file.name, request_bytes, *stop) as process:
            said = [process.stdout.readline().strip()] if between else []
            if between:
                between(said[0])
            output, errors = process.communicate("\n", timeout=120)
        self.assertEqual(process.returncode, 0, errors)
        return said + output.split("\n")[:-1]

    def test_sizes(self):
        # One request; several; the last one full, after which an empty one is sent.
        for size, request_bytes in [(MIB + 7, 10 * MIB), (3 * MIB + 7, MIB), (3 * MIB, MIB), (0, MIB)]:
            with self.subTest(size=size, request_bytes=request_bytes):
                content = self.content(size)
                *_, url = self.run_client(TUS, request_bytes)
                call = self.arrived(url, content)
                self.assertEqual((call["filenameFromBrowser"], call["type"]), ("film – ü.mp4", "video/mp4"))

    def test_a_kill_in_the_middle(self):
        content = self.content(8 * MIB)

        def outage(said):
            self.assertEqual(said, f"stopped at {4 * MIB}")
            ask("outage")

        said = self.run_client(TUS, 2 * MIB, 4 * MIB, between=outage)
        # Nothing of what was acknowledged is missing.
        self.assertEqual(said[1], f"from {4 * MIB}")
        self.arrived(said[-1], content)

    def test_an_upload_that_is_gone_is_begun_anew(self):
        content = self.content(3 * MIB)
        gone = ask("ticket")

        def cancel(_):
            done = subprocess.run(["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "-X", "DELETE", "-H", "Tus-Resumable: 1.0.0",
                                   gone["tus_url"]], capture_output=True, text=True)
            self.assertEqual(done.stdout, "204")

        # A ticket is for one upload: the client says that its creation failed.
        with java("Client", gone["tus_url"], self.file.name, MIB, MIB) as process:
            cancel(process.stdout.readline())
            _, errors = process.communicate("\n", timeout=120)
        self.assertIn("404", errors)
        # And where the endpoint makes new ones, it makes one.
        said = self.run_client(f"{APP}/uploads", MIB, MIB, between=lambda said: ask("cancel_last"))
        self.assertEqual(said[1], "from 0")
        self.arrived(said[-1], content)

    def test_ticket_and_own_route(self):
        content = self.content(2 * MIB + 1)
        for endpoint in [ask("ticket")["tus_url"], f"{APP}/uploads"]:
            *_, url = self.run_client(endpoint, MIB)
            self.arrived(url, content)

    def test_page(self):
        block, = re.findall(r"^```java\n(.*?)^```$", (DOCS / "android-java.md").read_text(), re.S | re.M)
        work = pathlib.Path(CLASSES).parent / "page"
        work.mkdir()
        route = "https://app.example.org/uploads"
        self.assertIn(route, block)
        (work / "Upload.java").write_text(block.replace(route, f"{APP}/uploads"))
        (work / "film.mp4").write_bytes(self.content(5 * MIB + 7))
        subprocess.run(["javac", "-cp", CLASSES, "-d", CLASSES, "Upload.java"], cwd=work, check=True)
        with java("Upload", cwd=work) as process:
            output, errors = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, errors)
        self.assertIn(f"{5 * MIB + 7} of {5 * MIB + 7}", output)
        self.arrived(f"/{ask('last')}", (work / "film.mp4").read_bytes())


if __name__ == "__main__":
    unittest.main()
