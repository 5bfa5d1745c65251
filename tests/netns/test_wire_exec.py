# SPDX-License-Identifier: MIT
"""`vnic wire` between an interface and a program: exec:, unix: and unix-listen:, and the example in
Python (examples/wire.py) that answers ping over either.

    kernel 10.0.0.1/24 --- tun or tap --- vnic wire --- examples/wire.py (10.0.0.x)"""

import importlib.util
import os
import signal
import socket

import pytest
from scapy.layers.inet import ICMP, IP

from namespace import FACTOR, NOBODY, ROOT, processes_with_mark, wait_until
from test_wire import conserved, counters

PYTHON = "/usr/bin/python3"
EXAMPLE = os.path.join(ROOT, "examples", "wire.py")
TUN = "tun:t,10.0.0.1/24"
LONG = int(5 * FACTOR)  # seconds: Python takes its time to start


class Wire:
    def __init__(self, vnic, *arguments, **options):
        self.tool = vnic.start("wire", *arguments, **options)

    def events(self, change):
        return [x for x in self.tool.events() if x.get("event") == "port" and x["change"] == change]

    def wait_event(self, change, number=1):
        wait_until(lambda: len(self.events(change)) >= number or not self.tool.running,
                   lambda: f"{change}\n{self.tool}")
        found = self.events(change)
        assert len(found) >= number, f"{change}\n{self.tool}"
        return found[number - 1]["message"]

    def stop(self):
        summary = self.tool.stop()
        conserved(summary)
        return summary

    def end(self, status):
        """It ends by itself."""
        got = self.tool.wait()
        assert got == status, f"status {got}, not {status}: {self.tool}"
        summary = self.tool.summary()
        conserved(summary)
        return summary

    def handler(self):
        """The number of the process that runs the example."""
        found = [pid for pid, line in processes_with_mark(self.tool.mark).items()
                 if EXAMPLE in line and line.startswith(PYTHON)]
        assert len(found) == 1, found
        return found[0]


@pytest.mark.threads
def test_ping_through_a_program(netns, vnic):
    wire = Wire(vnic, TUN, f"exec:{PYTHON} {EXAMPLE}")
    wire.wait_event("command-started")
    netns.ping("10.0.0.2", "-i", "0.01", count=20)
    netns.ping("10.0.0.77", "-i", "0.01", "-s", 1472)
    summary = wire.stop()
    assert summary["ports"][1]["in_packets"] >= 20, summary
    assert wire.tool.stderr.text.count("84 bytes, answered") == 20, wire.tool


def test_frames(netns, vnic):
    """Over a TAP a COMMAND is told so, and gets Ethernet frames."""
    wire = Wire(vnic, "tap:t,10.0.0.1/24", "exec:printf 'got %s: ' $VNIC_TYPE >&2; "
                "dd bs=65557 count=1 <&3 2>/dev/null | od -An -tx1 -N14 >&2")
    netns.run(["ping", "-c1", "-W1", "10.0.0.2"], check=False)  # ARP at the least
    assert wire.tool.stderr.wait("got tap: "), wire.tool
    wire.end(0)
    assert "ff ff ff ff ff ff" in wire.tool.stderr.text or "33 33" in wire.tool.stderr.text, wire.tool


def test_json_stays_json(netns, vnic):
    """What COMMAND prints is not among what the tool prints."""
    wire = Wire(vnic, TUN, "exec:echo to the output; echo to the error >&2; cat <&3 >&3")
    assert wire.tool.stderr.wait("to the error"), wire.tool
    assert wire.tool.stderr.wait("to the output"), wire.tool
    wire.stop()
    assert all(line.startswith("{") for line in wire.tool.stdout.text.splitlines()), wire.tool


@pytest.mark.threads
def test_killed_and_restarted(netns, vnic):
    wire = Wire(vnic, TUN, f"exec:{PYTHON} {EXAMPLE}", "--restart")
    for number in (1, 2):
        wire.wait_event("command-started", number)
        netns.ping("10.0.0.2", "-W", LONG, count=1)
        os.kill(wire.handler(), signal.SIGKILL)
        said = wire.wait_event("command-ended", number)
        assert "ended with status 137 (signal 9); started again in 0." in said, said
    wire.wait_event("command-started", 3)
    netns.ping("10.0.0.2", "-W", LONG, count=1)
    wire.stop()


def test_killed_and_not_restarted(netns, vnic):
    wire = Wire(vnic, TUN, f"exec:{PYTHON} {EXAMPLE}")
    netns.ping("10.0.0.2", "-W", LONG, count=1)
    os.kill(wire.handler(), signal.SIGKILL)
    wire.end(1)
    assert "ended with status 137 (signal 9)" in wire.tool.stderr.text, wire.tool
    assert netns.links() == set()


@pytest.mark.parametrize("command,status,said", [
    ("exit 0", 0, "ended with status 0"),
    ("exit 7", 1, "ended with status 7"),
    ("/nowhere/at/all", 1, "ended with status 127 (command not found)"),
])
def test_exit_status(vnic, command, status, said):
    wire = Wire(vnic, TUN, f"exec:{command}")
    wire.end(status)
    assert said in wire.tool.stdout.text, wire.tool


@pytest.mark.parametrize("user", [[], ["--user", "nobody"]])
def test_command_has_no_privileges(vnic, user):
    """Nothing that the tool itself has given up, and no way to get it back."""
    wire = Wire(vnic, TUN, "exec:grep -E '^(Uid|Cap|NoNew|SigBlk|SigIgn)' /proc/self/status; "
                "ls -l /proc/self/fd; exit 0", *user)
    wire.end(0)
    lines = {line.split(":")[0]: line.split()[1:] for line in wire.tool.stderr.text.splitlines()
             if ":\t" in line}
    assert lines["Uid"] == [str(NOBODY if user else 0)] * 4, lines
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "SigBlk", "SigIgn"):
        value = int(lines[name][0], 16)
        if name == "SigIgn":  # 32 and 33 are the C library's own: nobody can change them
            value &= ~(3 << 31)
        assert value == 0, (name, lines)
    assert lines["NoNewPrivs"] == ["1"], lines
    assert "/dev/net/tun" not in wire.tool.stderr.text, wire.tool


def test_nothing_is_left_when_the_tool_is_killed(netns, vnic):
    wire = Wire(vnic, TUN, f"exec:{PYTHON} {EXAMPLE}")
    netns.ping("10.0.0.2", "-W", LONG, count=1)
    wire.tool.signal(signal.SIGKILL)
    wire.tool.wait()
    wait_until(lambda: not wire.tool.family(), lambda: wire.tool.family())


def test_no_descendant_is_left_when_the_tool_is_killed(netns, vnic):
    """Not even those with sessions of their own that ignore every signal and have closed the socket."""
    deaf = "trap '' TERM HUP INT; "
    wire = Wire(vnic, TUN, f"exec:{deaf} for i in 1 2 3; do (setsid sh -c '{deaf} exec 3>&-; sleep 1000 & "
                "echo deep >&2; sleep 1000; :' &); done; sleep 1000; :")
    wait_until(lambda: wire.tool.stderr.text.count("deep") == 3, lambda: wire.tool)
    assert len(wire.tool.family()) >= 9, wire.tool.family()
    wire.tool.signal(signal.SIGKILL)
    wire.tool.wait()
    wait_until(lambda: not wire.tool.family(), lambda: wire.tool.family())
    assert netns.links() == set()


# unix: and unix-listen:

def test_ping_over_a_socket(netns, vnic, tmp_path):
    """The example as the peer of a listener; it goes, and comes back."""
    path = tmp_path / "wire"
    wire = Wire(vnic, TUN, f"unix-listen:{path}")
    for number in (1, 2):
        peer = netns.start([PYTHON, EXAMPLE, path])
        assert f"process {peer.pid} is connected" in wire.wait_event("connected", number)
        netns.ping("10.0.0.2", "-i", "0.01")
        peer.signal(signal.SIGTERM)
        peer.wait()
        wire.wait_event("disconnected", number)
    netns.run(["ping", "-c1", "-W0.1", "10.0.0.2"], check=False)
    wait_until(lambda: counters(wire.tool)["ports"][1]["drop_no_peer"] >= 1, lambda: wire.tool)
    wire.stop()
    assert not path.exists()


def test_example_ends_with_the_wire(netns, vnic, tmp_path):
    wire = Wire(vnic, TUN, f"unix-listen:{tmp_path}/wire")
    peer = netns.start([PYTHON, EXAMPLE, tmp_path / "wire"])
    wire.wait_event("connected")
    wire.stop()
    assert peer.wait() == 0, peer
    done = netns.run([PYTHON, EXAMPLE, tmp_path / "wire"], check=False)
    assert (done.returncode, done.stderr) == (1, "no wire: No such file or directory\n"), done


@pytest.mark.threads
def test_two_wires_over_a_socket(netns, spare, vnic, vnic_path, tmp_path):
    """unix: at the one end, unix-listen: at the other, in whichever order they start. A TCP stream
    passes: segments are cut for the socket and merged behind it."""
    far = spare()
    one = Wire(vnic, "tun:a,10.0.0.1/24", f"unix:{tmp_path}/wire")
    assert "No such file or directory; it is tried again" in one.wait_event("disconnected")
    two = Wire(vnic, f"tun:b@{far.pid},10.0.0.2/24", f"unix-listen:{tmp_path}/wire")
    one.wait_event("connected")
    two.wait_event("connected")
    netns.ping("10.0.0.2", "-i", "0.01")
    with far.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind(("10.0.0.2", 0))
        server.listen(1)
        server.settimeout(20 * FACTOR)
        with netns.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(20 * FACTOR)
            client.connect(server.getsockname())
            accepted, _ = server.accept()
            with accepted:
                accepted.settimeout(20 * FACTOR)
                data = os.urandom(4 << 20)
                sent, got = 0, bytearray()
                client.setblocking(False)
                while len(got) < len(data):
                    try:
                        sent += client.send(data[sent:sent + 65536]) if sent < len(data) else 0
                    except BlockingIOError:
                        pass
                    accepted.settimeout(0.001 if sent < len(data) else 20 * FACTOR)
                    try:
                        got += accepted.recv(1 << 18)
                    except TimeoutError:
                        pass
                assert got == data
    two.stop()
    assert "is gone" in one.wait_event("disconnected", 2)
    one.stop()


def test_socket_of_somebody_else(netns, vnic, tmp_path):
    path = tmp_path / "wire"
    path.write_text("mine")
    done = vnic.run("wire", TUN, f"unix-listen:{path}")
    assert done.returncode == 1, done
    assert "exists and is no socket" in done.stderr, done.stderr
    assert path.read_text() == "mine"


# The example by itself.

def test_example_survives_any_bytes():
    spec = importlib.util.spec_from_file_location("wire", EXAMPLE)
    wire = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(wire)
    for number in range(0, 65536, 31):  # each gives another checksum
        request = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(id=number, seq=2) / b"hello")
        reply = IP(wire.answer(request))
        if number % 3968 == 0:
            assert (reply.src, reply.dst, reply[ICMP].type) == ("10.0.0.2", "10.0.0.1", 0)
        assert sum(int.from_bytes(x, "big") for x in pairs(bytes(reply)[20:])) % 0xFFFF == 0, number
    for length in range(28):
        assert wire.answer(request[:length]) is None, length
    for at in range(len(request)):
        for value in range(256):
            wire.answer(request[:at] + bytes([value]) + request[at + 1:])


def pairs(data):
    data += b"\0" * (len(data) % 2)
    return [data[i:i + 2] for i in range(0, len(data), 2)]


def test_example_wants_a_wire(netns):
    done = netns.run([PYTHON, EXAMPLE], check=False)
    assert done.returncode == 1 and "VNIC_FD" in done.stderr, done
