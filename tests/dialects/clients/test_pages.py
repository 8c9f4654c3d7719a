"""The code of docs/clients, run as it stands there against the web apps of examples/.

Each block runs in a folder with a film.mp4; of its text only the address of the web app is changed.
"""

import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from rig import Server, free_port, until  # noqa: E402

from tusclient import client  # noqa: E402
from tusclient.exceptions import TusCommunicationError  # noqa: E402

MIB = 1 << 20
ROUTE = "https://app.example.org/uploads"


def blocks(page, language):
    text = (ROOT / "docs/clients" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.S | re.M)


class WebApp:
    """Tests of one web app of examples/, and of the clients of the pages with it."""

    command = []

    def setUp(self):
        work = tempfile.TemporaryDirectory()
        self.addCleanup(work.cleanup)
        self.work = pathlib.Path(work.name)
        self.server = Server(self.work / "data", "--max-upload-size", f"{32 * MIB}")
        self.server.flags += ("--frontend-url", f"http://127.0.0.1:{self.server.port}/incoming/frontend")
        self.addCleanup(self.server.kill)
        self.server.start()
        port = free_port()
        self.route = f"http://localhost:{port}/uploads"
        self.env = {**os.environ, "PORT": str(port), "BACKEND_SECRET": "s3cret",
                    "BACKEND": f"http://127.0.0.1:{self.server.backend_port}/incoming/backend"}
        self.log = open(self.work / "app.log", "w+")
        self.addCleanup(self.log.close)
        self.start_app()

    def start_app(self):
        """Starts the web app; tests may change `env` and start it again."""
        port = self.env["PORT"]
        app = subprocess.Popen([*self.command[:-1], ROOT / "examples" / self.command[-1]], cwd=self.work, env=self.env,
                               stdout=self.log, stderr=self.log)
        self.app = app
        self.addCleanup(app.wait)
        self.addCleanup(app.kill)
        until("the web app listens", lambda: subprocess.run(
            ["curl", "-s", "-o", self.work / "answer", f"http://localhost:{port}/"]).returncode == 0)

    def content(self, size, name="film.mp4"):
        content = os.urandom(size)
        (self.work / name).write_bytes(content)
        return content

    def arrived(self, content, name="film.mp4"):
        """Waits until the web app has moved the file to where it keeps its own."""
        found = lambda: [path for path in (self.work / "received/somebody").glob(f"*/{name}")]
        try:
            path = until("the web app has the file", found, 30)[0]
        except TimeoutError:
            self.fail((self.work / "app.log").read_text() + self.server.log_text())
        self.assertEqual(hashlib.sha256(path.read_bytes()).hexdigest(), hashlib.sha256(content).hexdigest())
        self.assertEqual(len(found()), 1)
        return path

    def run_block(self, page, language, nth, command, change=lambda text: text):
        """Runs a block in the folder; what it printed."""
        text = change(blocks(page, language)[nth])
        self.assertIn(ROUTE, text)
        script = self.work / f"block.{'mjs' if language == 'js' else 'py'}"
        script.write_text(text.replace(ROUTE, self.route))
        done = subprocess.run([*command, script, "film.mp4"], cwd=self.work, env={**self.env, "PYTHONPATH": os.pathsep.join(sys.path)},
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def test_python(self):
        for nth in range(3):
            with self.subTest(block=nth):
                content = self.content(20 * MIB + 7)
                url = self.run_block("python.md", "python", nth, [sys.executable, "-W", "ignore"])
                self.assertTrue(url.startswith(f"http://127.0.0.1:{self.server.port}/incoming/frontend/tus/"), url)
                path = self.arrived(content)
                self.assertEqual(path.parent.name, url.rsplit("/", 1)[1])
                path.unlink()
        self.assertEqual(len(blocks("python.md", "python")), 3)

    def test_node(self):
        (self.work / "node_modules").symlink_to(ROOT / "tests/node_modules")
        for size in [20 * MIB + 7, 0]:
            with self.subTest(size=size):
                content = self.content(size)
                # The first block is for pages: tests of browsers run it.
                self.run_block("tus-js-client.md", "js", 1, ["node"])
                self.arrived(content).unlink()
        self.assertEqual(len(blocks("tus-js-client.md", "js")), 2)

    def test_parts_in_parallel(self):
        (self.work / "node_modules").symlink_to(ROOT / "tests/node_modules")
        content = self.content(8 * MIB + 3)
        parts = lambda text: text.replace("metadata:", "parallelUploads: 4, metadata:", 1)
        self.run_block("tus-js-client.md", "js", 1, ["node"], parts)
        self.arrived(content)

    def test_an_unfinished_upload_goes_on(self):
        content = self.content(3 * MIB)
        uploader = client.TusClient(self.route).uploader(str(self.work / "film.mp4"), chunk_size=MIB, metadata={"filename": "film.mp4"})
        uploader.upload(stop_at=MIB)
        self.server.kill()
        self.server.start()
        self.assertEqual(uploader.get_offset(), MIB)
        uploader.upload()
        self.arrived(content)

    def test_the_backend_on_a_unix_socket(self):
        self.app.kill()
        self.app.wait()
        self.server.kill()
        self.server.backend_listen = self.env["BACKEND"] = f"unix:{self.work}/backend.sock"
        self.server.start()
        self.start_app()
        content = self.content(MIB + 1)
        # The slash at the end is what some clients add.
        client.TusClient(self.route + "/").uploader(str(self.work / "film.mp4"), metadata={"filename": "film.mp4"}).upload()
        self.arrived(content)
        self.server.kill()
        self.create(503)

    def test_a_missing_secret_is_one_line(self):
        env = {name: value for name, value in self.env.items() if name != "BACKEND_SECRET"}
        done = subprocess.run([*self.command[:-1], ROOT / "examples" / self.command[-1]], cwd=self.work, env=env,
                              capture_output=True, text=True, timeout=20)
        self.assertEqual((done.returncode, done.stderr), (1, "BACKEND_SECRET is not set\n"))

    def test_a_file_without_a_name(self):
        content = self.content(10)
        client.TusClient(self.route).uploader(str(self.work / "film.mp4")).upload()
        self.arrived(content, "*")

    def test_refusals(self):
        self.content(33 * MIB)
        self.create(413)
        self.server.kill()
        self.create(503)

    def create(self, status):
        with self.assertRaises(TusCommunicationError) as raised:
            client.TusClient(self.route).uploader(str(self.work / "film.mp4"), chunk_size=MIB).upload()
        self.assertEqual(raised.exception.status_code, status)

    def test_only_the_server_may_hand_over(self):
        victim = self.content(10, "victim")
        form = ["-d", "cancelled=no", "-d", "id=x", "-d", "metadata=somebody", "-d", "filenameFromBrowser=stolen",
                "-d", f"filename={self.work / 'victim'}"]
        for secret in ["", "wrong!"]:
            done = subprocess.run(["curl", "-s", "-o", self.work / "answer", "-w", "%{http_code}", *form, "-d", f"backendSecret={secret}",
                                   self.route.replace("/uploads", "/handover")], capture_output=True, text=True)
            self.assertEqual(done.stdout, "404")
        self.assertEqual((self.work / "victim").read_bytes(), victim)


class Python(WebApp, unittest.TestCase):
    command = [sys.executable, "tus_endpoint.py"]


class Node(WebApp, unittest.TestCase):
    command = ["node", "tus-endpoint.mjs"]


if __name__ == "__main__":
    unittest.main()
