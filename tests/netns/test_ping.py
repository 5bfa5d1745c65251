# SPDX-License-Identifier: MIT
"""Echo: ping and fping against `vnic host`, which must answer every single one."""

import ipaddress
import random

import pytest

from namespace import FACTOR, SANITIZER, count, wait_until

KINDS = {"tun": [], "tap": ["--tap"]}
PREFIXES = ["10.0.0.1/24", "fd00::1/64"]
PEER = {4: "10.0.0.2", 6: "fd00::2"}
OVERHEAD = {4: 28, 6: 48}  # IP header and ICMP header
LARGEST = {4: 65507, 6: 65527}  # what IP can carry behind an ICMP header
MOST_MTU = {"tun": 65535, "tap": 65521}  # the kernel's limits

kinds = pytest.mark.parametrize("kind", KINDS)
families = pytest.mark.parametrize("family", [4, 6])


def fast(*options):
    """Options for a ping that does not take a second for each packet."""
    return ["-i", "0.005", *options]


@pytest.mark.threads
@kinds
@families
def test_replies(netns, vnic, kind, family):
    host = vnic.host(*PREFIXES, *KINDS[kind])
    assert "ttl=64" in netns.ping(PEER[family], *fast(), count=20)
    summary = host.stop()
    assert count(summary, "echo_replies") == 20, summary


@kinds
@families
def test_first_ping_is_answered(netns, vnic, kind, family):
    """Not even the first one after the ready line may be lost, to address resolution or to DAD."""
    vnic.host(*PREFIXES, *KINDS[kind])
    netns.ping(PEER[family], count=1)


@kinds
@families
def test_flood(netns, vnic, kind, family):
    packets = 2000 if not SANITIZER else 500
    host = vnic.host(*PREFIXES, *KINDS[kind])
    netns.ping(PEER[family], "-f", count=packets)
    summary = host.stop()
    assert count(summary, "echo_replies") == packets, summary


@kinds
@families
def test_flood_of_fragments(netns, vnic, kind, family):
    vnic.host(*PREFIXES, *KINDS[kind])
    netns.ping(PEER[family], "-f", "-s", 20000, count=200)


@kinds
@families
def test_largest(netns, vnic, kind, family):
    host = vnic.host(*PREFIXES, *KINDS[kind])
    netns.ping(PEER[family], *fast("-s", LARGEST[family]))
    summary = host.stop()
    assert count(summary, "reassembled") == 3, summary
    assert count(summary, "echo_replies") == 3, summary


@kinds
@families
def test_sizes_around_the_mtu(netns, vnic, kind, family):
    """One byte less, just as much, one more: where the first, second and third fragment end."""
    vnic.host(*PREFIXES, *KINDS[kind])
    whole = 1500 - OVERHEAD[family]
    fragment = 1480 if family == 4 else 1448
    for edge in (0, 8, 16, whole, whole + fragment, whole + 2 * fragment):
        for size in range(max(0, edge - 1), edge + 2):
            netns.ping(PEER[family], "-s", size, count=1)


@kinds
@pytest.mark.parametrize("mtu", [576, 1280, 1281, 1500, 9000, "most"])
def test_mtu_ipv4(netns, vnic, kind, mtu):
    mtu = MOST_MTU[kind] if mtu == "most" else mtu
    host = vnic.host(PREFIXES[0], "--mtu", mtu, *KINDS[kind])
    assert netns.link(host.name)["mtu"] == mtu
    netns.ping(PEER[4], *fast("-s", LARGEST[4]))
    netns.ping(PEER[4], *fast("-M", "do", "-s", min(mtu - OVERHEAD[4], LARGEST[4])))
    netns.ping(PEER[4], *fast("-s", min(mtu - OVERHEAD[4] + 1, LARGEST[4])))


@kinds
@pytest.mark.parametrize("mtu", [1280, 1281, 1500, 9000, "most"])
def test_mtu_ipv6(netns, vnic, kind, mtu):
    mtu = MOST_MTU[kind] if mtu == "most" else mtu
    host = vnic.host(PREFIXES[1], "--mtu", mtu, *KINDS[kind])
    assert netns.link(host.name)["mtu"] == mtu
    netns.ping(PEER[6], *fast("-s", LARGEST[6]))
    netns.ping(PEER[6], *fast("-M", "do", "-s", min(mtu - OVERHEAD[6], LARGEST[6])))
    netns.ping(PEER[6], *fast("-s", min(mtu - OVERHEAD[6] + 1, LARGEST[6])))


@kinds
def test_smallest_mtu(netns, vnic, kind):
    """68 bytes, the least that IPv4 allows: 48 bytes of payload in each of 32 fragments. Which ping's
    own send buffer has too little room for."""
    vnic.host(PREFIXES[0], "--mtu", 68, *KINDS[kind])
    netns.ping(PEER[4], *fast("-s", 1500, "-S", 1 << 20))


@kinds
@families
def test_pattern(netns, vnic, kind, family):
    """ping compares what comes back, and would say 'wrong data byte'."""
    vnic.host(*PREFIXES, *KINDS[kind])
    for pattern in ("ff", "00", "deadbeef"):
        netns.ping(PEER[family], *fast("-p", pattern, "-s", 1473))


@kinds
def test_record_route(netns, vnic, kind):
    """RFC 1122 section 3.2.2.6: the option comes back, with the host's own address in it."""
    vnic.host(PREFIXES[0], *KINDS[kind])
    output = netns.ping(PEER[4], "-R", count=1)
    recorded = output.partition("RR:")[2].split()
    assert PEER[4] in recorded, output


@kinds
def test_timestamp_option(netns, vnic, kind):
    vnic.host(PREFIXES[0], *KINDS[kind])
    output = netns.ping(PEER[4], "-T", "tsandaddr", count=1)
    assert "TS:" in output and PEER[4] in output.partition("TS:")[2], output


@families
def test_hop_limit_of_one(netns, vnic, family):
    vnic.host(*PREFIXES)
    netns.ping(PEER[family], "-t", 1, count=1)


def test_all_nodes(netns, vnic):
    """RFC 4443 section 4.2: an echo request to a group is answered from the host's own address."""
    host = vnic.host(PREFIXES[1], "--tap")
    output = netns.ping("ff02::1", "-I", host.name, "-L", count=1)  # -L: not from the kernel itself
    assert f"from {PEER[6]}" in output, output


@kinds
def test_broadcast_is_not_answered(netns, vnic, kind):
    vnic.host(PREFIXES[0], *KINDS[kind])
    done = netns.run(["ping", "-n", "-b", "-c", 2, "-i", "0.01", "-W", "0.2", "10.0.0.255"],
                     check=False)
    assert "2 packets transmitted, 0 received" in done.stdout, done.stdout
    netns.ping(PEER[4], count=1)


def fping(netns, *arguments):
    """The addresses that fping calls alive."""
    done = netns.run(["fping", "-q", "-a", "-r", "1", "-i", "1", "-t", int(200 * FACTOR), *arguments],
                     check=False)
    assert done.returncode in (0, 1), (done.returncode, done.stderr)
    # -a -q: one address a line.
    return {line.split()[0] for line in done.stdout.splitlines() if line.strip()}


@kinds
def test_whole_prefix_ipv4(netns, vnic, kind):
    """All but the network's own address, the kernel's and the broadcast address."""
    vnic.host("10.0.0.1/25", "--host", "all", *KINDS[kind])
    alive = fping(netns, "-g", "10.0.0.2", "10.0.0.126")
    wanted = {f"10.0.0.{n}" for n in range(2, 127)}
    assert alive == wanted, f"silent: {sorted(wanted - alive)}, too many: {sorted(alive - wanted)}"
    done = netns.run(["ping", "-n", "-b", "-c", 1, "-W", "0.2", "10.0.0.127"], check=False)
    assert "0 received" in done.stdout, done.stdout


@kinds
def test_whole_prefix_ipv6(netns, vnic, kind):
    vnic.host("fd00::1/64", "--host", "all", *KINDS[kind])
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    network = ipaddress.ip_network("fd00::/64")
    wanted = {str(network[chance.randrange(2, 1 << 64)]) for _ in range(50)}
    wanted |= {"fd00::2", "fd00::ffff:ffff:ffff:ffff"}
    alive = fping(netns, "-6", *sorted(wanted))
    assert alive == wanted, f"silent: {sorted(wanted - alive)}"


@pytest.mark.parametrize("prefix, hosts", [
    ("10.0.0.254/24", ["10.0.0.1"]),  # begins again at the first
    ("10.0.0.0/31", ["10.0.0.1"]),
    ("192.168.7.9/30", ["192.168.7.10"]),
    ("fd00::/127", ["fd00::1"]),
    ("fd00::ffff/112", ["fd00::1"]),
])
def test_next_address(netns, vnic, prefix, hosts):
    """The host is the next address after the kernel's, wherever in the network that is."""
    vnic.host(prefix)
    for host in hosts:
        netns.ping(host, count=1)


@kinds
def test_several_hosts(netns, vnic, kind):
    hosts = ["10.0.0.7", "10.0.0.9", "fd00::77", "fd00::99"]
    vnic.host(*PREFIXES, *[x for host in hosts for x in ("--host", host)], *KINDS[kind])
    for host in hosts:
        netns.ping(host, count=1)
    alive = fping(netns, "10.0.0.7", "10.0.0.2", "10.0.0.8")
    assert alive == {"10.0.0.7"}, alive
    alive = fping(netns, "-6", "fd00::99", "fd00::2")
    assert alive == {"fd00::99"}, alive


@kinds
def test_several_networks(netns, vnic, kind):
    vnic.host("10.0.0.1/24", "10.9.0.1/16", "fd00::1/64", "fd09::1/64", *KINDS[kind])
    for host in ("10.0.0.2", "10.9.0.2", "fd00::2", "fd09::2"):
        netns.ping(host, count=1)


@pytest.mark.threads
@kinds
def test_queues(netns, vnic, kind):
    """Flows from many addresses, at the same time, over four queues."""
    host = vnic.host("10.0.0.1/24", "fd00::1/64", "--host", "all", "--queues", 4, *KINDS[kind])
    addresses = ("10.0.0.5", "10.0.0.6", "10.0.0.7", "fd00::5", "fd00::6", "fd00::7")
    before = netns.echo_replies()
    pings = [netns.start(["ping", "-n", "-f", "-c", 200, "-s", 3000, address]) for address in addresses]
    for process in pings:
        assert process.wait(20) == 0 and "DUP" not in process.stdout.text, process
    # Not what ping itself says: see Namespace.ping().
    wait_until(lambda: netns.echo_replies() - before == 200 * len(pings),
               lambda: f"{netns.echo_replies() - before} replies came: {[str(x) for x in pings]}", 2)
    summary = host.stop()
    assert count(summary, "echo_replies") == 200 * len(pings), summary
