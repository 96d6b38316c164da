"""What programs in Python do by WebDAV, with the libraries webdav4 and webdavclient3 as they are.

usage: webdav.py URL FILE
"""
import io
import sys

from webdav3.client import Client as Client3
from webdav3.exceptions import WebDavException
from webdav4.client import Client as Client4
from webdav4.client import HTTPError, ResourceAlreadyExists, ResourceLocked

url, file = sys.argv[1:]
content = open(file, "rb").read()


def refused(kind, change, *arguments):
    try:
        change(*arguments)
    except kind as error:
        return error
    raise AssertionError(f"{change} {arguments} is not refused")


def four():
    client = Client4(url)

    def same(path):
        into = io.BytesIO()
        client.download_fileobj(path, into)
        assert into.getvalue() == content, path

    client.mkdir("four")
    client.upload_file(file, "four/\u00fc 1")
    refused(ResourceAlreadyExists, client.upload_file, file, "four/\u00fc 1")
    same("four/\u00fc 1")
    assert client.ls("four", detail=False) == ["four/\u00fc 1"]
    info = client.info("four/\u00fc 1")
    assert info["content_length"] == len(content) and info["etag"] and info["type"] == "file", info
    assert client.isdir("four") and client.modified("four/\u00fc 1")
    client.copy("four", "copy4")
    client.move("copy4/\u00fc 1", "four/moved")
    refused(ResourceAlreadyExists, client.move, "four/\u00fc 1", "four/moved")
    same("four/moved")
    with client.open("four/moved", mode="rb") as opened:
        opened.seek(1000)
        assert opened.read(10) == content[1000:1010]
    client.remove("copy4")
    assert not client.exists("copy4")


def three():
    client = Client3({"webdav_hostname": url})

    def same(path):
        into = io.BytesIO()
        client.download_from(into, path)
        assert into.getvalue() == content, path

    client.mkdir("three")
    client.upload_sync("three/\u00fc 1", file)
    same("three/\u00fc 1")
    assert client.list("three") == ["\u00fc 1"], client.list("three")
    assert client.check("three") and client.is_dir("three") and client.free() > 0
    assert client.info("three/\u00fc 1")["size"] == str(len(content))
    client.copy("three/\u00fc 1", "three/copy")
    client.move("three/copy", "three/moved")
    same("three/moved")
    # Nothing writes to what is locked, but with its token, which this one shows.
    with client.lock("three/moved", timeout=60) as holder:
        refused(WebDavException, client.upload_to, b"other", "three/moved")
        refused(ResourceLocked, Client4(url).remove, "three/moved")
        error = refused(HTTPError, Client4(url).upload_fileobj, io.BytesIO(b"other"), "three/moved", True)
        assert error.status_code == 423, error
        same("three/moved")
        holder.upload_to(b"own", "three/moved")
    client.upload_sync("three/moved", file)
    same("three/moved")
    client.clean("three/\u00fc 1")
    assert client.list("three") == ["moved"]


for library in (four, three):
    library()
    print(library.__name__, "ok")
