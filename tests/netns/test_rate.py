# SPDX-License-Identifier: MIT
"""Errors are limited in rate (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 (f)); echo is not."""

import time

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6ParamProblem, IPv6
from scapy.packet import Raw

from namespace import SANITIZER, count
from stranger import ME, PEER, PREFIX, Stranger, drops

BURST, PER_SECOND = 50, 1000  # the defaults of vnic/stack.h
PACKETS = 3000 if not SANITIZER else 1000

QUESTIONS = {
    "udp4": (4, IP(src=ME[4], dst=PEER[4]) / UDP(dport=9), lambda p: ICMP in p and p[ICMP].type == 3),
    "udp6": (6, IPv6(src=ME[6], dst=PEER[6]) / UDP(dport=9), lambda p: ICMPv6DestUnreach in p),
    "tcp4": (4, IP(src=ME[4], dst=PEER[4]) / TCP(dport=80, flags="S"), lambda p: TCP in p),
    "protocol4": (4, IP(src=ME[4], dst=PEER[4], proto=253) / Raw(b"x"),
                  lambda p: ICMP in p and p[ICMP].type == 3),
    "protocol6": (6, IPv6(src=ME[6], dst=PEER[6], nh=253) / Raw(b"x"), lambda p: ICMPv6ParamProblem in p),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_errors(netns, vnic, question):
    family, packet, is_answer = QUESTIONS[question]
    host = vnic.host(PREFIX[family], "--service", "none")
    stranger = Stranger(netns, host, family)
    data = bytes(packet)
    answers = 0
    begin = time.monotonic()
    for _ in range(PACKETS // 100):  # in pieces, so that no queue overflows
        for _ in range(100):
            stranger.wire.send(data)
        answers += sum(map(is_answer, stranger.exchange()))
    seconds = time.monotonic() - begin
    most = BURST + PER_SECOND * seconds * 1.05 + 5
    print(f"{answers} answers to {PACKETS} packets in {seconds:.3f} s; at most {most:.0f}")
    assert BURST <= answers <= most, (answers, most)
    assert answers < PACKETS, "too slow a sender to see a limit"
    summary = host.stop()
    assert drops(summary) == {"drop_error_rate": PACKETS - answers}, (drops(summary), answers)


def test_limit_recovers(netns, vnic):
    """After the bucket was emptied it fills again: what is refused is told again."""
    host = vnic.host(PREFIX[4], "--service", "none")
    stranger = Stranger(netns, host, 4)
    packet = QUESTIONS["udp4"][1]
    stranger.exchange(*[packet] * 500)
    deadline = time.monotonic() + 5
    while not stranger.exchange(packet):  # one token takes a millisecond
        assert time.monotonic() < deadline, "no error was sent for 5 s"


def test_echo_is_not_limited(netns, vnic):
    """Not even while errors are."""
    host = vnic.host(PREFIX[4], "--service", "none")
    stranger = Stranger(netns, host, 4)
    stranger.exchange(*[QUESTIONS["udp4"][1]] * 500)
    netns.ping(PEER[4], "-f", count=500)
    assert count(host.stop(), "echo_replies") >= 500
