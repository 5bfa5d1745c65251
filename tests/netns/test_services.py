# SPDX-License-Identifier: MIT
"""Echo, discard and chargen, by ncat and by ordinary sockets; and which services there are at all."""

import contextlib
import hashlib
import random
import socket

import pytest

from namespace import FACTOR, SANITIZER, count, wait_until

PREFIXES = ["10.0.0.1/24", "fd00::1/64"]
PEER = {4: "10.0.0.2", 6: "fd00::2"}
DOMAIN = {4: socket.AF_INET, 6: socket.AF_INET6}
KINDS = {"tun": [], "tap": ["--tap"]}
NAMES = ["echo", "discard", "chargen", "http", "iperf3"]
BYTES = 4 << 20 if not SANITIZER else 1 << 20
families = pytest.mark.parametrize("family", [4, 6])
kinds = pytest.mark.parametrize("kind", KINDS)


def pattern(length):
    """RFC 864: lines of 72 characters, each beginning with the next one of 95."""
    characters = bytes(range(32, 127)) * 2
    period = b"".join(characters[i:i + 72] + b"\r\n" for i in range(95))
    return (period * (length // len(period) + 1))[:length]


@contextlib.contextmanager
def connected(netns, family, port, kind=socket.SOCK_STREAM):
    with netns.socket(DOMAIN[family], kind) as sock:
        sock.settimeout(10 * FACTOR)
        sock.connect((PEER[family], port))
        yield sock


def receive_all(sock):
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def is_open(netns, family, port):
    try:
        with connected(netns, family, port):
            return True
    except ConnectionRefusedError:
        return False


# Which there are.

@pytest.mark.parametrize("choice, names", [
    (None, NAMES), ("all", NAMES), ("none", []), ("http,echo", ["echo", "http"]),
    ("discard,discard", ["discard"]),
], ids=str)
def test_choice(netns, vnic, choice, names):
    host = vnic.host(*PREFIXES, *(["--service", choice] if choice else []))
    assert host.ready["services"] == names, host.ready
    ports = {"echo": 7, "discard": 9, "chargen": 19, "http": 80, "iperf3": 5201}
    for family in PEER:
        found = [name for name in NAMES if is_open(netns, family, ports[name])]
        assert found == names, (family, found, names)


@pytest.mark.parametrize("choice", ["nothing", "echo,", ",", "echo,none", "ECHO", "echo http"])
def test_unknown(vnic, choice):
    done = vnic.run("host", *PREFIXES, "--service", choice)
    assert done.returncode == 2, done
    assert "--service" in done.stderr and "echo, discard, chargen, http, iperf3" in done.stderr, done.stderr


@pytest.mark.parametrize("options, expected", [
    ([], "Try:  ping 10.0.0.2   curl http://10.0.0.2/"),
    (["--service", "echo"], "Try:  ping 10.0.0.2"),
    (["--service", "none"], "Try:  ping 10.0.0.2"),
])
def test_advice(vnic, options, expected):
    host = vnic.start("host", PREFIXES[0], *options, json=False)
    assert host.stdout.wait("Stop:"), host
    assert expected in host.stdout.text.splitlines(), host
    host.stop_silently()


def test_advice_ipv6(netns, vnic):
    """What is advised is what works."""
    host = vnic.start("host", PREFIXES[1], json=False)
    line = host.stdout.wait("Try:")
    assert host.stdout.wait("Stop:"), host
    command = line.partition("   ")[2]
    done = netns.run(["sh", "-c", command])
    assert "services" in done.stdout, done
    host.stop_silently()


# Echo.

@families
@kinds
def test_echo_tcp(netns, vnic, family, kind):
    """Megabytes come back as they were sent, although nobody reads until all is on its way."""
    vnic.host(*PREFIXES, *KINDS[kind])
    data = random.Random(family).randbytes(BYTES)
    done = netns.start(["sh", "-c", f"ncat {PEER[family]} 7 | sha256sum"], stdin=-1, collect=False)
    out, _ = done.popen.communicate(data, 20 * FACTOR)
    assert out.split()[0].decode() == hashlib.sha256(data).hexdigest()


@families
def test_echo_slow_reader(netns, vnic, family):
    """Who sends and does not read is stopped after what fits between; then everything comes."""
    vnic.host(*PREFIXES)
    with connected(netns, family, 7) as sock:
        sock.setblocking(False)
        sent, stuck = 0, 0
        while stuck < 20:
            try:
                sent += sock.send(bytes([sent // 65536 % 251]) * 65536)
                stuck = 0
            except BlockingIOError:
                stuck += 1
                with contextlib.suppress(AssertionError):
                    wait_until(lambda: can_write(sock), "", 0.05)
        assert sent < 64 << 20, sent
        sock.settimeout(10 * FACTOR)
        sock.shutdown(socket.SHUT_WR)
        assert len(receive_all(sock)) == sent


def can_write(sock):
    import select
    return select.select([], [sock], [], 0)[1]


def echoes(sock, text):
    """False where the connection was reset instead."""
    try:
        sock.send(text)
        got = b""
        while len(got) < len(text) and (part := sock.recv(100)):
            got += part
        assert got in (text, b""), got
        return got == text
    except (ConnectionResetError, BrokenPipeError):
        return False


@families
def test_echo_many(netns, vnic, family):
    """As many at once as there is room for; more are reset, and the others do not notice."""
    vnic.host(*PREFIXES)

    def one_more():
        try:
            with connected(netns, family, 7) as sock:
                return echoes(sock, b"one more")
        except ConnectionResetError:
            return False

    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connected(netns, family, 7)) for _ in range(256)]
        assert all(echoes(sock, b"number %d" % i) for i, sock in enumerate(socks))
        assert not one_more()
        assert all(echoes(sock, b"still number %d" % i) for i, sock in enumerate(socks))
        socks[100].close()
        wait_until(one_more, "room again")


@families
@kinds
@pytest.mark.parametrize("size", [0, 1, 1400, 9000, 60000])
def test_echo_udp(netns, vnic, family, kind, size):
    host = vnic.host(*PREFIXES, *KINDS[kind])
    data = random.Random(size).randbytes(size)
    with connected(netns, family, 7, socket.SOCK_DGRAM) as udp:
        for _ in range(3):
            udp.send(data)
            assert udp.recv(1 << 16) == data
    assert count(host.stop(), "unreachables") == 0


def test_echo_udp_ncat(netns, vnic):
    vnic.host(*PREFIXES)
    process = netns.start(["ncat", "-u", PEER[4], "7"], stdin=-1)
    process.popen.stdin.write(b"hello\n")
    process.popen.stdin.flush()
    assert process.stdout.wait("hello"), process


# Discard.

@families
@kinds
def test_discard_tcp(netns, vnic, family, kind):
    host = vnic.host(*PREFIXES, *KINDS[kind])
    with connected(netns, family, 9) as sock:
        sock.sendall(bytes(BYTES))
        sock.shutdown(socket.SHUT_WR)
        assert receive_all(sock) == b""
    summary = host.stop()
    assert count(summary, "accepted") == 1 and count(summary, "aborted") == 0, summary


@families
def test_discard_udp(netns, vnic, family):
    """Neither an answer nor an error."""
    host = vnic.host(*PREFIXES)
    with connected(netns, family, 9, socket.SOCK_DGRAM) as udp:
        for size in (0, 1, 1000, 20000):
            udp.send(bytes(size))
        netns.ping(PEER[family], count=1)  # what comes behind them was answered
        udp.setblocking(False)
        with pytest.raises(BlockingIOError):
            udp.recv(1)
    summary = host.stop()
    assert count(summary, "datagrams") == 4 and count(summary, "unreachables") == 0, summary


# Chargen.

@families
@kinds
def test_chargen_tcp(netns, vnic, family, kind):
    """Every byte is where RFC 864 has it, until the client goes."""
    vnic.host(*PREFIXES, *KINDS[kind])
    with connected(netns, family, 19) as sock:
        got = bytearray()
        while len(got) < BYTES:
            got += sock.recv(1 << 16)
    assert bytes(got) == pattern(len(got))


def test_chargen_ends(netns, vnic):
    """Who says that he has nothing to say gets the end of it."""
    vnic.host(*PREFIXES)
    with connected(netns, 4, 19) as sock:
        sock.shutdown(socket.SHUT_WR)
        got = receive_all(sock)
    assert got == pattern(len(got))


@families
@pytest.mark.parametrize("size", [0, 1, 100, 512, 513, 9000])
def test_chargen_udp(netns, vnic, family, size):
    """One datagram for one datagram, and never a longer one."""
    vnic.host(*PREFIXES)
    with connected(netns, family, 19, socket.SOCK_DGRAM) as udp:
        udp.send(bytes(size))
        assert udp.recv(1 << 16) == pattern(min(size, 512))
        udp.send(b"again")
        assert udp.recv(1 << 16) == pattern(5)


@families
@pytest.mark.parametrize("service", [7, 19])
@pytest.mark.parametrize("port", [7, 19, 53, 1023, 1024])
def test_no_loops(netns, vnic, family, service, port):
    """Services do not answer each other."""
    host = vnic.host(*PREFIXES)
    with netns.socket(DOMAIN[family], socket.SOCK_DGRAM) as udp:
        udp.settimeout(10 * FACTOR)
        udp.bind(("::" if family == 6 else "0.0.0.0", port))
        udp.connect((PEER[family], service))
        udp.send(b"to and fro")
        if port >= 1024:
            assert len(udp.recv(100)) == 10
        else:
            netns.ping(PEER[family], count=1)
            udp.setblocking(False)
            with pytest.raises(BlockingIOError):
                udp.recv(1)
    summary = host.stop()
    assert count(summary, "datagrams_sent") == (port >= 1024), summary


# All of them.

@families
def test_queues(netns, vnic, family):
    """Whichever queue a client's packets come to, there is somebody."""
    vnic.host(*PREFIXES, "--queues", 3)
    for i in range(30):
        with connected(netns, family, 7) as sock:
            text = b"connection %d" % i
            sock.send(text)
            sock.shutdown(socket.SHUT_WR)
            assert receive_all(sock) == text


@pytest.mark.threads
def test_all_at_once(netns, vnic):
    """And the end of the host in the middle of it: clients are told, nothing is left."""
    host = vnic.host(*PREFIXES, "--queues", 2)
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connected(netns, family, port))
                 for family in PEER for port in (7, 9, 19, 80) for _ in range(5)]
        for sock in socks:
            sock.send(b"x" * 1000)
        summary = host.stop()
    assert count(summary, "accepted") == len(socks), summary
