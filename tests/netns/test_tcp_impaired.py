# SPDX-License-Identifier: MIT
"""Our TCP against the kernel's over a wire that is as bad as it is told to be, in both roles:

    near: kernel 10.1.0.1 fd01::1, a <-- vnic wire --impair --> b, 10.1.0.2 fd01::2 :far
                                                                       |  forwards
                                                  tcp_peer 10.2.0.2 fd02::2 <-- t, 10.2.0.1 fd02::1

Sizes are such that each transfer takes about a second or two; VNIC_TCP_BYTES_FACTOR makes them longer."""

import os
import socket
import threading

import pytest

from namespace import FACTOR, wait_until
from tcp_peer import PATIENCE, SOURCE, TcpPeer, connect, exchange
from test_wire import conserved

BYTES_FACTOR = float(os.environ.get("VNIC_TCP_BYTES_FACTOR", "1"))
NEAR = {4: "10.1.0.1", 6: "fd01::1"}
FAR = {4: "10.2.0.2", 6: "fd02::2"}
MIB = 1 << 20
# name: what is wrong with the wire, and how many bytes go each way
WIRES = {
    "good": ("delay=0ms", 4 * MIB),
    "loss1": ("loss=1%", 2 * MIB),
    "loss5": ("loss=5%", MIB),
    "loss20": ("loss=20%", 64 << 10),
    "delay20": ("delay=20ms", MIB),
    "delay20-loss1": ("delay=20ms,loss=1%", 256 << 10),
    "delay20-loss5": ("delay=20ms,loss=5%", 128 << 10),
    "delay20-loss20": ("delay=20ms,loss=20%", 16 << 10),
    "delay200": ("delay=200ms", 256 << 10),
    "delay200-loss1": ("delay=200ms,loss=1%", 64 << 10),
    "delay200-loss5": ("delay=200ms,loss=5%", 24 << 10),
    "reorder": ("delay=5ms,reorder=10%", MIB),
    "jitter": ("delay=5ms,jitter=4ms", MIB),
    "duplicate": ("duplicate=20%", MIB),
    "corrupt": ("corrupt=2%", MIB),
    "rate": ("rate=50mbit,delay=5ms", MIB),
    "rate-queue": ("rate=20mbit,queue=20ms", 512 << 10),
    "all": ("loss=2%,delay=3ms,jitter=2ms,reorder=3%,duplicate=2%,corrupt=1%,rate=100mbit", 512 << 10),
}
if BYTES_FACTOR > 1:
    WIRES["delay200-loss20"] = ("delay=200ms,loss=20%", 8 << 10)
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


def transfer(vnic, near, far, impair, size, *options, **more):
    """Both roles at once: the peer opens a connection over IPv4, and accepts one over IPv6."""
    size = int(size * BYTES_FACTOR)
    results = {}
    with near.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.settimeout(PATIENCE * FACTOR)
        server.listen(1)
        path = Impaired(vnic, near, far, impair, "--bytes", size, "--connect", "source", "--remote", NEAR[4],
                        "--port", server.getsockname()[1], *options, **more)

        def accept():
            connection, _ = server.accept()
            connection.settimeout(PATIENCE * FACTOR)
            results[1] = exchange(connection, size, seed=1)

        def open_one():
            results[0] = exchange(connect(near, SOURCE, 6, FAR[6]), size, seed=2)

        threads = [threading.Thread(target=accept), threading.Thread(target=open_one)]
        for thread in threads:
            thread.start()
        theirs = {x["client"]: x for x in path.peer.closed(2, 60)}
        for thread in threads:
            thread.join()
    for is_client in (0, 1):
        sums, other = results[is_client], theirs[is_client]
        print(other["info"])
        sums.check(other)
        assert other["error"] == 0 and sums.sent == sums.received == size, other
    counters, summary = path.stop()
    assert counters["out_of_order_bytes"] == 0 and counters["aborted"] == counters["timed_out"] == 0, counters
    return summary


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


@pytest.mark.limit(120)
@pytest.mark.parametrize("name", WIRES)
def test_both_directions(netns, vnic, far, name):
    impair, size = WIRES[name]
    did(impair, transfer(vnic, netns, far, impair, size))


@pytest.mark.limit(120)
@pytest.mark.parametrize("way", ["forward", "backward"])
@pytest.mark.parametrize("name", ONE_WAY)
def test_one_direction(netns, vnic, far, way, name):
    """Only what the kernel sends suffers, or only what the peer sends."""
    impair, size = WIRES[name]
    summary = transfer(vnic, netns, far, impair, size, option=f"--impair-{way}")
    did(impair, summary, [f"impair_{way}"])


@pytest.mark.limit(120)
@pytest.mark.parametrize("options", [["--no-sack"], ["--no-timestamps"], ["--no-sack", "--no-timestamps"],
                                     ["--newreno"], ["--plain"], ["--no-offloads"]],
                         ids=lambda options: "".join(options))
def test_options(netns, vnic, far, options):
    transfer(vnic, netns, far, "loss=3%,delay=2ms,reorder=2%", 256 << 10, *options)
