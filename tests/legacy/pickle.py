"""Unmodified clients of the pickle dialect against a running server.

    filewharf serve FOLDER --listen 'pickle@127.0.0.1:0?inbox=inbox'
    python3 tests/legacy/pickle.py HOST PORT FOLDER [crowd | inbox=NAME]

FOLDER is the served folder on disk. With `inbox=NAME`, for a listener that has such an inbox, it is
checked that messages are kept; with `crowd` only the two hundred clients at once are run. Loopback
only; needs nothing but Python 3.
"""

import os
import sys

# This file has the name of a module that it needs.
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != HERE]

import io
import json
import pickle
import random
import shutil
import socket
import struct
import subprocess
import threading
import time

# Nothing may take longer, on a disk with syncs of seconds and beside whatever else runs.
TIMEOUT = 900
RECV = 4090
# Answers are distinguished by a pause between them. A client that its machine keeps from reading for as
# long gets two as one: that says nothing about the server, and so often it is tried again.
TRIES = 20
STUDENT = {"student_name": "Ada", "github_username": "ada", "sid": 7}
ACK = "server got the data"
passed, failed = 0, 0
lock = threading.Lock()


def check(what, good, detail=""):
    global passed, failed
    with lock:
        if good:
            passed += 1
            print("ok  ", what, flush=True)
        else:
            failed += 1
            print("FAIL", what, detail, flush=True)


class Glued(Exception):
    """Two answers came as one."""


def loads(data):
    """The one value in what one recv took."""
    stream = io.BytesIO(data)
    value = pickle.load(stream)
    if stream.read():
        raise Glued(data)
    return value


class Client:
    """What the classroom client does: connect, one recv for one message, one send for one."""

    def __init__(self, address):
        self.sock = socket.create_connection(address, TIMEOUT)
        self.sock.settimeout(TIMEOUT)

    def hear(self):
        return loads(self.sock.recv(RECV))

    def say(self, value, protocol=None):
        self.sock.send(pickle.dumps(value, protocol))

    def hear_long(self):
        """For answers that no single recv can take: a client of our own."""
        data = b""
        while True:
            part = self.sock.recv(65536)
            if not part:
                raise EOFError("closed after %d bytes" % len(data))
            data += part
            try:
                return pickle.loads(data)
            except (EOFError, pickle.UnpicklingError, IndexError, UnicodeDecodeError):
                continue

    def port(self):
        return self.sock.getsockname()[1]

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def classroom(address, value=STUDENT, protocol=None):
    """The whole of the classroom client, but that it stops to listen after the acknowledgement."""
    with Client(address) as client:
        clientid = client.hear()["clientid"]
        client.say(value, protocol)
        return clientid == client.port(), client.hear()


def refused(address, message):
    """Everything the unmodified loop reads after this message: until something false, then EOF; and how
    long that took."""
    with Client(address) as client:
        client.hear()
        begun = time.monotonic()
        client.sock.sendall(message)
        heard = [client.hear()]
        while heard[-1]:
            heard.append(client.hear())
        return heard, time.monotonic() - begun, client.sock.recv(RECV)


def attempt(what, run):
    for left in reversed(range(TRIES)):
        try:
            good = run()
            return check(what, good is True, repr(good))
        except Glued as error:
            if not left:
                check(what, False, repr(error))
        except Exception as error:  # the check has failed, whatever it was
            return check(what, False, repr(error))


def put_get(address, folder, name, data, protocol=None):
    with Client(address) as client:
        client.hear()
        client.sock.sendall(pickle.dumps({"put": name, "data": data}, protocol))
        if client.hear_long() != {"stored": name, "size": len(data)}:
            return "not stored"
        with open(os.path.join(folder, name), "rb") as file:
            if file.read() != data:
                return "the file on disk differs"
        client.say({"get": name}, protocol)
        return client.hear_long() == {"name": name, "data": data} or "the file that came back differs"


def conversations(address, folder, inbox):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        attempt("id and acknowledgement, protocol %d" % protocol,
                lambda: classroom(address, STUDENT, protocol) == (True, ACK))
    attempt("the README's dictionary", lambda: classroom(address, {"name": "A", "email": "a@b"}) == (True, ACK))
    attempt("None where a name is missing",
            lambda: classroom(address, {"student_name": None, "github_username": None, "sid": 1}) == (True, ACK))
    attempt("a dictionary of 60 kB, more than one recv of the original",
            lambda: classroom(address, {"name": "x" * 60000}) == (True, ACK))

    def python2():
        with Client(address) as client:
            client.hear()
            client.sock.send(b"(dp0\nS'student_name'\np1\nS'Ada'\np2\nsS'sid'\np3\nI1\ns.")
            return client.hear() == ACK
    attempt("a dictionary as Python 2.7 writes it", python2)

    def first_bytes():
        with Client(address) as client:
            return client.sock.recv(RECV) == pickle.dumps({"clientid": client.port()}, 2)
    attempt("the id comes first, in protocol 2, in one piece", first_bytes)

    def byte_by_byte():
        with Client(address) as client:
            client.hear()
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in pickle.dumps(STUDENT):
                client.sock.send(bytes([byte]))
                time.sleep(0.001)
            return client.hear() == ACK
    attempt("a message that comes byte by byte", byte_by_byte)

    def together():
        with Client(address) as client:
            client.hear()
            client.sock.send(pickle.dumps(STUDENT) + pickle.dumps({}))
            first = client.hear()
            return (first, client.hear()) == (ACK, ACK)
    attempt("two messages in one packet get two answers that one recv each can read", together)

    def listens():
        with Client(address) as client:
            client.hear()
            client.say(STUDENT)
            client.hear()
            client.sock.settimeout(1)
            try:
                return client.sock.recv(RECV)
            except socket.timeout:
                return True
    attempt("a client that only listens is left in peace", listens)
    if inbox:
        kept = os.path.join(folder, inbox)

        def keeps():
            mark = "mark %d" % random.getrandbits(60)
            with Client(address) as client:
                client.hear()
                client.say({"mark": mark, "list": [1, 2.5, None, (True,)], 3: b"\0\xff"})
                client.hear()
                names = [name for name in os.listdir(kept) if name.endswith("-%d.json" % client.port())]
            found = []
            for name in names:
                with open(os.path.join(kept, name), encoding="utf-8") as file:
                    found.append(json.load(file))
            return {"mark": mark, "list": [1, 2.5, None, [True]], "3": {"base64": "AP8="}} in found or repr(found)
        attempt("messages are kept as JSON, before the acknowledgement", keeps)


def files(address, folder):
    for size in [0, 1, 255, 256, 4090, 4096, 8192, 65536, 300000, 1024 * 1024 - 100]:
        name = "sizes/%d.bin" % size
        attempt("put and get %d bytes" % size, lambda: put_get(address, folder, name, random.randbytes(size)))
    for protocol in (3, 4, 5):
        attempt("put and get, protocol %d" % protocol,
                lambda: put_get(address, folder, "p%d.bin" % protocol, random.randbytes(70000), protocol))
    attempt("a name that is not ASCII", lambda: put_get(address, folder, "h\u00e9 \u4e16.bin", b"x"))

    def too_large():
        with Client(address) as client:
            client.hear()
            try:
                client.sock.sendall(pickle.dumps({"put": "huge.bin", "data": bytes(20 << 20)}))
            except ConnectionError:
                pass
            # It may have been said long before the last byte was sent, and `None` after it.
            return pickle.loads(client.sock.recv(RECV)) == {"error": "too large"} and not os.path.exists(os.path.join(folder, "huge.bin"))
    attempt("20 MB are more than a message may have, and the client is told", too_large)

    def too_large_to_get():
        with open(os.path.join(folder, "large.bin"), "wb") as file:
            file.write(bytes(1 << 20))
        return refused(address, pickle.dumps({"get": "large.bin"}))[0] == [{"error": "too large: large.bin"}, None]
    attempt("a file that no message can carry", too_large_to_get)

    def cut_short():
        with Client(address) as client:
            client.hear()
            client.sock.sendall(pickle.dumps({"put": "cut.bin", "data": bytes(200000)})[:-50000])
        time.sleep(0.2)
        return not os.path.exists(os.path.join(folder, "cut.bin"))
    attempt("an upload that is cut short leaves nothing", cut_short)


class Evil:
    def __reduce__(self):
        return os.mkdir, (self.path,)


def laughs():
    message = b"]q\0(NNNNNNNNNNe"
    for level in range(60):
        message += bytes([ord("]"), ord("q"), level + 1, ord("(")]) + bytes([ord("h"), level]) * 10 + b"e"
    return message + b"."


def errors(address, folder):
    plain = "only plain data is taken, no classes and no calls"
    canary = os.path.join(folder, "canary")
    Evil.path = canary
    cases = [
        ("a missing file", pickle.dumps({"get": "missing.txt"}), "no such file or folder: missing.txt"),
        ("a name outside of the folder", pickle.dumps({"put": "../evil.txt", "data": b"x"}), None),
        ("an absolute name", pickle.dumps({"get": "/etc/passwd"}), None),
        ("a list where a dictionary belongs", pickle.dumps([1]), "a dictionary is expected"),
        ("a put without data", pickle.dumps({"put": "x"}), None),
        ("garbage", b"hello\n", "this is not a pickled message"),
        ("a declared length of 4 GB", b"\x80\x02}X\xff\xff\xff\xff", "too large"),
        ("a declared length of 16 EB", b"\x80\x04\x8e" + b"\xff" * 8, "too large"),
        ("a billion laughs", laughs(), "too large"),
        ("50000 lists in each other", b"]" * 50000 + b"a" * 49999 + b".", "the pickle is nested too deeply"),
        ("a list that holds itself", b"]q\0h\0a.", "the pickle contains itself"),
        ("a number of a million digits", b"I" + b"9" * 1000000 + b"\n.", "a number in the pickle is too long"),
    ]
    cases += [("code to be run, protocol %d" % protocol, pickle.dumps(Evil(), protocol), plain)
              for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for what, message, words in cases:
        def run():
            heard, took, end = refused(address, message)
            if len(heard) != 2 or list(heard[0]) != ["error"] or heard[1] is not None or end != b"":
                return repr((heard, end))
            if words is not None and heard[0]["error"] != words:
                return repr(heard)
            return took >= 0.09 or "None came after %.3f s" % took
        attempt(what + ": an error, then None in a packet of its own, then the end", run)

    def browser():
        with Client(address) as client:
            client.hear()
            client.sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                return repr(client.sock.recv(RECV))
            except ConnectionResetError:
                return True
    attempt("a web browser is reset", browser)
    attempt("nothing of that was run or written",
            lambda: not os.path.exists(canary) and not os.path.exists(os.path.join(folder, "..", "evil.txt")))
    attempt("the server continues after all of that", lambda: classroom(address) == (True, ACK))


def defects(address):
    def leaves():
        with Client(address) as client:
            client.hear()
        with Client(address) as client:
            client.hear()
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with Client(address):
            pass
        return classroom(address) == (True, ACK)
    attempt("clients that leave without a word, or with a reset, do not end the server", leaves)

    def slow():
        silent = [Client(address) for _ in range(3)]
        half = Client(address)
        half.sock.send(pickle.dumps(STUDENT)[:10])
        long = Client(address)
        long.sock.send(pickle.dumps({"put": "never", "data": bytes(100000)})[:50000])
        # Beside them, not after them: they are still connected, and none has ended.
        good = classroom(address) == (True, ACK)
        for client in [*silent, half, long]:
            client.close()
        return good
    attempt("silent and slow clients delay nobody", slow)


def crowd(address):
    def run():
        results = []

        def one(number):
            try:
                protocol = number % (pickle.HIGHEST_PROTOCOL + 1)
                results.append(classroom(address, {"student_name": str(number), "github_username": "g", "sid": number},
                                         protocol))
            except Exception as error:
                results.append(repr(error))
        threads = [threading.Thread(target=one, args=(number,)) for number in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        bad = [result for result in results if result != (True, ACK)]
        return (len(results) == 200 and not bad) or repr((len(results), bad[:3]))
    attempt("200 clients at once, each with its own id", run)


def many_files(address, folder):
    def crowd():
        results = []

        def one(number):
            try:
                data = random.Random(number).randbytes(100000)
                results.append(put_get(address, folder, "crowd/%d" % number, data))
            except Exception as error:
                results.append(repr(error))
        threads = [threading.Thread(target=one, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        return results == [True] * 50 or repr([result for result in results if result is not True][:3])
    attempt("50 clients store and fetch 100 kB at once", crowd)


def python2(address):
    found = shutil.which("python2")
    if not found or subprocess.run([found, "--version"], capture_output=True, timeout=TIMEOUT).returncode:
        return
    script = (
        "import pickle, socket, sys, time\n"
        "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def hear(): time.sleep(0.2); return pickle.loads(s.recv(4090))\n"
        "assert hear() == {'clientid': s.getsockname()[1]}\n"
        "for p in 0, 1, 2:\n"
        "    s.send(pickle.dumps({'student_name': 'Ada', 'sid': 1, u'\\xfc': u'\\u4e16'}, p))\n"
        "    assert hear() == 'server got the data'\n"
        "    d = ''.join(map(chr, range(256)))\n"
        "    s.send(pickle.dumps({'put': 'two.bin', 'data': d}, p))\n"
        "    assert hear() == {'stored': 'two.bin', 'size': 256}\n"
        "    s.send(pickle.dumps({'get': 'two.bin'}, p))\n"
        "    assert hear() == {'name': 'two.bin', 'data': d}\n"
    )
    attempt("a real Python 2 in its protocols, bytes there and back", lambda: subprocess.run(
        [found, "-c", script, address[0], str(address[1])], capture_output=True, timeout=TIMEOUT, text=True
    ).stderr == "")


def main():
    if len(sys.argv) not in (4, 5):
        print(__doc__)
        return 2
    address, folder = (sys.argv[1], int(sys.argv[2])), sys.argv[3]
    word = sys.argv[4] if len(sys.argv) == 5 else ""
    if word != "crowd":
        conversations(address, folder, word[6:] if word.startswith("inbox=") else None)
        files(address, folder)
        errors(address, folder)
        defects(address)
        many_files(address, folder)
        python2(address)
    crowd(address)
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
