# SPDX-License-Identifier: MIT
"""`vnic wire` over TCP: namespaces and addresses as in test_wire_udp.py."""

import json
import random
import socket
import struct
import threading

import pytest

from namespace import FACTOR, SANITIZER, Tool, wait_until
from test_wire import conserved, drops, send_stream
from test_wire_udp import FAR4, FAR6, NEAR4, End, all_arrived, check_replies, echo_request, far, far_vnic  # noqa: F401

PORT = 4000


def both_ends(vnic, far_vnic, *, version=4, kind="tun"):
    address = {4: FAR4, 6: f"[{FAR6}]"}[version]
    other = End(far_vnic, f"tcp-listen:{address}:{PORT}", 2, kind)
    near = End(vnic, f"tcp:{address}:{PORT}", 1, kind)
    near.wait_change("connected")
    other.wait_change("connected")
    return near, other


def stop_both(near, other):
    """The connection ends with the first of them; until then nothing got lost between."""
    all_arrived(near, other)
    near.stop()
    other.wait_change("disconnected")
    other.stop()
    for one, two in ((near.peer, other.peer), (other.peer, near.peer)):
        assert two["in_packets"] <= one["out_packets"], (one, two)
        assert one["out_packets"] - two["in_packets"] <= 3, (one, two)


class SimpleTun:
    """The protocol of the tutorial's simpletun, written from its description: a connection on which each
    packet stands behind its length, 16 bits, big-endian."""

    def __init__(self, connection):
        self.connection = connection
        connection.settimeout(10 * FACTOR)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, packet):
        self.connection.sendall(struct.pack("!H", len(packet)) + packet)

    def _read(self, size):
        data = b""
        while len(data) < size:
            more = self.connection.recv(size - len(data))
            if not more:
                raise EOFError(f"{len(data)} of {size} bytes, then the end")
            data += more
        return data

    def receive(self):
        return self._read(struct.unpack("!H", self._read(2))[0])

    def receive_ipv4(self):
        while True:  # the interface's own noise is IPv6
            packet = self.receive()
            if packet[0] >> 4 == 4:
                return packet

    def at_end(self):
        """True once the other side has ended the connection."""
        try:
            while self.connection.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True

    def close(self):
        self.connection.close()

    def ping(self, first=1, count=10):
        sizes = {n: 7 * n for n in range(first, first + count)}
        for number, size in sizes.items():
            self.send(echo_request(number, size))
        check_replies([self.receive_ipv4() for _ in sizes], sizes)


def connect(space, port=PORT, address=NEAR4):
    connection = space.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.settimeout(10 * FACTOR)
    connection.connect((address, port))
    return SimpleTun(connection)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", ["tun", "tap"])
def test_ping(netns, vnic, far, far_vnic, version, kind):
    ends = both_ends(vnic, far_vnic, version=version, kind=kind)
    for end in ends:
        assert end.space.link("t")["mtu"] == 1500
    for space, number in ((netns, 2), (far, 1)):
        for target, headers in ((f"10.1.0.{number}", 28), (f"fd01::{number}", 48)):
            space.ping(target)
            space.ping(target, "-M", "do", "-s", 1500 - headers)
            space.ping(target, "-s", 20000)
    netns.ping("10.1.0.2", "-f", count=500)
    stop_both(*ends)
    for end in ends:
        # What the interface said before somebody was there.
        assert drops(end.peer, True) == end.peer["drop_no_peer"] <= 10, end.tool
        assert not drops(end.peer, False) and not drops(end.interface, True), end.tool


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidir"])
@pytest.mark.limit(60)
def test_iperf3(netns, vnic, far, far_vnic, direction):
    ends = both_ends(vnic, far_vnic)
    server = far.start(["iperf3", "-s", "-1", "--forceflush"])
    assert server.stdout.wait("Server listening"), server
    options = {"forward": [], "reverse": ["-R"], "bidir": ["--bidir"]}[direction]
    done = json.loads(netns.run(["iperf3", "-c", "10.1.0.2", "-J", "-t", "2", *options], seconds=30).stdout)
    rate = done["end"]["sum_received"]["bits_per_second"]
    print(f"{rate / 1e9:.2f} Gbit/s {direction} over TCP")
    assert rate > (0 if SANITIZER else 50e6)
    stop_both(*ends)


def test_streams(netns, vnic, far, far_vnic):
    ends = both_ends(vnic, far_vnic)
    send_stream(far, netns, "10.1.0.2", 8 << 20, 1)
    send_stream(netns, far, "fd01::1", 8 << 20, 2)
    stop_both(*ends)


@pytest.mark.parametrize("listens", [True, False])
def test_simpletun(netns, vnic, far, listens):
    """An independent peer, in both roles."""
    if listens:
        near = End(vnic, f"tcp-listen:{NEAR4}:{PORT}", 1)
        peer = connect(far)
    else:
        with far.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
            server.settimeout(10 * FACTOR)
            server.bind((FAR4, PORT))
            server.listen(1)
            near = End(vnic, f"tcp:{FAR4}:{PORT}", 1)
            peer = SimpleTun(server.accept()[0])
    peer.ping()
    # In pieces of every kind: byte by byte, several at once, one and a half.
    for byte in struct.pack("!H", 28) + echo_request(100, 0):
        peer.connection.sendall(bytes([byte]))
    check_replies([peer.receive_ipv4()], {100: 0})
    stream = b"".join(struct.pack("!H", 28 + n) + echo_request(n, n) for n in range(200, 300))
    at = 0
    for size in random.Random(1).choices(range(1, 400), k=10000):
        peer.connection.sendall(stream[at:at + size])
        at += size
        if at >= len(stream):
            break
    check_replies([peer.receive_ipv4() for _ in range(100)], {n: n for n in range(200, 300)})
    peer.close()
    near.wait_change("disconnected")
    near.stop()
    assert near.peer["in_packets"] == 111 and not drops(near.peer, False)


@pytest.mark.parametrize("nonsense", [b"\0\0", b"\0\x13", b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff" * 10])
def test_bad_length(netns, vnic, far, nonsense):
    """It ends the connection, and not the wire."""
    near = End(vnic, f"tcp-listen:{NEAR4}:{PORT}", 1)
    for number in range(1, 4):
        peer = connect(far)
        near.wait_change("connected", number)
        peer.ping()
        peer.connection.sendall(nonsense)
        assert peer.at_end()
        peer.close()
        near.wait_change("protocol-error", number)
    peer = connect(far)
    peer.ping()
    peer.close()
    near.wait_change("disconnected", 4)
    near.stop()
    assert near.peer["drop_malformed"] == 3 and near.peer["in_packets"] == 43, near.peer


def test_end_within_a_packet(netns, vnic, far):
    near = End(vnic, f"tcp-listen:{NEAR4}:{PORT}", 1)
    peer = connect(far)
    peer.ping()
    peer.connection.sendall(struct.pack("!H", 100) + echo_request(1, 72)[:50])
    peer.close()
    near.wait_change("disconnected")
    near.stop()
    assert near.peer["drop_truncated"] == 1 and near.peer["in_packets"] == 11, near.peer


def test_one_peer_at_a_time(netns, vnic, far):
    near = End(vnic, f"tcp-listen:{NEAR4}:{PORT}", 1)
    peer = connect(far)
    peer.ping()
    for _ in range(20):
        other = connect(far)
        assert other.at_end()
        other.close()
    peer.ping(50)
    peer.close()
    near.wait_change("disconnected")
    peer = connect(far)
    peer.ping()
    peer.close()
    near.wait_change("disconnected", 2)
    near.stop()
    assert near.changes() == ["connected", "disconnected"] * 2


@pytest.mark.parametrize("dies", ["client", "server"])
def test_peer_missing_dying_and_back(netns, vnic, far, far_vnic, dies):
    specifications = {"server": (f"tcp:{FAR4}:{PORT}", f"tcp-listen:{FAR4}:{PORT}"),
                      "client": (f"tcp-listen:{NEAR4}:{PORT}", f"tcp:{NEAR4}:{PORT}")}[dies]
    near = End(vnic, specifications[0], 1)
    ping = ["ping", "-n", "-i", "0.01", "-W", "0.1", "10.1.0.2", "-c", 30]
    assert netns.run(ping, check=False).returncode == 1
    if dies == "server":
        near.wait_change("disconnected")
    lost = 1 if dies == "server" else 0
    for number in (1, 2):
        other = End(far_vnic, specifications[1], 2)
        near.wait_change("connected", number)
        other.wait_change("connected")
        netns.ping("10.1.0.2")
        if number == 1:
            other.tool.kill()
            far_vnic.hosts.remove(other.tool)
            near.wait_change("disconnected", lost + 1)
            assert netns.run(ping, check=False).returncode == 1
    assert near.tool.running
    near.stop()
    assert near.peer["drop_no_peer"] >= 60, near.peer
    other.wait_change("disconnected")
    other.stop()


def test_slow_peer(netns, vnic, far):
    """It gets whole packets only; the newest are dropped and counted. Then it dies."""
    near = End(vnic, f"tcp-listen:{NEAR4}:{PORT}", 1)
    peer = connect(far)
    peer.ping()
    peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
        source.connect(("10.1.0.2", 9))
        number = 0

        def is_full():
            nonlocal number
            for number in range(number, number + 500):
                source.send(struct.pack("!I", number) + b"x" * 1000)
            number += 1
            return near.counters()["drop_full"] > 0

        wait_until(is_full, lambda: near.counters(), 10)
    numbers = []
    for _ in range(300):
        packet = peer.receive_ipv4()
        assert len(packet) == 1032
        numbers.append(struct.unpack("!I", packet[28:32])[0])
    assert numbers == sorted(set(numbers)) and numbers[0] == 0
    peer.close()
    near.wait_change("disconnected")
    near.stop()
    assert near.peer["drop_full"] > 0, near.peer


def test_slow_peer_at_the_end(netns, vnic, far):
    """What waits for it when the wire is stopped is counted, too."""
    near = End(vnic, f"tcp-listen:{NEAR4}:{PORT}", 1)
    peer = connect(far)
    peer.ping()
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
        source.connect(("10.1.0.2", 9))

        def is_full():
            for _ in range(500):
                source.send(b"x" * 1000)
            return near.counters()["drop_full"] > 0

        wait_until(is_full, lambda: near.counters(), 10)
    near.stop()  # asserts that packets in are packets out and drops
    assert near.peer["drop_full"] > 0 and near.peer["drop_no_peer"] > 0, near.peer
    peer.close()


def test_names(netns, vnic, far):
    near = End(vnic, f"tcp-listen:{NEAR4}:0", 1)
    address, _, port = near.port["name"].rpartition(":")
    assert address == f"tcp-listen:{NEAR4}" and int(port) > 0
    peer = connect(far, int(port))
    peer.ping()
    peer.close()
    done = vnic.run("wire", "tun:u", near.port["name"])
    assert done.returncode == 1 and "Address already in use" in done.stderr, done
    near.wait_change("disconnected")
    near.stop()


def test_localhost(netns, vnic, far):
    """A name is looked up, and all its addresses are tried."""
    with netns.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.settimeout(10 * FACTOR)
        server.bind(("127.0.0.1", PORT))
        server.listen(1)
        near = End(vnic, f"tcp:localhost:{PORT}", 1)
        peer = SimpleTun(server.accept()[0])
    peer.ping()
    peer.close()
    near.wait_change("disconnected")
    near.stop()
