# SPDX-License-Identifier: MIT
"""What nobody listens to is refused, as traceroute, nmap and ordinary sockets understand it."""

import errno
import re
import socket
import struct
import xml.etree.ElementTree as ElementTree

import pytest

from namespace import FACTOR, count

KINDS = {"tun": [], "tap": ["--tap"]}
PEER = {4: "10.0.0.2", 6: "fd00::2"}
DOMAIN = {4: socket.AF_INET, 6: socket.AF_INET6}
SOL_IPV6 = 41
families = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(params=KINDS)
def host(request, vnic):
    return vnic.host("10.0.0.1/24", "fd00::1/64", "--service", "none", *KINDS[request.param])


@pytest.mark.parametrize("method", [["-U"], [], ["-I"], ["-T"], ["-T", "-p", "81", "-O", "ack"],
                                    ["-P", "253"]], ids=" ".join)
@families
def test_traceroute(netns, host, family, method):
    """One hop, every probe answered. -P is any protocol; -U without a value is UDP port 53."""
    done = netns.run(["traceroute", f"-{family}", "-n", "-w", FACTOR, "-m", 5, *method, PEER[family]])
    hops = [line for line in done.stdout.splitlines() if re.match(r"\s*\d+\s", line)]
    assert len(hops) == 1, done.stdout
    assert re.match(rf"\s*1\s+{PEER[family]}\s", hops[0]) and "*" not in hops[0], done.stdout
    assert hops[0].count(" ms") == 3, done.stdout


@families
def test_tcp_connect(netns, host, family):
    for port in (1, 80, 65535):
        with netns.socket(DOMAIN[family], socket.SOCK_STREAM) as tcp:
            tcp.settimeout(5 * FACTOR)
            with pytest.raises(ConnectionRefusedError):
                tcp.connect((PEER[family], port))
    summary = host.stop()
    assert count(summary, "resets") == 3, summary


@families
@pytest.mark.parametrize("size", [0, 1, 1400, 8000])
def test_connected_udp(netns, host, family, size):
    """The error arrives at the socket. 8000 bytes are fragments: refused once, when complete."""
    with netns.socket(DOMAIN[family], socket.SOCK_DGRAM) as udp:
        udp.settimeout(5 * FACTOR)
        udp.connect((PEER[family], 9))
        udp.send(bytes(size))
        with pytest.raises(ConnectionRefusedError):
            udp.recv(1)
    summary = host.stop()
    assert count(summary, "unreachables") == 1, summary


def extended_error(sock):
    """(errno, ICMP type, ICMP code, address of who sent it) of the next error in the queue."""
    _, ancillary, _, _ = sock.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
    for level, _, data in ancillary:
        number, _origin, kind, code, _, info, _ = struct.unpack_from("=IBBBBII", data)
        if level == socket.IPPROTO_IP:
            return number, kind, code, socket.inet_ntop(socket.AF_INET, data[20:24])
        if level == SOL_IPV6:
            return number, kind, code, socket.inet_ntop(socket.AF_INET6, data[24:40])
    raise AssertionError(f"no extended error in {ancillary}")


def wait_error(sock):
    """Waits until the error is there, without taking it."""
    with pytest.raises(OSError) as caught:
        sock.recv(1)
    return caught.value.errno


def with_errors(sock, family):
    sock.settimeout(5 * FACTOR)
    if family == 4:
        sock.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
    else:
        sock.setsockopt(SOL_IPV6, 25, 1)  # IPV6_RECVERR
    return sock


@families
def test_port_unreachable_in_detail(netns, host, family):
    with with_errors(netns.socket(DOMAIN[family], socket.SOCK_DGRAM), family) as udp:
        udp.sendto(b"x", (PEER[family], 9))
        assert wait_error(udp) == errno.ECONNREFUSED
        wanted = (3, 3) if family == 4 else (1, 4)
        assert extended_error(udp) == (errno.ECONNREFUSED, *wanted, PEER[family])


@families
def test_unknown_protocol(netns, host, family):
    """IPv4: protocol unreachable. IPv6: parameter problem, unrecognized next header."""
    with with_errors(netns.socket(DOMAIN[family], socket.SOCK_RAW, 253), family) as raw:
        raw.connect((PEER[family], 0))
        raw.send(b"0123456789")
        number, kind = (errno.ENOPROTOOPT, (3, 2)) if family == 4 else (errno.EPROTO, (4, 1))
        assert wait_error(raw) == number
        assert extended_error(raw) == (number, *kind, PEER[family])
    summary = host.stop()
    assert count(summary, "unreachables" if family == 4 else "parameter_problems") == 1, summary


def nmap(netns, family, *arguments):
    """{port: (state, reason)}"""
    done = netns.run(["nmap", *(["-6"] if family == 6 else []), "-n", "-Pn", "-T5", "--max-retries", "3",
                      "--min-rtt-timeout", f"{int(100 * FACTOR)}ms",
                      "--reason", "-d", "-oX", "-", *arguments, PEER[family]])
    ports = {}
    for port in ElementTree.fromstring(done.stdout[done.stdout.index("<?xml"):]).iter("port"):
        state = port.find("state")
        ports[int(port.get("portid"))] = (state.get("state"), state.get("reason"))
    return ports


@families
def test_nmap_syn(netns, host, family):
    ports = nmap(netns, family, "-sS", "-p", "1-40")
    assert ports == {port: ("closed", "reset") for port in range(1, 41)}


@families
@pytest.mark.parametrize("scan", ["-sA", "-sN", "-sX"])
def test_nmap_odd_flags(netns, host, family, scan):
    """ACK, no flag at all, FIN PSH URG: each to a closed port is answered by a reset."""
    wanted = "unfiltered" if scan == "-sA" else "closed"
    ports = nmap(netns, family, scan, "-p", "1-20")
    assert ports == {port: (wanted, "reset") for port in range(1, 21)}


@families
def test_nmap_udp(netns, host, family):
    ports = nmap(netns, family, "-sU", "-p", "1-30")
    assert ports == {port: ("closed", "port-unreach") for port in range(1, 31)}


def test_nmap_protocols(netns, host):
    ports = nmap(netns, 4, "-sO", "-p", "2,41,47,50,132,253")
    assert ports == {port: ("closed", "proto-unreach") for port in (2, 41, 47, 50, 132, 253)}
    ports = nmap(netns, 4, "-sO", "-p", "1,6,17")
    assert {port: state for port, (state, _) in ports.items()} == {1: "open", 6: "open", 17: "open"}
