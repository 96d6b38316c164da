"""Unmodified clients of the classroom chat against `filewharf serve`, dialect length-prefix.

    python3 tests/legacy/length_prefix.py HOST PORT FOLDER

FOLDER is the served folder on disk. `Chat` does what the old client does: a header that counts
characters and the text, in two sends; for every answer one recv(64), int(), one recv(n); no
goodbye. `Client` reads its messages in full, as a program must that fetches files. Run it with and
without `?inbox=FOLDER`: it finds out which.
"""

import hashlib
import os
import pathlib
import random
import socket
import sys
import threading
import time

HEADER = 64
LIMIT = 900  # seconds that any one socket call may take, beside whatever else runs
MIB = 1024 * 1024


class Chat:
    """The old client: its two threads share one socket and know nothing of each other."""

    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), LIMIT)
        self.socket.settimeout(LIMIT)

    def say(self, text):
        self.socket.send(str(len(text)).encode().ljust(HEADER))
        self.socket.send(text.encode())

    def hear(self):
        """One answer, in exactly two recv() calls; None at the end of the stream."""
        head = self.socket.recv(HEADER)
        return self.socket.recv(int(head)).decode() if head else None

    def is_silent(self, seconds):
        """Does nothing come, not even the end?"""
        self.socket.settimeout(seconds)
        try:
            self.socket.recv(1, socket.MSG_PEEK)
            return False
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(LIMIT)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Client(Chat):
    """Counts bytes, and reads on until a message is whole."""

    def send(self, content):
        self.socket.sendall(str(len(content)).encode().ljust(HEADER) + content)

    def exactly(self, n):
        content = bytearray()
        while len(content) < n:
            piece = self.socket.recv(n - len(content))
            if not piece:
                raise EOFError(f"the end after {len(content)} of {n} bytes")
            content += piece
        return bytes(content)

    def receive(self):
        return self.exactly(int(self.exactly(HEADER)))

    def ask(self, request):
        self.send(request.encode())
        return self.receive().decode()

    def put(self, name, content, piece=MIB):
        self.send(f"PUT {len(content)} /{name}".encode())
        for at in range(0, len(content), piece):
            self.send(content[at : at + piece])
        return self.receive().decode()

    def get(self, name):
        """The line of the reply, the content, and how long its messages were."""
        line = self.ask(f"GET /{name}")
        content, lengths = b"", []
        while line.startswith("OK") and len(content) < int(line.split()[1]):
            message = self.receive()
            lengths.append(len(message))
            content += message
        return line, content, lengths


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, what, good, shown=""):
        if good:
            self.passed += 1
            print(f"ok   {what}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL {what} {shown}", flush=True)

    def run(self, function, *arguments):
        try:
            function(self, *arguments)
        except (OSError, EOFError, ValueError, AssertionError) as error:
            self.check(f"{function.__name__}: no exception", False, repr(error))


def conversations(checks, host, port):
    with Chat(host, port) as chat:
        chat.say("Hello Server**")
        checks.check("the stale start message gets silence", chat.is_silent(0.4))
        chat.say("Hello Server!**")
        checks.check("Hello Server! gets Hello Client!, in two recv() calls", chat.hear() == "Hello Client!")
        for text in ("what is this?**", "", "Hello**"):
            chat.say(text)
        checks.check("other texts and an empty one get silence", chat.is_silent(0.4))
        chat.say("and now Hello Server! again**")
        checks.check("after an empty message the conversation continues (the original hung)", chat.hear() == "Hello Client!")
        checks.check("the connection is kept open in silence", chat.is_silent(3))
        chat.say("Hello Server!**")
        checks.check("and still answers then", chat.hear() == "Hello Client!")
    with Chat(host, port) as chat:
        chat.say("Hello Server!**")
        checks.check("after a client left without goodbye the next is served", chat.hear() == "Hello Client!")
        answers = []
        for _ in range(100):
            chat.say("Hello Server!**")
            answers.append(chat.hear())
        checks.check("100 greetings on one connection", answers == ["Hello Client!"] * 100)


def characters(checks, host, port):
    texts = ["Hello Server! Grüße**", "Hello Server! €", "ü Hello Server!**", "Hello Server! 😀😀 7", "日本 Hello Server!"]
    with Chat(host, port) as chat:
        for text in texts:
            chat.say(text)
            checks.check(f"a length in characters is understood: {text!r}", chat.hear() == "Hello Client!")
        for text in texts:
            chat.say(text)
        heard = [Client.receive(Reader(chat)) for _ in texts]
        checks.check("and when such texts come without a pause", heard == [b"Hello Client!"] * len(texts))
    with Client(host, port) as client:
        for text in texts:
            client.send(text.encode())
            checks.check(f"a length in bytes is understood: {text!r}", client.receive() == b"Hello Client!")
        client.send(b"caf\xe9")
        client.send(b"Hello Server!\xff")
        checks.check("what is no UTF-8 is a message of so many bytes", client.receive() == b"Hello Client!")


class Reader(Client):
    """Reads messages in full on the socket of a chat."""

    def __init__(self, chat):
        self.socket = chat.socket


def segments(checks, host, port):
    message = str(15).encode().ljust(HEADER) + b"Hello Server!**"
    with Client(host, port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in message:
            client.socket.send(bytes([byte]))
            time.sleep(0.002)
        checks.check("header and text byte by byte (the original took one recv for a field)", client.receive() == b"Hello Client!")
        client.socket.sendall(message * 500)
        answers = [client.receive() for _ in range(500)]
        checks.check("500 messages in one send get 500 answers", answers == [b"Hello Client!"] * 500)
        client.send(b"x" * (16 * MIB - 13) + b"Hello Server!")
        checks.check("a message of 16 MiB is read to its end", client.receive() == b"Hello Client!")


def bad_input(checks, host, port):
    bad = [b"-5", b"+3", b"1_0", b"five", b"", b"1 2", b"16777217", b"9" * 60]
    for header in bad:
        with Chat(host, port) as chat:
            chat.socket.send(header.ljust(HEADER))
            chat.socket.send(b"Hello Server!")
            error = chat.hear()
            checks.check(f"header {header[:12]!r}: an ERROR text, then the end", error.startswith("ERROR ") and chat.hear() is None, error)
    with Chat(host, port) as chat:
        chat.socket.send(b"GET / HTTP/1.0\r\n\r\n")
        try:
            heard = chat.hear()
        except ConnectionResetError:
            heard = "a reset"
        checks.check("a browser is reset", heard == "a reset", heard)


def files(checks, host, port, folder):
    for size in (0, 1, 63, 64, 1396, 65536, MIB, MIB + 1, 20_000_000):
        content = random.Random(size).randbytes(size)
        with Client(host, port) as client:
            reply = client.put(f"lp/{size}.bin", content)
            stored = (folder / "lp" / f"{size}.bin").read_bytes()
            checks.check(f"PUT of {size} bytes is on the disk when OK comes", reply.startswith("OK 0 ") and stored == content, reply)
            line, fetched, lengths = client.get(f"lp/{size}.bin")
            good = line.startswith(f"OK {size} ") and fetched == content and all(0 < n <= MIB for n in lengths)
            checks.check(f"GET of {size} bytes, in messages of at most 1 MiB", good, line)
    content = "Zeile eins\nZeile zwei\n"
    with Chat(host, port) as chat:
        chat.say(f"PUT {len(content)} /lp/chat.txt")
        chat.say(content)
        reply = Reader(chat).receive().decode()
        checks.check("the old client stores a text", reply.startswith("OK 0 "), reply)
        chat.say("GET /lp/chat.txt")
        reader = Reader(chat)
        checks.check("and fetches it", reader.receive().startswith(b"OK 22 ") and reader.receive() == content.encode())
    with Client(host, port) as client:
        digest = hashlib.sha256(b"abc").hexdigest()
        client.send(f"PUT 3 sha256={digest} /lp/bad.txt".encode())
        client.send(b"abd")
        reply = client.receive().decode()
        checks.check("a wrong digest stores nothing", reply.startswith("ERR 422 ") and not (folder / "lp/bad.txt").exists(), reply)
        checks.check("a missing file is ERR 404", client.ask("GET /lp/none").startswith("ERR 404 "))
        checks.check("STAT tells the size", client.ask("STAT /lp/64.bin").startswith("OK 0 size=64 "))
        line = client.ask("LIST /lp/")
        listing = client.receive().decode()
        checks.check("LIST names the files", line.startswith("OK ") and " chat.txt\n" in listing, line)
        checks.check("PING", client.ask("PING") == "OK 0")


def names(checks, host, port, folder):
    outside = folder.parent / "lp-outside.txt"
    with Client(host, port) as client:
        for name in ("../lp-outside.txt", "lp/../../lp-outside.txt", "/lp-outside.txt", "lp//x", ".filewharf/x"):
            reply = client.put(name, b"evil")
            checks.check(f"the name {name!r} is refused", reply.startswith(("ERR 400 ", "ERR 403 ")), reply)
        checks.check("and nothing is stored outside", not outside.exists())
        checks.check("the conversation continues", client.ask("PING") == "OK 0")


def cut_off(checks, host, port, folder):
    with Client(host, port) as client:
        client.put("lp/keep.txt", b"the old version")
    client = Client(host, port)
    client.send(b"PUT 1000000 /lp/keep.txt")
    client.send(b"x" * 500_000)
    client.close()
    time.sleep(0.5)
    checks.check("an upload that is cut off leaves the old file", (folder / "lp/keep.txt").read_bytes() == b"the old version")
    left = [name for name in os.listdir(folder / "lp") if name.startswith("keep.txt") and name != "keep.txt"]
    checks.check("and no trace beside it", not left, left)


def slow_clients(checks, host, port):
    silent, header, text = Chat(host, port), Chat(host, port), Chat(host, port)
    header.socket.send(b"15    ")
    text.socket.send(b"15".ljust(HEADER) + b"Hello ")
    with Chat(host, port) as chat:
        chat.say("Hello Server!**")
        # Beside them, not after them: the slow one continues only now.
        checks.check("silent and slow clients do not delay another", chat.hear() == "Hello Client!")
    text.socket.send(b"Server!**")
    checks.check("the slow one is answered when it is done", text.hear() == "Hello Client!")
    for chat in (silent, header, text):
        chat.close()


def crowd(checks, host, port, folder, number=200):
    ready, bad = threading.Barrier(number), []

    def one(index):
        try:
            with Client(host, port) as client:
                ready.wait(LIMIT)
                content = random.Random(index).randbytes(index * 100)
                for _ in range(3):
                    client.say("Hello Server!**")
                    assert client.receive() == b"Hello Client!"
                assert client.put(f"lp/crowd/{index}", content).startswith("OK 0 ")
                assert client.get(f"lp/crowd/{index}")[1] == content
                assert (folder / "lp/crowd" / str(index)).read_bytes() == content
        except (OSError, EOFError, ValueError, AssertionError, threading.BrokenBarrierError) as error:
            bad.append((index, repr(error)))

    threads = [threading.Thread(target=one, args=(index,)) for index in range(number)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    checks.check(f"{number} clients at once: greeted, stored, fetched, in {took:.1f} s (the original promises 50)", not bad, bad[:3])


def kept_as(folder, content):
    """The files that hold exactly this."""
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = pathlib.Path(place, name)
            if path.stat().st_size == len(content) and path.read_bytes() == content:
                found.append(path)
    return found


def inbox(checks, host, port, folder):
    mark = f"{time.time_ns()} grüße "
    small = f"{mark} Hello Server!**"
    large = (mark + "x" * 3_000_000 + "ü" * 1000 + "Hello Server!").encode()
    with Client(host, port) as client:
        client.say(small)
        first = client.receive()
        client.send(large)
        checks.check("short and long messages are answered", (first, client.receive()) == (b"Hello Client!",) * 2)
        client.send(mark.encode() + b"unfinished")
        client.socket.send(b"1000".ljust(HEADER) + b"unfinished")
    time.sleep(0.5)
    found = kept_as(folder, small.encode())
    if not found:
        checks.check("without inbox= nothing is kept", not kept_as(folder, large))
        return
    checks.check("with inbox= a message is one file, before its answer", len(found) == 1 and len(kept_as(folder, large)) == 1)
    checks.check("a message that is not answered is kept too", len(kept_as(folder, mark.encode() + b"unfinished")) == 1)
    checks.check("one that was cut off is not", not kept_as(folder, b"unfinished"))


def main():
    host, port, folder = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3]).resolve()
    checks = Checks()
    if sys.argv[4:] == ["crowd"]:  # only the many clients at once
        checks.run(crowd, host, port, folder)
        print(f"{checks.passed} passed, {checks.failed} failed")
        return 1 if checks.failed else 0
    for function in (conversations, characters, segments, bad_input, slow_clients):
        checks.run(function, host, port)
    for function in (files, names, cut_off, crowd, inbox):
        checks.run(function, host, port, folder)
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
