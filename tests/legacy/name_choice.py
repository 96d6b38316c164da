#!/usr/bin/env python3
"""Clients of the `name-choice` protocol against a running server.

    python3 tests/legacy/name_choice.py HOST PORT FOLDER

FOLDER is the served folder. Every client here keeps to what the originals do: two sends (the count,
then NAME:CHOICE), one recv(4) for `Done`, a file in one send or recv(1024) until the end, close.
Prints one line per check and `N passed, N failed`; ends with 1 if one failed.
"""

import os
import pathlib
import random
import socket
import struct
import sys
import threading
import time

HOST, PORT, FOLDER = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
MISSING = b"File not found. Try again."
# Nothing may take longer, on a disk with syncs of seconds and beside whatever else runs.
TIMEOUT = 900
RESENDS_MAX = 3
# Between a count and what follows it, so that a busy server too sees the count alone.
ALONE = 1.5
TAG = "nc%06x-" % random.randrange(1 << 24)

passed = failed = 0
lock = threading.Lock()


def check(what, holds, seen=""):
    global passed, failed
    with lock:
        passed, failed = passed + bool(holds), failed + (not holds)
        print(("ok   " if holds else "FAIL ") + what + ("" if holds else " (%s)" % (seen,)), flush=True)


def attempt(what, run):
    """A check that may also fail by an exception."""
    try:
        run()
    except Exception as error:  # noqa: BLE001: every one is a failed check
        check(what, False, repr(error))


def wait_for(condition):
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def on_disk(name):
    try:
        return (FOLDER / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def stored(name, content):
    return wait_for(lambda: on_disk(name) == content)


def connect():
    sock = socket.create_connection((HOST, PORT), timeout=TIMEOUT)
    sock.settimeout(TIMEOUT)
    return sock


def read_to_end(sock):
    got = bytearray()
    while piece := sock.recv(1024):
        got += piece
    return bytes(got)


class Invalid(Exception):
    """The client's own words: Invalid choice. Choices: PUT or GET."""


class Client:
    """The original client: human input first, then the connection."""

    def __init__(self, count, name, choice, content=None, gap=0.0):
        self.count, self.name, self.choice, self.content, self.gap = count, name, choice, content, gap
        self.sends = 0

    def run(self):
        with connect() as sock:
            sock.send(str(self.count).encode())
            if self.gap:
                time.sleep(self.gap)
            self.ask(sock)
            while sock.recv(4) != b"Done":
                if self.sends > RESENDS_MAX:
                    raise RuntimeError("the server never says Done: this client would ask for ever")
                self.ask(sock)
            if self.choice in ("PUT", "put"):
                content = MISSING if self.content is None else self.content
                sent = sock.send(content)
                if sent < len(content):  # send() of Python 2 on a blocking socket takes it all
                    sock.sendall(content[sent:])
                return None
            if self.choice in ("GET", "get"):
                got = bytearray()
                while True:
                    piece = sock.recv(1024)
                    if not piece:
                        return bytes(got)
                    if piece == MISSING:
                        raise FileNotFoundError(self.name)
                    got += piece
            raise Invalid(self.choice)

    def ask(self, sock):
        sock.send(("%s:%s" % (self.name, self.choice)).encode())
        self.sends += 1


def old_client(name, choice, content=None):
    """The older client: no count, no `Done`."""
    with connect() as sock:
        sock.send(("%s:%s" % (name, choice)).encode())
        if choice in ("PUT", "put"):
            sock.sendall(MISSING if content is None else content)
            return None
        return read_to_end(sock)


def put(name, content, count=1, choice="PUT", **more):
    Client(count, name, choice, content, **more).run()


def get(name, count=1, choice="GET", **more):
    return Client(count, name, choice, **more).run()


def is_missing(name, **more):
    try:
        get(name, **more)
    except FileNotFoundError:
        return True
    return False


def sizes():
    for size in (0, 1, 25, 26, 27, 1023, 1024, 1025, 65536, 1 << 20, 20_000_000):
        name, content = TAG + "size-%d" % size, random.randbytes(size)
        put(name, content)
        check("PUT of %d bytes is stored whole" % size, stored(name, content), "disk differs")
        check("GET of %d bytes gives them back" % size, get(name) == content)
        if size == 20_000_000:
            (FOLDER / name).unlink()


def small_letters_and_names():
    put(TAG + "small", b"small", choice="put")
    check("put in small letters is stored", stored(TAG + "small", b"small"))
    check("get in small letters gives it", get(TAG + "small", choice="get") == b"small")
    for name in ("with blank.txt", "a:b.txt", "übung-😀.txt", "folder/in/it.txt", "back\\slash.txt", "no-extension"):
        put(TAG + name, name.encode())
        check("PUT under the name %s" % name, stored(TAG + name, name.encode()))
        check("GET under the name %s" % name, get(TAG + name) == name.encode())


def missing_files():
    check("GET of a missing file is the missing text, nothing else", is_missing(TAG + "nowhere"))
    with connect() as sock:
        sock.send(b"1")
        sock.send((TAG + "nowhere:GET").encode())
        heard = sock.recv(4), read_to_end(sock)
    check("those are exactly 4 and 26 bytes, then the end", heard == (b"Done", MISSING), heard)
    check("GET of a missing file makes no file", on_disk(TAG + "nowhere") is None)
    put(TAG + "kept", b"old content")
    stored(TAG + "kept", b"old content")
    put(TAG + "kept", None)
    put(TAG + "never", None)
    time.sleep(0.3)
    check("PUT by a client without the file keeps the old one (the original empties it)",
          on_disk(TAG + "kept") == b"old content", on_disk(TAG + "kept"))
    check("and makes no new one", on_disk(TAG + "never") is None)
    put(TAG + "kept", MISSING + b"\n")
    check("a file that only begins with those words is stored", stored(TAG + "kept", MISSING + b"\n"))
    check("GET of a folder is the missing text", is_missing(TAG + "folder"))


def choices():
    # More of the last three might come: a second passes before the server says so. How soon it says
    # so of the others is seen where time stands still.
    for choice, least in (("Put", 0), ("gEt", 0), ("DELETE", 0.8), ("P", 0.8), ("", 0.8)):
        began = time.monotonic()
        try:
            Client(1, TAG + "choice", choice, b"x").run()
            seen = "no error"
        except Invalid:
            seen = "invalid"
        took = time.monotonic() - began
        check("choice %r: the client says by itself that it is invalid" % choice, seen == "invalid", seen)
        check("choice %r: not too early" % choice, least <= took, took)
    with connect() as sock:
        sock.send(b"1" + TAG.encode() + b"choice:LIST")
        heard = read_to_end(sock)
    check("an unknown choice gets `Done` and the end", heard == b"Done", heard)
    check("and nothing is stored", on_disk(TAG + "choice") is None)


def counts():
    put(TAG + "first", b"1", count=2)
    stored(TAG + "first", b"1")
    check("two clients, GET first (the original never closes it)", get(TAG + "first", count=2) == b"1")
    put(TAG + "second", b"2", count=2)
    check("and the second is served too", stored(TAG + "second", b"2"))
    # Twelve: the count of the first comes alone, as it does on a real network.
    for n in range(12):
        put(TAG + "of12-%d" % n, b"%d" % n, count=12, gap=ALONE if n == 0 else 0)
    check("twelve clients store twelve files (the original breaks off after one)",
          all(stored(TAG + "of12-%d" % n, b"%d" % n) for n in range(12)))
    name = "7" + TAG
    put(name, b"digits", gap=ALONE)
    check("a name that begins with a digit, when the count comes alone", stored(name, b"digits"))
    check("GET of such a name finds the file that is there", get(name) == b"digits")
    check("GET finds the file after a count of two digits", get(TAG + "of12-3", count=31) == b"3")
    check("more clients than were announced are served", get(TAG + "first", count=1) == b"1")


def pieces():
    with connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in ("1%spieces:PUT" % TAG).encode():
            sock.send(bytes([byte]))
            time.sleep(0.002)
        heard = sock.recv(1024)
        sock.sendall(b"content")
    check("a request byte by byte gets its `Done`, alone", heard == b"Done", heard)
    check("and its content is stored", stored(TAG + "pieces", b"content"))
    with connect() as sock:
        sock.sendall(("1%sglued:PUTcontent: x" % TAG).encode())
        sock.shutdown(socket.SHUT_WR)
        heard = read_to_end(sock)
    check("request and content in one packet", heard == b"Done" and stored(TAG + "glued", b"content: x"), heard)


def old_clients():
    content = random.randbytes(300_000)
    old_client(TAG + "old", "PUT", content)
    check("the older client stores a file, content glued on", stored(TAG + "old", content))
    check("the older client fetches it, without a `Done`", old_client(TAG + "old", "GET") == content)
    check("the older client is told of a missing file", old_client(TAG + "none", "get") == MISSING)
    old_client(TAG + "old", "put")
    old_client(TAG + "old-new", "put", b":PUT:GET\n")
    check("the older client's file may hold the words of the protocol", stored(TAG + "old-new", b":PUT:GET\n"))
    check("the older client without the file keeps the old one", on_disk(TAG + "old") == content)


def bad_names():
    for name in ("../%sout" % TAG, "/tmp/%sout" % TAG, "a/../../%sout" % TAG, "a\nb", "", "x" * 300):
        try:
            put(name, b"bad")
            seen = "stored?"
        except ConnectionResetError:
            seen = "reset"
        except (RuntimeError, BrokenPipeError) as error:
            seen = repr(error)
        check("PUT under the bad name %.20r is reset, not taken" % name, seen == "reset", seen)
        check("GET under the bad name %.20r is not found" % name, is_missing(name))
    outside = [FOLDER.parent / (TAG + "out"), pathlib.Path("/tmp") / (TAG + "out")]
    check("nothing was written outside the folder", not any(path.exists() for path in outside))


def failed_uploads():
    put(TAG + "whole", b"whole")
    stored(TAG + "whole", b"whole")
    sock = connect()
    sock.send(b"1")
    sock.send((TAG + "whole:PUT").encode())
    sock.recv(4)
    sock.sendall(b"half" * 50_000)
    time.sleep(0.1)
    check("while an upload runs the old file is served", get(TAG + "whole") == b"whole")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    time.sleep(0.3)
    check("an upload that ends with a reset changes nothing", on_disk(TAG + "whole") == b"whole")
    content = random.randbytes(20_000_000)
    (FOLDER / (TAG + "big")).write_bytes(content)
    with connect() as sock:
        sock.send(b"1")
        sock.send((TAG + "big:GET").encode())
        sock.recv(4)
        sock.recv(1024)
    check("a download that is broken off harms nobody", get(TAG + "whole") == b"whole")
    check("a file written to the folder by others is served", get(TAG + "big") == content)
    (FOLDER / (TAG + "big")).unlink()
    both = [b"a" * 1_000_000, b"b" * 1_000_000]
    threads = [threading.Thread(target=put, args=(TAG + "same", content)) for content in both * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    check("uploads of one name at once: one of them, whole", wait_for(lambda: on_disk(TAG + "same") in both))


def slow_clients():
    silent, half, waiting = connect(), connect(), connect()
    half.send(b"3" + TAG.encode())
    waiting.send(b"1")
    waiting.send((TAG + "waiting:PUT").encode())
    check("an upload may begin while others are silent", waiting.recv(4) == b"Done")
    slow = connect()
    slow.send(b"1")
    slow.send((TAG + "slow:PUT").encode())
    slow.recv(4)
    for n in range(20):
        slow.sendall(b"%02d" % n)
        put(TAG + "quick-%d" % n, b"quick")
        get(TAG + "small")
        time.sleep(0.02)
    # Beside them, not after them: only now does the slow one come to its end.
    check("20 others are served beside silent and slow ones", all(stored(TAG + "quick-%d" % n, b"quick") for n in range(20)))
    slow.close()
    check("the slow upload is whole", stored(TAG + "slow", b"".join(b"%02d" % n for n in range(20))))
    check("the silent upload has made no file", on_disk(TAG + "waiting") is None)
    for sock in (silent, half, waiting):
        sock.close()
    check("one that closes without a byte has sent an empty file", stored(TAG + "waiting", b""))


def silence(first, what):
    """No `:` in ten seconds: the server closes."""
    began = time.monotonic()
    with connect() as sock:
        if first:
            sock.send(first)
        heard = read_to_end(sock)
        took = time.monotonic() - began
        check("%s for ten seconds: closed" % what, heard == b"" and took >= 9, (heard, took))


def crowd(clients=200):
    ready = threading.Barrier(clients)
    errors = []

    def one(n):
        content = (b"%d." % n) * (n * 50)
        try:
            ready.wait(TIMEOUT)
            put(TAG + "crowd-%d" % n, content)
            if not stored(TAG + "crowd-%d" % n, content):
                raise RuntimeError("not stored")
            if get(TAG + "crowd-%d" % n) != content:
                raise RuntimeError("got something else")
        except Exception as error:  # noqa: BLE001: counted below
            errors.append("%d: %r" % (n, error))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    check("%d clients at once, each a file up and down" % clients, not errors, errors[:3])


def main():
    if sys.argv[4:] == ["crowd"]:  # only the many clients at once
        attempt("crowd", crowd)
        print("%d passed, %d failed" % (passed, failed))
        sys.exit(1 if failed else 0)
    quiet = [
        threading.Thread(target=attempt, args=(what, lambda first=first, what=what: silence(first, what)))
        for first, what in ((b"", "nothing"), (b"1", "a count alone"), (b"1c.txt", "a name without a colon"))
    ]
    for thread in quiet:
        thread.start()
    for part in (sizes, small_letters_and_names, missing_files, choices, counts, pieces, old_clients, bad_names,
                 failed_uploads, slow_clients, crowd):
        attempt(part.__name__, part)
    for thread in quiet:
        thread.join(TIMEOUT)
    attempt("after all that", lambda: check("and the server still serves", get(TAG + "small") == b"small"))
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
