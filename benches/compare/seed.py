"""A file server as a course has it: a thread for each client, blocking calls, HTTP with keep-alive.

It does what is asked and nothing else: no checks of names, no limits. Arguments: port and folder.
"""

import os
import socket
import sys
import threading

PIECE = 1 << 18
ROOT = sys.argv[2]


def fetch(client, path):
    with open(ROOT + path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
        if size <= PIECE:
            client.sendall(head + file.read())
        else:
            client.sendall(head)
            client.sendfile(file)


def store(client, path, size, early):
    part = "%s%s.%d.part" % (ROOT, path, threading.get_ident())
    with open(part, "wb", buffering=0) as file:
        file.write(early)
        left = size - len(early)
        buffer = memoryview(bytearray(min(PIECE, max(left, 1))))
        while left:
            got = client.recv_into(buffer, min(left, len(buffer)))
            if not got:
                os.unlink(part)
                return False
            file.write(buffer[:got])
            left -= got
    os.replace(part, ROOT + path)
    client.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
    return True


def serve(client):
    held = b""
    with client:
        while True:
            while b"\r\n\r\n" not in held:
                got = client.recv(PIECE)
                if not got:
                    return
                held += got
            head, held = held.split(b"\r\n\r\n", 1)
            request, *fields = head.decode().split("\r\n")
            method, path, _ = request.split(" ")
            told = dict(field.lower().split(": ", 1) for field in fields)
            if method == "GET":
                fetch(client, path)
            else:
                size = int(told["content-length"])
                early, held = held[:size], held[size:]
                if not store(client, path, size, early):
                    return
            if told.get("connection") == "close":
                return


threading.stack_size(256 << 10)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
while True:
    accepted, _ = listener.accept()
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=serve, args=(accepted,), daemon=True).start()
