# SPDX-License-Identifier: MIT
"""`vnic host ... -- COMMAND`, --private, and that nothing is left behind however it ends."""

import os
import signal

import pytest

from namespace import NOBODY, wait_until

users = pytest.mark.parametrize("user", [None, NOBODY], ids=["root", "nobody"])
places = pytest.mark.parametrize("place", [[], ["--private"]], ids=["here", "private"])


@places
@pytest.mark.parametrize("script, status", [
    ("exit 0", 0), ("exit 1", 1), ("exit 7", 7), ("exit 255", 255),
    ("kill -KILL $$", 128 + 9), ("kill -TERM $$", 128 + 15), ("kill -SEGV $$", 128 + 11)])
def test_exit_status(netns, vnic, place, script, status):
    done = vnic.run("host", "10.0.0.1/24", *place, "--", "sh", "-c", script)
    assert done.returncode == status, done
    assert not netns.links()


@places
def test_command_that_does_not_exist(netns, vnic, place):
    done = vnic.run("host", "10.0.0.1/24", *place, "--", "/nowhere/program")
    assert done.returncode == 127, done
    assert "/nowhere/program" in done.stderr and "No such file" in done.stderr, done.stderr
    done = vnic.run("host", "10.0.0.1/24", *place, "--", "no-such-program-anywhere")
    assert done.returncode == 127 and "no-such-program-anywhere" in done.stderr, done


@places
def test_command_that_is_no_program(netns, vnic, place, tmp_path):
    path = tmp_path / "text"
    path.write_text("text")
    for command in (path, tmp_path):
        done = vnic.run("host", "10.0.0.1/24", *place, "--", command)
        assert done.returncode == 126, done
        assert str(command) in done.stderr, done.stderr


def test_no_command_behind_the_dashes(netns, vnic):
    done = vnic.run("host", "10.0.0.1/24", "--")
    assert done.returncode == 2, done
    assert not netns.links()


@pytest.mark.parametrize("place, user", [([], None), (["--private"], None), (["--private"], NOBODY)],
                         ids=["here", "private", "private-nobody"])
def test_interface_is_ready_for_the_command(netns, vnic, place, user):
    done = vnic.run("host", "10.0.0.1/24", "fd00::1/64", *place, "--", "sh", "-c",
                    "ping -c 1 -W 2 10.0.0.2 && ping -c 1 -W 2 fd00::2", user=user)
    assert done.returncode == 0, done
    assert done.stdout.count("1 received, 0% packet loss") == 2, done.stdout


@places
def test_input_and_output_are_the_commands(netns, vnic, place):
    done = vnic.run("host", "10.0.0.1/24", *place, "--", "sh", "-c",
                    'read line; echo "out $line"; echo "err $line" >&2', input="words\n")
    assert "out words" in done.stdout.splitlines(), done
    assert "err words" in done.stderr.splitlines(), done
    assert done.returncode == 0, done


@places
def test_no_descriptor_leaks_into_the_command(netns, vnic, place, tmp_path):
    done = vnic.run("host", "10.0.0.1/24", "--capture", tmp_path / "x.pcap", *place, "--",
                    "sh", "-c", "ls -l /proc/$$/fd", check=True)
    descriptors = [line.split()[8:] for line in done.stdout.splitlines() if " -> " in line]
    assert sorted(x[0] for x in descriptors) == ["0", "1", "2"], done.stdout


def test_signals_of_the_command_are_as_they_were(netns, vnic):
    """Neither blocked nor ignored because the tool wanted it so for itself."""
    mine = {line.split()[0]: line.split()[1] for line in netns.run(
        ["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"]).stdout.splitlines()}
    done = vnic.run("host", "10.0.0.1/24", "--", "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status")
    theirs = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()
              if line.startswith("Sig")}
    assert theirs == mine, done.stdout


@users
def test_private_changes_nothing_here(netns, vnic, user):
    """Another network namespace, and the user's own identity where there is one."""
    before = netns.run(["ip", "-j", "addr"]).stdout
    done = vnic.run("host", "10.0.0.1/24", "--name", "hidden0", "--private", "--", "sh", "-c",
                    "readlink /proc/self/ns/net; ip -o link; ip -o addr; cat /sys/class/net/hidden0/mtu",
                    user=user)
    assert done.returncode == 0, done
    assert netns.run(["readlink", "/proc/self/ns/net"]).stdout.strip() not in done.stdout
    assert "hidden0" in done.stdout and "10.0.0.1/24" in done.stdout, done.stdout
    assert netns.run(["ip", "-j", "addr"]).stdout == before


@users
def test_private_starts_a_shell(netns, vnic, user):
    """Without a COMMAND it is the user's shell."""
    done = vnic.run("host", "10.0.0.1/24", "--private", user=user, env={"SHELL": "/bin/sh"},
                    input="ping -c 1 -W 2 10.0.0.2\nexit 5\n")
    assert done.returncode == 5, done
    assert "1 received" in done.stdout, done


def test_for_a_duration(netns, vnic):
    host = vnic.host("10.0.0.1/24", "--for", "300ms")
    netns.ping("10.0.0.2", count=1)
    assert host.wait(5) == 0, host
    assert host.summary()
    assert not netns.links()


ENDS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL],
                               ids=lambda number: number.name)


@ENDS
@pytest.mark.parametrize("options", [[], ["--tap"], ["--queues", "3"]], ids=" ".join)
def test_signal(netns, vnic, number, options):
    host = vnic.host("10.0.0.1/24", *options)
    netns.ping("10.0.0.2", count=1)
    host.signal(number)
    status = host.wait()
    if number == signal.SIGKILL:
        assert status == -signal.SIGKILL, host
    else:
        assert status == 0, host
        assert host.summary()
    wait_until(lambda: not netns.links(), netns.links)
    wait_until(lambda: not host.family(), host.family)


GRANDCHILDREN = ["--", "sh", "-c", "sleep 1000 & setsid sleep 1000 & echo started; wait"]


def namespaces_of(processes):
    found = set()
    for pid in processes:
        for kind in ("net", "user", "mnt", "pid"):
            try:
                found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
            except OSError:
                pass
    return found


def namespaces_alive():
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        found |= namespaces_of([pid])
    return found


@ENDS
@users
def test_signal_with_grandchildren(netns, vnic, number, user):
    """With --private they go too, even those in a session of their own, and the namespaces with them."""
    before = namespaces_alive()
    host = vnic.start("host", "10.0.0.1/24", "--private", *GRANDCHILDREN, user=user, json=False,
                      ready=False)
    assert host.stdout.wait("started", 5), host
    wait_until(lambda: len(host.family()) >= 4, host.family)
    made = namespaces_of(host.family()) - before
    assert any(x.startswith("net:") for x in made), made
    host.signal(number)
    host.wait()
    wait_until(lambda: not host.family(), host.family)
    wait_until(lambda: not namespaces_alive() & made, lambda: namespaces_alive() & made)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL],
                         ids=lambda number: number.name)
def test_signal_with_a_command(netns, vnic, number):
    """Here the COMMAND itself goes, however the tool goes."""
    host = vnic.start("host", "10.0.0.1/24", "--", "sh", "-c", "echo started; exec sleep 1000",
                      json=False, ready=False)
    assert host.stdout.wait("started", 5), host
    host.signal(number)
    host.wait()
    wait_until(lambda: not host.family(), host.family)
    wait_until(lambda: not netns.links(), netns.links)
