# SPDX-License-Identifier: MIT
"""`vnic exec`: any program gets a ready NIC as descriptor 3, and no privilege with it."""

import signal

import pytest

from namespace import NOBODY, wait_until

KINDS = {"tun": [], "tap": ["--tap"]}
PYTHON = "/usr/bin/python3"


def status_of(text):
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def test_environment(netns, vnic):
    done = vnic.run("exec", "10.0.0.1/24", "--name", "given0", "--", "sh", "-c",
                    'echo "$VNIC_FD $VNIC_NAME"; readlink /proc/$$/fd/3; cat /proc/$$/fdinfo/3',
                    check=True)
    assert "3 given0" in done.stdout.splitlines(), done.stdout
    assert "/dev/net/tun" in done.stdout or "/run/tun" in done.stdout, done.stdout
    assert "iff:\tgiven0" in done.stdout, done.stdout


def test_chosen_name(netns, vnic):
    """The name that the kernel chose, in the environment and in the namespace."""
    done = vnic.run("exec", "10.0.0.1/24", "--", "sh", "-c", "cat /sys/class/net/$VNIC_NAME/flags",
                    check=True)
    assert int(done.stdout.split()[-1], 16) & 1, done.stdout


def test_no_other_descriptor(netns, vnic):
    done = vnic.run("exec", "10.0.0.1/24", "--", "sh", "-c", "ls /proc/$$/fd", check=True)
    assert done.stdout.split()[-4:] == ["0", "1", "2", "3"], done.stdout


@pytest.mark.parametrize("user", [None, "nobody"])
def test_no_privileges(netns, vnic, user):
    options = ["--user", user] if user else []
    done = vnic.run("exec", "10.0.0.1/24", *options, "--", "cat", "/proc/self/status", check=True)
    status = status_of(done.stdout)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, (name, status[name])
    assert status["NoNewPrivs"].strip() == "1", status["NoNewPrivs"]
    if user:
        assert status["Uid"].split() == [str(NOBODY)] * 4, status["Uid"]
        assert "0" not in status["Gid"].split() + status["Groups"].split(), status["Groups"]


def test_private_as_an_ordinary_user(netns, vnic):
    done = vnic.run("exec", "10.0.0.1/24", "--private", "--", "sh", "-c",
                    'ip -o addr show $VNIC_NAME; grep CapEff /proc/self/status', user=NOBODY)
    assert done.returncode == 0 and "10.0.0.1/24" in done.stdout, done
    assert not netns.links()


@pytest.mark.parametrize("script, status", [("exit 0", 0), ("exit 9", 9), ("kill -KILL $$", 137),
                                            ("kill -TERM $$", 143)])
def test_exit_status(netns, vnic, script, status):
    """Where the tool becomes the COMMAND, a signal ends it itself."""
    done = vnic.run("exec", "10.0.0.1/24", "--", "sh", "-c", script)
    assert done.returncode in (status, 128 - status), done
    assert not netns.links()


def test_command_that_cannot_be_run(netns, vnic, tmp_path):
    assert vnic.run("exec", "10.0.0.1/24", "--", "/nowhere/program").returncode == 127
    assert vnic.run("exec", "10.0.0.1/24", "--", tmp_path).returncode == 126
    assert not netns.links()


@pytest.mark.parametrize("arguments", [["10.0.0.1/24"], ["10.0.0.1/24", "--"], ["--", "true"]],
                         ids=" ".join)
def test_wrong_usage(netns, vnic, arguments):
    done = vnic.run("exec", *arguments)
    assert done.returncode == 2 and done.stderr.startswith("vnic: "), done
    assert not netns.links()


# Answers echo requests by turning them around. The checksum of ICMP is of the type too: 8 less in one
# place is 0x800 more in the other.
RESPONDER = r"""
import os, struct
fd = int(os.environ["VNIC_FD"])
skip = 14 if HEADER else 0
os.set_blocking(fd, True)
print("reading", flush=True)
while True:
    frame = bytearray(os.read(fd, 65536 + 64))
    packet = frame[skip:]
    if HEADER and frame[12:14] == b"\x08\x06" and packet[6:8] == b"\0\1" and packet[24:28] == bytes([10, 0, 0, 2]):
        mac = b"\x02\0\0\0\0\x02"
        os.write(fd, frame[6:12] + mac + b"\x08\x06" + packet[:6] + b"\0\2" + mac + packet[24:28] +
                 packet[8:14] + packet[14:18])
    elif packet[:1] == b"\x45" and packet[9] == 1 and packet[20] == 8:
        packet[12:16], packet[16:20] = packet[16:20], packet[12:16]
        packet[20] = 0
        total = struct.unpack("!H", packet[22:24])[0] + 0x800
        packet[22:24] = struct.pack("!H", (total & 0xffff) + (total >> 16))
        os.write(fd, frame[6:12] + frame[:6] + frame[12:14] + packet if HEADER else packet)
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("user", [None, "nobody"])
def test_program_answers_ping(netns, vnic, kind, user):
    """In Python, without a privilege: each packet is one read and one write, without any header."""
    options = [*KINDS[kind], *(["--user", user] if user else [])]
    host = vnic.start("exec", "10.0.0.1/24", *options, "--", PYTHON, "-c",
                      RESPONDER.replace("HEADER", str(kind == "tap")), json=False, ready=False)
    assert host.stdout.wait("reading"), host
    netns.ping("10.0.0.2", "-i", "0.01", "-s", 1400, count=10)
    host.signal(signal.SIGTERM)
    host.wait()
    wait_until(lambda: not netns.links(), netns.links)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL],
                         ids=lambda number: number.name)
def test_signal(netns, vnic, number):
    host = vnic.start("exec", "10.0.0.1/24", "--", "sh", "-c", "echo started; exec sleep 1000",
                      json=False, ready=False)
    assert host.stdout.wait("started"), host
    host.signal(number)
    host.wait()
    wait_until(lambda: not host.family(), host.family)
    wait_until(lambda: not netns.links(), netns.links)


def test_mtu_and_both_families(netns, vnic):
    done = vnic.run("exec", "10.0.0.1/24", "fd00::1/64", "--mtu", 9000, "--", "sh", "-c",
                    "ip -o addr show $VNIC_NAME; cat /sys/class/net/$VNIC_NAME/mtu", check=True)
    assert "10.0.0.1/24" in done.stdout and "fd00::1/64" in done.stdout, done.stdout
    assert done.stdout.split()[-1] == "9000", done.stdout
