"""Two network namespaces, NAME-server with 10.201.0.1 and NAME-client with 10.201.0.2, and a link between them that
holds each packet for 10 ms and drops one of a hundred: what netem does, for kernels that have none. Ends with its
standard input."""

import collections
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time

DELAY_S, LOSS, HELD_MAX, READ_MAX = 0.010, 0.01, 2000, 64
# As cubic at this rate of loss, but permitted in any namespace; to bbr, losses hardly matter.
CONGESTION = os.environ.get("LINK_CONGESTION", "reno")
TUNSETIFF, IFF_TUN_NO_PI = 0x400454CA, 0x1001


def ip(words, check=True):
    subprocess.run(["ip", *words.split()], check=check)


def lay(namespace, device, address):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN_NO_PI))
    ip(f"netns add {namespace}")
    ip(f"link set {device} netns {namespace} name wire")
    ip(f"-n {namespace} addr add {address}/24 dev wire")
    ip(f"-n {namespace} link set wire up txqueuelen 1000")
    ip(f"netns exec {namespace} sysctl -q -w net.ipv4.tcp_congestion_control={CONGESTION}")
    return fd


def forward(one, other):
    held = collections.deque()
    while True:
        timeout = max(0, held[0][0] - time.monotonic()) if held else None
        readable = select.select([0, one, other], [], [], timeout)[0]
        if 0 in readable:
            return
        now = time.monotonic()
        for fd, to in (one, other), (other, one):
            for _ in range(READ_MAX if fd in readable else 0):
                try:
                    packet = os.read(fd, 65536)
                except BlockingIOError:
                    break
                if random.random() >= LOSS and len(held) < HELD_MAX:
                    held.append((now + DELAY_S, to, packet))
        while held and held[0][0] <= now:
            _, to, packet = held.popleft()
            try:
                os.write(to, packet)
            except OSError:
                pass  # its queue is full: one more that is lost


name = sys.argv[1]
sides = [f"{name}-server", f"{name}-client"]
try:
    ends = [lay(side, f"{name}{n}", f"10.201.0.{n + 1}") for n, side in enumerate(sides)]
    print("ready", flush=True)
    forward(*ends)
finally:
    for side in sides:
        ip(f"netns del {side}", check=False)
