# SPDX-License-Identifier: MIT
"""Our TCP against the kernel's, in both roles: see tcp_peer.py."""

import contextlib
import errno
import os
import select
import socket
import struct
import threading

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from namespace import FACTOR, SANITIZER, wait_until
from tcp_peer import (DIRECT, ECHO, FIRST, HOLD, KERNEL, LATE, PEER, SINK, SOURCE, Sums, TcpPeer, connect,
                      echo_all, exchange, listen, netstat, nothing_passes, poll_many, receive_all,
                      send_all, sysctl)

LINGER_RESET = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
# How a device can be: what it carries, and what the stack makes of it.
LINKS = {
    "tun": [],
    "tap": ["--tap"],
    "tun-plain": ["--plain"],
    "tun-no-offloads": ["--no-offloads"],
    "tap-no-header": ["--tap", "--no-header"],
}
MANY = int(os.environ.get("VNIC_TCP_CONNECTIONS", "2000" if SANITIZER else "10000"))
DOWN = float(os.environ.get("VNIC_TCP_DOWN_SECONDS", "3"))
families = pytest.mark.parametrize("version", [4, 6])
links = pytest.mark.parametrize("link", LINKS)
roles = pytest.mark.parametrize("role", ["server", "client"])


def pair(netns, role, service, *options, version=4, accepts=True):
    """A peer and a connection of the kernel's to that service of its, whoever opens it."""
    if role == "server":
        peer = TcpPeer(netns, *options)
        names = {"echo": ECHO, "sink": SINK, "source": SOURCE, "late": LATE, "first": FIRST, "hold": HOLD,
                 "direct": DIRECT}
        return peer, connect(netns, names[service], version)
    with netns.socket(socket.AF_INET6, socket.SOCK_STREAM) as server:
        server.settimeout(25 * FACTOR)
        server.listen(16)
        peer = TcpPeer(netns, "--connect", service, "--remote", KERNEL[version], "--port",
                       server.getsockname()[1], *options)
        connection, _ = server.accept()
    connection.settimeout(25 * FACTOR)
    return peer, connection


# Both families where they are cut differently: in the kernel, and by the stack.
@pytest.mark.parametrize("link,version", [("tun", 4), ("tun", 6), ("tap", 4), ("tap", 6), ("tun-plain", 4),
                                          ("tun-no-offloads", 6), ("tap-no-header", 6)])
@pytest.mark.parametrize("mtu", [1280, 1500, 9000, 65520])
def test_both_ways(netns, link, version, mtu):
    """At the same time, as a server and as a client, with sockets and without."""
    size = 2 << 20
    with netns.socket(socket.AF_INET6, socket.SOCK_STREAM) as server:
        server.settimeout(25 * FACTOR)
        server.listen(16)
        peer = TcpPeer(netns, *LINKS[link], "--mtu", mtu, "--bytes", size, "--connect", "source", "--remote",
                       KERNEL[version], "--port", server.getsockname()[1])
        accepted, _ = server.accept()
    accepted.settimeout(25 * FACTOR)
    number = 0
    for connection in (accepted, connect(netns, SOURCE, version), connect(netns, DIRECT, version)):
        sums = exchange(connection, size)
        number += 1
        theirs = peer.closed(number)[-1]
        sums.check(theirs)
        assert theirs["error"] == 0 and sums.received == size, theirs
        ip = {4: 20, 6: 40}[version]
        assert theirs["info"]["segment_bytes"] == mtu - ip - 32, theirs["info"]  # of options: timestamps
    summary = peer.stop()
    assert summary["finished"] == 3 and summary["failed"] == 0, summary
    assert (summary["counters"]["accepted"], summary["counters"]["opened"]) == (2, 1), summary


@links
@roles
def test_echo(netns, link, role):
    """Both ends send and receive, and the peer's send queue is full most of the time."""
    peer, connection = pair(netns, role, "echo", *LINKS[link], "--buffer", 16384)
    sums = exchange(connection, 3 << 20)
    sums.check(peer.closed()[0])
    assert sums.sent == sums.received and sums.sent_crc == sums.received_crc
    peer.stop()


@roles
@families
def test_half_close_by_the_kernel(netns, role, version):
    """After the kernel's FIN the peer still says something."""
    peer, connection = pair(netns, role, "sink", version=version)
    sums = exchange(connection, 1 << 20, order="send")
    theirs = peer.closed()[0]
    sums.check(theirs)
    assert sums.received == 8 and theirs["info"]["state"] == "CLOSE-WAIT", theirs
    peer.wait_empty()
    peer.stop()


@roles
@families
def test_half_close_by_the_peer(netns, role, version):
    """After its own FIN the peer still receives."""
    peer, connection = pair(netns, role, "first", version=version)
    sums = exchange(connection, 1 << 20, order="receive")
    theirs = peer.closed()[0]
    sums.check(theirs)
    assert sums.received == 0 and sums.sent == 1 << 20, theirs
    peer.wait_empty()  # through TIME-WAIT
    peer.stop()


@roles
def test_nothing_at_all(netns, role):
    """FIN is all that is sent, each way."""
    peer, connection = pair(netns, role, "hold")
    exchange(connection, 0).check(peer.closed()[0])
    peer.wait_empty()
    peer.stop()


@roles
@families
def test_slow_peer(netns, role, version):
    """Its window closes, the kernel probes it, and nothing gets lost."""
    peer, connection = pair(netns, role, "late", "--buffer", 16384, version=version)
    sums = Sums()
    thread = threading.Thread(target=send_all, args=(connection, 1 << 20, sums))
    thread.start()
    wait_until(lambda: netstat(netns, "TCPWinProbe") >= 2, "window probes of the kernel's", 20)
    held = peer.status()["exchanges"][0]
    assert held["received"] == 0 and held["info"]["receive_window_bytes"] == 0, held
    assert held["info"]["received_bytes"] == 16384, held
    peer.release()
    thread.join()
    receive_all(connection, sums)
    connection.close()
    sums.check(peer.closed()[0])
    peer.stop()


@roles
@families
def test_slow_kernel(netns, role, version):
    """The kernel's window closes, the peer probes it, and goes on when it opens."""
    size = 4 << 20
    peer, connection = pair(netns, role, "source", "--bytes", size, version=version)
    wait_until(lambda: peer.counter("window_probes") >= 2, lambda: f"window probes\n{peer.status()}", 20)
    held = peer.status()["exchanges"][0]["info"]
    assert held["send_window_bytes"] == 0 and held["in_flight_bytes"] == 0, held
    exchange(connection, 1000, order="receive").check(peer.closed()[0])
    peer.stop()


def test_slow_kernel_direct(netns):
    """The same where the connection reads from a function: it was never asked for more than went."""
    peer, connection = pair(netns, "server", "direct", "--bytes", 4 << 20)
    wait_until(lambda: peer.counter("window_probes") >= 2, lambda: f"window probes\n{peer.status()}", 20)
    assert peer.status()["exchanges"][0]["sent"] < 4 << 20
    exchange(connection, 1000, order="receive").check(peer.closed()[0])
    peer.stop()


def test_closed_window_for_longer_than_the_user_timeout(netns):
    """Whoever answers probes may keep its window closed (RFC 9293 section 3.8.6.1)."""
    # The kernel answers a probe in half a second (tcp_invalid_ratelimit).
    peer, connection = pair(netns, "server", "source", "--bytes", 8 << 20, "--user-timeout-ms", 1500)
    sysctl(netns, tcp_invalid_ratelimit=0)
    wait_until(lambda: peer.counter("window_probes") >= 6, lambda: f"window probes\n{peer.status()}", 20)
    exchange(connection, 0, order="receive").check(peer.closed()[0])
    peer.stop()


@pytest.mark.limit(60)
def test_window_that_shrinks(netns):
    """The kernel takes back what it offered, and drops what comes. What is sent again is a probe then, as
    long as it is answered, and when the window opens the transfer goes on."""
    peer, connection = pair(netns, "server", "source", "--bytes", 4 << 20, "--user-timeout-ms", 1000)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)

    def shrunk():
        exchanges = peer.status()["exchanges"]
        assert exchanges, f"given up: {peer}"
        info = exchanges[0]["info"]
        return info["send_window_bytes"] == 0 and info["in_flight_bytes"] > 0 and info["timeouts"] >= 7

    wait_until(shrunk, lambda: f"timeouts\n{peer.status()}", 20)
    exchange(connection, 0, order="receive").check(peer.closed()[0])
    peer.stop()


# Resets.

@roles
@pytest.mark.parametrize("service", ["echo", "source", "direct", "late", "hold"])
def test_reset_by_the_kernel(netns, role, service):
    """In ESTABLISHED, with data under way each way."""
    peer, connection = pair(netns, role, service, "--bytes", 4 << 20)
    connection.setsockopt(*LINGER_RESET)
    connection.sendall(b"x" * 1000)
    wait_until(lambda: peer.status()["counters"]["segments"] >= 2, "some segments")
    connection.close()
    assert peer.closed()[0]["error"] == errno.ECONNRESET
    peer.wait_empty()
    summary = peer.stop()
    assert summary["counters"]["aborted"] == 1 and summary["last_error"] == errno.ECONNRESET, summary


@roles
def test_reset_in_close_wait(netns, role):
    """The kernel has sent FIN, and has its socket closed with data unread."""
    peer, connection = pair(netns, role, "source", "--bytes", 16 << 20)
    connection.shutdown(socket.SHUT_WR)
    wait_until(lambda: peer.status()["exchanges"][0]["info"]["state"] == "CLOSE-WAIT", "CLOSE-WAIT")
    connection.close()
    assert peer.closed()[0]["error"] == errno.ECONNRESET
    peer.wait_empty()
    peer.stop()


@roles
@pytest.mark.parametrize("reads", [True, False])
def test_reset_in_fin_wait(netns, role, reads):
    """The peer has sent FIN, which the kernel has read or not."""
    peer, connection = pair(netns, role, "first")
    if reads:
        assert connection.recv(1) == b""
    wait_until(lambda: peer.status()["exchanges"][0]["info"]["state"] == "FIN-WAIT-2", "FIN-WAIT-2")
    connection.setsockopt(*LINGER_RESET)
    connection.close()
    assert peer.closed()[0]["error"] == errno.ECONNRESET
    peer.wait_empty()
    peer.stop()


@pytest.mark.parametrize("service", [ECHO, SOURCE, HOLD, DIRECT])
def test_peer_ends(netns, service):
    """It ends in the middle: its connections are reset, or nobody is there any more."""
    peer = TcpPeer(netns, "--bytes", 64 << 20)
    connection = connect(netns, service)
    peer.stop()  # with a connection: nothing hangs, nothing leaks (ASan)
    connection.close()


def test_refused(netns):
    """A port without listener refuses the kernel, and the kernel refuses the peer."""
    peer = TcpPeer(netns)
    for version in (4, 6):
        with pytest.raises(ConnectionRefusedError):
            connect(netns, 1, version)
    assert peer.stop()["counters"]["resets"] == 2
    for version in (4, 6):
        peer = TcpPeer(netns, "--connect", "echo", "--remote", KERNEL[version], "--port", 1)
        assert peer.done()["last_error"] == errno.ECONNREFUSED
        summary = peer.stop()
        assert summary["counters"]["refused"] == 1 and summary["counters"]["connections"] == 0, summary


def test_unreachable(netns):
    """ICMP errors end a handshake: the kernel says that it has no way to there."""
    sysctl(netns, ip_forward=1)
    peer = TcpPeer(netns, "--connect", "echo", "--remote", "192.0.2.1", "--port", 1, "--router", KERNEL[4])
    assert peer.done()["last_error"] in (errno.ENETUNREACH, errno.EHOSTUNREACH)
    assert peer.stop()["counters"]["notices"] == 1


class Segments:
    """Segments of the test's own over the interface, from an address that the kernel does not have."""
    ME = {4: "10.0.0.77", 6: "fd00::77"}

    def __init__(self, netns, version, port, local_port=1000):
        self.wire = netns.wire("t")
        self.version, self.port, self.local_port = version, port, local_port
        self.next = 1000000
        self.theirs = None

    def send(self, flags, payload=b"", sequence=None, **fields):
        ip = (IP if self.version == 4 else IPv6)(src=self.ME[self.version], dst=PEER[self.version])
        ack = self.theirs if "A" in flags else 0
        self.wire.send(ip / TCP(sport=self.local_port, dport=self.port, flags=flags, window=60000, ack=ack or 0,
                                seq=self.next if sequence is None else sequence, **fields) / payload)

    def receive(self, predicate=lambda tcp: True, seconds=5):
        found = self.wire.receive_until(lambda p: TCP in p and p[TCP].dport == self.local_port and
                                        predicate(p[TCP]), seconds)[-1][TCP]
        return found

    def open(self):
        self.send("S", options=[("MSS", 1000)])
        answer = self.receive()
        assert answer.flags == "SA" and answer.ack == self.next + 1, answer.summary()
        self.next += 1
        self.theirs = answer.seq + 1
        self.send("A")


@families
def test_reset_in_syn_received(netns, version):
    peer = TcpPeer(netns)
    stranger = Segments(netns, version, HOLD)
    stranger.send("S")
    assert stranger.receive().flags == "SA"
    assert peer.counter("half_open") == 1
    stranger.send("R", sequence=stranger.next + 1)
    wait_until(lambda: peer.counter("half_open") == 0, "no half-open connection")
    peer.wait_empty()
    counters = peer.stop()["counters"]
    assert counters["refused"] == 1 and counters["accepted"] == 0, counters


@pytest.mark.parametrize("state", ["FIN-WAIT-1", "CLOSING", "LAST-ACK"])
def test_reset_while_its_fin_is_not_acknowledged(netns, state):
    peer = TcpPeer(netns)
    stranger = Segments(netns, 4, HOLD if state == "LAST-ACK" else FIRST)
    stranger.open()
    if state == "LAST-ACK":
        stranger.send("FA")
        stranger.next += 1
    stranger.receive(lambda tcp: "F" in tcp.flags)
    if state == "CLOSING":
        stranger.send("FA")
        stranger.next += 1
        stranger.receive(lambda tcp: tcp.ack == stranger.next)
    assert peer.counter("connections") == 1
    stranger.send("R")
    peer.wait_empty(5)
    assert peer.closed()[0]["error"] == (errno.ECONNRESET if state == "FIN-WAIT-1" else 0)
    assert peer.stop()["counters"]["aborted"] == 1


@families
def test_reset_only_where_it_must_be(netns, version):
    """RFC 5961: one within the window is challenged, one beside it ignored, the exact one obeyed."""
    peer = TcpPeer(netns)
    stranger = Segments(netns, version, HOLD)
    stranger.open()
    wait_until(lambda: peer.counter("accepted") == 1, "accepted")
    stranger.send("R", sequence=stranger.next + 10)
    challenge = stranger.receive()
    assert challenge.flags == "A" and challenge.ack == stranger.next, challenge.summary()
    stranger.send("R", sequence=(stranger.next - 10) % 2**32)
    stranger.send("R", sequence=(stranger.next + 2**30) % 2**32)
    assert peer.counter("connections") == 1
    wait_until(lambda: peer.counter("drop_sequence") == 3, "three resets ignored")
    stranger.send("R")
    assert peer.closed()[0]["error"] == errno.ECONNRESET
    peer.wait_empty()
    peer.stop()


def test_syn_in_a_connection(netns):
    """It is challenged (RFC 5961 section 4), and the connection lives on."""
    peer = TcpPeer(netns)
    stranger = Segments(netns, 4, ECHO)
    stranger.open()
    wait_until(lambda: peer.counter("accepted") == 1, "accepted")
    stranger.send("S", sequence=stranger.next + 5)
    assert stranger.receive().flags == "A"
    stranger.send("PA", b"hello")
    assert bytes(stranger.receive(lambda tcp: len(tcp.payload) > 0).payload) == b"hello"
    peer.stop()


def test_reset_in_time_wait(netns):
    """It does not end it early (RFC 1337)."""
    peer = TcpPeer(netns, "--time-wait-ms", 60000)
    connection = connect(netns, FIRST)
    port = connection.getsockname()[1]
    exchange(connection, 10, order="receive")
    peer.closed()
    wire = netns.wire("t")
    before = peer.status()["counters"]
    assert before["connections"] == 1
    wire.send(IP(src=KERNEL[4], dst=PEER[4]) / TCP(sport=port, dport=FIRST, flags="R", seq=1))
    wait_until(lambda: peer.counter("drop_sequence") + peer.counter("drop_unwanted") >
               before["drop_sequence"] + before["drop_unwanted"], "the reset")
    assert peer.counter("connections") == 1
    peer.stop()


# Many.

def kernel_opens(netns, batch):
    """batch connections at once to the echo: each says its number and gets it back."""
    connections = connect_many(netns, ECHO, batch)
    expected = {c: b"%08d" % n for n, c in enumerate(connections)}
    got = dict.fromkeys(connections, b"")
    for connection in connections:
        connection.sendall(expected[connection])
        connection.shutdown(socket.SHUT_WR)

    def handle(connection):
        block = connection.recv(100)
        got[connection] += block
        return not block

    poll_many(connections, handle)
    assert got == expected
    for connection in connections:
        connection.close()


def connect_many(netns, port, number, version=4):
    """Opens them all at once, and returns them when each is established."""
    connections = []
    with netns.entered():
        for _ in range(number):
            connection = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
            connection.setblocking(False)
            connections.append(connection)
    for connection in connections:
        connection.connect_ex((PEER[version], port))
    for connection in connections:
        wait_connected(connection)
    return connections


def wait_connected(connection):
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    assert poll.poll(25 * FACTOR * 1000), "it was not connected"
    code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    assert code == 0, os.strerror(code)
    connection.settimeout(25 * FACTOR)


@pytest.mark.limit(150)
def test_many_opened_by_the_kernel(netns):
    peer = TcpPeer(netns, "--quiet", "--backlog", 1024)
    netns.run(["ip", "link", "set", "dev", "t", "txqueuelen", 10000])
    batch = 250
    for _ in range(MANY // batch):
        kernel_opens(netns, batch)
    wait_until(lambda: peer.status()["finished"] == MANY, lambda: f"all finished\n{peer.status()}", 20)
    peer.wait_empty()
    summary = peer.stop()
    counters = summary["counters"]
    assert summary["failed"] == 0 and summary["active"] == 0, summary
    assert counters["accepted"] == MANY and counters["opened"] == 0, counters
    assert counters["aborted"] == counters["refused"] == counters["timed_out"] == 0, counters


@pytest.mark.limit(150)
def test_many_opened_by_the_peer(netns):
    """The kernel echoes; one thread for all is enough, since each says little."""
    with listen(netns, address="0.0.0.0", backlog=4096) as server:
        ended = threading.Event()
        errors = []

        def serve():
            server.settimeout(0.2)
            while not ended.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                try:
                    connection.settimeout(25 * FACTOR)
                    echo_all(connection)
                except OSError as error:
                    errors.append(error)

        threads = [threading.Thread(target=serve) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            peer = TcpPeer(netns, "--quiet", "--connect", "direct", "--remote", KERNEL[4], "--port",
                           server.getsockname()[1], "--connections", MANY, "--parallel", 200, "--bytes", 100,
                           "--time-wait-ms", 500)
            done = peer.done(120)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
    assert done["finished"] == MANY and done["failed"] == 0 and not errors, (done, errors[:3])
    peer.wait_empty()
    counters = peer.stop()["counters"]
    assert counters["opened"] == MANY and counters["accepted"] == 0, counters
    assert counters["aborted"] == counters["refused"] == counters["timed_out"] == 0, counters


def test_too_many(netns):
    """At the bound of connections those that are there live on, and there is room again afterwards."""
    peer = TcpPeer(netns, "--limit", 20, "--quiet")
    held = connect_many(netns, HOLD, 20)
    wait_until(lambda: peer.counter("accepted") == 20, "accepted")
    with netns.socket(socket.AF_INET, socket.SOCK_STREAM) as late:
        late.setblocking(False)
        late.connect_ex((PEER[4], ECHO))
        wait_until(lambda: peer.counter("drop_backlog") >= 1, "a SYN that was dropped")
        held.pop().close()
        wait_connected(late)  # the kernel tries again after a second
        late.sendall(b"hello")
        assert late.recv(5) == b"hello"
    for connection in held:
        connection.sendall(b"x")
        connection.close()
    peer.wait_empty()
    peer.stop()


def test_port_reused_at_once(netns):
    """A handshake may begin anew while the last connection of the same ports is in TIME-WAIT."""
    peer = TcpPeer(netns, "--time-wait-ms", 60000)
    reuse = (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    port = None
    for number in range(1, 21):
        connection = netns.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.settimeout(25 * FACTOR)
        connection.setsockopt(*reuse)
        connection.bind((KERNEL[4], port or 0))
        port = connection.getsockname()[1]
        connection.connect((PEER[4], FIRST))
        exchange(connection, 100, order="receive").check(peer.closed(number)[-1])
        wait_until(lambda: not netns.run(["ss", "-Htan"]).stdout, "the end of LAST-ACK")
    assert peer.counter("connections") == 1
    peer.stop()


@roles
def test_port_reused_by_the_other(netns, role):
    """TIME-WAIT is at the other end: the kernel's, or the peer's."""
    peer = None
    for _ in range(5):
        with listen(netns, address="0.0.0.0", port=5000) as server:
            peer = TcpPeer(netns, "--connect", "first" if role == "client" else "hold", "--remote", KERNEL[4],
                           "--port", 5000, "--local-port", 6000)
            connection, address = server.accept()
            assert address == (PEER[4], 6000)
            connection.settimeout(25 * FACTOR)
            exchange(connection, 100, order="receive" if role == "client" else "send").check(peer.closed()[0])
        peer.stop()


# Things that go away.

@roles
@pytest.mark.limit(60)
def test_interface_down_meanwhile(netns, role):
    """The transfer goes on when it is up again."""
    size = 48 << 20
    peer, connection = pair(netns, role, "source", "--bytes", size)
    sums = Sums()
    thread = threading.Thread(target=send_all, args=(connection, size, sums))
    thread.start()
    got = Sums()
    while got.received < 1 << 20:
        block = connection.recv(65536)
        got.received += len(block)
    netns.run(["ip", "link", "set", "dev", "t", "down"])
    # Time itself is what is tested here: retransmissions back off meanwhile.
    timer = threading.Event()
    timer.wait(DOWN)
    netns.run(["ip", "link", "set", "dev", "t", "up"])
    netns.run(["ip", "addr", "replace", f"{KERNEL[6]}/64", "dev", "t", "nodad"])
    receive_all(connection, got)
    thread.join()
    connection.close()
    theirs = peer.closed(1, 40)[0]
    assert sums.error is None and got.error is None, (sums.error, got.error)
    assert got.received == theirs["sent"] == size, theirs
    assert (sums.sent, sums.sent_crc) == (theirs["received"], theirs["received_crc"]), theirs
    peer.stop()


def test_user_timeout(netns):
    """What is sent is not acknowledged: it fails, and nothing is left."""
    peer, connection = pair(netns, "server", "source", "--bytes", 1 << 30, "--user-timeout-ms", 1000)
    sums = Sums()
    thread = threading.Thread(target=receive_all, args=(connection, sums))
    thread.start()
    wait_until(lambda: sums.received > 1 << 20, "a transfer")
    with nothing_passes(netns):
        theirs = peer.closed(1, 20)[0]
        assert theirs["error"] == errno.ETIMEDOUT, theirs
        peer.wait_empty()
        connection.shutdown(socket.SHUT_RDWR)
        thread.join()
    counters = peer.stop()["counters"]
    assert counters["timed_out"] == 1 and counters["timeouts"] > 0, counters
    assert counters["window_probes"] == 0, counters
    connection.close()


@roles
def test_keepalive(netns, role):
    """The other end vanishes while nobody says anything."""
    peer, connection = pair(netns, role, "hold", "--keepalive-ms", 200)
    wait_until(lambda: peer.counter("keepalives") >= 5, "keepalives")
    assert peer.counter("connections") == 1  # each was answered
    with nothing_passes(netns):
        assert peer.closed(1, 20)[0]["error"] == errno.ETIMEDOUT
        peer.wait_empty()
    assert peer.stop()["counters"]["timed_out"] == 1
    connection.close()


@pytest.mark.limit(60)
def test_client_vanishes(netns):
    """Its host is gone while it is sent to, without a FIN: the user timeout ends it."""
    peer, connection = pair(netns, "server", "source", "--bytes", 64 << 20, "--user-timeout-ms", 1500)
    connection.recv(1000)
    with nothing_passes(netns):
        connection.close()
        peer.closed(1, 20)
        peer.wait_empty()
    peer.stop()


def test_nobody_answers(netns):
    """A handshake to nobody ends."""
    with nothing_passes(netns):
        peer = TcpPeer(netns, "--connect", "hold", "--remote", KERNEL[4], "--port", 5000,
                       "--user-timeout-ms", 3000)
        assert peer.done()["last_error"] == errno.ETIMEDOUT
        counters = peer.stop()["counters"]
    assert counters["timeouts"] >= 1 and counters["timed_out"] == counters["refused"] == 1, counters


# A flood.

@families
@pytest.mark.limit(60)
def test_syn_flood(netns, version):
    """From addresses that nobody has. State is bounded, and who has an address gets in by a cookie."""
    peer = TcpPeer(netns, "--quiet", "--limit", 1000)
    sysctl(netns, **{"conf.all.rp_filter": 0})
    wire = netns.wire("t")
    template = (IP if version == 4 else IPv6)(
        src={4: "10.0.0.77", 6: "fd00::77"}[version], dst=PEER[version]) / TCP(
            sport=1, dport=ECHO, flags="S", seq=7, options=[("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)),
                                                         ("NOP", None), ("WScale", 7)])
    flood = []
    for number in range(600):
        template[TCP].sport = 1000 + number
        flood.append(bytes(template))
    stop = threading.Event()

    at = {4: 22, 6: 42}[version]  # of the destination port
    last = struct.pack("!H", 1000 + len(flood) - 1)
    wire.socket.settimeout(1)

    def send():
        """Waits for the answers: in a queue that overflows the client's segments would get lost as well."""
        while not stop.is_set():
            for packet in flood:
                wire.send(packet)
            with contextlib.suppress(TimeoutError):
                while wire.socket.recv(256)[at:at + 2] != last:
                    pass

    thread = threading.Thread(target=send)
    thread.start()
    try:
        wait_until(lambda: peer.counter("cookies_sent") >= 100, lambda: f"cookies\n{peer.status()}", 20)
        for _ in range(20):
            sums = exchange(connect(netns, ECHO, version), 100000)
            assert sums.error is None and sums.received_crc == sums.sent_crc and sums.received == 100000
            status = peer.status()["counters"]
            assert status["connections"] <= 300 and status["half_open"] <= 256, status
    finally:
        stop.set()
        thread.join()
    counters = peer.stop()["counters"]
    assert counters["cookies_accepted"] > 0, counters


# What the kernel may do.

@roles
@pytest.mark.parametrize("options", [
    {"tcp_timestamps": 0}, {"tcp_sack": 0}, {"tcp_window_scaling": 0}, {"tcp_ecn": 1},
    {"tcp_timestamps": 0, "tcp_sack": 0, "tcp_window_scaling": 0, "tcp_ecn": 0},
], ids=lambda options: "-".join(f"{k[4:]}{v}" for k, v in options.items()))
def test_kernel_options(netns, role, options):
    """Each is used exactly if both ends want it."""
    sysctl(netns, **options)
    size = 2 << 20
    peer, connection = pair(netns, role, "source", "--bytes", size)
    exchange(connection, size).check(peer.closed()[0])
    info = peer.closed()[0]["info"]
    for ours, theirs, default in (("has_timestamps", "tcp_timestamps", 1), ("has_sack", "tcp_sack", 1),
                                  ("has_window_scale", "tcp_window_scaling", 1)):
        assert info[ours] == options.get(theirs, default), (ours, info)
    # By default the kernel accepts ECN and does not ask for it.
    asked = options.get("tcp_ecn", 2)
    assert info["has_ecn"] == (asked == 1 or (asked == 2 and role == "client")), info
    peer.stop()


@roles
@pytest.mark.parametrize("option", ["no-timestamps", "no-sack", "no-ecn"])
def test_own_options(netns, role, option):
    sysctl(netns, tcp_ecn=1)
    peer, connection = pair(netns, role, "source", "--bytes", 1 << 20, f"--{option}")
    exchange(connection, 1 << 20).check(peer.closed()[0])
    info = peer.closed()[0]["info"]
    for name in ("timestamps", "sack", "ecn"):
        assert info[f"has_{name}"] == (name not in option), info
    peer.stop()


def congestion_controls():
    with open("/proc/sys/net/ipv4/tcp_available_congestion_control", encoding="ascii") as file:
        return file.read().split()


@pytest.mark.parametrize("name", congestion_controls())
def test_congestion_control_of_the_kernel(netns, name):
    peer = TcpPeer(netns, "--bytes", 4 << 20)
    connection = connect(netns, SOURCE, options=[(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())])
    exchange(connection, 4 << 20).check(peer.closed()[0])
    peer.stop()


def test_newreno(netns):
    peer, connection = pair(netns, "server", "source", "--bytes", 8 << 20, "--newreno")
    exchange(connection, 8 << 20).check(peer.closed()[0])
    peer.stop()


@roles
def test_marks(netns, role):
    """The kernel marks what passes (RFC 3168): it is told back, and the transfer goes on."""
    sysctl(netns, tcp_ecn=1)
    size = 4 << 20
    peer, connection = pair(netns, role, "source", "--bytes", size)
    netns.run(["nft", "-f", "-"], input="add table inet vnic\n"
              "add chain inet vnic output { type filter hook output priority 0; }\n"
              "add chain inet vnic input { type filter hook input priority -400; }\n"
              "add rule inet vnic output oifname t ip ecn ect0 numgen random mod 10 0 ip ecn set ce\n"
              "add rule inet vnic input iifname t ip ecn ect0 numgen random mod 10 0 ip ecn set ce\n")
    sums = exchange(connection, size)
    theirs = peer.closed()[0]
    sums.check(theirs)
    counters = peer.stop()["counters"]
    assert counters["congestion_marks"] > 0, counters
    assert theirs["info"]["has_ecn"] == 1, theirs


@roles
def test_urgent_data(netns, role):
    """It is data like any other (RFC 6093): the pointer changes nothing."""
    peer, connection = pair(netns, role, "echo")
    for _ in range(50):
        connection.sendall(b"abc")
        connection.send(b"!", socket.MSG_OOB)
    connection.shutdown(socket.SHUT_WR)
    got = b""
    while block := connection.recv(1000):
        got += block
    connection.close()
    assert got == b"abc!" * 50
    peer.closed()
    peer.stop()


@roles
def test_small_writes(netns, role):
    """Byte by byte, each pushed: nothing waits for a timer of ours for long, and nothing gets lost."""
    peer, connection = pair(netns, role, "echo")
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number in range(500):
        byte = bytes([number % 256])
        connection.sendall(byte)
        assert connection.recv(1) == byte
    connection.close()
    assert peer.closed()[0]["received"] == 500
    counters = peer.stop()["counters"]
    assert counters["timeouts"] == 0, counters


def test_tiny_segments(netns):
    """A client that takes no more than 88 bytes at once."""
    peer = TcpPeer(netns, "--bytes", 200000)
    connection = connect(netns, SOURCE, options=[(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 88)])
    exchange(connection, 200000).check(peer.closed()[0])
    assert peer.closed()[0]["info"]["segment_bytes"] <= 88
    peer.stop()


@families
def test_smaller_mtu_on_the_way(netns, version):
    """The kernel's route takes less than the link: what it says (ICMP too big) is believed."""
    peer = TcpPeer(netns, "--mtu", 9000, "--bytes", 1 << 20)
    netns.run(["ip", "link", "set", "dev", "t", "mtu", 1400])
    exchange(connect(netns, SOURCE, version), 1 << 20).check(peer.closed()[0])
    assert peer.closed()[0]["info"]["segment_bytes"] <= 1400 - {4: 52, 6: 72}[version]
    peer.stop()
