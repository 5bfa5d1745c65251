# SPDX-License-Identifier: MIT
"""Malformed, forged and hostile packets: each is answered as the standards say, or met with silence
and counted under its reason. The host answers ping afterwards in any case.

A case is a name, the packets, the counters of drops that must have a value (no others may), and what
the answer must look like (None: silence)."""

import random

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption, fragment
from scapy.layers.inet6 import (ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest,
                                ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6ND_RS,
                                ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, ICMPv6ParamProblem,
                                ICMPv6TimeExceeded, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment,
                                IPv6ExtHdrHopByHop, IPv6ExtHdrRouting)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from namespace import SANITIZER, count
from stranger import MAC, ME, PEER, PREFIX, Stranger, drops

DATA = bytes(range(48))


def ip4(**fields):
    return IP(**{"src": ME[4], "dst": PEER[4], **fields})


def ip6(**fields):
    return IPv6(**{"src": ME[6], "dst": PEER[6], **fields})


def echo4(**fields):
    return ip4(**fields) / ICMP(id=1, seq=1) / Raw(DATA)


def echo6(**fields):
    return ip6(**fields) / ICMPv6EchoRequest(id=1, seq=1, data=DATA)


def udp4(**fields):
    return ip4(**fields) / UDP(sport=7000, dport=9) / Raw(DATA)


def udp6(**fields):
    return ip6(**fields) / UDP(sport=7000, dport=9) / Raw(DATA)


def cut(packet, length):
    """Its first bytes, with lengths and checksums as they were."""
    return Raw(bytes(packet)[:length])


def patched(packet, offset, *values):
    data = bytearray(bytes(packet))
    data[offset:offset + len(values)] = bytes(values)
    return Raw(bytes(data))


# What the answer must be. Each gets the answer, and raises AssertionError.

def echo_reply(answer):
    if IPv6 in answer:
        assert ICMPv6EchoReply in answer, answer.summary()
        assert answer[ICMPv6EchoReply].data == DATA, answer.show(dump=True)
    else:
        assert ICMP in answer and answer[ICMP].type == 0, answer.summary()
        assert bytes(answer[ICMP].payload)[:answer[IP].len - answer[IP].ihl * 4 - 8] == DATA


def icmp4(kind, code, pointer=None):
    def check(answer):
        got = (answer[ICMP].type, answer[ICMP].code) if ICMP in answer else answer.summary()
        assert got == (kind, code), f"{got}, not {(kind, code)}"
        if pointer is not None:
            assert answer[ICMP].ptr == pointer, answer.show(dump=True)
        assert answer[IP].len <= 576, answer[IP].len  # RFC 1812 section 4.3.2.3
    return check


def problem6(code, pointer):
    def check(answer):
        assert ICMPv6ParamProblem in answer, answer.summary()
        got = (answer[ICMPv6ParamProblem].code, answer[ICMPv6ParamProblem].ptr)
        assert got == (code, pointer), f"{got}, not {(code, pointer)}"
        assert answer[IPv6].plen + 40 <= 1280, answer[IPv6].plen  # RFC 4443 section 2.4 (c)
    return check


def port_unreachable6(answer):
    assert ICMPv6DestUnreach in answer, answer.summary()
    assert answer[ICMPv6DestUnreach].code == 4, answer[ICMPv6DestUnreach].code


def reset(sequence, acknowledgment):
    """RFC 9293 section 3.10.7.1."""
    def check(answer):
        assert TCP in answer, answer.summary()
        flags = "R" if acknowledgment is None else "RA"
        assert answer[TCP].flags == flags, answer[TCP].flags
        assert answer[TCP].seq == sequence, answer[TCP].seq
        if acknowledgment is not None:
            assert answer[TCP].ack == acknowledgment, answer[TCP].ack
    return check


def tcp4(**fields):
    return ip4() / TCP(**{"sport": 7000, "dport": 80, "seq": 1000, "ack": 2000, **fields})


def tcp6(**fields):
    return ip6() / TCP(**{"sport": 7000, "dport": 80, "seq": 1000, "ack": 2000, **fields})


def with_options(data, payload):
    """An IPv4 packet with these bytes as its options; whole words."""
    assert len(data) % 4 == 0
    header = ip4(proto=payload[0], ihl=5 + len(data) // 4,
                 len=20 + len(data) + len(bytes(payload[1])), chksum=0)
    raw = bytearray(bytes(header)[:20] + data)
    total = sum(int.from_bytes(raw[i:i + 2], "big") for i in range(0, len(raw), 2))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    raw[10:12] = (~total & 0xffff).to_bytes(2, "big")
    return Raw(bytes(raw) + bytes(payload[1]))


ECHO = (1, bytes(ICMP(id=1, seq=1) / Raw(DATA)))
UNREACHABLE = (1, bytes(ICMP(type=3, code=3) / ip4(src=PEER[4], dst=ME[4]) / UDP()))


def pieces4(*parts, data=None, proto=1, identification=0x1234):
    """Fragments of an echo request: (offset, end) each, a third element: more fragments?"""
    data = data or bytes(ICMP(id=1, seq=1) / Raw(DATA))
    result = []
    for offset, end, *more in parts:
        flag = more[0] if more else end < len(data)
        result.append(ip4(id=identification, frag=offset // 8, flags="MF" if flag else 0, proto=proto) /
                      Raw(data[offset:end]))
    return result


def pieces6(*parts, data=None, header=58, identification=0x1234):
    if data is None:
        data = bytes(echo6())[40:]
    result = []
    for offset, end, *more in parts:
        flag = more[0] if more else end < len(data)
        result.append(ip6() / IPv6ExtHdrFragment(nh=header, offset=offset // 8, m=int(flag),
                                                 id=identification) / Raw(data[offset:end]))
    return result


MALFORMED, CHECKSUM, SOURCE = "drop_malformed", "drop_checksum", "drop_source"
UNWANTED, SILENT, OVERLAP = "drop_unwanted", "drop_not_answerable", "drop_reassembly_overlap"

IPV4 = [
    # Headers that are cut off or contradict themselves
    ("one byte", Raw(b"\x45"), {MALFORMED: 1}, None),
    ("19 bytes", cut(echo4(), 19), {MALFORMED: 1}, None),
    ("version 0", patched(echo4(), 0, 0x05), {MALFORMED: 1}, None),
    ("version 5", patched(echo4(), 0, 0x55), {MALFORMED: 1}, None),
    ("version 15", patched(echo4(), 0, 0xf5), {MALFORMED: 1}, None),
    ("header length of 4 words", echo4(ihl=4), {MALFORMED: 1}, None),
    ("header length of none", echo4(ihl=0), {MALFORMED: 1}, None),
    ("header past the end", ip4(ihl=15, proto=1, len=24) / Raw(b"1234"), {MALFORMED: 1}, None),
    ("length past the end", echo4(len=200), {MALFORMED: 1}, None),
    ("length within the header", echo4(len=19), {MALFORMED: 1}, None),
    ("length zero", echo4(len=0), {MALFORMED: 1}, None),
    ("header checksum", echo4(chksum=0x1234), {CHECKSUM: 1}, None),
    # Upper layers
    ("icmp empty", ip4(proto=1), {MALFORMED: 1}, None),
    ("icmp cut off", ip4(proto=1) / Raw(b"\x08\0\xf7\xff\0\0\0"), {MALFORMED: 1}, None),
    ("icmp checksum", ip4() / ICMP(chksum=0x1234) / Raw(DATA), {CHECKSUM: 1}, None),
    ("udp cut off", ip4(proto=17) / Raw(b"\0\x07\0\x09\0\x08\0"), {MALFORMED: 1}, None),
    ("udp length under 8", ip4() / UDP(dport=9, len=7) / Raw(DATA), {MALFORMED: 1}, None),
    ("udp length past the end", ip4() / UDP(dport=9, len=500) / Raw(DATA), {MALFORMED: 1}, None),
    ("udp checksum", ip4() / UDP(dport=9, chksum=0x1234) / Raw(DATA), {CHECKSUM: 1}, None),
    ("udp without checksum", ip4() / UDP(dport=9, chksum=0) / Raw(DATA), {}, icmp4(3, 3)),
    ("tcp cut off", ip4(proto=6) / Raw(bytes(TCP())[:19]), {MALFORMED: 1}, None),
    ("tcp header of 4 words", tcp4(dataofs=4), {MALFORMED: 1}, None),
    ("tcp header past the end", tcp4(dataofs=15), {MALFORMED: 1}, None),
    ("tcp checksum", tcp4(chksum=0x1234), {CHECKSUM: 1}, None),
    ("tcp syn", tcp4(flags="S"), {}, reset(0, 1001)),
    ("tcp syn with data", tcp4(flags="S") / Raw(DATA), {}, reset(0, 1001 + len(DATA))),
    ("tcp ack", tcp4(flags="A"), {}, reset(2000, None)),
    ("tcp fin ack", tcp4(flags="FA"), {}, reset(2000, None)),
    ("tcp all flags but rst", tcp4(flags="FSPAUEC"), {}, reset(2000, None)),
    ("tcp no flags", tcp4(flags=""), {}, reset(0, 1000)),
    ("tcp sequence at its end", tcp4(flags="S", seq=0xffffffff), {}, reset(0, 0)),
    ("tcp reset", tcp4(flags="R"), {UNWANTED: 1}, None),
    ("tcp reset with everything", tcp4(flags="FSRPAU"), {UNWANTED: 1}, None),
    # Nothing is answered to errors, and nothing to answers
    ("echo reply", ip4() / ICMP(type=0), {UNWANTED: 1}, None),
    ("port unreachable", ip4() / ICMP(type=3, code=3) / ip4(src=PEER[4], dst=ME[4]) / UDP(),
     {"drop_notice": 1}, None),
    ("redirect", ip4() / ICMP(type=5) / ip4(src=PEER[4], dst=ME[4]) / UDP(), {UNWANTED: 1}, None),
    ("time exceeded", ip4() / ICMP(type=11) / ip4(src=PEER[4], dst=ME[4]) / UDP(), {UNWANTED: 1}, None),
    ("error that quotes nothing", ip4() / ICMP(type=3, code=3), {"drop_notice": 1}, None),
    ("unknown icmp type", ip4() / ICMP(type=99) / Raw(DATA), {UNWANTED: 1}, None),
    ("unknown protocol", ip4(proto=253) / Raw(DATA), {}, icmp4(3, 2)),
    ("unknown protocol, long", ip4(proto=253) / Raw(bytes(1400)), {}, icmp4(3, 2)),
    ("error about an error", with_options(b"\x44\0\0\0", UNREACHABLE), {SILENT: 1}, None),
    # Sources that nobody can have (RFC 1122 section 3.2.1.3)
    *[(f"from {source}", udp4(src=source), {SOURCE: 1}, None)
      for source in ("224.0.0.1", "255.255.255.255", "10.0.0.255", "127.0.0.1", "0.0.0.0")],
    *[(f"echo from {source}", echo4(src=source), {SOURCE: 1}, None)
      for source in ("224.0.0.1", "255.255.255.255", "10.0.0.255", "127.0.0.1", "0.0.0.0")],
    ("land", ip4(src=PEER[4]) / TCP(sport=80, dport=80, flags="S"), {SOURCE: 1}, None),
    ("echo from itself", echo4(src=PEER[4]), {SOURCE: 1}, None),
    # Destinations that must not be answered (RFC 1122 section 3.2.2)
    *[(f"udp to {to}", udp4(dst=to), {SILENT: 1}, None)
      for to in ("224.0.0.1", "255.255.255.255", "10.0.0.255")],
    *[(f"syn to {to}", ip4(dst=to) / TCP(flags="S"), {SILENT: 1}, None)
      for to in ("224.0.0.1", "255.255.255.255", "10.0.0.255")],
    ("unknown protocol to all", ip4(dst="255.255.255.255", proto=253) / Raw(DATA), {SILENT: 1}, None),
    ("to another", echo4(dst="10.0.0.3"), {"drop_not_ours": 1}, None),
    ("to loopback", echo4(dst="127.0.0.1"), {"drop_not_ours": 1}, None),
    ("to nobody", echo4(dst="0.0.0.0"), {"drop_not_ours": 1}, None),
    # Options
    ("option of length 0", with_options(b"\x44\0\0\0", ECHO), {}, icmp4(12, 0)),
    ("option of length 1", with_options(b"\x07\x01\x01\x01", ECHO), {}, icmp4(12, 0)),
    ("option past the end", with_options(b"\x07\x27\x04\0", ECHO), {}, icmp4(12, 0)),
    ("option cut before its length", with_options(b"\x01\x01\x01\x07", ECHO), {}, icmp4(12, 0)),
    ("unknown option", with_options(b"\x5e\x04\xff\xff", ECHO), {}, echo_reply),
    ("no operations", with_options(b"\x01" * 40, ECHO), {}, echo_reply),
    ("end of options and rubbish", with_options(b"\0\x44\0\xff", ECHO), {}, echo_reply),
    ("record route that is full", with_options(b"\x07\x07\x08\x0a\0\0\x01\0", ECHO), {}, echo_reply),
    ("router alert", with_options(b"\x94\x04\0\0", ECHO), {}, echo_reply),
    # Unusual, and right
    ("ttl of 0", echo4(ttl=0), {}, echo_reply),
    ("evil bit", echo4(flags="evil"), {}, echo_reply),
    ("padding behind it", Raw(bytes(echo4()) + b"padding"), {}, echo_reply),
    # Fragments
    ("tiny fragments", pieces4(*[(x, x + 8) for x in range(0, 56, 8)]), {}, echo_reply),
    ("fragments backwards", pieces4(*[(x, x + 8) for x in range(48, -1, -8)]), {}, echo_reply),
    ("fragments overlap", pieces4((0, 32), (24, 56)), {OVERLAP: 2}, None),
    ("fragments overlap in front", pieces4((24, 56), (0, 32)), {OVERLAP: 2}, None),
    ("fragment within another", pieces4((0, 40), (16, 24), (40, 56)), {OVERLAP: 3}, None),
    ("teardrop", pieces4((0, 48), (24, 28, False)), {OVERLAP: 2}, None),
    ("fragment past 65535", ip4(frag=8189, proto=1) / Raw(bytes(100)), {MALFORMED: 1}, None),
    ("fragment not of eights", ip4(flags="MF", proto=1) / Raw(bytes(20)), {MALFORMED: 1}, None),
    ("fragment of nothing", ip4(flags="MF", proto=1), {MALFORMED: 1}, None),
    ("fragments with two ends", pieces4((40, 56), (0, 8), (16, 24, False)), {OVERLAP: 3}, None),
    ("data behind the end", pieces4((16, 24, False), (32, 56)), {OVERLAP: 2}, None),
    ("fragment twice", pieces4((0, 24), (0, 24), (24, 56)), None, echo_reply),
    ("fragments of different protocols",
     [*pieces4((0, 24)), *pieces4((24, 56), proto=17)], {}, None),
    ("fragments of different datagrams",
     [*pieces4((0, 24)), *pieces4((24, 56), identification=7)], {}, None),
    ("udp in fragments", pieces4((0, 24), (24, 56), data=bytes(udp4())[20:], proto=17), {}, icmp4(3, 3)),
    ("unknown protocol in fragments",
     pieces4((0, 24), (24, 56), data=bytes(56), proto=253), {}, icmp4(3, 2)),
]


def raw6(header, data, **fields):
    """An IPv6 packet of this next header and these bytes."""
    return ip6(nh=header, plen=len(data), **fields) / Raw(data)


def unknown_icmp6(kind):
    """Scapy completes the checksum of this class, whatever the type."""
    return ICMPv6EchoRequest(type=kind, data=DATA)


ICMP6 = bytes(echo6())[40:]
# Next header ICMPv6, 8 bytes, with one option of 4 bytes whose type says what to do (RFC 8200 4.2).
OPTION = {action: bytes([58, 0, action, 2, 0, 0, 1, 0]) for action in (0x3e, 0x7e, 0xbe, 0xfe)}
CHAIN = 5  # destination options headers in a row

IPV6 = [
    ("one byte", Raw(b"\x60"), {MALFORMED: 1}, None),
    ("39 bytes", cut(echo6(), 39), {MALFORMED: 1}, None),
    ("version 7", patched(echo6(), 0, 0x70), {MALFORMED: 1}, None),
    ("length past the end", echo6(plen=500), {MALFORMED: 1}, None),
    ("padding behind it", Raw(bytes(echo6()) + b"padding"), {}, echo_reply),
    ("hop limit of 0", echo6(hlim=0), {}, echo_reply),
    ("flow label and class", echo6(fl=0xfffff, tc=0xff), {}, echo_reply),
    # Upper layers
    ("icmp empty", raw6(58, b""), {MALFORMED: 1}, None),
    ("icmp cut off", raw6(58, b"\x80\0\0"), {MALFORMED: 1}, None),
    ("icmp checksum", ip6() / ICMPv6EchoRequest(cksum=0x1234), {CHECKSUM: 1}, None),
    ("udp cut off", raw6(17, b"\0\x07\0\x09\0\x08\0"), {MALFORMED: 1}, None),
    ("udp checksum", ip6() / UDP(dport=9, chksum=0x1234) / Raw(DATA), {CHECKSUM: 1}, None),
    ("udp without checksum", raw6(17, b"\x1b\x58\0\x09\0\x0c\0\0abcd"), {CHECKSUM: 1}, None),
    ("udp length past the end", ip6() / UDP(dport=9, len=500) / Raw(DATA), {MALFORMED: 1}, None),
    ("tcp checksum", tcp6(chksum=0x1234), {CHECKSUM: 1}, None),
    ("tcp header of 4 words", tcp6(dataofs=4), {MALFORMED: 1}, None),
    ("tcp syn", tcp6(flags="S"), {}, reset(0, 1001)),
    ("tcp ack", tcp6(flags="A"), {}, reset(2000, None)),
    ("tcp reset", tcp6(flags="R"), {UNWANTED: 1}, None),
    ("no next header", raw6(59, DATA), {UNWANTED: 1}, None),
    ("unknown next header", raw6(253, DATA), {}, problem6(1, 6)),
    ("unknown next header, long", raw6(253, bytes(1400)), {}, problem6(1, 6)),
    # Nothing is answered to errors (RFC 4443 section 2.4 (e))
    ("echo reply", ip6() / ICMPv6EchoReply(), {UNWANTED: 1}, None),
    ("destination unreachable", ip6() / ICMPv6DestUnreach(code=4) / udp6(src=PEER[6], dst=ME[6]),
     {"drop_notice": 1}, None),
    ("time exceeded", ip6() / ICMPv6TimeExceeded() / udp6(src=PEER[6], dst=ME[6]), {UNWANTED: 1}, None),
    ("unknown icmp type", ip6() / unknown_icmp6(200), {UNWANTED: 1}, None),
    ("unknown icmp error", ip6() / unknown_icmp6(99), {UNWANTED: 1}, None),
    # Sources and destinations
    *[(f"from {source}", udp6(src=source), {SOURCE: 1}, None)
      for source in ("ff02::1", "::", "::1", PEER[6])],
    *[(f"echo from {source}", echo6(src=source), {SOURCE: 1}, None)
      for source in ("ff02::1", "::", "::1", PEER[6])],
    ("udp to all nodes", udp6(dst="ff02::1"), {SILENT: 1}, None),
    ("syn to all nodes", ip6(dst="ff02::1") / TCP(flags="S"), {SILENT: 1}, None),
    ("unknown next header to all nodes", raw6(253, DATA, dst="ff02::1"), {SILENT: 1}, None),
    ("to another", echo6(dst="fd00::3"), {"drop_not_ours": 1}, None),
    ("to loopback", echo6(dst="::1"), {"drop_not_ours": 1}, None),
    # Extension headers
    ("option to skip", raw6(0, OPTION[0x3e] + ICMP6), {}, echo_reply),
    ("option to drop", raw6(0, OPTION[0x7e] + ICMP6), {"drop_protocol": 1}, None),
    ("option to report", raw6(0, OPTION[0xbe] + ICMP6), {}, problem6(2, 42)),
    ("option to report of all", raw6(0, OPTION[0xbe] + ICMP6, dst="ff02::1"), {}, problem6(2, 42)),
    ("option to report of one", raw6(0, OPTION[0xfe] + ICMP6), {}, problem6(2, 42)),
    ("option not to report of all", raw6(0, OPTION[0xfe] + ICMP6, dst="ff02::1"), {SILENT: 1}, None),
    ("destination option to report", raw6(60, OPTION[0xbe] + ICMP6), {}, problem6(2, 42)),
    ("option past the end", raw6(0, bytes([58, 0, 0x3e, 200, 0, 0, 0, 0]) + ICMP6), {MALFORMED: 1}, None),
    ("padding of all kinds", raw6(0, bytes([58, 1, 0, 0, 1, 0, 1, 8] + [0] * 8) + ICMP6), {}, echo_reply),
    ("header past the end", raw6(0, bytes([58, 200, 1, 4, 0, 0, 0, 0]) + ICMP6), {MALFORMED: 1}, None),
    ("header cut off", raw6(60, b"\x3a\0\x01"), {MALFORMED: 1}, None),
    ("jumbo payload", ip6(nh=0, plen=0) / Raw(bytes([58, 0, 0xc2, 4, 0, 1, 0, 0]) + ICMP6),
     {MALFORMED: 1}, None),
    ("jumbo payload with a length", raw6(0, bytes([58, 0, 0xc2, 4, 0, 1, 0, 0]) + ICMP6), {},
     problem6(2, 42)),
    ("chain of headers", raw6(60, (bytes([60, 0, 1, 4, 0, 0, 0, 0]) * (CHAIN - 1)) +
                              bytes([58, 0, 1, 4, 0, 0, 0, 0]) + ICMP6), {}, echo_reply),
    ("hop-by-hop not first", raw6(60, bytes([0, 0, 1, 4, 0, 0, 0, 0]) + OPTION[0x3e] + ICMP6), {},
     problem6(1, 40)),
    ("routing header, none left", raw6(43, bytes([58, 0, 0, 0, 0, 0, 0, 0]) + ICMP6), {}, echo_reply),
    ("routing header type 0", raw6(43, bytes([58, 2, 0, 1, 0, 0, 0, 0]) + bytes(16) + ICMP6), {},
     problem6(0, 42)),
    ("routing header unknown", raw6(43, bytes([58, 0, 250, 3, 0, 0, 0, 0]) + ICMP6), {},
     problem6(0, 42)),
    # Fragments
    ("atomic fragment", pieces6((0, 56)), {}, echo_reply),
    ("tiny fragments", pieces6(*[(x, x + 8) for x in range(0, 56, 8)]), {}, echo_reply),
    ("fragments backwards", pieces6(*[(x, x + 8) for x in range(48, -1, -8)]), {}, echo_reply),
    ("fragments overlap", pieces6((0, 32), (24, 56)), {OVERLAP: 2}, None),
    ("fragment within another", pieces6((0, 40), (16, 24), (40, 56)), {OVERLAP: 3}, None),
    ("fragment past 65535", ip6() / IPv6ExtHdrFragment(nh=17, offset=8189, m=0) / Raw(bytes(100)),
     {}, problem6(0, 42)),
    ("fragment not of eights", ip6() / IPv6ExtHdrFragment(nh=17, m=1) / Raw(bytes(20)), {},
     problem6(0, 4)),
    # These may be of an error, so no error answers them.
    ("fragment of icmp past 65535", ip6() / IPv6ExtHdrFragment(nh=58, offset=8189, m=0) /
     Raw(bytes(100)), {SILENT: 1}, None),
    ("fragment of an error not of eights", ip6() / IPv6ExtHdrFragment(nh=58, m=1) /
     Raw(bytes([1] + [0] * 19)), {SILENT: 1}, None),
    ("fragment of an echo not of eights", ip6() / IPv6ExtHdrFragment(nh=58, m=1) /
     Raw(bytes([128] + [0] * 19)), {}, problem6(0, 4)),
    ("fragment header cut off", raw6(44, b"\x3a\0\0\0"), {MALFORMED: 1}, None),
    ("udp in fragments", pieces6((0, 24), (24, 56), data=bytes(udp6())[40:], header=17), {},
     port_unreachable6),
    ("first fragment without the whole chain",  # RFC 7112 section 5
     pieces6((0, 8), (8, 64), data=bytes([58, 1, 1, 12] + [0] * 12) + ICMP6[:48], header=60), {},
     problem6(3, 0)),
]
BROADCAST = "ff:ff:ff:ff:ff:ff"
NOT_OURS, PROTOCOL = "drop_not_ours", "drop_protocol"


def who_has(target=PEER[4], sender=MAC, **fields):
    return ARP(**{"op": 1, "hwsrc": sender, "psrc": ME[4], "hwdst": "00:00:00:00:00:00",
                  "pdst": target, **fields})


def arp_reply(answer):
    assert ARP in answer and answer[ARP].op == 2, answer.summary()
    assert (answer[ARP].psrc, answer[ARP].hwdst) == (PEER[4], MAC), answer.show(dump=True)
    assert answer[ARP].hwsrc == answer.src, answer.show(dump=True)
    assert answer.dst == MAC, answer.dst


def in_vlan(answer):
    """Whoever asks in a VLAN is answered in it."""
    assert Dot1Q in answer and answer[Dot1Q].vlan == 7, answer.summary()
    echo_reply(answer)


# What follows is a function of the host's MAC, since frames need it.
ETHERNET = [
    ("type and nothing else", lambda mac: Ether(src=MAC, dst=mac, type=0x0800), {MALFORMED: 1}, None),
    ("to another mac", lambda mac: Ether(src=MAC, dst="02:00:00:00:00:99") / echo4(), {NOT_OURS: 1},
     None),
    ("from a group", lambda mac: Ether(src="03:00:00:00:00:77", dst=mac) / echo4(), {SOURCE: 1}, None),
    ("unknown type", lambda mac: Ether(src=MAC, dst=mac, type=0x88b5) / Raw(DATA), {PROTOCOL: 1}, None),
    ("802.3 length", lambda mac: Ether(src=MAC, dst=mac, type=48) / Raw(DATA), {PROTOCOL: 1}, None),
    ("ipv6 in an ipv4 frame", lambda mac: Ether(src=MAC, dst=mac, type=0x0800) / echo6(),
     {MALFORMED: 1}, None),
    ("vlan", lambda mac: Ether(src=MAC, dst=mac) / Dot1Q(vlan=7) / echo4(), {}, in_vlan),
    ("vlan cut off", lambda mac: Ether(src=MAC, dst=mac, type=0x8100) / Raw(b"\0"), None, None),
    ("udp to one in a frame to all", lambda mac: Ether(src=MAC, dst=BROADCAST) / udp4(), {SILENT: 1},
     None),
    ("arp to all", lambda mac: Ether(src=MAC, dst=BROADCAST) / who_has(), {}, arp_reply),
    ("arp to one", lambda mac: Ether(src=MAC, dst=mac) / who_has(), {}, arp_reply),
    ("arp padded", lambda mac: Ether(src=MAC, dst=BROADCAST) / who_has() / Raw(bytes(18)), {}, arp_reply),
    ("arp cut off", lambda mac: cut(Ether(src=MAC, dst=BROADCAST) / who_has(), 14 + 27),
     {MALFORMED: 1}, None),
    ("arp of another hardware", lambda mac: Ether(src=MAC, dst=BROADCAST) / who_has(hwtype=6),
     {MALFORMED: 1}, None),
    ("arp of long addresses", lambda mac: Ether(src=MAC, dst=BROADCAST, type=0x0806) / Raw(
        bytes.fromhex("0001080010100001") + bytes(64)), {MALFORMED: 1}, None),
    ("arp of another operation", lambda mac: Ether(src=MAC, dst=BROADCAST) / who_has(op=9),
     {UNWANTED: 1}, None),
    ("arp reply", lambda mac: Ether(src=MAC, dst=mac) / who_has(op=2), {UNWANTED: 1}, None),
    ("arp for another", lambda mac: Ether(src=MAC, dst=BROADCAST) / who_has("10.0.0.3"), {NOT_OURS: 1},
     None),
    ("arp from a group", lambda mac: Ether(src=MAC, dst=BROADCAST) / who_has(sender="01:00:5e:00:00:01"),
     {SOURCE: 1}, None),
    ("arp from all", lambda mac: Ether(src=MAC, dst=BROADCAST) / who_has(sender=BROADCAST),
     {SOURCE: 1}, None),
]


GROUP = "ff02::1:ff00:2"
GROUP_MAC = "33:33:ff:00:00:02"


def solicitation(target=PEER[6], options=None, source=ME[6], to=GROUP, hops=255, **fields):
    if options is None:
        options = ICMPv6NDOptSrcLLAddr(lladdr=MAC)
    return Ether(src=MAC, dst=GROUP_MAC) / IPv6(src=source, dst=to, hlim=hops) / ICMPv6ND_NS(
        tgt=target, **fields) / options


def advertisement(answer):
    assert ICMPv6ND_NA in answer, answer.summary()
    assert answer[ICMPv6ND_NA].tgt == PEER[6], answer[ICMPv6ND_NA].tgt
    assert answer[ICMPv6ND_NA].R == 0, "says that it is a router"
    assert answer[IPv6].hlim == 255, answer[IPv6].hlim
    assert answer[ICMPv6NDOptDstLLAddr].lladdr == answer.src, answer.show(dump=True)


def solicited(answer):
    advertisement(answer)
    assert answer[ICMPv6ND_NA].S == 1 and answer[IPv6].dst == ME[6], answer.show(dump=True)


# RFC 4861 section 7.1
NEIGHBOUR = [
    ("solicitation", solicitation(), {}, solicited),
    ("solicitation to one", solicitation(to=PEER[6]), {}, solicited),
    ("unknown option", solicitation(options=Raw(b"\xfd\x01" + bytes(6))), {}, solicited),
    ("hop limit of 254", solicitation(hops=254), {MALFORMED: 1}, None),
    ("code", solicitation(code=1), {MALFORMED: 1}, None),
    ("checksum", solicitation(cksum=0x1234), {CHECKSUM: 1}, None),
    ("option of length 0", solicitation(options=Raw(b"\x01\0" + bytes(6))), {MALFORMED: 1}, None),
    ("option past the end", solicitation(options=Raw(b"\x01\x02" + bytes(6))), {MALFORMED: 1}, None),
    ("option cut off", solicitation(options=Raw(b"\x01")), {MALFORMED: 1}, None),
    ("group as target", solicitation(target="ff02::1"), {MALFORMED: 1}, None),
    ("probe with an option", solicitation(source="::"), {MALFORMED: 1}, None),
    ("probe to one", solicitation(source="::", to=PEER[6], options=Raw(b"")), {MALFORMED: 1}, None),
    ("for another", solicitation(target="fd00::1:0:2"), {NOT_OURS: 1}, None),
    ("cut off", Ether(src=MAC, dst=GROUP_MAC) / raw6(58, bytes(ICMPv6ND_NS(tgt=PEER[6]))[:20],
                                                      dst=GROUP, hlim=255), None, None),
    ("router solicitation", Ether(src=MAC, dst="33:33:00:00:00:02") / ip6(dst="ff02::2", hlim=255) /
     ICMPv6ND_RS(), None, None),
    ("router advertisement", Ether(src=MAC, dst="33:33:00:00:00:01") /
     ip6(src="fe80::77", dst="ff02::1", hlim=255) / ICMPv6ND_RA(), {UNWANTED: 1}, None),
    ("advertisement of another", Ether(src=MAC, dst="33:33:00:00:00:01") /
     ip6(dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt=ME[6]) / ICMPv6NDOptDstLLAddr(lladdr=MAC),
     {UNWANTED: 1}, None),
]


def check(netns, host, stranger, case):
    name, packets, counters, answer = case
    packets = packets if isinstance(packets, list) else [packets]
    answers = stranger.exchange(*packets)
    shown = [x.summary() for x in answers]
    if answer is None:
        assert not answers, f"{name}: silence was due, but there came {shown}"
    else:
        assert len(answers) == 1, f"{name}: one answer was due, but there came {shown}"
        answer(answers[0])
    netns.ping(PEER[stranger.family], count=1)
    summary = host.stop()
    if counters is None:
        return
    got = drops(summary)
    if stranger.mac and stranger.family == 6:
        # The kernel reports its own groups (MLD) on a TAP, which are not for us.
        assert got.pop(NOT_OURS, 0) >= counters.get(NOT_OURS, 0), summary
        counters = {name: value for name, value in counters.items() if name != NOT_OURS}
    assert got == counters, (got, counters)


def cases(table):
    return pytest.mark.parametrize("case", table, ids=[case[0] for case in table])


@cases(IPV4)
def test_ipv4(netns, vnic, case):
    host = vnic.host(PREFIX[4], "--service", "none")
    check(netns, host, Stranger(netns, host, 4), case)


@cases(IPV6)
def test_ipv6(netns, vnic, case):
    host = vnic.host(PREFIX[6], "--service", "none")
    check(netns, host, Stranger(netns, host, 6), case)


@cases([case for case in IPV4 if case[0] in ("19 bytes", "header checksum", "option of length 0",
                                             "fragments overlap", "land", "tiny fragments")])
def test_ipv4_on_ethernet(netns, vnic, case):
    host = vnic.host(PREFIX[4], "--tap", "--service", "none")
    check(netns, host, Stranger(netns, host, 4), case)


@cases(ETHERNET)
def test_ethernet(netns, vnic, case):
    host = vnic.host(PREFIX[4], "--tap", "--service", "none")
    stranger = Stranger(netns, host, 4)
    name, packet, counters, answer = case
    wire = Ether(bytes(packet(stranger.mac))) if name != "type and nothing else" else packet(stranger.mac)
    check(netns, host, stranger, (name, wire, counters, answer))


@cases(NEIGHBOUR)
def test_neighbour(netns, vnic, case):
    host = vnic.host(PREFIX[6], "--tap", "--service", "none")
    check(netns, host, Stranger(netns, host, 6), case)


def test_neighbour_probe(netns, vnic):
    """RFC 4861 section 7.2.4: who probes has no address yet, so all are told."""
    host = vnic.host(PREFIX[6], "--tap", "--service", "none")
    stranger = Stranger(netns, host, 6)
    stranger.wait_settled()
    stranger.wire.send(solicitation(source="::", options=Raw(b"")))
    answer = stranger.wire.receive_until(lambda p: ICMPv6ND_NA in p)[-1]
    advertisement(answer)
    assert answer[ICMPv6ND_NA].S == 0 and answer[IPv6].dst == "ff02::1", answer.show(dump=True)
    assert not stranger.exchange()
    assert not drops(host.stop()).keys() - {NOT_OURS}


def test_port_unreachable_quotes_what_it_is_about(netns, vnic):
    """The IP header and at least 8 bytes, unchanged: else no socket can be told."""
    host = vnic.host(PREFIX[4], PREFIX[6], "--service", "none")
    sent = udp4(id=77, ttl=9)
    answer, = Stranger(netns, host, 4).exchange(sent)
    quoted = bytes(answer[ICMP].payload)
    assert quoted[:28] == bytes(sent)[:28], (quoted[:28].hex(), bytes(sent)[:28].hex())
    sent = udp6(hlim=9)
    answer, = Stranger(netns, host, 6).exchange(sent)
    quoted = bytes(answer[ICMPv6DestUnreach].payload)
    assert quoted[:48] == bytes(sent)[:48], (quoted[:48].hex(), bytes(sent)[:48].hex())


def test_checksums_of_answers(netns, vnic):
    """Scapy computes each anew and must come to the same. (The kernel does for ping.)"""
    host = vnic.host(PREFIX[4], PREFIX[6], "--service", "none")
    exchanges = {4: [udp4(), echo4(), tcp4(flags="S"), ip4(proto=253) / Raw(DATA)],
                 6: [udp6(), echo6(), tcp6(flags="S"), raw6(253, DATA)]}
    for family, packets in exchanges.items():
        stranger = Stranger(netns, host, family)
        for packet in packets:
            answer, = stranger.exchange(packet)
            again = answer.copy()
            if family == 4:
                del again[IP].chksum
            upper = again[IPv6 if family == 6 else IP].payload
            upper.delfieldval("cksum" if "cksum" in upper.fields else "chksum")
            assert bytes(again) == bytes(answer), (again.show2(dump=True), answer.show(dump=True))


def bursts(chance, packets):
    """Packets in random number, with a seed that the caller prints."""
    while packets > 0:
        number = min(packets, chance.randrange(1, 65))
        yield number
        packets -= number


def mutate(chance, data):
    data = bytearray(data)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(data))
        how = chance.randrange(4)
        if how == 0:
            data[at] = chance.choice((0, 1, 0x7f, 0x80, 0xff))
        elif how == 1:
            data[at] ^= 1 << chance.randrange(8)
        elif how == 2 and at:
            del data[at:]
        else:
            data[at:at] = bytes([chance.randrange(256)]) * chance.randrange(1, 40)
    return bytes(data[:1500]).ljust(14, b"\0")  # less than a header the kernel sends to no TAP


def survives(netns, host, stranger, make):
    """Sends random packets in bursts; after each the host still answers."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    for number in bursts(chance, 300 if SANITIZER else 1500):
        for _ in range(number):
            stranger.wire.send(make(chance))
        stranger.exchange()
    netns.ping(PEER[stranger.family], "-s", 3000, count=2)
    assert count(host.stop(), "echo_replies") > 0


KINDS = {"tun": [], "tap": ["--tap"]}
kinds = pytest.mark.parametrize("kind", KINDS)
families = pytest.mark.parametrize("family", [4, 6])


@kinds
@families
def test_random_bytes(netns, vnic, kind, family):
    host = vnic.host(PREFIX[family], *KINDS[kind], "--service", "none")
    stranger = Stranger(netns, host, family)
    head = bytes(stranger.frame(Raw(b"")))[:14] if kind == "tap" else b""
    first = b"\x45" if family == 4 else b"\x60"
    survives(netns, host, stranger,
             lambda chance: head + (first if chance.random() < 0.8 else b"") +
             chance.randbytes(chance.randrange(1, 200)))


@kinds
@families
def test_mutated_packets(netns, vnic, kind, family):
    host = vnic.host(PREFIX[family], *KINDS[kind], "--service", "none")
    stranger = Stranger(netns, host, family)
    seeds = []
    for _, packets, _, _ in (IPV4 if family == 4 else IPV6):
        for packet in packets if isinstance(packets, list) else [packets]:
            seeds.append(bytes(stranger.frame(packet)))
    if kind == "tap" and family == 6:
        seeds += [bytes(case[1]) for case in NEIGHBOUR]
    survives(netns, host, stranger, lambda chance: mutate(chance, chance.choice(seeds)))
