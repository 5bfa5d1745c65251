# SPDX-License-Identifier: MIT
"""`vnic wire` over UDP, between two namespaces that a veth pair joins:

    near: t 10.1.0.1/24 fd01::1/64 <-- vnic wire --> udp | va 192.168.9.1 fd09::1
                                                         |
    far:  t 10.1.0.2/24 fd01::2/64 <-- vnic wire --> udp | vb 192.168.9.2 fd09::2"""

import contextlib
import json
import random
import re
import socket
import struct
import threading

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import PcapReader

from namespace import FACTOR, SANITIZER, Tool, wait_until
from test_wire import conserved, counters, drops, send_stream

NEAR4, FAR4, NEAR6, FAR6 = "192.168.9.1", "192.168.9.2", "fd09::1", "fd09::2"
UDP_SEGMENT = 103
HEADERS = {4: 28, 6: 48}

outer = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture
def far(netns, vnic, spare):
    """The namespace at the other end of a veth pair, which is ready.

    Up is not ready: the kernel joins the group that neighbor solicitations go to a little later, and whoever
    asks before asks again a second after."""
    space = spare()
    netns.run(["ip", "link", "add", "va", "type", "veth", "peer", "name", "vb", "netns", space.pid])
    vnic.expected.add("va")
    for at, name, addresses in ((netns, "va", (NEAR4, NEAR6)), (space, "vb", (FAR4, FAR6))):
        at.run(["ip", "addr", "add", f"{addresses[0]}/24", "dev", name])
        at.run(["ip", "addr", "add", f"{addresses[1]}/64", "dev", name, "nodad"])
        at.run(["ip", "link", "set", name, "addrgenmode", "none", "up"])
    for address in (FAR4, FAR6):
        wait_until(lambda: netns.run(["ping", "-n", "-c", 1, "-W", 1, address], check=False).returncode == 0,
                   f"no answer of {address}")
    return space


@pytest.fixture
def far_vnic(far, vnic_path):
    """The tool in there."""
    tool = Tool(far, vnic_path)
    yield tool
    problems = tool.finish()
    left = far.links() - {"vb"} - tool.expected
    if left:
        problems.append(f"interfaces left behind in far: {sorted(left)}")
    assert not problems, "\n".join(problems)


def endpoint(version, is_near, port=":4000"):
    address = {(4, True): NEAR4, (4, False): FAR4, (6, True): f"[{NEAR6}]", (6, False): f"[{FAR6}]"}
    return address[version, is_near] + port


def udp_port(version, is_near, local_port=":4000"):
    return f"udp:{endpoint(version, is_near, local_port)}-{endpoint(version, not is_near)}"


class End:
    """One `vnic wire` between an interface t and a port."""

    def __init__(self, tool, port, number, kind="tun", *options, **more):
        self.tool = tool.start("wire", f"{kind}:t,10.1.0.{number}/24,fd01::{number}/64", port, *options, **more)
        self.space = tool.namespace
        wait_until(lambda: not any("tentative" in x for y in self.space.json(["ip", "-j", "addr", "show", "t"])
                                   for x in y.get("addr_info", [])), "no tentative address")

    @property
    def port(self):
        return self.tool.ready["ports"][1]

    def changes(self):
        return [x["change"] for x in self.tool.events() if x.get("event") == "port"]

    def wait_change(self, change, number=1):
        wait_until(lambda: self.changes().count(change) >= number, lambda: f"{change}\n{self.tool}")

    def counters(self):
        """Of the port, as they are at the moment."""
        return counters(self.tool)["ports"][1]

    def stop(self):
        summary = self.tool.stop()
        conserved(summary)
        self.interface, self.peer = summary["ports"]
        return summary


def both_ends(vnic, far_vnic, version=4, kind="tun", *options):
    near = End(vnic, udp_port(version, True), 1, kind, *options)
    return near, End(far_vnic, udp_port(version, False), 2, kind, *options)


def lost_on_the_path(space):
    """What the veth between them dropped, as a busy kernel does when its backlog is full."""
    links = [x for x in space.json(["ip", "-d", "-s", "-j", "link"])
             if x.get("linkinfo", {}).get("info_kind") == "veth"]
    return sum(x["stats64"][way]["dropped"] for x in links for way in ("rx", "tx"))


def came(counters):
    return counters["in_packets"] - counters["drop_overflow"] - counters["drop_stranger"]


def all_arrived(near, far, path=()):
    """Waits until each has read what the other sent: a stop comes before what still is in a queue."""
    def arrived():
        one, other = near.counters(), far.counters()
        lost = sum(lost_on_the_path(space) for space in path)
        return all(x["out_packets"] - came(y) <= 3 + lost or y["drop_overflow"]
                   for x, y in ((one, other), (other, one)))

    wait_until(arrived, lambda: (near.counters(), far.counters()))


def stop_quietly(near, far, path=()):
    all_arrived(near, far, path)
    for end in (near, far):
        end.stop()


def nothing_lost_between(near, far, path=()):
    """Both have stopped. What one sent the other got, or a kernel said that it did not."""
    lost = sum(lost_on_the_path(space) for space in path)
    for one, other in ((near.peer, far.peer), (far.peer, near.peer)):
        assert came(other) <= one["out_packets"], (one, other)
        if not other["drop_overflow"]:
            # What was on its way before the last of them began, and when the first stopped.
            assert one["out_packets"] - came(other) <= 3 + lost, (one, other, lost)


@outer
@pytest.mark.parametrize("kind", ["tun", "tap"])
def test_ping(netns, vnic, far, far_vnic, version, kind):
    """Up to the MTU, which is what the path leaves."""
    ends = both_ends(vnic, far_vnic, version, kind)
    most = 1500 - HEADERS[version]
    mtu = most - (14 if kind == "tap" else 0)
    for end in ends:
        assert end.port["most_bytes"] == most, end.port
        assert end.space.link("t")["mtu"] == mtu
    for space, number in ((netns, 2), (far, 1)):
        for target, headers in ((f"10.1.0.{number}", 28), (f"fd01::{number}", 48)):
            space.ping(target)
            space.ping(target, "-M", "do", "-s", mtu - headers)
            space.ping(target, "-s", 20000)  # fragments of the inner packet, each of which fits
    netns.ping("10.1.0.2", "-f", count=500)
    stop_quietly(*ends)
    for end in ends:
        # But for what near's interface said before far was there.
        found = sum(drops(x, y) for x in (end.interface, end.peer) for y in (True, False))
        assert found == end.peer["drop_no_peer"] <= 10, end.tool
    nothing_lost_between(*ends)


def outer_packets(netns, run):
    """What tcpdump on va sees while run() runs: outer packets, as they are on the wire."""
    path = "/run/outer.pcap"
    tcpdump = netns.start(["tcpdump", "-i", "va", "-n", "-s", "128", "-B", "65536", "-U", "-w", path,
                           "udp port 4000 or ip[6:2] & 0x3fff != 0 or ip6[6] == 44 or icmp or (icmp6 and ip6[40] == 2)"])
    assert tcpdump.stderr.wait("listening on"), tcpdump
    run()
    tcpdump.signal(2)
    tcpdump.wait()
    with PcapReader(f"/proc/{netns.pid}/root{path}") as reader:
        return list(reader)


@outer
def test_no_outer_packet_is_fragmented(netns, vnic, far, far_vnic, version):
    """What one sendmsg() sends as a run is cut by the kernel before it gets to the wire: this makes the
    veth a device that cannot do it, so that tcpdump sees each packet."""
    for space, name in ((netns, "va"), (far, "vb")):
        space.run(["ip", "link", "set", name, "gso_max_segs", "1"])
    ends = both_ends(vnic, far_vnic, version)

    def run():
        send_stream(far, netns, "10.1.0.2", 4 << 20, 1)
        netns.ping("10.1.0.2", "-s", 8000)

    packets = outer_packets(netns, run)
    lengths = set()
    for packet in packets:
        data = bytes(packet)[14:]
        assert data[0] >> 4 == version
        if version == 4:
            total, fragment = struct.unpack("!HxxH", data[2:8])
            assert fragment == 0x4000, f"DF and no fragment: {fragment:#x}"
        else:
            total = 40 + struct.unpack("!H", data[4:6])[0]
        assert data[9 if version == 4 else 6] == 17, "UDP, and no fragment header"
        lengths.add(total)
    assert max(lengths) == 1500, sorted(lengths)[-3:]
    stop_quietly(*ends)
    nothing_lost_between(*ends)
    assert ends[0].peer["out_superpackets"] > 0


@outer
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidir"])
@pytest.mark.limit(60)
def test_iperf3(netns, vnic, far, far_vnic, version, direction):
    ends = both_ends(vnic, far_vnic, version)
    server = far.start(["iperf3", "-s", "-1", "--forceflush"])
    assert server.stdout.wait("Server listening"), server
    options = {"forward": [], "reverse": ["-R"], "bidir": ["--bidir"]}[direction]
    done = json.loads(netns.run(["iperf3", "-c", "10.1.0.2", "-J", "-t", "2", *options], seconds=30).stdout)
    rate = done["end"]["sum_received"]["bits_per_second"]
    print(f"{rate / 1e9:.2f} Gbit/s {direction} over UDP over IPv{version}")
    assert rate > (0 if SANITIZER else 50e6)
    stop_quietly(*ends, path=(netns, far))
    nothing_lost_between(*ends, path=(netns, far))
    # The fast way was taken, both out and in.
    assert ends[0].peer["out_superpackets"] + ends[1].peer["out_superpackets"] > 0
    assert ends[0].peer["in_superpackets"] + ends[1].peer["in_superpackets"] > 0


def test_without_offloads(netns, vnic, far, far_vnic):
    ends = both_ends(vnic, far_vnic, 4, "tun", "--offload", "off")
    send_stream(far, netns, "10.1.0.2", 4 << 20, 1)
    send_stream(netns, far, "fd01::1", 4 << 20, 2)
    stop_quietly(*ends)
    nothing_lost_between(*ends)


def test_unequal_offloads(netns, vnic, far, far_vnic):
    near = End(vnic, udp_port(4, True), 1, "tun", "--offload", "off")
    other = End(far_vnic, udp_port(4, False), 2, "tun")
    send_stream(far, netns, "10.1.0.2", 4 << 20, 1)
    send_stream(netns, far, "fd01::1", 4 << 20, 2)
    stop_quietly(near, other)
    nothing_lost_between(near, other)


def echo_request(number, size):
    return bytes(IP(src="10.1.0.2", dst="10.1.0.1", id=number) /
                 ICMP(id=7, seq=number) / Raw(random.Random(number).randbytes(size)))


def check_replies(packets, expected):
    """Echo replies with these {number: size}, in their order."""
    found = []
    for data in packets:
        packet = IP(data)
        assert packet[ICMP].type == 0 and packet[ICMP].id == 7
        number = packet[ICMP].seq
        assert bytes(packet[ICMP].payload) == random.Random(number).randbytes(expected[number])
        found.append(number)
    assert found == sorted(expected), (found, sorted(expected))


@outer
@pytest.mark.parametrize("segmented", [False, True])
def test_peer_in_python(netns, vnic, far, version, segmented):
    """A datagram is a packet, and that is all there is to know."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    near = End(vnic, udp_port(version, True), 1)
    with far.socket(family, socket.SOCK_DGRAM) as peer:
        peer.bind((FAR4 if version == 4 else FAR6, 4000))
        peer.settimeout(10 * FACTOR)
        if segmented:
            sizes = {n: 500 for n in range(1, 21)} | {21: 100}
            peer.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 28 + 500)
            peer.sendto(b"".join(echo_request(n, s) for n, s in sizes.items()),
                        (NEAR4 if version == 4 else NEAR6, 4000))
        else:
            sizes = {n: 13 * n for n in range(1, 31)}
            for number, size in sizes.items():
                peer.sendto(echo_request(number, size), (NEAR4 if version == 4 else NEAR6, 4000))
        got = []
        while len(got) < len(sizes):
            data, address = peer.recvfrom(2000)
            assert address[:2] == ((NEAR4 if version == 4 else NEAR6), 4000)
            if data[0] >> 4 == 4:  # the interface's own noise is IPv6
                got.append(data)
        check_replies(got, sizes)
        near.stop()
        assert near.peer["in_packets"] == len(sizes) and not drops(near.peer, False)
        assert (near.peer["in_superpackets"] > 0) == segmented
    assert "connected" in near.changes()


def test_strangers(netns, vnic, far, far_vnic):
    """From the peer's address and another port, from its port and another address, and by scapy from
    addresses that do not exist: dropped, counted, and no way to disturb the peer."""
    near, other = both_ends(vnic, far_vnic)
    far.run(["ip", "addr", "add", "192.168.9.3/24", "dev", "vb"])
    sent = 0
    for address in ((FAR4, 4001), ("192.168.9.3", 4000)):
        with far.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(address)
            for number in range(50):
                stranger.sendto(echo_request(number, 100), (NEAR4, 4000))
                sent += 1
    veth = far.wire("vb")
    mac = netns.link("va")["address"]
    for number in range(50):
        veth.send(Ether(dst=mac, src=far.link("vb")["address"]) /
                  IP(src=f"192.168.9.{100 + number}", dst=NEAR4) / UDP(sport=4000, dport=4000) /
                  Raw(echo_request(number, 100)))
        sent += 1
    netns.ping("10.1.0.2")
    far.ping("10.1.0.1")
    # A flood of them does not lose the peer a packet.
    with far.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.connect((NEAR4, 4000))
        stranger.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        for _ in range(20):
            stranger.send(b"s" * 40000)
    far.ping("10.1.0.1", "-f", count=200)
    wait_until(lambda: near.counters()["drop_stranger"] > sent, lambda: near.counters())
    stop_quietly(near, other)
    # Of the flood what fitted into the queue for strangers.
    assert sent < near.peer["drop_stranger"] <= sent + 20 * 40, near.peer
    assert other.peer["drop_stranger"] == 0
    assert near.peer["drop_overflow"] == other.peer["drop_overflow"] == 0
    nothing_lost_between(near, other)


def test_peer_missing_dying_and_back(netns, vnic, far, far_vnic):
    near = End(vnic, udp_port(4, True), 1)
    ping = ["ping", "-n", "-i", "0.01", "-W", "0.1", "10.1.0.2", "-c"]
    assert netns.run([*ping, 30], check=False).returncode == 1
    near.wait_change("disconnected")
    for number in (1, 2):
        other = End(far_vnic, udp_port(4, False), 2)
        far.ping("10.1.0.1")  # who is back and says so is heard at once
        near.wait_change("connected", number)
        netns.ping("10.1.0.2")
        if number == 1:
            other.tool.kill()
            far_vnic.hosts.remove(other.tool)
            wait_until(lambda: "t" not in far.links(), "the interface is gone")
            assert netns.run([*ping, 30], check=False).returncode == 1
            near.wait_change("disconnected", 2)
    assert near.tool.running
    summary = near.stop()
    assert near.changes() == ["disconnected", "connected"] * 2, near.tool
    assert near.peer["drop_no_peer"] > 20, summary
    other.stop()


def test_peer_back_and_silent(netns, vnic, far):
    """It is sent to again although it says nothing."""
    near = End(vnic, udp_port(4, True), 1)
    netns.run(["ping", "-n", "-c", "3", "-i", "0.01", "-W", "0.1", "10.1.0.2"], check=False)
    near.wait_change("disconnected")
    with far.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer, \
         netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
        peer.bind((FAR4, 4000))
        peer.setblocking(False)
        source.connect(("10.1.0.2", 9))

        def heard():
            with contextlib.suppress(BlockingIOError):
                while True:
                    got.add(peer.recv(2000)[-4:])

        def all_arrive():
            """100 packets in a row: not only one of them, to try."""
            nonlocal number
            first, number = number, number + 100
            for n in range(first, number):
                source.send(struct.pack("!I", n))
            near.space.ping("10.1.0.1", count=1)  # passes time
            heard()
            return all(struct.pack("!I", n) in got for n in range(first, number - 50))

        got, number = set(), 0
        wait_until(all_arrive, lambda: f"{len(got)} of {number}", 10)
    near.stop()
    assert near.peer["drop_no_peer"] > 0


def test_path_with_a_smaller_mtu(netns, vnic, far, far_vnic, spare):
    """near - router - far, where the second link is smaller: near's kernel learns that from ICMP."""
    router = spare()
    netns.run(["ip", "link", "add", "vc", "type", "veth", "peer", "name", "vd", "netns", router.pid])
    vnic.expected.add("vc")
    far_vnic.expected.add("ve")
    far.run(["ip", "link", "add", "ve", "type", "veth", "peer", "name", "vf", "netns", router.pid])
    for space, name, address in ((netns, "vc", "172.16.1.1/24"), (router, "vd", "172.16.1.2/24"),
                                 (far, "ve", "172.16.2.1/24"), (router, "vf", "172.16.2.2/24")):
        space.run(["ip", "addr", "add", address, "dev", name])
        space.run(["ip", "link", "set", "dev", name, "up"])
    netns.run(["ip", "route", "add", "172.16.2.0/24", "via", "172.16.1.2"])
    far.run(["ip", "route", "add", "172.16.1.0/24", "via", "172.16.2.2"])
    router.run(["sh", "-c", "mount -t proc proc /proc; echo 1 >/proc/sys/net/ipv4/ip_forward"])
    for space, name in ((far, "ve"), (router, "vf")):
        space.run(["ip", "link", "set", "dev", name, "mtu", 1400])
    near = End(vnic, "udp:172.16.1.1:4000-172.16.2.1:4000", 1)
    other = End(far_vnic, "udp:172.16.2.1:4000-172.16.1.1:4000", 2)
    assert near.port["most_bytes"] == 1472 and other.port["most_bytes"] == 1372
    near.space.ping("10.1.0.2")
    large = ["ping", "-n", "-c1", "-W", "0.2", "-M", "do", "-s", 1444, "10.1.0.2"]

    def is_told():
        # Of the first ones the kernel of near learns, and then the wire tells.
        done = near.space.run(large, check=False)
        assert done.returncode == 1, done
        return "1372" in done.stdout + done.stderr

    wait_until(is_told, lambda: near.tool)
    near.space.ping("10.1.0.2", "-M", "do", "-s", 1372 - 28)
    near.stop()
    other.stop()
    assert near.peer["drop_too_long"] > 0 and near.interface["answered"] > 0, near.tool


@outer
@pytest.mark.parametrize("kind", ["tun", "tap"])
def test_stream_goes_on_where_the_path_becomes_narrower(netns, vnic, far, far_vnic, version, kind):
    """In the middle of a transfer, whose sender is then told by the wire."""
    near, other = both_ends(vnic, far_vnic, version, kind)
    data = random.Random(1).randbytes(1 << 20)
    for family, address in ((socket.AF_INET, "10.1.0.2"), (socket.AF_INET6, "fd01::2")):
        with far.socket(family, socket.SOCK_STREAM) as server, netns.socket(family, socket.SOCK_STREAM) as client:
            server.bind((address, 0))
            server.listen(1)
            for one in (server, client):
                one.settimeout(10 * FACTOR)
            client.connect(server.getsockname()[:2])
            accepted, _ = server.accept()
            with accepted:
                accepted.settimeout(10 * FACTOR)
                for mtu in (1500, 1400):
                    netns.run(["ip", "link", "set", "dev", "va", "mtu", mtu])
                    thread = threading.Thread(target=client.sendall, args=(data,))
                    thread.start()
                    got = bytearray()
                    while len(got) < len(data):
                        got += accepted.recv(1 << 18)
                    thread.join()
                    assert got == data
    stop_quietly(near, other)
    assert near.interface["answered"] >= 2, near.tool


def test_interface_of_the_path_goes_down(netns, vnic, far, far_vnic):
    ends = both_ends(vnic, far_vnic)
    netns.ping("10.1.0.2")
    netns.run(["ip", "link", "set", "va", "down"])
    assert netns.run(["ping", "-n", "-c", "5", "-i", "0.01", "-W", "0.1", "10.1.0.2"], check=False).returncode == 1
    netns.run(["ip", "link", "set", "va", "up"])
    netns.ping("10.1.0.2")
    for end in ends:
        end.stop()
    assert ends[0].peer["drop_no_peer"] + ends[0].peer["drop_down"] >= 5, ends[0].peer


def test_names(netns, vnic, far):
    """A port of the kernel's choice is shown; a port in use is refused."""
    near = End(vnic, f"udp:{NEAR4}-{FAR4}:4000", 1)
    match = re.fullmatch(rf"udp:{NEAR4}:(\d+)-{FAR4}:4000", near.port["name"])
    assert match and int(match[1]) > 0, near.port
    done = vnic.run("wire", "tun:u", f"udp:{NEAR4}:{match[1]}-{FAR4}:4001")
    assert done.returncode == 1 and "Address already in use" in done.stderr, done
    near.stop()
