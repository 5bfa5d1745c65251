# SPDX-License-Identifier: MIT
"""`vnic features` against what the kernel says when it is asked directly."""

import fcntl
import json
import os
import struct
import subprocess

import pytest

from namespace import NOBODY

TUNGETFEATURES = 0x800454CF
TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
FEATURES = {"tun": 0x0001, "tap": 0x0002, "napi": 0x0010, "napi_fragments": 0x0020,
            "no_carrier": 0x0040, "multi_queue": 0x0100, "packet_information": 0x1000,
            "vnet_header": 0x4000}
# TUN_F_*: each with what it wants besides.
OFFLOADS = {"csum": 0x01, "tso4": 0x03, "tso6": 0x05, "ecn": 0x0B, "uso": 0x61}


def features(vnic, status=0, **options):
    done = vnic.run("features", "--json", **options)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout.splitlines()[0])


def node(netns):
    """A descriptor of /dev/net/tun, with which this process makes an interface in the namespace."""
    with netns.entered():
        return os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)


def test_features_of_the_driver(netns, vnic):
    mine = features(vnic)
    descriptor = node(netns)
    try:
        value = struct.unpack("I", fcntl.ioctl(descriptor, TUNGETFEATURES, bytes(4)))[0]
    finally:
        os.close(descriptor)
    for name, bit in FEATURES.items():
        assert mine["features"][name] is bool(value & bit), (name, hex(value), mine["features"])


def test_offloads(netns, vnic):
    mine = features(vnic)
    with netns.entered():
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(descriptor, TUNSETIFF,
                    struct.pack("16sH22x", b"probe7", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
    try:
        for name, bits in OFFLOADS.items():
            try:
                fcntl.ioctl(descriptor, TUNSETOFFLOAD, bits)
                granted = True
            except OSError:
                granted = False
            assert mine["offloads"][name] is granted, (name, mine["offloads"])
    finally:
        os.close(descriptor)


def test_as_root(netns, vnic):
    mine = features(vnic)
    assert mine["kernel"] == os.uname().release, mine
    assert mine["uid"] == 0 and mine["net_admin"] is True, mine
    assert mine["private"] == {"works": True, "message": None, "hint": None}, mine
    assert mine["ipv6"] is os.path.exists("/proc/sys/net/ipv6"), mine
    mode = int(netns.run(["stat", "-c", "%a", "/dev/net/tun"]).stdout, 8)
    assert mine["node"] == {"path": "/dev/net/tun", "exists": True, "mode": f"{mode:04o}",
                            "opens": True}, mine
    assert netns.links() == set(), netns.links()


def test_text(vnic):
    done = vnic.run("features")
    assert done.returncode == 0 and done.stderr == "", done
    for word in (os.uname().release, "/dev/net/tun", "CAP_NET_ADMIN", "--private", "works", "IPv6",
                 "multi-queue", "tso4", "csum"):
        assert word in done.stdout, (word, done.stdout)
    assert "\x1b" not in done.stdout and "(null)" not in done.stdout, done.stdout


def test_as_an_ordinary_user(netns, vnic):
    """Whether --private works is what happens when it is tried."""
    mine = features(vnic, user=NOBODY)
    assert mine["uid"] == NOBODY and mine["net_admin"] is False, mine
    assert mine["node"]["opens"] is True, mine
    tried = netns.run(["unshare", "--user", "--net", "true"], user=NOBODY, check=False)
    if tried.returncode != 0:
        assert mine["private"]["works"] is False and mine["private"]["message"], mine
    else:
        done = vnic.run("host", "10.0.0.1/24", "--private", "--", "true", user=NOBODY)
        assert mine["private"]["works"] is (done.returncode == 0), (mine["private"], done)
    text = vnic.run("features", user=NOBODY).stdout
    assert "--owner" in text and "--private" in text, text


def test_node_closed(netns, vnic):
    if not netns.own_node:
        pytest.skip("/dev/net/tun is the machine's")
    netns.chmod_node(0o600)
    mine = features(vnic, status=1, user=NOBODY)
    assert mine["node"]["opens"] is False and mine["node"]["mode"] == "0600", mine
    assert mine["private"]["works"] is False and mine["kernel"] == os.uname().release, mine
    assert all(x is None for x in mine["features"].values()), mine
    done = vnic.run("features", user=NOBODY)
    assert done.returncode == 1 and done.stderr.startswith("vnic: "), done
    assert "chmod 0666 /dev/net/tun" in done.stdout, done.stdout
    text = vnic.run("features").stdout  # root may
    assert "0600: you may open it; other users may not" in text, text


def test_node_missing(netns, vnic):
    script = f"mount -t tmpfs tmpfs /dev/net && exec {vnic.path} features --json"
    done = netns.run(["unshare", "--mount", "sh", "-c", script], check=False)
    assert done.returncode == 1, done
    mine, error = [json.loads(x) for x in done.stdout.splitlines()]
    assert mine["node"]["exists"] is False and mine["node"]["mode"] is None, mine
    assert error["event"] == "error" and error["cause"] == "node-missing", error


def test_user_namespaces_switched_off(netns, vnic):
    """In a user namespace of our own, so that the machine's limit stays as it is."""
    tried = subprocess.run(["unshare", "--user", "--map-root-user", "--net", "true"], check=False,
                           capture_output=True)
    if tried.returncode != 0:
        pytest.skip("no user namespaces here")
    script = ("echo 0 > /proc/sys/user/max_user_namespaces &&"
              f"exec setpriv --inh-caps=-all --bounding-set=-all {vnic.path} features --json")
    done = netns.run(["unshare", "--user", "--map-user=12345", "--keep-caps", "sh", "-c", script],
                     check=False)
    if "max_user_namespaces" in done.stderr:
        pytest.skip(f"the limit cannot be set: {done.stderr.strip()}")
    assert done.stdout, done
    mine = json.loads(done.stdout.splitlines()[0])
    assert mine["private"]["works"] is False, mine
    assert "user.max_user_namespaces" in mine["private"]["hint"], mine


def test_wrong_usage(vnic):
    for arguments, word in ((["tun0"], "options"), (["--what"], "--what"),
                            (["--", "true"], "options")):
        done = vnic.run("features", *arguments)
        assert done.returncode == 2 and word in done.stderr and done.stdout == "", done
        assert "vnic features --help" in done.stderr, done.stderr


def test_ipv6_disabled(netns, vnic):
    for which in ("all", "default"):
        netns.run(["sh", "-c", f"echo 1 > /proc/sys/net/ipv6/conf/{which}/disable_ipv6"])
    done = vnic.run("features")
    assert done.returncode == 0, done
    assert features(vnic)["ipv6"] is False and "disabled here" in done.stdout, done.stdout
