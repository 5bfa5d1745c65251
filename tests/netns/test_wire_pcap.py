# SPDX-License-Identifier: MIT
"""`vnic wire` with captures: made by scapy, replayed into an interface, seen by tcpdump; and recorded
from an interface, read by tcpdump and scapy."""

import os
import signal
import subprocess
import time

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import PcapNgWriter, PcapReader, PcapWriter, rdpcap

from namespace import wait_until
from test_wire import conserved

RAW, ETHERNET, LINUX_SLL = 101, 1, 113
PREFIX = ",10.0.0.1/24,fd00::1/64"


def packets(kind, number=200, distance=0.0):
    """Mixed ones, some of which a kernel would merge: they must come out as they are."""
    made = []
    for i in range(number):
        if i % 4 == 0:
            packet = IPv6(src="fd00::2", dst="fd00::1") / UDP(sport=2000, dport=9) / Raw(bytes([i % 256]) * i)
        elif i % 4 == 1:
            packet = IP(src="10.0.0.2", dst="10.0.0.1", id=i) / UDP(sport=2000, dport=9) / Raw(b"x" * 1000)
        else:
            packet = (IP(src="10.0.0.2", dst="10.0.0.1", id=i, flags="DF")
                      / TCP(sport=80, dport=9, flags="A", seq=i * 1000, ack=1, window=500) / Raw(b"y" * 1000))
        if kind == "tap":
            packet = Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:09") / packet
        packet.time = 1700000000 + i * distance
        made.append(packet)
    return made


def save(path, made, linktype):
    with PcapWriter(str(path), linktype=linktype, nano=True) as file:
        for packet in made:
            file.write(packet)


def link_type(kind):
    return ETHERNET if kind == "tap" else RAW


class Watcher:
    """tcpdump on an interface, of what came in from the wire."""

    def __init__(self, netns, name, path):
        self.path = path
        # Its ring has room for 64 packets of the longest kind, so shorter ones (-s).
        self.process = netns.start(["tcpdump", "-i", name, "-Q", "in", "-w", path, "-U", "-Z", "root",
                                    "-s", "2048", "-B", "16384", "--immediate-mode"])
        assert self.process.stderr.wait("listening on"), self.process

    def stop(self, number):
        wait_until(lambda: len(self.read()) >= number, lambda: f"{len(self.read())} of {number}\n{self.process}", 10)
        self.process.signal(signal.SIGINT)
        self.process.wait()
        return self.read()

    def read(self):
        try:
            return [bytes(packet) for packet in rdpcap(str(self.path))]
        except Exception:  # its last record is being written
            return []


def make_interface(netns, vnic, kind):
    """A persistent one, so that tcpdump is there before the first packet."""
    vnic.expected.add("play")
    netns.run(["ip", "tuntap", "add", "play", "mode", kind])
    netns.run(["ip", "link", "set", "play", "addrgenmode", "none", "up"])


def end(tool, status=0):
    got = tool.wait(30)
    assert got == status, f"status {got}, not {status}: {tool}"
    summary = tool.summary()
    conserved(summary)
    return summary


@pytest.mark.threads
@pytest.mark.parametrize("kind", ["tun", "tap"])
@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_replay(netns, vnic, tmp_path, kind, form):
    """Every packet, unchanged, unmerged, in order."""
    made = packets(kind)
    source = tmp_path / "source.pcap"
    if form == "pcap":
        save(source, made, link_type(kind))
    else:
        with PcapNgWriter(str(source)) as file:
            file.linktype = link_type(kind)
            for packet in made:
                file.write(packet)
    make_interface(netns, vnic, kind)
    seen = Watcher(netns, "play", tmp_path / "seen.pcap")
    tool = vnic.start("wire", f"pcap:{source}", f"{kind}:play", "--speed", "max", ready=False)
    summary = end(tool)
    assert summary["ports"][0]["in_packets"] == len(made), summary
    assert summary["ports"][1]["out_packets"] == len(made), summary
    got = seen.stop(len(made))
    assert got == [bytes(packet) for packet in made], (len(got), len(made))


def test_replay_with_its_own_timing(netns, vnic, tmp_path):
    """Not earlier than recorded, each packet."""
    made = packets("tun", 21, 0.05)
    save(tmp_path / "source.pcap", made, RAW)
    make_interface(netns, vnic, "tun")
    seen = Watcher(netns, "play", tmp_path / "seen.pcap")
    begin = time.time()
    summary = end(vnic.start("wire", f"pcap:{tmp_path}/source.pcap", "tun:play", ready=False))
    assert summary["ports"][1]["out_packets"] == 21
    seen.stop(21)
    with PcapReader(str(tmp_path / "seen.pcap")) as file:
        times = [float(packet.time) for packet in file]
    # It began after us. How late each is, is a matter of the machine.
    assert all(t - begin >= i * 0.05 for i, t in enumerate(times)), (begin, times)


@pytest.mark.parametrize("speed,least", [("10", 0.1), ("0.5", 2.0)])
def test_speed(vnic, tmp_path, speed, least):
    save(tmp_path / "source.pcap", packets("tun", 11, 0.1), RAW)
    begin = time.monotonic()
    end(vnic.start("wire", f"pcap:{tmp_path}/source.pcap", "discard:", "--speed", speed, ready=False))
    assert time.monotonic() - begin >= least


@pytest.mark.parametrize("kind", ["tun", "tap"])
def test_record(netns, vnic, tmp_path, kind):
    """What the kernel sent, with complete checksums and no super-packets, as two others read it."""
    path = tmp_path / "recorded.pcap"
    tool = vnic.start("wire", f"{kind}:t{PREFIX}", f"pcap:{path}")
    if kind == "tap":
        netns.run(["ip", "neigh", "add", "10.0.0.2", "lladdr", "02:00:00:00:00:02", "dev", "t"])
    netns.run(["ping", "-c", "5", "-i", "0.01", "-W", "0.1", "-s", "100", "10.0.0.2"], check=False)
    with netns.socket(2, 2) as udp:
        udp.setsockopt(17, 103, 1000)  # UDP_SEGMENT: one super-packet of 10
        udp.sendto(bytes(range(250)) * 40, ("10.0.0.2", 9))
    wait_until(lambda: path.stat().st_size > 10000, "recorded")
    summary = tool.stop()
    conserved(summary)
    with PcapReader(str(path)) as file:
        assert file.nano and file.linktype in ((ETHERNET,) if kind == "tap" else (RAW, 12))
        got = list(file)
    assert len(got) == summary["ports"][1]["out_packets"] == summary["ports"][0]["in_packets"]
    datagrams = [packet for packet in got if UDP in packet and packet[UDP].dport == 9]
    assert [len(packet[UDP].payload) for packet in datagrams] == [1000] * 10
    assert all((Ether in packet) == (kind == "tap") for packet in got)
    shown = subprocess.run(["tcpdump", "-nvvr", path, "icmp or udp port 9"], check=True, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    assert shown.count("ICMP echo request") == 5 and shown.count("udp sum ok") == 10, shown
    assert "bad" not in shown, shown


def test_record_what_was_replayed(vnic, tmp_path):
    """From file to file: the same bytes again."""
    for kind in ("tun", "tap"):
        made = packets(kind)
        save(tmp_path / "source.pcap", made, link_type(kind))
        end(vnic.start("wire", f"pcap:{tmp_path}/source.pcap", f"pcap:{tmp_path}/copy.pcap",
                       "--speed", "max", ready=False))
        got = [bytes(packet) for packet in rdpcap(str(tmp_path / "copy.pcap"))]
        assert got == [bytes(packet) for packet in made]


def test_replay_into_a_program(vnic, tmp_path):
    """As fast as it reads, and nothing is lost."""
    made = packets("tun", 2000)
    save(tmp_path / "source.pcap", made, RAW)
    summary = end(vnic.start("wire", f"pcap:{tmp_path}/source.pcap",
                             f"exec:cat <&3 >{tmp_path}/got", "--speed", "max", ready=False))
    assert summary["ports"][1]["out_packets"] == 2000, summary
    assert (tmp_path / "got").read_bytes() == b"".join(bytes(packet) for packet in made)


@pytest.mark.parametrize("impair", [[], ["--impair", "delay=100ms,seed=1"]], ids=["at-once", "delayed"])
def test_truncated_file(netns, vnic, tmp_path, impair):
    """What comes before the end that is missing is delivered, also where it is delayed."""
    made = packets("tun")
    path = tmp_path / "source.pcap"
    save(path, made, RAW)
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) - 10)
    make_interface(netns, vnic, "tun")
    seen = Watcher(netns, "play", tmp_path / "seen.pcap")
    tool = vnic.start("wire", f"pcap:{path}", "tun:play", "--speed", "max", *impair, ready=False)
    summary = end(tool, 1)
    assert summary["ports"][1]["out_packets"] == len(made) - 1, summary
    assert f"cannot read packet {len(made)} of '{path}': truncated dump file" in tool.stderr.text, tool
    assert seen.stop(len(made) - 1) == [bytes(packet) for packet in made[:-1]]


def test_packets_without_their_end(vnic, tmp_path):
    with PcapWriter(str(tmp_path / "source.pcap"), linktype=RAW, nano=True) as file:
        file.write_header(None)
        for i, packet in enumerate(packets("tun", 20)):
            data = bytes(packet)
            file.write_packet(data[:40], sec=1700000000, usec=i, caplen=40,
                              wirelen=len(data) if i % 2 else 40)
    summary = end(vnic.start("wire", f"pcap:{tmp_path}/source.pcap", "discard:", ready=False))
    assert summary["ports"][0]["drop_truncated"] == 10, summary
    assert summary["ports"][1]["out_packets"] == 10, summary


@pytest.mark.parametrize("content,said", [
    (None, "cannot open '{}': No such file or directory"),
    (b"", "'{}' is no capture: "),
    (b"no capture at all, only text", "'{}' is no capture: "),
])
def test_no_capture(netns, vnic, tmp_path, content, said):
    path = tmp_path / "source.pcap"
    if content is not None:
        path.write_bytes(content)
    done = vnic.run("wire", f"pcap:{path}", "tun:t")
    assert done.returncode == 1, done
    assert said.format(path) in done.stderr, done.stderr
    assert not netns.links()


def test_other_link_type(vnic, tmp_path):
    save(tmp_path / "source.pcap", packets("tun", 2), LINUX_SLL)
    done = vnic.run("wire", f"pcap:{tmp_path}/source.pcap", "tun:t")
    assert done.returncode == 1, done
    assert "its link type is LINUX_SLL, and not EN10MB, RAW, IPV4 or IPV6" in done.stderr, done.stderr


def test_frames_into_a_tun(vnic, tmp_path):
    save(tmp_path / "source.pcap", packets("tap", 2), ETHERNET)
    done = vnic.run("wire", f"pcap:{tmp_path}/source.pcap", "tun:t")
    assert done.returncode == 2, done
    assert "carries Ethernet frames" in done.stderr, done.stderr


def test_disk_full(netns, vnic, tmp_path):
    """Told once, counted, and what is in the file can be read."""
    netns.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path])
    tool = vnic.start("wire", f"tun:t{PREFIX}", f"pcap:{tmp_path}/full.pcap")
    netns.run(["ping", "-f", "-c", "200", "-s", "1400", "-W", "0.1", "-w", "3", "10.0.0.2"], check=False)
    summary = tool.stop()
    conserved(summary)
    sink = summary["ports"][1]
    assert sink["drop_full"] > 50 and sink["out_packets"] > 20, summary
    events = [x for x in tool.events() if x.get("change") == "full"]
    assert len(events) == 1 and "No space left" in events[0]["message"], events
    read = rdpcap(f"/proc/{netns.pid}/root{tmp_path}/full.pcap")
    assert len(read) == sink["out_packets"], (len(read), summary)


def test_record_to_the_standard_output(vnic, tmp_path):
    """Nothing of the tool's own text may get between the packets."""
    source, sink = tmp_path / "source.pcap", tmp_path / "sink.pcap"
    made = packets("tun", 20)
    save(source, made, RAW)
    with open(sink, "wb") as output:
        done = subprocess.run([vnic.path, "wire", f"pcap:{source}", "pcap:-", "--speed", "max"],
                              stdout=output, stderr=subprocess.PIPE, timeout=20, check=True)
    assert [bytes(p) for p in rdpcap(str(sink))] == [bytes(p) for p in made]
    assert b"packets in" in done.stderr, done.stderr
