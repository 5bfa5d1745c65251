# SPDX-License-Identifier: MIT
"""ARP and neighbour discovery on a TAP, against arping, ndisc6 and the kernel's own neighbour code."""

import re

import pytest

from namespace import FACTOR, count, wait_until
from stranger import Stranger

MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", re.I)
ADDRESSES = ["10.0.0.2", "fd00::2"]
addresses = pytest.mark.parametrize("address", ADDRESSES)


@pytest.fixture
def host(vnic):
    return vnic.host("10.0.0.1/24", "fd00::1/64", "--tap")


def arping(netns, host, *arguments, replies=3):
    """Runs arping with three requests, and counts their replies."""
    done = netns.run(["arping", "-i", host.name, "-c", 3, "-W", 0.05, "-w", 5 * FACTOR, *arguments],
                     check=False)
    got = re.search(r"(\d+) packets transmitted, (\d+) packets received", done.stdout)
    assert got and int(got[2]) == replies, (
        f"{replies} replies wanted: status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def neighbour(netns, host, address):
    """What `ip neigh` says: (states, MAC)."""
    for entry in netns.json(["ip", "-j", "neigh", "show", "dev", host.name]):
        if entry["dst"] == address:
            return entry["state"], entry.get("lladdr", "").lower()
    return [], ""


def mac_of(netns, host):
    """The user-space host's MAC address, as arping sees it."""
    return MAC.search(arping(netns, host, "10.0.0.2").stdout)[0].lower()


def test_arping(netns, host):
    mac = mac_of(netns, host)
    first = int(mac[:2], 16)
    assert first & 1 == 0, f"{mac} is a group address"
    assert first & 2, f"{mac} pretends to be a manufacturer's"
    assert mac != netns.link(host.name)["address"], "the kernel's own MAC"


def test_arping_asks_for_duplicates(netns, host):
    """-d fails where two answer."""
    done = arping(netns, host, "-d", "10.0.0.2")
    assert done.returncode == 0, done.stdout


def test_address_probe_is_answered(netns, host):
    """RFC 5227 section 2.1.1: a probe has no sender address."""
    arping(netns, host, "-0", "10.0.0.2")


def test_unknown_ipv4_address(netns, host):
    done = arping(netns, host, "10.0.0.3", replies=0)
    assert done.returncode == 1, done.stdout
    netns.ping("10.0.0.2", count=1)


def test_kernels_own_address_is_left_to_it(netns, vnic):
    host = vnic.host("10.0.0.1/24", "fd00::1/64", "--tap", "--host", "all")
    arping(netns, host, "10.0.0.1", replies=0)
    arping(netns, host, "10.0.0.0", replies=0)
    arping(netns, host, "10.0.0.255", replies=0)
    arping(netns, host, "10.0.0.254")


def test_unsolicited_arp_of_others(netns, host):
    """-U: an announcement of an address that is not the host's is nothing to answer."""
    arping(netns, host, "-U", "-S", "10.0.0.9", "10.0.0.9", replies=0)
    netns.ping("10.0.0.2", count=1)
    assert not count(host.stop(), "conflicts")


def test_conflict_is_counted_and_defended(netns, host):
    """RFC 5227 section 2.4: someone else announces the host's address."""
    from scapy.layers.l2 import ARP, Ether
    wire = netns.wire(host.name)
    other = "02:00:00:00:00:77"
    wire.send(Ether(src=other, dst="ff:ff:ff:ff:ff:ff") /
              ARP(op=1, hwsrc=other, psrc="10.0.0.2", hwdst="00:00:00:00:00:00", pdst="10.0.0.2"))
    wire.receive_until(lambda p: ARP in p and p[ARP].psrc == "10.0.0.2" and
                       p[ARP].pdst == "10.0.0.2" and p.dst == "ff:ff:ff:ff:ff:ff")
    netns.ping("10.0.0.2", count=1)
    assert count(host.stop(), "conflicts") == 1


@addresses
def test_reachable(netns, host, address):
    """The kernel has the MAC that arping saw, and calls it confirmed."""
    mac = mac_of(netns, host)
    netns.ping(address, count=1)
    states, seen = neighbour(netns, host, address)
    assert seen == mac, (states, seen, mac)
    assert states == ["REACHABLE"], states


@addresses
def test_unreachability_detection(netns, host, address):
    """A probe to the known MAC, not to a group, is answered too."""
    # Without an address of its own on the link the kernel sends no such probe for IPv6.
    netns.run(["ip", "addr", "add", "fe80::1/64", "dev", host.name, "nodad"])
    netns.ping(address, count=1)
    netns.run(["ip", "neigh", "change", address, "dev", host.name, "nud", "probe"])
    wait_until(lambda: neighbour(netns, host, address)[0] == ["REACHABLE"],
               lambda: neighbour(netns, host, address))


@addresses
def test_no_loss_while_it_is_confirmed(netns, host, address):
    """Over several rounds of the kernel's reachable, stale, delay and probe."""
    for family in ("ipv4", "ipv6"):
        for name, value in (("base_reachable_time_ms", 200), ("delay_first_probe_time", 1),
                            ("retrans_time_ms", 100)):
            netns.run(["sysctl", "-q", f"net.{family}.neigh.{host.name}.{name}={value}"])
    netns.ping(address, "-i", "0.01", count=200)


@addresses
def test_forgotten_and_found_again(netns, host, address):
    netns.ping(address, count=1)
    netns.run(["ip", "neigh", "flush", "dev", host.name])
    netns.ping(address, count=1)


def ndisc(netns, host, *arguments):
    return netns.run(["ndisc6", "-n", "-r", 1, "-w", int(500 * FACTOR), *arguments, host.name],
                     check=False)


def test_ndisc6(netns, host):
    mac = mac_of(netns, host)
    done = ndisc(netns, host, "-1", "fd00::2")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert MAC.search(done.stdout)[0].lower() == mac, done.stdout


def test_ndisc6_sees_one_answer(netns, host):
    """-m goes on listening, so it would see an announcement too: wait until there are none more."""
    stranger = Stranger(netns, host, 6)
    stranger.wait_settled()
    stranger.wait_settled()
    done = ndisc(netns, host, "-m", "fd00::2")
    assert len(MAC.findall(done.stdout)) == 1, done.stdout


def test_unknown_ipv6_address(netns, host):
    done = ndisc(netns, host, "-1", "fd00::3")
    assert done.returncode == 2 and "Timed out" in done.stdout + done.stderr, (
        done.returncode, done.stdout, done.stderr)
    netns.ping("fd00::2", count=1)


def address_flags(netns, host, address):
    for entry in netns.link(host.name)["addr_info"]:
        if entry["local"] == address:
            return entry
    return {}


def test_kernel_finds_a_duplicate(netns, host):
    """The kernel's duplicate address detection for an address that the host has."""
    Stranger(netns, host, 6).wait_settled()
    netns.run(["ip", "addr", "add", "fd00::2/64", "dev", host.name])
    wait_until(lambda: address_flags(netns, host, "fd00::2").get("dadfailed"),
               lambda: address_flags(netns, host, "fd00::2"))


def test_host_yields_to_who_was_there_before(netns, vnic):
    """RFC 4862 section 5.4: the host probes too, and someone else has the address."""
    from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
    from scapy.layers.l2 import Ether
    host = vnic.host("10.0.0.1/24", "fd00::1/64", "--tap")
    wire = netns.wire(host.name)
    netns.run(["ip", "link", "set", host.name, "down"])  # so that it begins anew, and we are there
    netns.run(["ip", "link", "set", host.name, "up"])
    wire.receive_until(lambda p: ICMPv6ND_NS in p and p[IPv6].src == "::")
    wire.send(Ether(src="02:00:00:00:00:77", dst="33:33:00:00:00:01") /
              IPv6(src="fd00::2", dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt="fd00::2", S=0, O=1, R=0) /
              ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:77"))
    assert host.stderr.wait("fd00::2 is also used by 02:00:00:00:00:77"), host
    netns.run(["ip", "addr", "replace", "fd00::1/64", "dev", host.name, "nodad"])  # it went with the link
    done = ndisc(netns, host, "-1", "fd00::2")
    assert done.returncode == 2, (done.stdout, done.stderr)
    netns.ping("10.0.0.2", count=1)
    assert count(host.stop(), "conflicts") == 1


def test_kernel_finds_no_duplicate(netns, host):
    netns.run(["sysctl", "-q", f"net.ipv6.neigh.{host.name}.retrans_time_ms=100"])
    netns.run(["ip", "addr", "add", "fd00::3/64", "dev", host.name])
    wait_until(lambda: not address_flags(netns, host, "fd00::3").get("tentative"),
               lambda: address_flags(netns, host, "fd00::3"))
    assert not address_flags(netns, host, "fd00::3").get("dadfailed")


def test_announced_when_the_link_comes_up(netns, host):
    """RFC 5227 section 2.3 and RFC 4861 section 7.2.6, again after each time it was down."""
    from scapy.layers.inet6 import ICMPv6ND_NA
    from scapy.layers.l2 import ARP
    wire = netns.wire(host.name)
    netns.run(["ip", "link", "set", host.name, "down"])
    netns.run(["ip", "link", "set", host.name, "up"])
    wire.receive_until(lambda p: ARP in p and p[ARP].psrc == p[ARP].pdst == "10.0.0.2", 5)
    wire.close()
    wire = netns.wire(host.name)
    netns.run(["ip", "link", "set", host.name, "down"])
    netns.run(["ip", "link", "set", host.name, "up"])
    wire.receive_until(lambda p: ICMPv6ND_NA in p and p[ICMPv6ND_NA].tgt == "fd00::2", 5)


def test_quiet_until_asked(netns, host):
    """No router solicitation, no MLD, no DAD of the kernel's: addrgenmode none."""
    mode = netns.run(["sysctl", "-n", f"net.ipv6.conf.{host.name}.addr_gen_mode"]).stdout.strip()
    assert mode == "1", mode  # IN6_ADDR_GEN_MODE_NONE
    link_local = [x for x in netns.link(host.name)["addr_info"] if x["local"].startswith("fe80")]
    assert not link_local, link_local


def test_given_mac(netns, vnic):
    """--mac is the kernel's side of the wire; the host behind it has another."""
    host = vnic.host("10.0.0.1/24", "--tap", "--mac", "02:00:5e:10:00:01")
    assert netns.link(host.name)["address"] == "02:00:5e:10:00:01"
    assert mac_of(netns, host) != "02:00:5e:10:00:01"
    netns.ping("10.0.0.2", count=1)


def test_bridge(netns, vnic):
    """Three hosts of three processes on one bridge, each with a MAC of its own."""
    hosts = [vnic.host(f"10.{n}.0.1/24", f"fd0{n}::1/64", "--tap") for n in (1, 2, 3)]
    netns.run(["ip", "link", "add", "bridge0", "type", "bridge", "mcast_snooping", "0"])
    netns.run(["ip", "link", "set", "bridge0", "addrgenmode", "none"])
    vnic.expected.add("bridge0")
    for n, host in enumerate(hosts, 1):
        netns.run(["ip", "addr", "flush", "dev", host.name])
        netns.run(["ip", "link", "set", host.name, "master", "bridge0"])
        netns.run(["ip", "addr", "add", f"10.{n}.0.1/24", "dev", "bridge0"])
        netns.run(["ip", "addr", "add", f"fd0{n}::1/64", "dev", "bridge0", "nodad"])
    netns.run(["ip", "link", "set", "bridge0", "up"])
    wait_until(lambda: netns.link("bridge0")["operstate"] == "UP", lambda: netns.link("bridge0"))
    macs = set()
    for n in (1, 2, 3):
        netns.ping(f"10.{n}.0.2", "-i", "0.01", "-s", 3000, count=2)
        netns.ping(f"fd0{n}::2", "-i", "0.01", "-s", 3000, count=2)
        for entry in netns.json(["ip", "-j", "neigh", "show", "dev", "bridge0"]):
            if entry["dst"] == f"10.{n}.0.2":
                macs.add(entry["lladdr"])
    assert len(macs) == 3, macs
    learned = {x["mac"] for x in netns.json(["bridge", "-j", "fdb", "show", "br", "bridge0", "dynamic"])}
    assert macs <= learned, (macs, learned)
    output = netns.run(["ping", "-n", "-L", "-c", 2, "-i", 0.2, "-W", FACTOR, "-I", "fd01::1", "ff02::1%bridge0"]).stdout
    answered = {line.split()[3].rstrip(":") for line in output.splitlines() if "bytes from" in line}
    assert answered == {"fd01::2", "fd02::2", "fd03::2"}, output
