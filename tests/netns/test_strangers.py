# SPDX-License-Identifier: MIT
"""Programs that no one here wrote, against our TCP: ncat and nmap.

ncat talks, in both roles. nmap looks: its scans end, find what is open, and leave nothing behind."""

import hashlib
import random
import signal
import xml.etree.ElementTree as ElementTree

import pytest

from namespace import FACTOR, count, wait_until
from tcp_peer import ECHO, FIRST, HOLD, KERNEL, LATE, PEER, SINK, SOURCE, TcpPeer, connect, exchange
from tcp_peer import DIRECT

OPEN = {ECHO, SINK, SOURCE, LATE, FIRST, HOLD, DIRECT}
families = pytest.mark.parametrize("version", [4, 6])
links = pytest.mark.parametrize("link", [[], ["--tap"]], ids=["tun", "tap"])


def still_works(netns, peer, version=4):
    """Whoever comes afterwards is served."""
    sums = exchange(connect(netns, ECHO, version), 200000)
    assert sums.error is None and sums.received == 200000 and sums.received_crc == sums.sent_crc
    peer.wait_empty(30)


def bytes_in_a_file(directory, size):
    path = directory / "bytes"
    path.write_bytes(random.Random(size).randbytes(size))
    return path


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@links
@families
def test_ncat_echo(netns, tmp_path, link, version):
    """A file comes back as it went."""
    peer = TcpPeer(netns, *link)
    source, result = bytes_in_a_file(tmp_path, 3 << 20), tmp_path / "result"
    with open(source, "rb") as stdin, open(result, "wb") as stdout:
        netns.run(["ncat", "-n", PEER[version], ECHO], stdin=stdin, stdout=stdout)
    assert digest(result) == digest(source)
    assert peer.closed()[0]["received"] == 3 << 20
    peer.wait_empty()
    peer.stop()


@families
def test_ncat_listens(netns, tmp_path, version):
    """It is the server, and the peer what comes to it."""
    source, result = bytes_in_a_file(tmp_path, 1 << 20), tmp_path / "result"
    with open(source, "rb") as stdin, open(result, "wb") as stdout:
        server = netns.start(["ncat", "-n", "-v", "-l", f"-{version}", "5000"], stdin=stdin, stdout=stdout)
    assert server.stderr.wait("Listening"), server
    peer = TcpPeer(netns, "--connect", "echo", "--remote", KERNEL[version], "--port", 5000)
    assert peer.done()["finished"] == 1
    assert server.wait() == 0, server
    assert digest(result) == digest(source)
    peer.stop()


def test_ncat_speaks_http(netns):
    """A line of text each way, as one talks to a server by hand."""
    peer = TcpPeer(netns)
    request = "GET / HTTP/1.0\r\n\r\n"
    done = netns.run(["ncat", "-n", "-C", PEER[4], ECHO], input=request.replace("\r", ""))
    assert done.stdout.replace("\r", "") == request.replace("\r", ""), done
    peer.stop()


def test_ncat_many(netns):
    """It keeps a connection while others come and go."""
    peer = TcpPeer(netns)
    held = netns.start(["ncat", "-n", PEER[4], HOLD], stdin=-1)
    wait_until(lambda: peer.counter("accepted") == 1, "accepted")
    for number in range(3):
        assert netns.run(["ncat", "-n", PEER[4], ECHO], input=f"{number}\n").stdout == f"{number}\n"
    assert peer.counter("accepted") == 4
    held.signal(signal.SIGKILL)
    held.wait()
    peer.closed(4)
    peer.wait_empty()
    peer.stop()


def test_ncat_scans(netns):
    """-z opens and closes at once."""
    peer = TcpPeer(netns, "--quiet")
    ports = (ECHO, FIRST, DIRECT)
    for port in ports:
        netns.run(["ncat", "-n", "-z", PEER[4], port])
    assert netns.run(["ncat", "-n", "-z", PEER[4], 1], check=False).returncode == 1
    peer.wait_empty()
    assert peer.stop()["counters"]["accepted"] == len(ports)


def nmap(netns, version, *arguments, seconds=80):
    """The parsed XML, and {port: state}."""
    done = netns.run(["nmap", *(["-6"] if version == 6 else []), "-n", "-Pn", "-T4", "--max-retries", "3",
                      "--min-rtt-timeout", f"{int(100 * FACTOR)}ms", "-oX", "-", *arguments, PEER[version]],
                     seconds=seconds)
    tree = ElementTree.fromstring(done.stdout[done.stdout.index("<?xml"):])
    assert tree.find("runstats/finished").get("exit") == "success", done
    return tree, {int(p.get("portid")): p.find("state").get("state") for p in tree.iter("port")}


@families
def test_nmap_syn(netns, version):
    """Half-open connections that nmap resets."""
    peer = TcpPeer(netns)
    _, ports = nmap(netns, version, "-sS", "-p", "1-25")
    assert ports == {port: "open" if port in OPEN else "closed" for port in range(1, 26)}
    wait_until(lambda: peer.counter("half_open") == 0, "no half-open connection", 15)
    still_works(netns, peer, version)
    assert peer.stop()["counters"]["accepted"] == 1


@families
def test_nmap_connect(netns, version):
    peer = TcpPeer(netns, "--quiet")
    _, ports = nmap(netns, version, "-sT", "-p", "1-25")
    assert ports == {port: "open" if port in OPEN else "closed" for port in range(1, 26)}
    still_works(netns, peer, version)
    peer.stop()


@pytest.mark.parametrize("scan", ["-sA", "-sN", "-sF", "-sX", "-sM", "-sW"])
def test_nmap_odd_flags(netns, scan):
    """Open ports do not answer what belongs to no connection, but an ACK (RFC 9293 section 3.10.7.2)."""
    peer = TcpPeer(netns)
    _, ports = nmap(netns, 4, scan, "-p", "6-10")
    closed = "unfiltered" if scan == "-sA" else "closed"
    silent = {"-sA": "unfiltered", "-sW": "closed", "-sM": "closed"}.get(scan, "open|filtered")
    assert ports == {port: silent if port in OPEN else closed for port in range(6, 11)}
    still_works(netns, peer)
    peer.stop()


@families
def test_nmap_udp(netns, version):
    """Nothing listens for UDP."""
    peer = TcpPeer(netns)
    _, ports = nmap(netns, version, "-sU", "-p", "1-20")
    assert set(ports.values()) == {"closed"} and len(ports) == 20, ports
    still_works(netns, peer, version)
    peer.stop()


@links
@pytest.mark.limit(120)
def test_nmap_system(netns, link):
    """-O sends what no system does, and guesses by the answers: it must end, and so must we not."""
    peer = TcpPeer(netns, *link)
    tree, ports = nmap(netns, 4, "-sS", "-O", "--osscan-guess", "--max-os-tries", "1", "-p", "1-30")
    assert {port for port, state in ports.items() if state == "open"} == {p for p in OPEN if p <= 30}
    sequence = tree.find("host/tcpsequence")
    assert sequence is not None, ElementTree.tostring(tree)[-2000:]
    # Nobody can guess our initial sequence numbers (RFC 6528). nmap opens six connections, from
    # other ports, which have a random number each.
    assert int(sequence.get("index")) > 200, sequence.attrib
    wait_until(lambda: peer.counter("half_open") == 0, "no half-open connection", 20)
    still_works(netns, peer)
    peer.stop()


@pytest.mark.limit(120)
def test_nmap_system_of_the_tool(netns, vnic):
    """The same against `vnic host`, with the services that it has by itself."""
    host = vnic.host("10.0.0.1/24", "fd00::1/64")
    tree, ports = nmap(netns, 4, "-sS", "-O", "--max-os-tries", "1", "-p", "1-100")
    assert len(ports) == 100 or tree.find("host/ports/extraports") is not None, ports
    for version in (4, 6):
        nmap(netns, version, "-sT", "-sU", "-p", "T:1-100,U:1-10")
    netns.ping("10.0.0.2")
    summary = host.stop()
    assert count(summary, "resets") > 0, summary
