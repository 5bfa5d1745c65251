# SPDX-License-Identifier: MIT
"""--offload of `vnic host`: whatever the kernel leaves to us, all that can be seen is the same."""

import socket
import struct
import sys

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.utils import PcapReader

from namespace import FACTOR, count, wait_until

KINDS = {"tun": [], "tap": ["--tap"]}
kinds = pytest.mark.parametrize("kind", KINDS)
EVERY_KERNELS = {"csum", "tso4", "tso6", "ecn"}
MODES = {None: EVERY_KERNELS, "on": EVERY_KERNELS, "off": set(), "csum": {"csum"},
         "tso4": {"csum", "tso4"}, "csum,tso6,ecn,uso": {"csum", "tso6", "ecn"}}
PREFIXES = ["10.0.0.1/24", "fd00::1/64"]
PEERS = {socket.AF_INET: "10.0.0.2", socket.AF_INET6: "fd00::2"}
UDP_SEGMENT = 103
SOL_PACKET, PACKET_VNET_HDR = 263, 15
SEGMENT = 1000
PYTHON = "/usr/bin/python3"


def options(mode):
    return ["--service", "none", *(["--offload", mode] if mode else [])]


def send_segmented(space, family, address, segments=10, mark=0):
    """One datagram for the kernel to cut into segments of SEGMENT bytes; refused by the host."""
    with space.socket(family, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5 * FACTOR)
        udp.connect((address, 9))
        udp.sendmsg([bytes([mark]) * SEGMENT * segments],
                    [(socket.IPPROTO_UDP, UDP_SEGMENT, SEGMENT.to_bytes(2, sys.byteorder))])
        with pytest.raises(ConnectionRefusedError):
            udp.recv(1)


def checksum_is_right(packet):
    """As scapy computes all checksums of it anew."""
    copy = packet.copy()
    for layer in (IP, TCP, UDP, ICMP):
        if layer in copy:
            del copy[layer].chksum
    for layer in copy.iterpayloads():
        if "cksum" in layer.fields:
            del layer.cksum
    return bytes(copy) == bytes(packet)


def read_capture(path):
    with PcapReader(str(path)) as reader:
        return list(reader)


@kinds
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_same_results(netns, vnic, tmp_path, kind, mode):
    """Pings of every size, refusals of UDP and TCP, and a capture of nothing but plain packets."""
    path = tmp_path / "capture.pcap"
    host = vnic.host(*PREFIXES, *KINDS[kind], *options(mode), "--capture", path, "--verbose")
    offloads = set(host.ready["offloads"])
    assert offloads & EVERY_KERNELS == MODES[mode], (mode, offloads)
    assert "uso" not in offloads or mode in (None, "on") or "uso" in mode, (mode, offloads)
    for family, address in PEERS.items():
        for size in (0, 1, 1400, 60000):
            netns.ping(address, "-i", "0.01", "-s", size, count=2)
        send_segmented(netns, family, address)
        with netns.socket(family, socket.SOCK_STREAM) as tcp:
            tcp.settimeout(5 * FACTOR)
            with pytest.raises(ConnectionRefusedError):
                tcp.connect((address, 80))
    summary = host.stop()
    assert count(summary, "echo_replies") == 16, summary
    assert count(summary, "resets") == 2, summary
    assert count(summary, "received_malformed_packets") == 0, summary
    assert count(summary, "send_refused_packets") == 0, summary
    packets = read_capture(path)
    assert len(packets) == count(summary, "written"), (len(packets), summary)
    link = 14 if kind == "tap" else 0
    assert max(len(packet) for packet in packets) <= 1500 + link
    for packet in packets:
        whole = not (IP in packet and (packet[IP].flags.MF or packet[IP].frag)) and \
            not packet.haslayer("IPv6ExtHdrFragment")
        if whole and not packet.haslayer("IPerror") and not packet.haslayer("IPerror6"):
            assert checksum_is_right(packet), packet.show(dump=True)
    for network in (IP, IPv6):
        datagrams = [packet for packet in packets
                     if packet.haslayer(network) and packet.haslayer(UDP) and packet[UDP].dport == 9]
        assert [len(packet[UDP].payload) for packet in datagrams] == [SEGMENT] * 10, (network, datagrams)
    events = [event for event in host.events() if event["event"] == "packet"]
    assert len(events) == len(packets), (len(events), len(packets))
    came = len([event for event in events if event["direction"] == "in"])
    if "uso" in offloads:
        assert count(summary, "received_packets") <= came - 18, (came, summary)
    else:
        assert count(summary, "received_packets") == came, (came, summary)
    assert max(event["length_bytes"] for event in events) <= 1500 + link


def tagged_super(source, destination):
    """A UDP super-packet of ten segments with a VLAN tag, behind its virtio-net header."""
    frame = bytearray(bytes(Ether(src=source, dst=destination) / Dot1Q(vlan=5) /
                            IP(src="10.0.0.1", dst="10.0.0.2", id=7) / UDP(sport=4000, dport=9) /
                            bytes(SEGMENT * 10)))
    pseudo = bytes(frame[30:38]) + bytes([0, 17]) + (8 + SEGMENT * 10).to_bytes(2, "big")
    total = sum(int.from_bytes(pseudo[i:i + 2], "big") for i in range(0, len(pseudo), 2))
    frame[44:46] = (total % 0xffff).to_bytes(2, "big")
    return struct.pack("=BBHHHH", 1, 5, 46, SEGMENT, 38, 6) + bytes(frame)


@pytest.mark.parametrize("mode", ["on", "off", "csum"])
def test_vlan(netns, vnic, tmp_path, mode):
    """A super-packet with a VLAN tag: answered with the tag, and captured with it in every segment."""
    path = tmp_path / "capture.pcap"
    host = vnic.host("10.0.0.1/24", "--tap", *options(mode), "--capture", path)
    with netns.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        raw.bind((host.name, 0))
        raw.send(tagged_super(host.ready["mac"], host.ready["host_mac"]))

    def seen():
        return [packet for packet in read_capture(path) if ICMP in packet]

    wait_until(seen, lambda: read_capture(path))
    host.stop()
    packets = [packet for packet in read_capture(path) if packet.haslayer(IP)]
    assert all(packet.haslayer(Dot1Q) and packet[Dot1Q].vlan == 5 for packet in packets), packets
    datagrams = [packet for packet in packets if packet.haslayer(UDP) and not packet.haslayer(ICMP)]
    assert [len(packet[UDP].payload) for packet in datagrams] == [SEGMENT] * 10, datagrams
    assert [packet[IP].id for packet in datagrams] == list(range(7, 17)), datagrams
    for packet in datagrams:
        assert checksum_is_right(packet), packet.show(dump=True)
    quoted = bytes(seen()[0][ICMP])[8:]
    assert quoted == bytes(datagrams[0][IP])[:len(quoted)], quoted.hex()


@pytest.mark.parametrize("mode", ["on", "off"])
def test_filter_sees_segments(netns, vnic, tmp_path, mode):
    """What --filter matches is what is captured, not what it is a part of."""
    path = tmp_path / "capture.pcap"
    host = vnic.host("10.0.0.1/24", *options(mode), "--capture", path, "--filter",
                     f"udp and less {28 + SEGMENT} and greater {28 + SEGMENT}")
    send_segmented(netns, socket.AF_INET, "10.0.0.2", segments=30)
    summary = host.stop()
    assert count(summary, "written") == len(read_capture(path)) == 30, summary


@pytest.mark.threads
@kinds
def test_queues_share_a_capture(netns, vnic, tmp_path, kind):
    """Super-packets on several threads, cut in memory that those share."""
    path = tmp_path / "capture.pcap"
    host = vnic.host("10.0.0.1/24", "--service", "none", "--host", "all", "--queues", 3, "--capture", path, "--verbose",
                     *KINDS[kind])
    for i in range(2, 30):
        with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.connect((f"10.0.0.{i}", 9))
            udp.sendmsg([bytes([i]) * SEGMENT * 20],
                        [(socket.IPPROTO_UDP, UDP_SEGMENT, SEGMENT.to_bytes(2, sys.byteorder))])

    def seen():
        return len([event for event in host.events() if f"length {SEGMENT}" in event.get("text", "")])

    wait_until(lambda: seen() >= 28 * 20, seen)
    host.stop()
    datagrams = [packet for packet in read_capture(path) if UDP in packet and ICMP not in packet]
    assert len(datagrams) == 28 * 20, len(datagrams)
    for packet in datagrams:
        mark = int(packet[IP].dst.rpartition(".")[2])
        assert bytes(packet[UDP].payload) == bytes([mark]) * SEGMENT, packet.show(dump=True)
        assert checksum_is_right(packet), packet.show(dump=True)


READ_SEGMENTS = """
import os
print("ready", flush=True)
sizes = []
while len(sizes) < 10:
    packet = os.read(3, 65536)
    if packet[0] >> 4 == 4 and packet[9] == 17:
        sizes.append(len(packet))
print(sizes, flush=True)
"""


@pytest.mark.parametrize("before", [False, True], ids=["new", "after-host"])
def test_exec_gets_plain_packets(netns, vnic, before):
    """A program that knows nothing of offloads reads one plain packet each time, also after us."""
    if before:
        vnic.run("add", "kept0", "10.0.0.1/24", "--up", check=True)
        vnic.expected.add("kept0")
        host = vnic.host("--name", "kept0")
        netns.ping("10.0.0.2", count=1)
        host.stop()
    given = ["--name", "kept0"] if before else ["10.0.0.1/24"]
    reader = vnic.start("exec", *given, "--", PYTHON, "-c", READ_SEGMENTS, json=False, ready=False)
    assert reader.stdout.wait("ready"), reader
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("10.0.0.2", 9))
        udp.sendmsg([bytes(SEGMENT * 10)],
                    [(socket.IPPROTO_UDP, UDP_SEGMENT, SEGMENT.to_bytes(2, sys.byteorder))])
    assert reader.wait() == 0, reader
    assert str([SEGMENT + 28] * 10) in reader.stdout.text, reader


@pytest.mark.parametrize("text", ["fast", "csum,", "on,off", "tso4,lro"])
def test_wrong_lists(netns, vnic, text):
    done = vnic.run("host", "10.0.0.1/24", "--offload", text)
    assert done.returncode == 2 and "--offload: '" in done.stderr and "udp-tunnel-csum" in done.stderr, done
    assert not netns.links()
