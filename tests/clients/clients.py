"""tuspy as it is published, in the ways that its users call it.

usage: clients.py FRONTEND WEBAPP
"""

import asyncio
import hashlib
import json
import os
import sys
import tempfile
import urllib.request

from tusclient import client
from tusclient.storage.filestorage import FileStorage

FRONTEND, WEBAPP = sys.argv[1:]
MIB = 1 << 20


def taken(url, data):
    """The web app was handed these bytes."""
    with urllib.request.urlopen(f"{WEBAPP}/taken/{url.rpartition('/')[2]}") as answer:
        fields = json.load(answer)
    assert fields["sha256"] == hashlib.sha256(data).hexdigest(), fields
    assert fields["filenameFromBrowser"] == "film.mp4", fields


def main():
    data = os.urandom(5 * MIB + 17)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "film.mp4")
        with open(path, "wb") as file:
            file.write(data)
        metadata = {"filename": "film.mp4"}
        tus = client.TusClient(f"{FRONTEND}/tus")
        for how in [{}, {"chunk_size": MIB}, {"chunk_size": MIB, "upload_checksum": True}]:
            uploader = tus.uploader(path, metadata=metadata, **how)
            uploader.upload()
            taken(uploader.url, data)
            print("tuspy:", how, "ok")
        # Stopped after two chunks, and continued by another uploader.
        storage = FileStorage(os.path.join(folder, "urls"))
        how = {"chunk_size": MIB, "metadata": metadata, "store_url": True, "url_storage": storage}
        first = tus.uploader(path, **how)
        first.upload(stop_at=2 * MIB)
        second = tus.uploader(path, **how)
        assert (second.url, second.offset) == (first.url, 2 * MIB), (second.url, second.offset)
        second.upload()
        taken(second.url, data)
        print("tuspy: continued ok")
        uploader = tus.async_uploader(path, metadata=metadata, chunk_size=MIB)
        asyncio.run(uploader.upload())
        taken(uploader.url, data)
        print("tuspy: async ok")


main()
