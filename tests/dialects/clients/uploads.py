"""What a test of a client needs of the web app and the server that run beside it (../web_app.py)."""

import hashlib
import json
import os
import tempfile
import unittest
import urllib.parse
import urllib.request

APP, TUS = os.environ["APP"], os.environ["TUS"]
MIB = 1 << 20


def ask(path, **form):
    body = urllib.parse.urlencode(form).encode()
    with urllib.request.urlopen(f"{APP}/{path}", body, timeout=60) as answer:
        text = answer.read().decode()
    return json.loads(text) if text[:1] in "{[" else text


class Uploads(unittest.TestCase):
    def setUp(self):
        self.file = tempfile.NamedTemporaryFile()
        self.addCleanup(self.file.close)

    def content(self, size):
        content = os.urandom(size)
        self.file.seek(0)
        self.file.truncate()
        self.file.write(content)
        self.file.flush()
        return content

    def arrived(self, url, content):
        call = ask(f"taken/{url.rsplit('/', 1)[1]}")
        self.assertEqual(call["length"], str(len(content)))
        self.assertEqual(call["sha256"], hashlib.sha256(content).hexdigest())
        return call
