# SPDX-License-Identifier: MIT
"""`vnic wire` between two interfaces, each in a namespace of its own:

    near: a 10.0.0.1/24 fd00::1/64 <-- vnic wire --> b 10.0.0.2/24 fd00::2/64 :far

The tool runs in near, and names far by the number of the process that holds it."""

import contextlib
import hashlib
import json
import os
import pty
import random
import signal
import socket
import threading

import pytest

from namespace import FACTOR, NOBODY, SANITIZER, wait_until
from test_resources import measure_idle, status

KINDS = ["tun", "tap"]
kinds = pytest.mark.parametrize("kind", KINDS)
FORWARD, BACKWARD = 0, 1
UDP_SEGMENT = 103


@pytest.fixture
def far(spare):
    """The namespace at the other end."""
    return spare()


class Wired:
    def __init__(self, vnic, near, far, kind, *options, **more):
        self.near, self.far, self.kind = near, far, kind
        self.tool = vnic.start("wire", f"{kind}:a,10.0.0.1/24,fd00::1/64",
                               f"{kind}:b@{far.pid},10.0.0.2/24,fd00::2/64", *options, **more)
        if more.get("ready", True):
            self.wait_for_addresses()

    def wait_for_addresses(self):
        """The kernel takes a new IPv6 address for its own a moment later."""
        for space in (self.near, self.far):
            wait_until(lambda: not any("tentative" in x for y in space.json(["ip", "-j", "addr"])
                                       for x in y.get("addr_info", [])), "no tentative address")

    def events(self, change):
        return [x for x in self.tool.events() if x.get("event") == "port" and x["change"] == change]

    def wait_event(self, change, number=1):
        wait_until(lambda: len(self.events(change)) >= number, lambda: f"{change}\n{self.tool}")

    def counters(self):
        """As they are at the moment."""
        return counters(self.tool)

    def stop(self, status=0):
        summary = self.tool.stop(status=status)
        conserved(summary)
        return summary


def counters(tool):
    """What a wire that runs has counted by now, and not before this call: `ports` and all."""
    def told():
        return [x for x in tool.events() if x["event"] == "counters"]

    before = len(told())
    tool.signal(signal.SIGUSR1)
    wait_until(lambda: len(told()) > before, lambda: f"no counters\n{tool}")
    return told()[-1]


def drops(port, towards):
    """Of packets towards the port, or from it."""
    names = ["drop_down", "drop_no_peer", "drop_full", "drop_too_long", "drop_refused"] if towards else \
        ["drop_malformed", "drop_truncated", "drop_stranger", "drop_overflow"]
    return sum(port[x] for x in names)


def conserved(summary):
    """packets in = packets out + named drops, in both directions."""
    for direction, (source, sink) in enumerate((summary["ports"], summary["ports"][::-1])):
        impaired = summary.get(["impair_forward", "impair_backward"][direction], {})
        lost = sum(v for k, v in impaired.items() if k.startswith("drop_"))
        came = source["in_packets"] + impaired.get("duplicated", 0) + sink["answered"]
        went = sink["out_packets"] + drops(sink, True) + drops(source, False) + lost
        assert came == went, (direction, summary)
    for port in summary["ports"]:
        for name, value in port.items():
            if name not in ("name", "queues", "interface"):
                assert value == sum(queue[name] for queue in port["queues"]), (name, port)


def listen(space, family, kind, address):
    server = space.socket(family, kind)
    if kind == socket.SOCK_DGRAM:
        server.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
    server.bind((address, 0))
    server.settimeout(20 * FACTOR)
    return server


def send_stream(sink_space, source_space, address, size, seed):
    """TCP from the one to the other: what came, must be what was sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    data = random.Random(seed).randbytes(1 << 20)
    got = hashlib.sha256()
    errors = []

    def receive():
        try:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(20 * FACTOR)
                while block := connection.recv(1 << 18):
                    got.update(block)
        except OSError as error:
            errors.append(error)

    with listen(sink_space, family, socket.SOCK_STREAM, address) as server:
        server.listen(1)
        thread = threading.Thread(target=receive)
        thread.start()
        sent = hashlib.sha256()
        with source_space.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(20 * FACTOR)
            client.connect(server.getsockname()[:2])
            for _ in range(size >> 20):
                client.sendall(data)
                sent.update(data)
        thread.join()
    assert not errors, errors
    assert got.digest() == sent.digest()


@kinds
@pytest.mark.parametrize("mtu", [1280, 1500, 65520])
def test_ping(netns, vnic, far, kind, mtu):
    wire = Wired(vnic, netns, far, kind, "--mtu", mtu)
    for space, peer in ((netns, "10.0.0.2"), (netns, "fd00::2"), (far, "10.0.0.1"), (far, "fd00::1")):
        space.ping(peer)
        space.ping(peer, "-s", mtu - 28 if "." in peer else mtu - 48, "-M", "do")
        space.ping(peer, "-s", 20000)
    netns.ping("10.0.0.2", "-f", count=500)
    summary = wire.stop()
    assert not any(drops(x, y) for x in summary["ports"] for y in (True, False)), summary
    assert netns.links() == far.links() == set()


@kinds
@pytest.mark.parametrize("mtu", [1500, 65520])
@pytest.mark.parametrize("offload", ["on", "off", "csum", "csum,tso6"])
def test_streams(netns, vnic, far, kind, mtu, offload):
    """Both directions at once, both families, and not a byte is wrong."""
    size = (4 if SANITIZER else 16) << 20
    wire = Wired(vnic, netns, far, kind, "--mtu", mtu, "--offload", offload)
    errors = []

    def run(*arguments):
        try:
            send_stream(*arguments)
        except BaseException as error:  # pylint: disable=broad-except
            errors.append(error)

    threads = [threading.Thread(target=run, args=x) for x in (
        (far, netns, "10.0.0.2", size, 1), (netns, far, "10.0.0.1", size, 2),
        (far, netns, "fd00::2", size, 3), (netns, far, "fd00::1", size, 4))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    summary = wire.stop()
    for port in summary["ports"]:
        assert port["in_bytes"] > size and port["out_bytes"] > size, summary
        if offload == "on":
            assert port["in_superpackets"] > 0 and port["out_superpackets"] > 0, summary
        if offload in ("off", "csum"):
            assert port["in_superpackets"] == port["out_superpackets"] == 0, summary


@pytest.mark.parametrize("pair", [("on", "off"), ("off", "on")], ids="-".join)
def test_interfaces_that_differ(netns, vnic, far, pair):
    """One interface with offloads and one that was made without: super-packets are cut on the way there, and
    merged on the way back."""
    made = [netns, far][pair.index("off")]
    # No vnet header: the program that made it never asked for one.
    name = ["a", "b"][pair.index("off")]
    made.run(["ip", "tuntap", "add", "mode", "tun", "name", name])
    if made is netns:
        vnic.expected.add(name)
    wire = Wired(vnic, netns, far, "tun")
    send_stream(far, netns, "10.0.0.2", 8 << 20, 1)
    send_stream(netns, far, "10.0.0.1", 8 << 20, 2)
    wire.stop()
    assert made.links() == {name}


@kinds
@pytest.mark.parametrize("segmented", [False, True], ids=["plain", "gso"])
def test_datagrams(netns, vnic, far, kind, segmented):
    """Numbered datagrams, of which every one comes, once, in order, unchanged."""
    wire = Wired(vnic, netns, far, kind)
    for sink_space, source_space, address in ((far, netns, "10.0.0.2"), (netns, far, "fd00::1")):
        source_space.ping(address, count=1)  # while a TAP looks for its neighbour the kernel keeps few
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with listen(sink_space, family, socket.SOCK_DGRAM, address) as sink, \
                source_space.socket(family, socket.SOCK_DGRAM) as source:
            source.connect(sink.getsockname()[:2])
            for first in range(0, 400, 40):
                data = [i.to_bytes(4, "big") * 300 for i in range(first, first + 40)]
                if segmented:
                    source.sendmsg([b"".join(data)], [(socket.IPPROTO_UDP, UDP_SEGMENT,
                                                       (1200).to_bytes(2, "little"))])
                else:
                    for datagram in data:
                        source.send(datagram)
                for datagram in data:
                    assert sink.recv(2000) == datagram
    summary = wire.stop()
    supers = [x["in_superpackets"] for x in summary["ports"]]
    offloads = wire.tool.ready["ports"][0]["offloads"]
    assert min(supers) >= 10 or not segmented or "uso" not in offloads, (supers, offloads)


def iperf3(source_space, sink_space, address, *options):
    server = sink_space.start(["iperf3", "-s", "-1", "--forceflush"])
    assert server.stdout.wait("Server listening", 10), server
    report = json.loads(source_space.run(["iperf3", "-J", "-c", address, *options], seconds=60).stdout)
    assert "error" not in report, report
    server.wait()
    return report["end"]


def udp6_overflows(space):
    fields = dict(line.split() for line in space.run(["cat", "/proc/net/snmp6"]).stdout.splitlines())
    return int(fields["Udp6RcvbufErrors"])


@kinds
@pytest.mark.parametrize("reverse", [[], ["-R"]], ids=["there", "back"])
def test_iperf3(netns, vnic, far, kind, reverse):
    wire = Wired(vnic, netns, far, kind)
    end = iperf3(netns, far, "10.0.0.2", "-n", "64M", *reverse)
    assert end["sum_received"]["bytes"] >= 60 << 20, end
    end = iperf3(netns, far, "fd00::2", "-u", "-b", "50M", "-n", "4M", "-l", "1200", *reverse)
    summary = wire.stop()
    # A busy machine overflows the receiver's buffer and the queues of interfaces: the kernel counts that.
    elsewhere = udp6_overflows(netns) + udp6_overflows(far) + sum(
        port["interface"]["tx_dropped"] for port in summary["ports"])
    lost = end["sum"]["lost_packets"]
    assert end["sum"]["packets"] > 3000 and lost <= elsewhere, (elsewhere, end)


@pytest.mark.threads
@kinds
def test_queues(netns, vnic, far, kind):
    """Four queues, eight flows: each flow stays in order, and each queue's traffic on its queue."""
    wire = Wired(vnic, netns, far, kind, "--queues", 4, "--pin")
    end = iperf3(netns, far, "10.0.0.2", "-P", "8", "-n", "4M" if SANITIZER else "64M")
    assert end["sum_received"]["bytes"] > 0, end
    assert end["sum_sent"]["retransmits"] < 2000, end
    summary = wire.stop()
    used = [[x["in_packets"] for x in port["queues"]] for port in summary["ports"]]
    assert all(len(x) == 4 for x in used) and sum(x > 0 for x in used[0]) > 1, used
    for queue in range(4):
        one, other = (port["queues"][queue] for port in summary["ports"])
        assert one["in_packets"] == other["out_packets"] + drops(other, True) + drops(one, False), summary
        assert other["in_packets"] == one["out_packets"] + drops(one, True) + drops(other, False), summary


def packets_of(kind):
    from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
    from scapy.layers.l2 import ARP, Dot1Q, Ether
    four, six = IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fd00::1", dst="fd00::2")
    packets = [
        four / ICMP() / b"x", four / UDP(sport=1, dport=2) / b"", four / TCP(flags="FPU") / (b"y" * 1400),
        IP(src="10.0.0.1", dst="10.0.0.2", options=[IPOption_NOP()] * 4) / UDP() / b"z",
        IP(src="1.2.3.4", dst="5.6.7.8", proto=253) / (b"q" * 1480),
        IP(src="10.0.0.1", dst="10.0.0.2", flags="MF", frag=3) / (b"f" * 64),
        four / UDP(chksum=0x1234) / b"wrong checksum", IP(src="10.0.0.1", dst="10.0.0.2", ttl=1) / b"",
        six / UDP() / (b"u" * 1452), six / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP() / b"h",
        six / IPv6ExtHdrFragment(offset=1, m=1) / (b"g" * 16),
    ]
    if kind == "tun":
        return packets
    frame = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    return [frame / x for x in packets] + [
        frame / ARP(), Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff", type=0x88b5) / (b"e" * 46),
        frame / Dot1Q(vlan=7, prio=3) / packets[0], frame / Dot1Q(vlan=7) / packets[4],
        Ether(dst="02:00:00:00:00:02", type=0x88b5) / b"s",
    ]


@kinds
def test_anything_passes_unchanged(netns, vnic, far, kind):
    wire = Wired(vnic, netns, far, kind)
    for sender, receiver in ((netns.wire("a"), far.wire("b")), (far.wire("b"), netns.wire("a"))):
        for packet in packets_of(kind):
            sender.send(packet)
            got = receiver.receive_until(lambda x, want=bytes(packet): bytes(x) == want)
            assert len(got) < 10
    wire.stop()


def test_interface_deleted(netns, vnic, far):
    wire = Wired(vnic, netns, far, "tun")
    far.run(["ip", "link", "delete", "dev", "b"])
    assert wire.tool.wait() == 1, wire.tool
    assert "gone" in wire.tool.stderr.text and "'tun:b@" in wire.tool.stderr.text, wire.tool
    errors = [x for x in wire.tool.events() if x["event"] == "error"]
    assert [x["cause"] for x in errors] == ["device-gone"]
    conserved(wire.tool.summary())
    assert netns.links() == set()


@pytest.mark.parametrize("queues", [1, 3])
def test_namespace_disappears(netns, vnic, queues):
    """The descriptors keep it alive where nobody finds it any more, so the wire ends. The end of another
    namespace is none of its business."""
    for name in ("blue", "red"):
        netns.run(["ip", "netns", "add", name])
    tool = vnic.start("wire", "tap:a", "tap:b@blue", "--queues", queues)
    netns.run(["ip", "netns", "delete", "red"])
    netns.run(["ip", "-n", "blue", "link", "set", "dev", "b", "down"])  # so that some time has passed
    wait_until(lambda: "link-down" in tool.stdout.text, "link-down")
    assert tool.running
    netns.run(["ip", "netns", "delete", "blue"])
    assert tool.wait() == 1, tool
    assert "the network namespace of 'tap:b@blue' was removed" in tool.stderr.text, tool
    conserved(tool.summary())
    assert netns.links() == set()


def test_interface_moves_away(netns, vnic, far, spare):
    """Into another namespace: it is not where it was, and the wire ends."""
    wire = Wired(vnic, netns, far, "tun")
    elsewhere = spare()
    far.run(["ip", "link", "set", "dev", "b", "netns", elsewhere.pid])
    assert wire.tool.wait() == 1, wire.tool
    assert elsewhere.links() == set()


@kinds
def test_interface_down(netns, vnic, far, kind):
    wire = Wired(vnic, netns, far, kind)
    netns.ping("10.0.0.2")
    if kind == "tap":  # or the kernel would ask for it again and again
        mac = far.link("b")["address"]
        netns.run(["ip", "neigh", "replace", "10.0.0.2", "lladdr", mac, "dev", "a"])
    far.run(["ip", "link", "set", "dev", "b", "down"])
    wire.wait_event("link-down")
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
        for _ in range(10):
            source.sendto(b"lost", ("10.0.0.2", 9))
    # It may not have read them yet.
    wait_until(lambda: wire.counters()["ports"][1]["drop_down"] >= 10, lambda: wire.counters())
    far.run(["ip", "link", "set", "dev", "b", "up"])
    wire.wait_event("link-up")
    netns.ping("10.0.0.2")
    summary = wire.stop()
    # A TAP may have said something of its own (MLD) meanwhile.
    assert summary["ports"][1]["drop_down"] >= 10, summary


def test_interface_renamed(netns, vnic, far):
    wire = Wired(vnic, netns, far, "tun")
    far.run(["ip", "link", "set", "dev", "b", "name", "renamed"])
    wire.wait_event("renamed")
    netns.ping("10.0.0.2")
    wire.stop()
    assert far.links() == set()


@kinds
def test_mtu_becomes_smaller(netns, vnic, far, kind):
    """What is too long for the other end is dropped and counted, its sender is told what passes, and it
    passes again later."""
    wire = Wired(vnic, netns, far, kind)
    netns.ping("10.0.0.2", "-M", "do", "-s", 1472)
    netns.ping("fd00::2", "-M", "do", "-s", 1452)
    far.run(["ip", "link", "set", "dev", "b", "mtu", 1400])

    def is_told(address, size):
        # ping prints it whether the wire or, once that knows, the kernel said so.
        done = netns.run(["ping", "-n", "-c1", "-W1", "-M", "do", "-s", size, address], check=False)
        return "1400" in done.stdout + done.stderr

    wait_until(lambda: is_told("10.0.0.2", 1472), "the sender is told, IPv4")
    wait_until(lambda: is_told("fd00::2", 1452), "the sender is told, IPv6")
    netns.ping("10.0.0.2", "-M", "do", "-s", 1372)
    netns.ping("fd00::2", "-M", "do", "-s", 1352)
    send_stream(far, netns, "10.0.0.2", 4 << 20, 1)
    far.run(["ip", "link", "set", "dev", "b", "mtu", 1500])
    netns.run(["ip", "-4", "route", "flush", "cache"])
    netns.run(["ip", "-6", "route", "flush", "cache"])

    def passes():
        return netns.run(["ping", "-n", "-c1", "-W1", "-M", "do", "-s", 1472, "10.0.0.2"], check=False).returncode == 0

    wait_until(passes, "a packet of 1500 bytes passes again")
    ports = wire.stop()["ports"]
    assert ports[1]["drop_too_long"] >= ports[0]["answered"] >= 2 and ports[1]["answered"] == 0, ports


def test_mtus_that_differ(netns, vnic, far):
    """Told at the start. A super-packet is as long as its segments are."""
    for space, name, mtu in ((netns, "a", 9000), (far, "b", 1500)):
        space.run(["ip", "tuntap", "add", "mode", "tun", "name", name, "vnet_hdr"])
        space.run(["ip", "link", "set", "dev", name, "mtu", mtu])
    vnic.expected.add("a")
    wire = Wired(vnic, netns, far, "tun")
    assert wire.tool.stderr.wait("'a' has an MTU of 9000 bytes and 'b' of 1500"), wire.tool
    send_stream(netns, far, "10.0.0.1", 4 << 20, 1)
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
        source.setsockopt(socket.IPPROTO_IP, 10, 3)  # IP_MTU_DISCOVER, PROBE: whatever it is told
        for size in (1472, 1473, 8000, 8000):
            source.sendto(b"d" * size, ("10.0.0.2", 9))
    netns.ping("10.0.0.2")
    summary = wire.stop()
    assert summary["ports"][1]["drop_too_long"] == 3, summary
    assert summary["ports"][0]["answered"] == 3, summary
    assert netns.links() == {"a"} and far.links() == {"b"}
    assert netns.link("a")["mtu"] == 9000


def test_queue_overflow_is_shown(netns, vnic, far):
    """While the wire cannot read, the kernel drops what its queue does not hold: next to our counters."""
    wire = Wired(vnic, netns, far, "tun")
    wire.tool.signal(signal.SIGSTOP)
    wait_until(lambda: open(f"/proc/{wire.tool.pid}/stat", encoding="ascii").read().split()[2] == "T",
               "it is stopped")
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
        for _ in range(1500):
            with contextlib.suppress(OSError):
                source.sendto(b"x", ("10.0.0.2", 9))
    wire.tool.signal(signal.SIGCONT)
    wait_until(lambda: wire.counters()["ports"][0]["in_packets"] >= 1000, lambda: wire.counters())
    netns.ping("10.0.0.2")
    port = wire.stop()["ports"][0]
    assert port["interface"]["tx_dropped"] >= 400 and port["in_packets"] >= 1000, port


def ping_some(wire, count):
    """Which of so many echo requests are answered, by their number. (ping itself may end before it saw the
    last reply.)"""
    from scapy.layers.inet import ICMP, IP

    def settled():
        now = wire.counters()
        there, back = (now[x]["drop_loss"] for x in ("impair_forward", "impair_backward"))
        return (there + now["ports"][1]["out_packets"] >= count
                and back + now["ports"][0]["out_packets"] >= count - there) and now

    with wire.near.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as source:
        for number in range(count):
            source.sendto(bytes(ICMP(id=7, seq=number) / b"some"), ("10.0.0.2", 0))
        wait_until(settled, lambda: wire.counters())
        source.setblocking(False)  # what the wire has sent is there
        answers = []
        with contextlib.suppress(BlockingIOError):
            while True:
                answers.append(IP(source.recv(2000))[ICMP].seq)
    return answers


def test_impair_loss_by_seed(netns, vnic, far):
    """The same seed loses the same pings, in both directions."""
    answers = []
    for seed in (7, 7, 8):
        wire = Wired(vnic, netns, far, "tun", "--impair", f"loss=20%,seed={seed}")
        answers.append(ping_some(wire, 100))
        summary = wire.stop()
        lost = [summary[x]["drop_loss"] for x in ("impair_forward", "impair_backward")]
        assert len(answers[-1]) == 100 - sum(lost) and min(lost) > 0, (answers, lost)
    assert answers[0] == answers[1] != answers[2]


def test_impair_one_way(netns, vnic, far):
    wire = Wired(vnic, netns, far, "tun", "--impair-backward", "duplicate=100%,delay=20ms,seed=3")
    done = netns.run(["ping", "-n", "-c", 5, "-i", "0.01", "10.0.0.2"])
    assert "+4 duplicates" in done.stdout or "+5 duplicates" in done.stdout, done.stdout
    least = float(done.stdout.split("min/avg/max/mdev = ")[1].split("/")[0])
    assert least >= 20, done.stdout
    summary = wire.stop()
    assert "impair_forward" not in summary and summary["impair_backward"]["duplicated"] >= 5, summary


def test_corruption_is_noticed(netns, vnic, far):
    """A wire corrupts what has its checksum, which the kernel left to us: nobody gets wrong bytes."""
    wire = Wired(vnic, netns, far, "tun", "--impair-forward", "corrupt=100%,seed=1")
    with listen(far, socket.AF_INET, socket.SOCK_DGRAM, "10.0.0.2") as server:
        with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
            for _ in range(200):
                source.sendto(b"x" * 1000, server.getsockname())
        wait_until(lambda: wire.counters()["ports"][1]["out_packets"] >= 200, lambda: wire.counters())
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # the checksum of each is wrong
            server.recv(2000)
    summary = wire.stop()
    assert summary["impair_forward"]["corrupted"] >= 200, summary
    assert summary["ports"][1]["out_packets"] >= 200, summary


def test_impaired_stream(netns, vnic, far):
    """TCP repairs what the wire does to it, corrupted segments included."""
    wire = Wired(vnic, netns, far, "tap", "--impair",
                 "loss=0.5%,delay=1ms,jitter=500us,reorder=1%,duplicate=1%,corrupt=0.5%,seed=5")
    send_stream(far, netns, "10.0.0.2", 4 << 20, 1)
    summary = wire.stop()
    counters = summary["impair_forward"]
    assert min(counters[x] for x in ("drop_loss", "reordered", "duplicated", "corrupted")) > 0, counters
    if "tso4" in wire.tool.ready["ports"][0]["offloads"]:
        assert summary["ports"][1]["out_superpackets"] > 0, summary  # merged again behind it


def test_impair_rate(netns, vnic, far):
    wire = Wired(vnic, netns, far, "tun", "--impair-forward", "rate=20mbit")
    end = iperf3(netns, far, "10.0.0.2", "-t", "2")
    assert end["sum_received"]["bits_per_second"] < 21e6, end
    assert end["sum_received"]["bits_per_second"] > 1e6 / FACTOR, end
    wire.stop()


def test_seed_is_chosen_and_told(netns, vnic, far):
    wire = Wired(vnic, netns, far, "tun", "--impair", "loss=1%")
    ready = wire.tool.ready
    assert ready["impair_forward"]["seed"] > 0 and ready["impair_backward"]["seed"] > 0, ready
    wire.stop()


def test_counters_meanwhile(netns, vnic, far):
    """They are those of the summary, and asking costs nobody anything."""
    wire = Wired(vnic, netns, far, "tun", "--impair-forward", "loss=1%,seed=1")
    before = wire.counters()
    netns.ping("10.0.0.2", count=2)
    for _ in range(20):
        wire.tool.signal(signal.SIGUSR1)
    now = wire.counters()
    for number in (0, 1):
        assert now["ports"][number]["in_packets"] >= before["ports"][number]["in_packets"] + 2, (before, now)
    summary = wire.stop()
    for port in summary["ports"]:
        assert port.pop("interface"), port  # only at the end
    assert set(summary) == set(now) and [set(x) for x in summary["ports"]] == [set(x) for x in now["ports"]]


@pytest.mark.parametrize("queues", [1, 3])
def test_idle_costs_nothing(netns, vnic, far, queues):
    wire = Wired(vnic, netns, far, "tun", "--queues", queues)
    netns.ping("10.0.0.2", "-f", count=100)
    least = min(measure_idle(wire.tool.pid) for _ in range(2))
    assert least[0] < 1e6 * FACTOR and least[1] <= 2 * queues, least
    netns.ping("10.0.0.2", count=1)
    wire.stop()


@pytest.mark.parametrize("options, user", [([], 0), (["--user", "nobody"], NOBODY)], ids=["root", "user"])
def test_privileges_are_dropped(netns, vnic, far, options, user):
    wire = Wired(vnic, netns, far, "tun", *options)
    with open(f"/proc/{wire.tool.pid}/status", encoding="utf-8") as file:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    assert {int(lines[x], 16) for x in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}, lines
    assert lines["NoNewPrivs"] == "1" and status(wire.tool.pid, "Uid") == user
    netns.ping("10.0.0.2")
    wire.stop()


def test_text_output(netns, vnic, far):
    wire = Wired(vnic, netns, far, "tun", "--impair-forward", "loss=50%,seed=9", json=False, ready=False)
    assert wire.tool.stdout.wait("Stop: Ctrl-C"), wire.tool
    netns.run(["ping", "-c", 20, "-i", "0.005", "-W", "1", "10.0.0.2"], check=False)
    wire.tool.signal(signal.SIGUSR1)  # the same meanwhile
    assert wire.tool.stdout.wait("dropped: loss"), wire.tool
    wire.tool.stop_silently(signal.SIGINT)
    text = wire.tool.stdout.text
    for words in (f"tun:a <-> tun:b@{far.pid}", "-> tun:b", "seed=9", "packets in", "dropped: loss"):
        assert words in text, text
    assert text.count(" s ---") == 2 and text.count("packets in") == 4, text
    assert "\033" not in text and "bit/s" not in text  # no terminal


def test_rates_on_a_terminal(netns, vnic, far):
    leader, follower = pty.openpty()
    wire = Wired(vnic, netns, far, "tun", json=False, ready=False, stdout=follower, collect=False)
    os.close(follower)
    text = b""
    while b"packets/s" not in text:
        text += os.read(leader, 4096)
    far.run(["ip", "link", "set", "dev", "b", "down"])
    while b"is set down" not in text:
        text += os.read(leader, 4096)
    wire.tool.signal(signal.SIGTERM)
    with contextlib.suppress(OSError):  # EIO: it has ended
        while block := os.read(leader, 4096):
            text += block
    os.close(leader)
    assert wire.tool.popen.wait(10 * FACTOR) == 0
    assert b"\r\033[K-> 0 bit/s 0 packets/s   <- 0 bit/s 0 packets/s" in text, text


def test_for(netns, vnic, far):
    done = vnic.run("wire", "tun:a", f"tun:b@{far.pid}", "--for", "200ms", "--json")
    assert done.returncode == 0, done
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["event"] == "summary" and 0.2 <= summary["duration_s"], summary


def test_discard(netns, vnic):
    tool = vnic.start("wire", "tun:a,10.0.0.1/24", "discard:")
    netns.run(["ping", "-c", 3, "-i", "0.01", "-W", "0.1", "10.0.0.2"], check=False)
    wait_until(lambda: counters(tool)["ports"][1]["out_packets"] >= 3, lambda: counters(tool))
    summary = tool.stop()
    conserved(summary)
    assert summary["ports"][1]["out_packets"] == 3, summary


TABLE = [  # arguments, status, words
    ([], 2, "two ports"),
    (["tun:a"], 2, "two ports"),
    (["tun:a", "tun:b", "tun:c"], 2, "two ports"),
    (["tun:a", "hello"], 2, "'hello'"),
    (["tun:a", "tap:b"], 2, "Ethernet"),
    (["tun:a", "tun:a"], 1, "'a'"),
    (["tun:a", "tun:sixteen-letters-"], 2, "'sixteen-letters-'"),
    (["tun:a", "tun:b@nowhere"], 1, "nowhere"),
    (["tun:a", "tun:b,10.0.0.1"], 2, "10.0.0.1"),
    (["tun:a", "tun:b,10.0.0.300/24"], 2, "10.0.0.300"),
    (["tun:lo", "tun:b"], 1, "'lo'"),
    (["tun:a", "discard:", "--queues", "2"], 2, "queues"),
    (["tun:a", "tun:b", "--impair", "loss=200%"], 2, "loss=200%"),
    (["tun:a", "tun:b", "--impair", "lag=1ms"], 2, "'lag'"),
    (["tun:a", "tun:b", "--impair", "jitter=1ms"], 2, "jitter"),
    (["tun:a", "tun:b", "--impair-forward", "rate=fast"], 2, "rate=fast"),
    (["tun:a", "tun:b", "--impair", "loss=1%", "--impair-backward", "loss=1%"], 2, "--impair"),
    (["tun:a", "tun:b", "--offload", "tso5"], 2, "'tso5'"),
    (["tun:a", "tun:b", "--mtu", "20"], 2, "--mtu"),
    (["tun:a", "tun:b", "--speed", "fast"], 2, "--speed"),
    (["tun:a", "tun:b", "--user", "no-such-user"], 2, "no-such-user"),
    (["tun:a", "tun:b", "--", "true"], 2, "--"),
]


@pytest.mark.parametrize("arguments, status, word", TABLE, ids=[" ".join(row[0])[:60] for row in TABLE])
def test_bad_input(netns, vnic, arguments, status, word):
    done = vnic.run("wire", *arguments)
    assert done.returncode == status, done
    assert done.stderr.startswith("vnic: ") and done.stderr.count("\n") == 1 and word in done.stderr, done
    assert netns.links() == set()
