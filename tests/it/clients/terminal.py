"""Passwords on a terminal of its own: terminal.py BINARY."""

import os
import pty
import socket
import subprocess
import sys
import termios


def talk(*answers, command=("passwd", "anna")):
    """Answers one prompt after the other; the exit code and all that was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.argv[1], [sys.argv[1], *command])
    shown = b""
    for answer in answers:
        before = len(shown)
        while not shown[before:].endswith(b" for anna: "):
            shown += os.read(terminal, 1000)
        assert not termios.tcgetattr(terminal)[3] & termios.ECHO
        os.write(terminal, answer)
    while True:
        try:
            part = os.read(terminal, 1000)
        except OSError:  # Linux: the other end is closed
            part = b""
        if not part:
            break
        shown += part
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


code, shown = talk(b"s3cret\n", b"s3cret\n")
assert code == 0 and "\nuser anna $argon2id$" in shown.replace("\r", ""), shown
assert "s3cret" not in shown, shown
code, shown = talk(b"s3cret\n", b"another\n")
assert code == 1 and "the passwords differ" in shown and "argon2id" not in shown, shown
assert "s3cret" not in shown and "another" not in shown, shown
code, shown = talk(b"\n")
assert code == 1 and "the password is empty" in shown, shown
code, shown = talk(b"s3\x03\n")
assert code == 130 and "interrupted" in shown, shown

# The client asks once, and what it sends is what was typed.
server = socket.create_server(("127.0.0.1", 0))
client = ("ls", "127.0.0.1:%d" % server.getsockname()[1], "--user", "anna")
if os.fork() == 0:
    peer = server.accept()[0]
    asked = peer.makefile().readline()
    peer.sendall(b"ERR 401 heard %s" % asked.replace("s3cret", "it").encode())
    os._exit(0)
code, shown = talk(b"s3cret\n", command=client)
assert code == 1 and "heard AUTH anna it" in shown and "s3cret" not in shown, shown
code, shown = talk(b"s3\x03\n", command=client)
assert code == 130, shown
code, shown = talk(b"\n", command=client)
assert code == 2 and "the password is empty" in shown, shown
ended = subprocess.run([sys.argv[1], *client], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
assert ended.returncode == 2 and b"set FILEWHARF_PASSWORD" in ended.stderr, ended
