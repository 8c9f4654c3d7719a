"""tuspy, sync and async, and aiotus: what Python programs upload with."""

import asyncio
import io
import os
import tempfile
import unittest

import aiotus
from tusclient import client
from tusclient.exceptions import TusCommunicationError, TusUploadFailed
from tusclient.storage import filestorage

from uploads import APP, MIB, TUS, Uploads, ask


class Clients(Uploads):
    def uploader(self, endpoint=TUS, **options):
        options = {"chunk_size": MIB, "retries": 8, "retry_delay": 0.3, **options}
        return client.TusClient(endpoint).uploader(self.file.name, **options)

    def test_chunks(self):
        content = self.content(3 * MIB + 7)
        uploader = self.uploader(metadata={"filename": "film ü.mp4", "filetype": "video/mp4"})
        uploader.upload()
        call = self.arrived(uploader.url, content)
        self.assertEqual((call["filenameFromBrowser"], call["type"]), ("film ü.mp4", "video/mp4"))

    def test_whole(self):
        content = self.content(3 * MIB + 7)
        uploader = self.uploader(chunk_size=1 << 30)
        uploader.upload()
        self.arrived(uploader.url, content)

    def test_checksums(self):
        content = self.content(2 * MIB + 7)
        uploader = self.uploader(upload_checksum=True)
        uploader.upload()
        self.arrived(uploader.url, content)

    def test_empty(self):
        content = self.content(0)
        uploader = self.uploader()
        uploader.upload()
        self.arrived(uploader.url, content)

    def test_stored_url(self):
        content = self.content(3 * MIB)
        with tempfile.TemporaryDirectory() as directory:
            store = {"store_url": True, "url_storage": filestorage.FileStorage(f"{directory}/urls")}
            first = self.uploader(**store)
            first.upload(stop_at=MIB)
            again = self.uploader(**store)
            self.assertEqual((again.url, again.offset), (first.url, MIB))
            again.upload()
        self.arrived(first.url, content)

    def test_a_kill_in_the_middle(self):
        content = self.content(8 * MIB)
        uploader = self.uploader()
        uploader.upload(stop_at=4 * MIB)
        ask("outage")
        # Nothing of what was acknowledged is missing.
        self.assertEqual(uploader.get_offset(), 4 * MIB)
        uploader.upload()
        self.arrived(uploader.url, content)

    def test_ticket(self):
        content = self.content(MIB + 1)
        as_endpoint = ask("ticket")
        uploader = self.uploader(as_endpoint["tus_url"])
        uploader.upload()
        self.assertTrue(uploader.url.endswith(as_endpoint["id"]))
        self.arrived(uploader.url, content)
        as_url = ask("ticket", length=len(content), name="a.txt")
        uploader = client.TusClient(TUS).uploader(self.file.name, chunk_size=MIB, url=as_url["tus_url"])
        uploader.upload()
        self.assertEqual(self.arrived(uploader.url, content)["filenameFromBrowser"], "a.txt")

    def test_own_route(self):
        content = self.content(MIB + 1)
        uploader = self.uploader(f"{APP}/uploads", metadata={"filename": "own.txt"})
        uploader.upload()
        self.assertEqual(self.arrived(uploader.url, content)["filenameFromBrowser"], "own.txt")

    def test_refusal(self):
        self.content(10)
        with self.assertRaises(TusCommunicationError) as raised:
            self.uploader(metadata={"filename": "refused"}).upload()
        self.assertEqual(raised.exception.status_code, 403)
        self.assertIn("the web app refuses this name", str(raised.exception.response_content))

    def test_wrong_offset(self):
        self.content(2 * MIB)
        uploader = self.uploader(retries=0)
        uploader.upload(stop_at=MIB)
        uploader.offset = 5
        with self.assertRaises(TusUploadFailed) as raised:
            uploader.upload_chunk()
        self.assertEqual(raised.exception.status_code, 409)

    def test_async(self):
        content = self.content(3 * MIB + 7)
        uploader = client.TusClient(TUS).async_uploader(
            self.file.name, chunk_size=MIB, retries=3, retry_delay=0.3, upload_checksum=True,
            metadata={"filename": "async.bin"})
        asyncio.run(uploader.upload())
        self.assertEqual(self.arrived(uploader.url, content)["filenameFromBrowser"], "async.bin")

    def test_aiotus(self):
        content = os.urandom(3 * MIB + 7)
        url = asyncio.run(aiotus.upload(TUS, io.BytesIO(content), {"filename": b"aio.bin"}))
        self.assertEqual(self.arrived(str(url), content)["filenameFromBrowser"], "aio.bin")


if __name__ == "__main__":
    unittest.main()
