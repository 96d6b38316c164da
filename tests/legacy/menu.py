#!/usr/bin/env python3
"""Clients of the old menu systems, as they were, against a running server.

    python3 tests/legacy/menu.py HOST PORT FOLDER

FOLDER is the served folder on disk; the listener speaks `menu` without options. Every client does
one recv(1024) for one message, waits where the originals wait, and never half-closes.
"""
import os
import socket
import sys
import threading
import time

HOST, PORT, FOLDER = sys.argv[1], int(sys.argv[2]), sys.argv[3]
SIZE = 1024
# Nothing may take longer, on a disk with syncs of seconds and beside whatever else runs.
TIMEOUT = 900
# Times between messages that mean something to the server: after a name it waits this long for a text
# to begin (3 s), after a part of a text for more of it (0.3 s); after a name that it has said, it
# waits before the content (0.12 s). Where the machine was late by as much, what was seen says nothing
# about the server, and is tried again, but not for ever.
TEXT_GOES_ON = 0.25
NAME_IS_READ = 0.1
TRIES = 50
results = []
lock = threading.Lock()


def check(what, good, seen=""):
    with lock:
        results.append(bool(good))
        print(("ok   " if good else "FAIL ") + what + ("" if good else f" ({seen!r:.200})"), flush=True)


def dial():
    s = socket.create_connection((HOST, PORT), timeout=TIMEOUT)
    s.settimeout(TIMEOUT)
    return s


def human(seconds=0.02):
    time.sleep(seconds)


def begin(s, verb, kind):
    s.send(b"Receive Data")
    human()
    s.send(verb)
    human()
    asked = time.monotonic()
    s.send(kind)
    return asked


def until_eof(s):
    parts = []
    while True:
        data = s.recv(SIZE)
        if not data:
            return b"".join(parts)
        parts.append(data)


def send_media(kind, name, content):
    """Type, name and content leave without a wait; then the client closes."""
    with dial() as s:
        begin(s, b"send", kind)
        s.send(name.encode())
        for at in range(0, len(content), SIZE):
            s.sendall(content[at:at + SIZE])


def send_text(kind, name, content, glue=False, pause=1.0):
    """Returns the prompt and the reply."""
    for _ in range(TRIES):
        with dial() as s:
            begin(s, b"send", kind)
            prompt = s.recv(SIZE)
            if not glue:
                human(0.05)
                s.send(name.encode())
                human(pause)
            began = time.monotonic()
            s.sendall(name.encode() + content if glue else content)
            late = time.monotonic() - began > TEXT_GOES_ON
            said = prompt, s.recv(SIZE)
        if not late:
            break
    return said


def receive(kind, text, wanted):
    """One recv is the name; a text is one more, media are all until the end. Ends with what is wanted."""
    for _ in range(TRIES):
        with dial() as s:
            asked = begin(s, b"receive", kind)
            name = s.recv(SIZE)
            late = time.monotonic() - asked > NAME_IS_READ
            if not text:
                got = name, until_eof(s), b""
            else:
                data = s.recv(SIZE)
                got = name, data, s.recv(SIZE) if len(data) < SIZE else b""
        if got == wanted or not late:
            break
    return got


def talk(*words):
    """Says words with a wait between, and hears until the end."""
    with dial() as s:
        for word in words:
            s.send(word)
            human()
        return until_eof(s)


def stored(name):
    try:
        with open(os.path.join(FOLDER, name), "rb") as f:
            return f.read()
    except OSError:
        return None


def stored_soon(name, content):
    """Media have no reply: the file appears once the server saw the end."""
    until = time.monotonic() + TIMEOUT
    while time.monotonic() < until:
        if stored(name) == content:
            return True
        time.sleep(0.02)
    return False


def place(name, content):
    with open(os.path.join(FOLDER, name), "wb") as f:
        f.write(content)
    later = time.time() + 5 + len(results)
    os.utime(os.path.join(FOLDER, name), (later, later))


def media():
    heads = {"jpg": b"\xff\xd8\xff\xe0", "png": b"\x89PNG\r\n\x1a\n", "mp4": b"\0\0\0\x18ftypmp42", "mp3": b"ID3\x03\0"}
    kinds = {"jpg": b"image", "png": b"image", "mp4": b"video", "mp3": b"audio"}
    for end, head in heads.items():
        for size in (1, 1024, 1025, 100_000):
            name, content = f"m{size}.{end}", (head + os.urandom(size))
            send_media(kinds[end], name, content)
            check(f"send {kinds[end].decode()} {name}", stored_soon(name, content), stored(name))
    content = heads["mp4"] + os.urandom(20_000_000)
    send_media(b"vedio", "big.mp4", content)
    check("send 20 MB of video, other spelling", stored_soon("big.mp4", content))
    send_media(b"image", "none.jpg", b"")
    check("send an empty image", stored_soon("none.jpg", b""), stored("none.jpg"))
    send_media(b"image", "sub/in.jpg", heads["jpg"])
    check("send an image into a folder", stored_soon("sub/in.jpg", heads["jpg"]))
    with dial() as s:
        s.sendall(b"sendimageglued.png" + heads["png"] + b"x" * 5000)
    check("command, type, name and image in one piece", stored_soon("glued.png", heads["png"] + b"x" * 5000))
    with dial() as s:
        for byte in b"Receive Datasendimageslow.gifGIF89a123":
            s.send(bytes([byte]))
    check("the same byte by byte", stored_soon("slow.gif", b"GIF89a123"))


def texts():
    for kind, name, content in [
        (b"text", "t.txt", b"hello\r\nworld"), (b"Ccode", "a.c", b"int main() {}"), (b"cCode", "b.c", b"int x;"),
        (b"PythonCode", "a.py", b"print(1)\n"), (b"text", "u.txt", "\u00e4\u20ac".encode()),
        (b"text", "kilo.txt", b"k" * 1024), (b"text", "long.txt", b"l" * 300_000), (b"text", "noext", b"plain"),
    ]:
        said = send_text(kind, name, content)
        check(f"send {kind.decode()} {name}", said == (b"Give the filename", b"File writted") and stored(name) == content, said)
    said = send_text(b"text", "g.txt", b"hello text", glue=True)
    check("name and text in one packet", said[1] == b"File writted" and stored("g.txt") == b"hello text", said)
    said = send_text(b"text", "empty.txt", b"")
    check("an empty text no longer deadlocks", said[1] == b"File writted" and stored("empty.txt") == b"", said)
    said = send_text(b"rst", "a.rst", b"Title")
    check("another type of file", said[1] == b"File writted" and stored("a.rst") == b"Title", said)
    with dial() as s:
        begin(s, b"send", b"text")
        s.send(b"old.txt")
        ack = s.recv(SIZE)
        s.sendall(b"from the older client")
    check("a name before its prompt is read, no wait for the reply",
          ack == b"Give the filename" and stored_soon("old.txt", b"from the older client"), ack)
    said = send_text(b"text", "noteshello", b"", glue=True)
    check("name and text that cannot be told apart", said[1].startswith(b"ERROR") and stored("noteshello") is None, said)


def receiving():
    for kind, name, content, text in [
        (b"image", "newest.jpg", b"\xff\xd8" + os.urandom(50_000), False), (b"video", "newest.mp4", os.urandom(20_000_000), False),
        (b"vedio", "newer.mp4", b"film", False), (b"audio", "newest.mp3", b"ID3" + os.urandom(3000), False),
        (b"text", "newest.txt", b"a text", True), (b"Ccode", "newest.c", b"int y;", True),
        (b"PythonCode", "newest.py", b"pass", True), (b"text", "full.txt", b"f" * 1024, True), (b"image", "zero.jpg", b"", False),
    ]:
        place(name, content)
        # The end comes without another client.
        wanted = (name.encode(), content, b"")
        got = receive(kind, text, wanted)
        check(f"receive {kind.decode()} {name}", got == wanted, got)
    place("longer.txt", b"1" * 2000)
    wanted = (b"longer.txt", b"1" * 1024, b"")
    got = receive(b"text", True, wanted)
    check("a text longer than one recv reaches such a client up to 1024 bytes", got == wanted, got)
    glued = 0
    for _ in range(20):
        wanted = (b"newest.c", b"int y;", b"")
        glued += receive(b"Ccode", True, wanted) != wanted
    check("name and content are never glued, 20 times", glued == 0, glued)


def bad():
    for what, words, said in [
        ("unknown command", [b"delete"], b"ERROR expected send or receive"),
        ("type that cannot be one", [b"receive", b"no way"], b"ERROR expected text"),
        ("missing file", [b"receive", b"pdf"], b"ERROR no pdf file"),
        ("name outside the folder", [b"send", b"text", b"../../evil.txt"], b"Give the filenameERROR"),
        ("absolute name", [b"send", b"text", b"/tmp/evil.txt"], b"Give the filenameERROR"),
        ("image outside the folder", [b"send", b"image", b"../evil.jpg\xff\xd8"], b"ERROR"),
        ("no name at all", [b"send", b"image", b"\xff\xd8\xff"], b"ERROR cannot tell"),
        ("binary where a text is named", [b"send", b"text", b"\x00\x01"], b"Give the filenameERROR cannot tell"),
    ]:
        heard = talk(*words)
        check(what, heard.startswith(said), heard)
    check("nothing was stored outside", not os.path.exists(os.path.join(FOLDER, "..", "evil.jpg")))
    with dial() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.sendall(b"sendimagereset.jpg\xff\xd8half")
        human(0.3)
    human(0.3)
    check("an image cut off by a reset is not stored", stored("reset.jpg") is None, stored("reset.jpg"))
    said = send_text(b"text", "after.txt", b"still here")
    check("the server lives on", said[1] == b"File writted" and stored("after.txt") == b"still here", said)


def together():
    silent = [dial() for _ in range(5)]
    for n, s in enumerate(silent):
        s.sendall([b"", b"Rec", b"send", b"sendtext", b"sendimagea"][n])
    # Beside them, not after them: they stay until all others have been served.
    said = send_text(b"text", "quick.txt", b"quick")
    check("silent clients delay nobody", said[1] == b"File writted", said)
    failed = []

    def one(n):
        try:
            if n % 2:
                content = b"\xff\xd8" + bytes([n]) * 20_000
                send_media(b"image", f"p{n}.jpg", content)
                good = stored_soon(f"p{n}.jpg", content)
            else:
                said = send_text(b"text", f"p{n}.txt", b"%d" % n, glue=n % 4 == 0)
                good = said == (b"Give the filename", b"File writted") and stored(f"p{n}.txt") == b"%d" % n
            if not good:
                failed.append(n)
        except OSError as error:
            failed.append((n, str(error)))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    check("200 clients at once", not failed, failed[:5])
    for s in silent:
        s.close()


# With a fourth word `crowd` only the many clients at once are run.
parts = (together,) if sys.argv[4:] == ["crowd"] else (media, texts, receiving, bad, together)
for part in parts:
    try:
        part()
    except OSError as error:
        check(f"{part.__name__} runs to its end", False, str(error))
print(f"{results.count(True)} passed, {results.count(False)} failed")
sys.exit(0 if all(results) else 1)
