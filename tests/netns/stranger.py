# SPDX-License-Identifier: MIT
"""A stranger on the wire, who sends what no kernel would send and sees all that comes back.

It has addresses that neither the kernel nor the host behind the virtual NIC has, so that nobody else
answers. That nothing was answered is seen without waiting for nothing: an echo request follows, and
packets are answered in the order in which they come.
"""

from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, IPv6
from scapy.layers.l2 import ARP, Dot3, Ether


ME = {4: "10.0.0.77", 6: "fd00::77"}
PEER = {4: "10.0.0.2", 6: "fd00::2"}
PREFIX = {4: "10.0.0.1/24", 6: "fd00::1/64"}
MAC = "02:00:00:00:00:77"
MARKER = 0x7777


class Stranger:
    def __init__(self, netns, host, family):
        self.netns = netns
        self.host = host
        self.family = family
        self.sequence = 0
        self.wire = netns.wire(host.name)
        self.mac = host.ready["host_mac"] if self.wire.ethernet else None

    def frame(self, packet):
        """An IP packet as it goes over this wire; a frame is left as it is."""
        if self.wire.ethernet and not isinstance(packet, (Ether, Dot3)):
            return Ether(src=MAC, dst=self.mac, type=0x86dd if self.family == 6 else 0x0800) / packet
        return packet

    def marker(self):
        self.sequence += 1
        if self.family == 4:
            return IP(src=ME[4], dst=PEER[4]) / ICMP(id=MARKER, seq=self.sequence)
        return IPv6(src=ME[6], dst=PEER[6]) / ICMPv6EchoRequest(id=MARKER, seq=self.sequence)

    def is_marker(self, packet):
        if self.family == 4:
            return (ICMP in packet and packet[ICMP].type == 0 and packet[ICMP].id == MARKER and
                    packet[ICMP].seq == self.sequence)
        return (ICMPv6EchoReply in packet and packet[ICMPv6EchoReply].id == MARKER and
                packet[ICMPv6EchoReply].seq == self.sequence)

    def exchange(self, *packets, seconds=2):
        """Sends packets and returns the answers to them, as IP packets on a TUN and as frames on a
        TAP. What the host says of its own accord is no answer."""
        for packet in packets:
            self.wire.send(self.frame(packet))
        self.wire.send(self.frame(self.marker()))
        packets = self.wire.receive_until(self.is_marker, seconds)[:-1]
        return [packet for packet in packets if not is_unasked(packet)]

    def wait_settled(self):
        """Waits until the host has announced its IPv6 address: before that it is not sure of it,
        and yields to whoever has it too (RFC 4862 section 5.4)."""
        self.wire.receive_until(lambda p: ICMPv6ND_NA in p and p[IPv6].dst == "ff02::1", 5)


def is_unasked(packet):
    """Reports of groups, probes and announcements."""
    if ARP in packet:
        return packet[ARP].psrc == packet[ARP].pdst
    if IPv6 not in packet:
        return False
    announced = ICMPv6ND_NA in packet and packet[IPv6].dst == "ff02::1"
    return announced or packet[IPv6].src == "::" or packet[IPv6].dst == "ff02::16"


def drops(summary):
    """{counter: value} of everything that the host dropped."""
    found = {}

    def collect(part):
        for key, value in part.items():
            if isinstance(value, dict):
                collect(value)
            elif key.startswith("drop_") and value:
                found[key] = value

    collect(summary)
    return found
