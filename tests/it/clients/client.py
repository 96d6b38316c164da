"""HTTP as programs in Python speak it: http.client, and raw sockets where it does not go.

usage: client.py HOST PORT FOLDER, the folder that is served and holds `f`.
"""
import email.parser
import email.policy
import hashlib
import http.client
import os
import socket
import sys

host, port, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
content = open(os.path.join(folder, "f"), "rb").read()


def stored(name):
    with open(os.path.join(folder, name), "rb") as file:
        return file.read()


def keep_alive():
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.request("GET", "/f")
    local = None
    for _ in range(20):
        response = connection.getresponse()
        assert response.status == 200 and response.read() == content
        local = local or connection.sock.getsockname()
        assert connection.sock.getsockname() == local, "the connection was not kept"
        connection.request("GET", "/f")
    assert connection.getresponse().read() == content
    connection.request("HEAD", "/f")
    response = connection.getresponse()
    assert response.getheader("Content-Length") == str(len(content)) and response.read() == b""
    connection.request("GET", "/none")
    response = connection.getresponse()
    assert response.status == 404 and response.read().endswith(b"\n")
    connection.request("DELETE", "/none")
    assert connection.getresponse().read() and connection.sock.getsockname() == local


def chunks():
    connection = http.client.HTTPConnection(host, port, timeout=60)
    pieces = [bytes([n]) * (n * 37 + 1) for n in range(200)]
    connection.request("PUT", "/chunks", body=iter(pieces), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})
    response = connection.getresponse()
    assert response.status == 201 and response.read() == b"", response.status
    assert stored("chunks") == b"".join(pieces)


def broken_off():
    with socket.create_connection((host, port), timeout=60) as raw:
        raw.sendall(b"PUT /gone HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r")
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.request("GET", "/gone")
    assert connection.getresponse().status == 404


def expect():
    with socket.create_connection((host, port), timeout=60) as raw:
        reader = raw.makefile("rb")
        raw.sendall(b"PUT /expected HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert reader.readline() == b"HTTP/1.1 100 Continue\r\n" and reader.readline() == b"\r\n"
        raw.sendall(b"12345")
        assert reader.readline() == b"HTTP/1.1 201 Created\r\n"
    assert stored("expected") == b"12345"


def pipelined():
    with socket.create_connection((host, port), timeout=60) as raw:
        count = 50
        raw.sendall(b"GET /f HTTP/1.1\r\nHost: localhost\r\n\r\n" * count)
        reader = raw.makefile("rb")
        for _ in range(count):
            assert reader.readline() == b"HTTP/1.1 200 OK\r\n"
            fields = http.client.parse_headers(reader)
            assert reader.read(int(fields["Content-Length"])) == content


def ranges():
    connection = http.client.HTTPConnection(host, port, timeout=60)
    wanted = [(0, 99), (50_000, 59_999), (99_999, 99_999)]
    connection.request("GET", "/f", headers={"Range": "bytes=" + ",".join(f"{a}-{b}" for a, b in wanted)})
    response = connection.getresponse()
    kind, body = response.getheader("Content-Type"), response.read()
    assert response.status == 206 and kind.startswith("multipart/byteranges"), kind
    # The parser of mail keeps every byte of a part that has no line ends of its own kind to lose.
    text = b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body
    parts = list(email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(text).iter_parts())
    assert [part["Content-Range"] for part in parts] == [f"bytes {a}-{b}/{len(content)}" for a, b in wanted]
    boundary = b"--" + kind.split("boundary=")[1].encode()
    raw = [part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n") if index < 3 else part
           for index, part in enumerate(body.split(b"\r\n" + boundary)[1:])]
    assert raw[:3] == [content[a:b + 1] for a, b in wanted] and raw[3] == b"--\r\n"


def digests():
    import base64
    connection = http.client.HTTPConnection(host, port, timeout=60)
    digest = "sha-256=:" + base64.b64encode(hashlib.sha256(content).digest()).decode() + ":"
    connection.request("PUT", "/d", body=content, headers={"Repr-Digest": digest})
    response = connection.getresponse()
    assert response.status == 201 and response.read() == b""
    connection.request("PUT", "/d", body=content + b"x", headers={"Repr-Digest": digest})
    response = connection.getresponse()
    assert response.status == 422 and response.read()
    assert stored("d") == content
    # The digest of what was uploaded is kept; that of a file which others made is sent after it.
    connection.request("GET", "/d", headers={"TE": "trailers", "Want-Repr-Digest": "sha-256=5"})
    response = connection.getresponse()
    assert response.getheader("Repr-Digest") == digest and response.getheader("Content-Length") == str(len(content))
    assert response.read() == content
    connection.request("GET", "/f", headers={"TE": "trailers", "Want-Repr-Digest": "sha-256=5"})
    response = connection.getresponse()
    assert response.chunked and response.read() == content


for check in (keep_alive, chunks, broken_off, expect, pipelined, ranges, digests):
    check()
    print(check.__name__, "ok")
