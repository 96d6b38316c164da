"""One upload as a program in Python makes it, with tuspy as it is. Says how it ended.

usage: client.py KEY=VALUE...
  endpoint=URL  file=PATH  url=URL of an upload to resume  chunk=BYTES  checksum=1
  stop=BYTES (give up there)  header.NAME=VALUE  meta.KEY=VALUE
"""
import os
import sys

from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

words = dict(word.split("=", 1) for word in sys.argv[1:])
headers = {key[7:]: value for key, value in words.items() if key.startswith("header.")}
metadata = {"filename": os.path.basename(words["file"])}
metadata.update({key[5:]: value for key, value in words.items() if key.startswith("meta.")})

client = TusClient(words["endpoint"], headers=headers)
uploader = None
try:
    uploader = client.uploader(
        words["file"], chunk_size=int(words.get("chunk", sys.maxsize)), metadata=metadata, url=words.get("url"),
        retries=20, retry_delay=0.1, upload_checksum="checksum" in words)
    stop = int(words.get("stop", 0))
    uploader.upload(stop_at=stop or None)
    print("stopped" if stop else "success", uploader.url)
except TusCommunicationError as error:
    print("failure", error)
