# SPDX-License-Identifier: MIT
"""What `vnic host` keeps of its privileges, and what it says where it lacks one."""

import json
import os
import re

import pytest

from namespace import NOBODY, count

CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def statuses(pid):
    """/proc/PID/status of each thread, as a dictionary."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="utf-8") as file:
            found.append(dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line))
    return found


@pytest.mark.threads
@pytest.mark.parametrize("options", [[], ["--tap"], ["--queues", "3"], ["--user", "nobody"],
                                     ["--user", "nobody", "--queues", "3"]], ids=" ".join)
def test_nothing_is_kept(netns, vnic, tmp_path, options):
    """In no thread, not even in those that came later."""
    host = vnic.host("10.0.0.1/24", "--host", "all", *options)
    netns.ping("10.0.0.2", count=1)
    threads = statuses(host.pid)
    for status in threads:
        got = {name: int(status[name], 16) for name in CAPABILITIES}
        assert got == dict.fromkeys(CAPABILITIES, 0), got
        assert status["NoNewPrivs"] == "1", status["NoNewPrivs"]
    if "--queues" in options:
        assert len(threads) >= 3, len(threads)
    host.stop()


@pytest.mark.parametrize("option, uid", [("nobody", NOBODY), (str(NOBODY), NOBODY), ("daemon", 1)])
def test_user(netns, vnic, option, uid):
    host = vnic.host("10.0.0.1/24", "--user", option)
    for status in statuses(host.pid):
        assert status["Uid"].split() == [str(uid)] * 4, status["Uid"]
        assert "0" not in status["Gid"].split() + status["Groups"].split(), (
            status["Gid"], status["Groups"])
    netns.ping("10.0.0.2", count=1)
    host.stop()


def test_user_without_option_stays(netns, vnic):
    host = vnic.host("10.0.0.1/24")
    assert statuses(host.pid)[0]["Uid"].split() == ["0"] * 4


@pytest.mark.parametrize("user", ["no-such-user", "-5", "99999999999999", "root:root"])
def test_user_that_does_not_exist(netns, vnic, user):
    done = vnic.run("host", "10.0.0.1/24", f"--user={user}")
    assert done.returncode in (1, 2) and user in done.stderr, done
    assert not netns.links()


def test_user_and_capture(netns, vnic, tmp_path):
    """The file is opened before: another user could not."""
    path = tmp_path / "capture.pcap"
    host = vnic.host("10.0.0.1/24", "--user", "nobody", "--capture", path)
    netns.ping("10.0.0.2", count=1)
    assert count(host.stop(), "written") == 2
    assert path.stat().st_size > 24 + 2 * 16


def persistent(netns, vnic, kind="tun", owner=NOBODY, name="keep0"):
    """An interface made by `ip`, set up by root."""
    netns.run(["ip", "tuntap", "add", name, "mode", kind, "user", owner])
    vnic.expected.add(name)
    netns.run(["ip", "link", "set", name, "addrgenmode", "none"])
    netns.run(["ip", "addr", "add", "10.0.0.1/24", "dev", name])
    netns.run(["ip", "addr", "add", "fd00::1/64", "dev", name, "nodad"])
    netns.run(["ip", "link", "set", name, "up"])
    return name


@pytest.mark.parametrize("kind", ["tun", "tap"])
def test_owner_needs_no_privilege(netns, vnic, kind):
    """Everything is as it is asked for already, so nothing has to be configured."""
    name = persistent(netns, vnic, kind)
    before = netns.link(name)["addr_info"]
    options = ["--tap"] if kind == "tap" else []
    for _ in range(2):  # what the first leaves behind must not disturb the second
        host = vnic.host("10.0.0.1/24", "fd00::1/64", "--name", name, *options, user=NOBODY)
        assert statuses(host.pid)[0]["Uid"].split() == [str(NOBODY)] * 4
        netns.ping("10.0.0.2", "-s", 3000, count=2)
        netns.ping("fd00::2", "-s", 3000, count=2)
        host.stop()
        assert netns.link(name)["linkinfo"]["info_data"]["persist"], "no longer persistent"
        assert netns.link(name)["addr_info"] == before


def test_another_users_interface(netns, vnic):
    name = persistent(netns, vnic, owner=1)
    done = vnic.run("host", "10.0.0.1/24", "--name", name, "--json", user=NOBODY)
    assert done.returncode == 1, done
    assert name in done.stderr and "owner" in done.stderr, done.stderr
    assert '"cause":"not-owner"' in done.stdout, done.stdout


def refused(done, cause, *words):
    """It failed, for this cause, and says these words; one line and no more."""
    assert done.returncode == 1, done
    assert done.stderr.startswith("vnic: "), done.stderr
    for word in words:
        assert re.search(word, done.stderr), (word, done.stderr)
    # With --private there is a shell, whose standard output it is.
    events = [json.loads(line) for line in (done.stdout + done.stderr).splitlines() if line[0] == "{"]
    assert [x["cause"] for x in events if x["event"] == "error"] == [cause], done.stdout


def test_no_capability(netns, vnic):
    """The node may be opened by all, as udev has it."""
    done = vnic.run("host", "10.0.0.1/24", "--json", user=NOBODY)
    refused(done, "capability", "not permitted", r"needs CAP_NET_ADMIN.*root.*--private")
    done = vnic.run("host", "10.0.0.1/24", "--name", "wanted0", "--json", user=NOBODY)
    refused(done, "capability", "'wanted0'")


def test_root_without_the_capability(netns, vnic):
    done = netns.run(["setpriv", "--bounding-set", "-net_admin,-sys_admin", "--inh-caps", "-all",
                      vnic.path, "host", "10.0.0.1/24", "--json"], check=False)
    refused(done, "capability", "not permitted", "root lacks CAP_NET_ADMIN")


@pytest.mark.parametrize("options", [[], ["--private"]], ids=["here", "private"])
def test_node_of_roots_alone(netns, vnic, options):
    """Mode 0600, as where no udev runs: then a user namespace does not help, and the hint says so."""
    netns.chmod_node(0o600)
    done = vnic.run("host", "10.0.0.1/24", "--json", *options, user=NOBODY)
    refused(done, "node-permission", "/dev/net/tun", "Permission denied", "chmod 0666 /dev/net/tun")


def test_node_of_roots_alone_is_enough_for_root(netns, vnic):
    netns.chmod_node(0o600)
    vnic.host("10.0.0.1/24")
    netns.ping("10.0.0.2", count=1)


def test_user_namespaces_switched_off(netns, vnic):
    """As far as a user namespace of our own shows it: the limit is of the namespace above."""
    done = netns.run(["unshare", "--user", "--map-root-user", "sh", "-c",
                      'echo 0 >/proc/sys/user/max_user_namespaces && '
                      'exec setpriv --bounding-set -all --inh-caps -all "$@"', "sh",
                      vnic.path, "host", "10.0.0.1/24", "--private", "--", "true"], user=NOBODY, check=False)
    assert done.returncode == 1, done
    assert "private network namespace" in done.stderr, done.stderr
    assert "run as root" in done.stderr and "user.max_user_namespaces" in done.stderr, done.stderr


@pytest.mark.parametrize("user", [None, NOBODY], ids=["root", "nobody"])
def test_no_node(netns, vnic, user):
    netns.run(["mount", "-t", "tmpfs", "tmpfs", "/dev/net"])
    done = vnic.run("host", "10.0.0.1/24", "--json", user=user)
    refused(done, "node-missing", "/dev/net/tun", "modprobe tun")


def test_node_without_a_driver(netns, vnic):
    """A number that no driver has, as in a kernel without the module."""
    netns.run(["sh", "-c", "mknod -m 0666 /run/none c 239 77 && mount --bind /run/none /dev/net/tun"])
    done = vnic.run("host", "10.0.0.1/24", "--json")
    refused(done, "node-missing", "/dev/net/tun", "modprobe tun")


def test_name_in_use(netns, vnic):
    """Of the interface that another process holds."""
    host = vnic.host("10.0.0.1/24", "--name", "taken0")
    done = vnic.run("host", "10.1.0.1/24", "--name", "taken0", "--json")
    refused(done, "name-taken", "'taken0'", "vnic show taken0")
    netns.ping("10.0.0.2", count=1)
    host.stop()


def test_netns_of_root(netns, spare, vnic):
    """An ordinary user may not enter another's namespace."""
    space = spare()
    done = vnic.run("host", "10.0.0.1/24", "--netns", space.path, "--json", user=NOBODY)
    refused(done, "capability", "not permitted|denied", "CAP_")
