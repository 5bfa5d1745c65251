# SPDX-License-Identifier: MIT
"""tcp_peer in a namespace, and the kernel's end of the connections to it.

    kernel 10.0.0.1 fd00::1 <-- t --> tcp_peer 10.0.0.2 fd00::2

Each end tells how much it sent and received, and the CRC-32 of both."""

import contextlib
import json
import os
import random
import select
import signal
import socket
import threading
import zlib

from namespace import BUILD, FACTOR, wait_until

KERNEL = {4: "10.0.0.1", 6: "fd00::1"}
PEER = {4: "10.0.0.2", 6: "fd00::2"}
DOMAIN = {4: socket.AF_INET, 6: socket.AF_INET6}
ECHO, SINK, SOURCE, LATE, FIRST, HOLD, DIRECT = 7, 9, 19, 21, 22, 23, 24
PATIENCE = 25  # seconds for whatever a socket waits for; the test's own limit is above


class TcpPeer:
    def __init__(self, netns, *options, name="t", addresses=True):
        self.netns = netns
        self.name = name
        if addresses:
            options = ("--kernel", f"{KERNEL[4]}/24", "--kernel", f"{KERNEL[6]}/64",
                       "--host", f"{PEER[4]}/24", "--host", f"{PEER[6]}/64", *options)
        self.process = netns.start([os.path.join(BUILD, "tests", "netns", "tcp_peer"), "--name", name, *options])
        wait_until(lambda: self.events("ready") or not self.process.running, lambda: f"ready\n{self}")
        assert self.process.running, self

    def __str__(self):
        """Its last lines: with those of many connections there would be too much to read."""
        lines = [*self.process.stdout.text.splitlines()[-3:], *self.process.stderr.text.splitlines()[-3:]]
        return "\n".join([" ".join(self.process.command), f"status: {self.process.popen.poll()}", *lines])

    def events(self, kind):
        return [x for x in map(json.loads, self.process.stdout.text.splitlines()) if x["event"] == kind]

    def closed(self, number=1, seconds=PATIENCE):
        """Its side of the connections that have ended, once there are so many."""
        wait_until(lambda: len(self.events("closed")) >= number or not self.process.running,
                   lambda: f"{number} ended\n{self}", seconds)
        found = self.events("closed")
        assert len(found) == number, f"{len(found)}, not {number}: {self}"
        return found

    def done(self, seconds=PATIENCE):
        """As a client it has opened all that it should, and all have ended."""
        return wait_until(lambda: self.events("done"), lambda: f"done\n{self.status()}", seconds)[0]

    def status(self):
        number = len(self.events("status"))
        self.process.signal(signal.SIGUSR1)
        wait_until(lambda: len(self.events("status")) > number or not self.process.running,
                   lambda: f"status\n{self}", 10)
        assert self.process.running, self
        found = self.events("status")[-1]
        assert found["adds_up"], found
        return found

    def counter(self, name):
        return self.status()["counters"][name]

    def release(self):
        """Those that read late begin."""
        self.process.signal(signal.SIGUSR2)

    def wait_empty(self, seconds=15):
        """Nothing is left in the stack, connections in TIME-WAIT included."""
        wait_until(lambda: self.counter("connections") == 0, lambda: f"no connection: {self.status()}", seconds)

    def stop(self):
        self.process.signal(signal.SIGTERM)
        status = self.process.wait()
        assert status == 0, f"status {status}: {self}"
        summary = self.events("summary")[-1]
        counters = summary["counters"]
        assert summary["adds_up"] and summary["device_received"] == counters["received"], summary
        if counters["connections"] == 0:
            assert counters["half_open"] == 0 and counters["out_of_order_bytes"] == 0, counters
        return summary


def connect(space, port, version=4, address=None, options=()):
    """A connection of the kernel's to a port of tcp_peer."""
    connection = space.socket(DOMAIN[version], socket.SOCK_STREAM)
    connection.settimeout(PATIENCE * FACTOR)
    for level, name, value in options:
        connection.setsockopt(level, name, value)
    connection.connect((address or PEER[version], port))
    return connection


def listen(space, version=4, address=None, port=0, backlog=512):
    server = space.socket(DOMAIN[version], socket.SOCK_STREAM)
    server.settimeout(PATIENCE * FACTOR)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address or KERNEL[version], port))
    server.listen(backlog)
    return server


class Sums:
    """Of one end: bytes and CRC-32 each way, named as tcp_peer names its own."""

    def __init__(self):
        self.sent = self.received = self.sent_crc = self.received_crc = 0
        self.error = None

    def check(self, other, both=True):
        """What one end sent is what the other received."""
        assert self.error is None, self.error
        assert (self.received, self.received_crc) == (other["sent"], other["sent_crc"]), (vars(self), other)
        if both:
            assert (self.sent, self.sent_crc) == (other["received"], other["received_crc"]), (vars(self), other)


def send_all(connection, size, sums, seed=1, finish=True):
    """size bytes, none of them like the others, and then FIN."""
    block = random.Random(seed).randbytes(min(size, 1 << 20) + 65536)
    try:
        while sums.sent < size:
            at = sums.sent * 7919 % 65521
            piece = memoryview(block)[at:at + min(size - sums.sent, len(block) - 65536)]
            connection.sendall(piece)
            sums.sent += len(piece)
            sums.sent_crc = zlib.crc32(piece, sums.sent_crc)
        if finish:
            connection.shutdown(socket.SHUT_WR)
    except OSError as error:
        sums.error = error


def receive_all(connection, sums):
    try:
        while block := connection.recv(1 << 18):
            sums.received += len(block)
            sums.received_crc = zlib.crc32(block, sums.received_crc)
    except OSError as error:
        sums.error = error


def exchange(connection, size, *, order="both", seed=1):
    """Sends and receives at the same time, or one after the other ("send", "receive" first), and closes."""
    sums = Sums()
    with connection:
        if order == "receive":
            receive_all(connection, sums)
            send_all(connection, size, sums, seed)
        elif order == "send":
            send_all(connection, size, sums, seed)
            receive_all(connection, sums)
        else:
            thread = threading.Thread(target=send_all, args=(connection, size, sums, seed))
            thread.start()
            receive_all(connection, sums)
            thread.join()
    return sums


def echo_all(connection):
    """The kernel's end as an echo server."""
    sums = Sums()
    with connection:
        while block := connection.recv(1 << 16):
            connection.sendall(block)
            sums.received += len(block)
            sums.received_crc = zlib.crc32(block, sums.received_crc)
    sums.sent, sums.sent_crc = sums.received, sums.received_crc
    return sums


def sysctl(space, **values):
    for name, value in values.items():
        space.run(["sysctl", "-q", "-w", f"net.ipv4.{name}={value}"])


def netstat(space, name):
    """A counter of /proc/net/netstat: TcpExt's."""
    with open(f"/proc/{space.pid}/net/netstat", encoding="ascii") as file:
        names, values = [line.split() for line in file if line.startswith("TcpExt:")]
    return int(values[names.index(name)]) if name in names else 0


def poll_many(connections, handle, seconds=PATIENCE):
    """Calls handle(connection) for those that are readable, until each has returned True."""
    left = {c.fileno(): c for c in connections}
    poll = select.poll()
    for number in left:
        poll.register(number, select.POLLIN)
    while left:
        ready = poll.poll(seconds * FACTOR * 1000)
        assert ready, f"{len(left)} wait in vain"
        for number, _ in ready:
            if handle(left[number]):
                poll.unregister(number)
                del left[number]


@contextlib.contextmanager
def nothing_passes(space, name="t"):
    """The kernel drops whatever comes from and goes to the interface, and tells nobody."""
    rules = "".join(f"add chain inet vnic {hook} {{ type filter hook {hook} priority -400; }}\n"
                    f"add rule inet vnic {hook} {way} {name} meta l4proto tcp drop\n"
                    for hook, way in (("prerouting", "iifname"), ("postrouting", "oifname")))
    space.run(["nft", "-f", "-"], input=f"add table inet vnic\n{rules}")
    try:
        yield
    finally:
        space.run(["nft", "delete", "table", "inet", "vnic"])
