# SPDX-License-Identifier: MIT
"""--capture, --filter and --verbose, as tcpdump and scapy read them."""

import os
import subprocess
import time

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether
from scapy.utils import PcapReader

from namespace import count, wait_until

KINDS = {"tun": [], "tap": ["--tap"]}
kinds = pytest.mark.parametrize("kind", KINDS)
PREFIXES = ["10.0.0.1/24", "fd00::1/64"]


def tcpdump(path, *arguments):
    """The lines that tcpdump prints of a file."""
    done = subprocess.run(["tcpdump", "-n", "-t", "-r", path, *arguments], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False)
    assert done.returncode == 0, (done.returncode, done.stdout[-500:], done.stderr)
    return done.stdout.splitlines()


@kinds
def test_both_directions(netns, vnic, tmp_path, kind):
    path = tmp_path / "capture.pcap"
    host = vnic.host(*PREFIXES, "--capture", path, *KINDS[kind])
    netns.ping("10.0.0.2", "-i", "0.01", "-s", 100)
    netns.ping("fd00::2", "-i", "0.01", "-s", 100)
    host.stop()
    lines = tcpdump(path, "icmp")
    wanted = [f"IP {a} > {b}: ICMP echo {what}, id ID, seq {n}, length 108"
              for n in (1, 2, 3)
              for a, b, what in (("10.0.0.1", "10.0.0.2", "request"), ("10.0.0.2", "10.0.0.1", "reply"))]
    got = [line.replace(line.partition("id ")[2].partition(",")[0], "ID", 1) for line in lines]
    assert got == wanted, "\n".join(lines)
    lines = tcpdump(path, "icmp6 and (ip6[40] == 128 or ip6[40] == 129)")
    assert len(lines) == 6, "\n".join(lines)


@kinds
def test_format(netns, vnic, tmp_path, kind):
    """Nanoseconds, the link type, and the time of each packet, as scapy reads them."""
    path = tmp_path / "capture.pcap"
    begin = time.time()
    host = vnic.host("10.0.0.1/24", "--capture", path, *KINDS[kind])
    netns.ping("10.0.0.2", "-i", "0.01", "-s", 1000, count=10)
    host.stop()
    end = time.time()
    assert path.read_bytes()[:4] in (b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d"), path.read_bytes()[:4]
    with PcapReader(str(path)) as reader:
        assert reader.nano
        assert reader.linktype in ((1,) if kind == "tap" else (12, 101)), reader.linktype
        packets = list(reader)
    echoes = [packet for packet in packets if ICMP in packet]
    assert len(echoes) == 20, [packet.summary() for packet in packets]
    assert all((Ether in packet) == (kind == "tap") for packet in packets)
    assert all(packet[IP].len == 1028 and len(bytes(packet[IP])) == 1028 for packet in echoes)
    times = [float(packet.time) for packet in packets]
    assert times == sorted(times), times
    assert begin - 1 <= times[0] and times[-1] <= end + 1, (begin, times[0], times[-1], end)
    assert any(int(packet.time * 10**9) % 1000 for packet in packets), "only whole microseconds"


@kinds
def test_filter(netns, vnic, tmp_path, kind):
    path = tmp_path / "capture.pcap"
    host = vnic.host(*PREFIXES, "--capture", path, "--filter", "icmp and src host 10.0.0.2",
                     *KINDS[kind])
    netns.ping("10.0.0.2", "-i", "0.01")
    netns.ping("fd00::2", "-i", "0.01")
    host.stop()
    lines = tcpdump(path)
    assert len(lines) == 3 and all("echo reply" in line for line in lines), "\n".join(lines)


def test_capture_is_read_while_it_grows(netns, vnic, tmp_path):
    """Not only at the end: what went through is in the file soon."""
    path = tmp_path / "capture.pcap"
    vnic.host("10.0.0.1/24", "--capture", path)
    netns.ping("10.0.0.2", "-i", "0.01")
    wait_until(lambda: len(tcpdump(path, "icmp")) == 6, lambda: tcpdump(path))


def test_existing_file_is_written_over(netns, vnic, tmp_path):
    path = tmp_path / "capture.pcap"
    path.write_bytes(b"rubbish" * 1000)
    host = vnic.host("10.0.0.1/24", "--capture", path)
    netns.ping("10.0.0.2", count=1)
    host.stop()
    assert len(tcpdump(path, "icmp")) == 2


@pytest.mark.threads
@kinds
def test_queues_share_a_file(netns, vnic, tmp_path, kind):
    """Records of several threads stay whole."""
    path = tmp_path / "capture.pcap"
    host = vnic.host("10.0.0.1/24", "--host", "all", "--queues", 3, "--capture", path, "--verbose",
                     *KINDS[kind])
    pings = [netns.start(["ping", "-n", "-f", "-c", 100, f"10.0.0.{n}"]) for n in range(2, 8)]
    for process in pings:
        assert process.wait(20) == 0, process
    written = count(host.stop(), "written")
    lines = tcpdump(path)
    assert len(lines) == written, (len(lines), written)
    assert len([line for line in lines if "ICMP echo" in line]) == 1200, len(lines)
    events = [event for event in host.events() if event["event"] == "packet"]
    assert len(events) == written, (len(events), written)


@kinds
def test_pipe_into_tcpdump(netns, vnic, kind):
    """`vnic host --capture - | tcpdump -r -`: each packet at once, and nothing else in between."""
    reader = netns.start(["tcpdump", "-n", "-t", "-l", "-r", "-"], stdin=subprocess.PIPE)
    host = vnic.start("host", "10.0.0.1/24", "--name", "pipe0", "--capture", "-", *KINDS[kind],
                      json=False, ready=False, stdout=reader.popen.stdin)
    reader.popen.stdin.close()
    wait_until(lambda: "UP" in (netns.link("pipe0") or {"flags": []})["flags"], lambda: str(host))
    netns.ping("10.0.0.2", "-i", "0.01")
    assert reader.stdout.wait("ICMP echo reply, id", 5), reader
    wait_until(lambda: reader.stdout.text.count("ICMP echo") == 6, lambda: str(reader))
    host.stop_silently()
    assert reader.wait() == 0, reader


def test_reader_of_the_pipe_goes(netns, vnic):
    """No SIGPIPE kills it, but the capture was what it ran for: it ends as if it was told to."""
    readable, writable = os.pipe()
    host = vnic.start("host", "10.0.0.1/24", "--name", "pipe0", "--capture", "-", json=False,
                      ready=False, stdout=writable)
    os.close(writable)
    wait_until(lambda: "UP" in (netns.link("pipe0") or {"flags": []})["flags"], lambda: str(host))
    netns.ping("10.0.0.2", count=1)
    os.close(readable)
    netns.run(["ping", "-n", "-c", 2, "-i", "0.01", "-W", "0.5", "10.0.0.2"], check=False)
    assert host.wait(5) == 0, host


def test_disk_full(netns, vnic, tmp_path):
    """The NIC goes on, the loss is told, and what is in the file can be read."""
    netns.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path])
    host = vnic.host("10.0.0.1/24", "--capture", tmp_path / "full.pcap")
    netns.ping("10.0.0.2", "-f", "-s", 1400, count=200)
    summary = host.stop()
    assert "No space left" in host.stderr.text, host
    written, lost = count(summary, "written"), count(summary, "lost")
    assert lost and lost > 300 and written + lost == 400, summary
    lines = tcpdump(f"/proc/{netns.pid}/root{tmp_path}/full.pcap")
    assert len(lines) == written, (len(lines), written)


def test_disk_has_room_again(netns, vnic, tmp_path):
    """Later packets are tried again, behind whole records."""
    netns.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path])
    netns.run(["dd", "if=/dev/zero", f"of={tmp_path}/ballast", "bs=1k", "count=40"])
    host = vnic.host("10.0.0.1/24", "--capture", tmp_path / "full.pcap")
    netns.ping("10.0.0.2", "-f", "-s", 1400, count=30)
    netns.run(["rm", f"{tmp_path}/ballast"])
    netns.ping("10.0.0.2", "-f", "-s", 17, count=5)
    summary = host.stop()
    lines = tcpdump(f"/proc/{netns.pid}/root{tmp_path}/full.pcap")
    assert len([line for line in lines if "length 25" in line]) == 10, "\n".join(lines)
    assert len(lines) == count(summary, "written"), summary


@pytest.mark.parametrize("path", ["/nowhere/capture.pcap", "/proc/nothing", "/"])
def test_cannot_be_written(netns, vnic, path):
    done = vnic.run("host", "10.0.0.1/24", "--capture", path, "--json")
    assert done.returncode == 1, done
    assert path in done.stderr and done.stderr.startswith("vnic: "), done.stderr
    assert '"cause":"file"' in done.stdout, done.stdout
    assert not netns.links()


def test_filter_that_does_not_compile(netns, vnic, tmp_path):
    path = tmp_path / "capture.pcap"
    done = vnic.run("host", "10.0.0.1/24", "--capture", path, "--filter", "host and and", "--json")
    assert done.returncode == 2, done
    assert "syntax error" in done.stderr and "pcap-filter" in done.stderr, done.stderr
    assert '"cause":"filter-invalid"' in done.stdout, done.stdout
    assert not netns.links()


@kinds
def test_verbose(netns, vnic, kind):
    """One line for each packet, in both directions."""
    host = vnic.start("host", "10.0.0.1/24", "--name", "loud0", "--verbose", *KINDS[kind], json=False,
                      ready=False)
    wait_until(lambda: "UP" in (netns.link("loud0") or {"flags": []})["flags"], lambda: str(host))
    netns.ping("10.0.0.2", "-i", "0.01")

    def lines(what):
        text = "\n".join((host.stdout.text, host.stderr.text))
        return [line for line in text.splitlines() if what in line]

    wait_until(lambda: len(lines("echo reply")) == 3, lambda: str(host), 2)
    requests, replies = lines("10.0.0.1 > 10.0.0.2"), lines("10.0.0.2 > 10.0.0.1")
    assert len([x for x in requests if "ICMP echo request" in x]) == 3, host
    assert len([x for x in replies if "ICMP echo reply" in x]) == 3, host
    if kind == "tap":
        assert len(lines("ARP")) >= 2, host


def test_verbose_with_a_filter(netns, vnic):
    host = vnic.start("host", *PREFIXES, "--name", "loud0", "--verbose", "--filter", "icmp6",
                      json=False, ready=False)
    wait_until(lambda: "UP" in (netns.link("loud0") or {"flags": []})["flags"], lambda: str(host))
    netns.ping("10.0.0.2", "-i", "0.01")
    netns.ping("fd00::2", "-i", "0.01")
    wait_until(lambda: (host.stdout.text + host.stderr.text).count("echo reply") >= 3,
               lambda: str(host), 2)
    assert "10.0.0.2 > 10.0.0.1" not in host.stdout.text + host.stderr.text, host
