#!/usr/bin/env python3
"""Checks a running server with clients that behave as those of the `name-size` system do.

    filewharf serve DIR --listen name-size@127.0.0.1:5010
    python3 tests/legacy/name_size.py 127.0.0.1 5010 DIR

The client says `NAME SIZE` in one send, prints the name, sends the file in pieces of 4096 bytes and
closes. It never reads. Prints one line per check; exit code 1 if one failed.
"""

import os
import random
import socket
import sys
import threading
import time

HOST, PORT, FOLDER = sys.argv[1], int(sys.argv[2]), sys.argv[3]
# Nothing may take longer, on a disk with syncs of seconds and beside whatever else runs.
TIMEOUT = 900
PIECE = 4096
results = {"ok": 0, "FAIL": 0}


def check(what, good, detail=""):
    word = "ok" if good else "FAIL"
    results[word] += 1
    print(f"{word:4} {what}" + (f": {detail}" if detail and not good else ""), flush=True)


def connect():
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(TIMEOUT)
    client.connect((HOST, PORT))
    return client


def say(client, name, content, size=None):
    client.send(f"{name} {len(content) if size is None else size}".encode())
    os.write(devnull, f"{name}\n".encode())
    for at in range(0, len(content), PIECE):
        client.sendall(content[at:at + PIECE])


def upload(name, content, size=None):
    client = connect()
    say(client, name, content, size)
    client.close()


def stored(name):
    try:
        with open(os.path.join(FOLDER, name), "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def appears(name, content):
    """The client hears nothing, so what it sent shows up some time after it has gone."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        if stored(name) == content:
            return True
        time.sleep(0.01)
    return False


def was_reset(client, more=b"x" * PIECE):
    """Continues to send, as a client in the middle of a file does, until it notices."""
    end = time.monotonic() + TIMEOUT
    try:
        while time.monotonic() < end:
            client.sendall(more)
            time.sleep(0.01)
    except (ConnectionResetError, BrokenPipeError):
        return True
    except OSError:
        return False
    finally:
        client.close()
    return False


def check_sizes():
    for size in (0, 1, 5, 4095, 4096, 4097, 65536, 1_000_003, 20_000_000):
        content = random.randbytes(size)
        upload(f"sizes/{size}.bin", content)
        check(f"a binary file of {size} bytes", appears(f"sizes/{size}.bin", content))


def check_digits():
    for size in (1, 2, 9, 10, 11, 99, 100, 5000, 1_000_000):
        content = (b"31415926535897932384626433832795" * (size // 32 + 1))[:size]
        upload(f"digits-{size}", content)
        check(f"a file of {size} digits and nothing else", appears(f"digits-{size}", content))
    table = b"".join(b"%d,%d,%d\n" % (n, n * n, n ** 3) for n in range(1, 3000))
    upload("table.csv", table)
    check("a table whose first byte is a digit", appears("table.csv", table))


def check_original_defects():
    content = b"1,2,3\n4,5,6\n"
    kept = 0
    for turn in range(20):
        upload(f"glued-{turn}.csv", content)
        kept += appears(f"glued-{turn}.csv", content)
    check("content that arrives with the header is kept, 20 times", kept == 20, f"{kept} of 20")
    content = bytes(range(256)) * 80
    upload("not-text.bin", content)
    check("20 kB that are no text", appears("not-text.bin", content))
    content = os.urandom(3 * PIECE)
    upload("three-pieces.bin", content)
    check("more than one piece", appears("three-pieces.bin", content))
    upload("my holiday list.txt", b"sun\nsea\n")
    check("a name with blanks", appears("my holiday list.txt", b"sun\nsea\n") and stored("my") is None)
    upload("report 2024.csv", b"year,sum\n2024,7\n")
    check("a name with a blank before a digit", appears("report 2024.csv", b"year,sum\n2024,7\n"))
    upload("grüße/übung 1.txt", "schöne grüße\n".encode())
    check("a name that is not ASCII", appears("grüße/übung 1.txt", "schöne grüße\n".encode()))
    upload("again.txt", b"the first, longer version\n")
    first = appears("again.txt", b"the first, longer version\n")
    upload("again.txt", b"second\n")
    check("a file is replaced as a whole", first and appears("again.txt", b"second\n"))


def check_segments():
    for delay, what in ((0.0, "byte by byte"), (0.02, "byte by byte, slowly")):
        client = connect()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        content = b"7 bytes, then 8\nand more 9"
        for byte in f"drip {len(content)}".encode() + content:
            client.sendall(bytes([byte]))
            time.sleep(delay)
        client.close()
        check(what, appears("drip", content))
        os.remove(os.path.join(FOLDER, "drip"))


def check_no_file():
    connect().close()
    upload("after-nothing.txt", b"still here")
    check("a client that did not find its file", appears("after-nothing.txt", b"still here"))


def check_cut():
    upload("good.txt", b"the good file\n")
    good = appears("good.txt", b"the good file\n")
    upload("good.txt", b"half of\nit", 5000)
    part = appears("good.txt.part", b"half of\nit")
    check("an upload that was cut is kept beside the good file", good and part and stored("good.txt") == b"the good file\n")
    upload("good.txt", b"longer than\nannounced", 4)
    part = appears("good.txt.part", b"longer than\nannounced")
    check("a file that grew while it was sent is kept beside it", part and stored("good.txt") == b"the good file\n")
    client = connect()
    say(client, "good.txt", b"a client that crashes\n" * 1000, 1_000_000)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    time.sleep(0.2)
    check("a reset leaves the good file", stored("good.txt") == b"the good file\n")


def check_bad():
    for what, header in (
        ("no header", b"hello\nworld\n"),
        ("another protocol", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a name that ends in NUL", b"a.txt\0" b"5\0hello"),
        ("a name that leaves the folder", b"../evil.txt 50000hello"),
        ("an absolute name", b"/tmp/evil.txt 50000hello"),
        ("a name of the server's own", b".filewharf/evil 50000hello\n"),
        ("a name that is too long", b"x" * 300 + b" 50000hello"),
        ("no size within reach", b"x/" * 1000),
        ("the name of a folder", b"sizes 50000hello\n"),
    ):
        client = connect()
        client.sendall(header)
        check(f"{what} is reset", was_reset(client))
    above = os.path.join(os.path.dirname(os.path.abspath(FOLDER)), "evil.txt")
    check("nothing was stored outside", not os.path.exists(above) and not os.path.exists("/tmp/evil.txt"))


def check_early_version():
    client = connect()
    say(client, "early-1.csv", b"1,2,3\n")
    seen = appears("early-1.csv", b"1,2,3\n")
    content = random.randbytes(100_000)
    say(client, "early-2.bin", content)
    seen = seen and appears("early-2.bin", content)
    say(client, "early-3.txt", b"")
    seen = seen and appears("early-3.txt", b"")
    say(client, "early-4.txt", b"the last\n")
    client.close()
    check("a file is there before the next is sent", seen)
    check("several files on one connection", appears("early-4.txt", b"the last\n"))
    client = connect()
    say(client, "glued-a.txt", b"one\n")
    say(client, "glued-b.txt", b"two\n")
    client.close()
    check("two files without a silence", appears("glued-a.txt", b"one\n") and appears("glued-b.txt", b"two\n"))
    client = connect()
    say(client, "pause.txt", b"the first half\n", 30)
    time.sleep(2.5)
    early = stored("pause.txt")
    client.sendall(b"the other half\n")
    client.close()
    check("a silence in the middle of a file", early is None and appears("pause.txt", b"the first half\nthe other half\n"))


def check_slow():
    silent = [connect() for _ in range(20)]
    slow = connect()
    slow.sendall(b"slow.bin 1000000" + b"\n" * 500_000)
    upload("quick.txt", b"not delayed\n")
    # Beside it, not after it: the slow one continues only now.
    check("silent and slow clients delay nobody", appears("quick.txt", b"not delayed\n"))
    slow.sendall(b"\n" * 500_000)
    slow.close()
    check("the slow client is served too", appears("slow.bin", b"\n" * 1_000_000))
    for client in silent:
        client.close()


def check_many():
    contents = [random.randbytes(random.choice((0, 10, 5000, 200_000))) for _ in range(200)]
    errors = []

    def one(number):
        try:
            upload(f"many/{number}.bin", contents[number])
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    # The first that is missing is waited for, and ends it.
    missing = next((n for n, content in enumerate(contents) if not appears(f"many/{n}.bin", content)), None)
    check("200 clients at once", missing is None and not errors, f"{missing} is missing, {errors[:3]}")


devnull = os.open(os.devnull, os.O_WRONLY)
groups = (check_sizes, check_digits, check_original_defects, check_segments, check_no_file, check_cut,
          check_bad, check_early_version, check_slow, check_many)
# With a fourth word `crowd` only the many clients at once are run.
for group in (check_many,) if sys.argv[4:] == ["crowd"] else groups:
    try:
        group()
    except Exception as error:  # one broken check must not hide the others
        check(group.__name__, False, repr(error))
print(f"{results['ok']} passed, {results['FAIL']} failed")
sys.exit(1 if results["FAIL"] else 0)
