# SPDX-License-Identifier: MIT
"""Our TCP against the kernel's over a wire that is as bad as it is told to be, in both roles:

    near: kernel 10.1.0.1 fd01::1, a <-- vnic wire --impair --> b, 10.1.0.2 fd01::2 :far
                                                                       |  forwards
                                                  tcp_peer 10.2.0.2 fd02::2 <-- t, 10.2.0.1 fd02::1

Sizes are such that each transfer takes about a second or two; VNIC_TCP_BYTES_FACTOR makes them longer."""

import os
import socket

import pytest

from namespace import FACTOR, wait_until
from tcp_peer import SOURCE, TcpPeer, connect, exchange
from test_wire import conserved

BYTES_FACTOR = float(os.environ.get("VNIC_TCP_BYTES_FACTOR", "1"))
NEAR = {4: "10.1.0.1", 6: "fd01::1"}
FAR = {4: "10.2.0.2", 6: "fd02::2"}
MIB = 1 << 20
# name: what is wrong with the wire, and how many bytes go each way
WIRES = {
    "good": ("delay=0ms", 8 * MIB),
    "loss1": ("loss=1%", 4 * MIB),
    "loss5": ("loss=5%", 2 * MIB),
    "loss20": ("loss=20%", 64 << 10),
    "delay20": ("delay=20ms", 4 * MIB),
    "delay20-loss1": ("delay=20ms,loss=1%", 512 << 10),
    "delay20-loss5": ("delay=20ms,loss=5%", 128 << 10),
    "delay20-loss20": ("delay=20ms,loss=20%", 16 << 10),
    "delay200": ("delay=200ms", 512 << 10),
    "delay200-loss1": ("delay=200ms,loss=1%", 128 << 10),
    "delay200-loss5": ("delay=200ms,loss=5%", 32 << 10),
    "reorder": ("delay=5ms,reorder=10%", MIB),
    "jitter": ("delay=5ms,jitter=4ms", MIB),
    "duplicate": ("duplicate=20%", 2 * MIB),
    "corrupt": ("corrupt=2%", MIB),
    "rate": ("rate=20mbit,delay=5ms", MIB),
    "rate-queue": ("rate=10mbit,queue=20ms", MIB),
    "all": ("loss=2%,delay=3ms,jitter=2ms,reorder=3%,duplicate=2%,corrupt=1%,rate=100mbit", 512 << 10),
}
ONE_WAY = ["loss5", "delay20-loss1", "reorder", "duplicate", "rate-queue"]


class Impaired:
    def __init__(self, vnic, near, far, impair, *peer_options, option="--impair", seed=1):
        for space in (near, far):
            space.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])
        self.near, self.far = near, far
        self.wire = vnic.start("wire", "tun:a,10.1.0.1/24,fd01::1/64",
                               f"tun:b@{far.pid},10.1.0.2/24,fd01::2/64", option, f"{impair},seed={seed}")
        for route, gateway in (("10.2.0.0/24", "10.1.0.2"), ("fd02::/64", "fd01::2")):
            near.run(["ip", "route", "add", route, "via", gateway, "dev", "a"])
        self.peer = TcpPeer(far, "--kernel", "10.2.0.1/24", "--kernel", "fd02::1/64", "--host", "10.2.0.2/24",
                            "--host", "fd02::2/64", "--router", "10.2.0.1", "--router", "fd02::1", *peer_options,
                            addresses=False)
        for space in (near, far):
            wait_until(lambda s=space: "tentative" not in s.run(["ip", "addr"]).stdout, "no tentative address")

    def stop(self):
        counters = self.peer.stop()["counters"]
        summary = self.wire.stop()
        conserved(summary)
        return counters, summary


def transfer(vnic, near, far, role, version, impair, size, *options, **more):
    size = int(size * BYTES_FACTOR)
    if role == "server":
        path = Impaired(vnic, near, far, impair, "--bytes", size, *options, **more)
        connection = connect(near, SOURCE, version, FAR[version])
    else:
        with listen_any(near) as server:
            path = Impaired(vnic, near, far, impair, "--bytes", size, "--connect", "source", "--remote",
                            NEAR[version], "--port", server.getsockname()[1], *options, **more)
            connection, _ = server.accept()
        connection.settimeout(25 * FACTOR)
    sums = exchange(connection, size)
    theirs = path.peer.closed()[0]
    sums.check(theirs)
    assert theirs["error"] == 0 and sums.sent == sums.received == size, theirs
    counters, summary = path.stop()
    print(theirs["info"])
    return theirs["info"], counters, summary


def listen_any(space):
    server = space.socket(socket.AF_INET6, socket.SOCK_STREAM)
    server.settimeout(25 * FACTOR)
    server.listen(4)
    return server


def did(impair, summary, directions=("impair_forward", "impair_backward")):
    """The wire did what it was told to: otherwise nothing was tested."""
    counters = [summary.get(x, {}) for x in directions]  # none of a wire without fault
    # With few packets chance may spare them.
    if "loss=5%" in impair or "loss=20%" in impair:
        assert sum(x["drop_loss"] for x in counters) > 0, counters
    for word, name in (("duplicate", "duplicated"), ("corrupt", "corrupted"), ("reorder", "reordered")):
        if word in impair:
            assert sum(x[name] for x in counters) > 0, counters


@pytest.fixture
def far(spare):
    return spare()


@pytest.mark.limit(90)
@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("name", WIRES)
def test_both_directions(netns, vnic, far, role, name):
    impair, size = WIRES[name]
    version = 4 if (list(WIRES).index(name) + (role == "client")) % 2 == 0 else 6
    _, counters, summary = transfer(vnic, netns, far, role, version, impair, size)
    did(impair, summary)
    assert counters["out_of_order_bytes"] == 0, counters


@pytest.mark.limit(90)
@pytest.mark.parametrize("way", ["forward", "backward"])
@pytest.mark.parametrize("name", ONE_WAY)
def test_one_direction(netns, vnic, far, way, name):
    """Either the data or its ACKs suffer."""
    impair, size = WIRES[name]
    _, _, summary = transfer(vnic, netns, far, "server", 4, impair, size, option=f"--impair-{way}")
    did(impair, summary, [f"impair_{way}"])


@pytest.mark.limit(90)
@pytest.mark.parametrize("options", [["--no-sack"], ["--no-timestamps"], ["--no-sack", "--no-timestamps"],
                                     ["--newreno"], ["--plain"], ["--no-offloads"]],
                         ids=lambda options: "".join(options))
def test_options(netns, vnic, far, options):
    transfer(vnic, netns, far, "server", 4, "loss=3%,delay=2ms,reorder=2%", 512 << 10, *options)
