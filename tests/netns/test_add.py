# SPDX-License-Identifier: MIT
"""`vnic add` and `vnic delete`: persistent interfaces as `ip tuntap` makes them, and their owners."""

import json

import pytest

from namespace import NOBODY, count

OWNER = 12345
OTHER = 54321
kinds = pytest.mark.parametrize("kind", ["tun", "tap"])
TAP = {"tun": [], "tap": ["--tap"]}


def fails(done, status, *words):
    """It said one line on stderr with all these words in it, and nothing on stdout."""
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("vnic: "), done.stderr
    for word in words:
        assert word in lines[0], (word, lines[0])
    assert done.stdout == "", done.stdout


def cause(done, status=1):
    """Of a failure with --json: the stable name of the cause."""
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    event = json.loads(done.stdout.splitlines()[-1])
    assert event["event"] == "error", event
    return event["cause"]


def add(vnic, *arguments, **options):
    """`vnic add`, which must succeed: its JSON. The interface may stay after the test."""
    done = vnic.run("add", "--json", *arguments, **options)
    assert done.returncode == 0 and done.stderr == "", (done.returncode, done.stdout, done.stderr)
    event = json.loads(done.stdout)
    assert event["event"] == "added", event
    vnic.expected.add(event["name"])
    return event


def delete(netns, vnic, name, **options):
    done = vnic.run("delete", name, **options)
    assert done.returncode == 0 and name in done.stdout and done.stderr == "", done
    assert name not in netns.links(), netns.links()


# Adding


@kinds
@pytest.mark.parametrize("mine, theirs", [
    ([], ["user", "0"]),
    (["--owner", str(OWNER)], ["user", str(OWNER)]),
    (["--owner", "nobody"], ["user", "nobody"]),
    (["--group", str(OTHER)], ["group", str(OTHER)]),
    (["--owner", str(OWNER), "--group", "nogroup"], ["user", str(OWNER), "group", "nogroup"]),
    (["--queues", "8"], ["user", "0", "multi_queue"]),
    (["--queues", "1"], ["user", "0"]),
])
def test_against_ip_tuntap(netns, vnic, kind, mine, theirs):
    """The same interface in every respect but its name and its Ethernet address."""
    event = add(vnic, "mine7", *TAP[kind], *mine)
    assert event["name"] == "mine7" and event["type"] == kind, event
    netns.run(["ip", "tuntap", "add", "theirs7", "mode", kind, *theirs])
    vnic.expected.add("theirs7")
    one, other = netns.link("mine7"), netns.link("theirs7")
    for field in ("linkinfo", "mtu", "txqlen", "operstate", "link_type"):
        assert one[field] == other[field], (field, one[field], other[field])
    assert set(one["flags"]) == set(other["flags"]), (one["flags"], other["flags"])
    assert "UP" not in one["flags"] and one["addr_info"] == [], one
    delete(netns, vnic, "mine7")
    delete(netns, vnic, "theirs7")


def test_it_says_what_it_made(netns, vnic):
    done = vnic.run("add", "tun7", "10.0.0.1/24", "fd00::1/64", "--owner", str(OWNER))
    vnic.expected.add("tun7")
    assert done.returncode == 0 and done.stderr == "", done
    for word in ("tun7", "persistent TUN", "10.0.0.1/24", "fd00::1/64", "up",
                 f"as {OWNER}: vnic host --name tun7"):
        assert word in done.stdout, (word, done.stdout)


@kinds
def test_configured(netns, vnic, kind):
    mac = ["--mac", "02:00:5e:10:00:01"] if kind == "tap" else []
    add(vnic, "nic7", "10.0.0.1/24", "fd00::1/64", "--mtu", "1400", *TAP[kind], *mac)
    link = netns.link("nic7")
    assert "UP" in link["flags"] and link["mtu"] == 1400, link
    if kind == "tap":
        assert link["address"] == "02:00:5e:10:00:01", link
    found = {(x["local"], x["prefixlen"]) for x in link["addr_info"]}
    assert found == {("10.0.0.1", 24), ("fd00::1", 64)}, found
    assert netns.json(["ip", "-j", "-d", "link", "show", "dev", "nic7"])[0][
        "inet6_addr_gen_mode"] == "none"


def test_up_without_an_address(netns, vnic):
    add(vnic, "tun7", "--up")
    link = netns.link("tun7")
    assert "UP" in link["flags"] and link["addr_info"] == [], link


def test_pattern(netns, vnic):
    names = [add(vnic, "my%d")["name"] for _ in range(2)]
    assert names == ["my0", "my1"] and {"my0", "my1"} <= netns.links(), names


@pytest.mark.parametrize("by", ["path", "pid", "name"])
def test_netns(netns, vnic, spare, by):
    other = spare()
    if by == "name":
        netns.run(["mkdir", "-p", "/run/netns"])
        netns.run(["touch", "/run/netns/blue"])
        netns.run(["mount", "--bind", other.path, "/run/netns/blue"])
    place = {"path": other.path, "pid": str(other.pid), "name": "blue"}[by]
    add(vnic, "tun7", "10.0.0.1/24", "--netns", place)
    assert netns.links() == set() and other.links() == {"tun7"}, (netns.links(), other.links())
    assert other.link("tun7")["addr_info"][0]["local"] == "10.0.0.1"
    done = vnic.run("delete", "tun7", "--netns", place)
    assert done.returncode == 0 and other.links() == set(), (done, other.links())


# Its owner


@kinds
@pytest.mark.parametrize("who", ["--owner", "--group"])
def test_its_owner_needs_no_privilege(netns, vnic, kind, who):
    add(vnic, "nic7", "10.0.0.1/24", "fd00::1/64", who, str(OWNER), *TAP[kind])
    for _ in range(2):  # and it is still there the second time
        host = vnic.host("--name", "nic7", *TAP[kind], user=OWNER)
        netns.ping("10.0.0.2", "-i", "0.01")
        netns.ping("fd00::2", "-i", "0.01")
        assert count(host.stop(), "echo_replies") == 6
    link = netns.link("nic7")
    found = {(x["local"], x["prefixlen"]) for x in link["addr_info"]}
    assert found == {("10.0.0.1", 24), ("fd00::1", 64)}, found


@pytest.mark.parametrize("options", [[], ["--owner", str(OWNER)], ["--group", str(OWNER)],
                                     ["--owner", str(OTHER), "--group", str(OWNER)]])
def test_others_may_not_use_it(vnic, options):
    """Not even where nobody was named: that would be everybody's to the kernel."""
    add(vnic, "tun7", "10.0.0.1/24", *options)
    done = vnic.run("host", "--name", "tun7", "--json", user=OTHER)
    assert cause(done) == "not-owner", done
    done = vnic.run("delete", "tun7", "--json", user=OTHER)
    assert cause(done) == "not-owner", done


ATTACH = """
import fcntl, os, struct, sys
descriptor = os.open("/dev/net/tun", os.O_RDWR)
try:
    fcntl.ioctl(descriptor, 0x400454CA, struct.pack("16sH22x", sys.argv[1].encode(), 0x1101))
    print("attached")
except OSError as error:
    print(error.strerror)
"""


def test_others_cannot_take_a_queue_of_a_running_host(netns, vnic):
    """What has several queues always has one to be had: it must belong to somebody."""
    host = vnic.host("10.0.0.1/24", "--queues", 2)
    done = netns.run(["/usr/bin/python3", "-c", ATTACH, host.name], user=OTHER)
    assert done.stdout == "Operation not permitted\n", done
    assert netns.link(host.name)["linkinfo"]["info_data"]["user"] == "root", netns.link(host.name)


def test_owner_in_a_user_namespace(vnic):
    """There it is the user who made the namespace, who is root in it."""
    done = vnic.run("host", "10.0.0.1/24", "--private", "--queues", 2, "--", vnic.path, "show",
                    "tun0", "--json", user=OWNER)
    if "user namespace" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done
    shown = [json.loads(x) for x in done.stdout.splitlines() if x.startswith('{"name"')]
    assert shown and shown[0]["owner"]["uid"] == 0, done


def test_its_owner_deletes_it(netns, vnic):
    add(vnic, "tun7", "--owner", str(OWNER))
    delete(netns, vnic, "tun7", user=OWNER)


def test_several_queues_of_the_owner(netns, vnic):
    add(vnic, "tun7", "10.0.0.1/24", "--owner", str(OWNER), "--queues", "4")
    host = vnic.host("--name", "tun7", "--queues", 4, user=OWNER)
    netns.ping("10.0.0.2", "-i", "0.01")
    fails(vnic.run("delete", "tun7"), 1, "'tun7'", "in use", "vnic", "--force")
    host.stop()
    delete(netns, vnic, "tun7")


# What goes wrong leaves nothing behind: the fixture looks whether an interface is there


def test_name_too_long(vnic):
    for name in ("a" * 16, "a" * 300):
        fails(vnic.run("add", name), 2, "15 bytes")
        assert cause(vnic.run("add", name, "--json"), 2) == "name-too-long"
    add(vnic, "a" * 15)
    fails(vnic.run("delete", "a" * 16), 1, "a" * 16)  # and not the one whose name was cut off


def test_bad_name(vnic):
    for name in (".", "..", "a b", "a:b", "%s", "a%d%d", "%"):
        assert cause(vnic.run("add", name, "--json"), 2) == "name-invalid", name


def test_name_with_a_slash(vnic):
    fails(vnic.run("add", "a/b"), 2, "a/b")
    fails(vnic.run("add", "10.0.0.1/24", "tun7"), 2, "10.0.0.1/24", "NAME")


@pytest.mark.parametrize("kind", ["tun", "tap", "bridge", "lo"])
def test_taken(netns, vnic, kind):
    """Whatever has the name stays as it was."""
    name = "lo" if kind == "lo" else "taken7"
    if kind in TAP:
        add(vnic, name, "10.0.0.1/24", "--owner", str(OWNER), *TAP[kind])
    elif kind != "lo":
        netns.run(["ip", "link", "add", name, "type", kind])
        vnic.expected.add(name)
    before = netns.link(name)
    for options in ([], ["--tap"], ["10.9.0.1/24"], ["--mtu", "1300"]):
        done = vnic.run("add", name, *options, "--json")
        assert cause(done) in (["name-taken"] if kind in TAP else ["name-taken", "kind-mismatch"])
        assert f"'{name}'" in done.stderr, done.stderr
    after = netns.link(name)
    assert before == after, (before, after)


def test_in_use(netns, vnic):
    host = vnic.host("10.0.0.1/24", "--name", "used7")
    assert cause(vnic.run("add", "used7", "--json")) == "name-taken"
    netns.ping("10.0.0.2", "-i", "0.01")
    host.stop()


def test_bad_address(netns, vnic):
    for address in ("10.0.0/24", "10.0.0.256/24", "10.0.0.1/33", "fd00::1/129", "fd00::g/64",
                    "10.0.0.1/", "10.0.0.1/2 4", "/24", "10.0.0.1/-1", "10.0.0.1/+1", "01.0.0.1/24",
                    "fe80::1%lo/64", "224.0.0.1/24", "ff02::1/64", "::/64", "0.0.0.0/8",
                    "10.0.0.1/0", "127.0.0.1/8", "10.0.0.255/24", "10.0.0.0/24"):
        fails(vnic.run("add", "tun7", "10.9.0.1/24", address), 2, f"'{address.partition('/')[0]}")
    assert netns.links() == set(), netns.links()


def test_address_without_length(vnic):
    fails(vnic.run("add", "tun7", "10.0.0.1"), 2, "10.0.0.1/24")
    fails(vnic.run("add", "tun7", "fd00::1"), 2, "fd00::1/64")


def test_the_same_address_twice(netns, vnic):
    for again in ("10.0.0.1/24", "10.0.0.1/16"):
        fails(vnic.run("add", "tun7", "10.0.0.1/24", again), 2, again, "twice")
    assert netns.links() == set(), netns.links()


@pytest.mark.parametrize("address", ["10.0.0.1/24", "fd00::1/64"])
def test_address_of_another_interface(netns, vnic, address):
    add(vnic, "first7", address)
    done = vnic.run("add", "second7", address, "--json")
    assert cause(done) == "address-taken" and "first7" in done.stderr, done
    assert netns.links() == {"first7"}, netns.links()


def test_mtu_out_of_range(netns, vnic):
    for mtu in (0, 67, 65536, 4294967295, 4294967296, -1):
        fails(vnic.run("add", "tun7", f"--mtu={mtu}"), 2, "--mtu", str(mtu))
    assert netns.links() == set(), netns.links()


def test_mtu_that_the_kernel_refuses(netns, vnic):
    """A TAP takes 14 bytes less. By then the interface is there, and must go again."""
    done = vnic.run("add", "tap7", "10.0.0.1/24", "--tap", "--mtu", "65535", "--json")
    assert cause(done) == "mtu-range" and "65521" in done.stderr, done
    assert netns.links() == set(), netns.links()


def test_mtu_too_small_for_ipv6(netns, vnic):
    fails(vnic.run("add", "tun7", "fd00::1/64", "--mtu", "1279"), 2, "1280")
    assert netns.links() == set(), netns.links()


def test_bad_mac(netns, vnic):
    for mac in ("02:00:00:00:00", "02:00:00:00:00:0g", "020000000001", "", "01:00:5e:00:00:01",
                "00:00:00:00:00:00"):
        fails(vnic.run("add", "tap7", "--tap", "--mac", mac), 2, "--mac", mac)
    assert netns.links() == set(), netns.links()


def test_mac_of_a_tun(vnic):
    fails(vnic.run("add", "tun7", "--mac", "02:00:00:00:00:01"), 2, "--tap")


def test_who_does_not_exist(netns, vnic):
    for value in ("no-such-user", "-1", "4294967295", "4294967296", "12x", ""):
        fails(vnic.run("add", "tun7", f"--owner={value}"), 2, "--owner")
        fails(vnic.run("add", "tun7", f"--group={value}"), 2, "--group")
    assert netns.links() == set(), netns.links()


def test_netns_missing(vnic):
    for place in ("nowhere", "/run/nowhere", "4194304"):
        for command in ("add", "delete"):
            fails(vnic.run(command, "tun7", "--netns", place), 1, place)


WRONG = [
    (["add"], "NAME"), (["delete"], "NAME"), (["delete", "one", "two"], "two"),
    (["add", "tun7", "--queues", "0"], "--queues"), (["add", "tun7", "--queues", "257"], "256"),
    (["add", "tun7", "--mtu", "many"], "many"), (["add", "tun7", "--what"], "--what"),
    (["add", "tun7", "--", "true"], "COMMAND"), (["delete", "tun7", "--", "true"], "COMMAND"),
    (["delete", "tun7", "--tap"], "--tap"), (["add", "tun7", "--own", "root"], "--owner"),
]


def test_wrong_usage(netns, vnic):
    for arguments, word in WRONG:
        fails(vnic.run(*arguments), 2, word, f"vnic {arguments[0]} --help")
    assert netns.links() == set(), netns.links()


def test_without_capability(vnic):
    done = vnic.run("add", "tun7", user=NOBODY)
    fails(done, 1, "'tun7'", "Operation not permitted", "CAP_NET_ADMIN", "root")
    assert "--private" not in done.stderr, done.stderr  # that is no way to make what stays


def test_node_closed(netns, vnic):
    if not netns.own_node:
        pytest.skip("/dev/net/tun is the machine's")
    netns.chmod_node(0o600)
    done = vnic.run("add", "tun7", user=NOBODY)
    fails(done, 1, "/dev/net/tun", "Permission denied", "chmod 0666 /dev/net/tun")
    assert cause(vnic.run("add", "tun7", "--json", user=NOBODY)) == "node-permission"


def test_node_missing(netns, vnic):
    script = f"mount -t tmpfs tmpfs /dev/net && exec {vnic.path} add tun7 --json"
    done = netns.run(["unshare", "--mount", "sh", "-c", script], check=False)
    assert cause(done) == "node-missing" and "modprobe tun" in done.stderr, done


def test_ipv6_disabled(netns, vnic):
    """An IPv6 address then fails, and the IPv4 address that was set before goes with it."""
    for which in ("all", "default"):
        netns.run(["sh", "-c", f"echo 1 > /proc/sys/net/ipv6/conf/{which}/disable_ipv6"])
    done = vnic.run("add", "tun7", "10.0.0.1/24", "fd00::1/64", "--json")
    assert done.returncode == 1, done
    assert netns.links() == set(), netns.links()
    add(vnic, "tun7", "10.0.0.1/24")
    assert netns.link("tun7")["addr_info"][0]["local"] == "10.0.0.1"


def test_no_descriptor_left(netns, vnic):
    done = netns.run(["sh", "-c", f"ulimit -n 4; exec {vnic.path} add tun7 10.0.0.1/24 --json"],
                     check=False)
    assert done.returncode == 1 and netns.links() == set(), (done, netns.links())
    assert cause(done) == "limit", done


# Deleting


def test_other_kinds_stay(netns, vnic):
    netns.run(["ip", "link", "add", "veth7", "type", "veth"])
    netns.run(["ip", "link", "add", "bridge7", "type", "bridge"])
    vnic.expected |= netns.links()
    for name in ("lo", "veth7", "bridge7"):
        for force in ([], ["--force"]):
            fails(vnic.run("delete", name, *force), 1, f"'{name}'", "neither a TUN nor a TAP")
            assert netns.link(name), netns.links()
        assert cause(vnic.run("delete", name, "--json")) == "kind-mismatch"


def test_delete_what_is_missing(vnic):
    fails(vnic.run("delete", "none7"), 1, "none7", "vnic show")
    assert cause(vnic.run("delete", "none7", "--json")) == "interface-missing"


@kinds
def test_delete_what_ip_made(netns, vnic, kind):
    netns.run(["ip", "tuntap", "add", "theirs7", "mode", kind, "pi", "vnet_hdr", "multi_queue"])
    delete(netns, vnic, "theirs7")


@kinds
def test_delete_leaves_what_is_in_use(netns, vnic, kind):
    host = vnic.host("10.0.0.1/24", "--name", "used7", *TAP[kind])
    fails(vnic.run("delete", "used7"), 1, "'used7'", "in use", f"vnic (process {host.pid})",
          "--force")
    assert cause(vnic.run("delete", "used7", "--json")) == "name-taken"
    netns.ping("10.0.0.2", "-i", "0.01")
    done = vnic.run("delete", "used7", "--force", "--json")
    assert done.returncode == 0, done
    assert json.loads(done.stdout) == {"event": "deleted", "name": "used7"}, done.stdout
    assert "used7" not in netns.links(), netns.links()
    assert host.wait() == 1, host  # its interface has vanished


def test_delete_forced_without_capability(netns, vnic):
    add(vnic, "tun7", "--owner", str(OWNER))
    assert cause(vnic.run("delete", "tun7", "--force", "--json", user=NOBODY)) == "capability"
    assert "tun7" in netns.links(), netns.links()


