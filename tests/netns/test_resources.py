# SPDX-License-Identifier: MIT
"""What `vnic host` costs: no CPU while idle, little memory, no descriptor more than at the start."""

import os
import time

import pytest

from namespace import FACTOR, SANITIZER, wait_until

KINDS = {"tun": [], "tap": ["--tap"]}
kinds = pytest.mark.parametrize("kind", KINDS)
PREFIXES = ["10.0.0.1/24", "fd00::1/64"]


def cpu_ns(pid):
    """Time on a CPU of all threads, and how often they were scheduled."""
    total = switches = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
            ran, _, slices = map(int, file.read().split())
        total += ran
        switches += slices
    return total, switches


def status(pid, name):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return int(next(line.split()[1] for line in file if line.startswith(name + ":")))


def descriptors(pid):
    return sorted(os.readlink(f"/proc/{pid}/fd/{x}").split(":")[0] for x in os.listdir(f"/proc/{pid}/fd"))


def measure_idle(pid):
    """What it used in a whole second in which nothing happened. The second is what is measured."""
    before = cpu_ns(pid)
    begin = time.monotonic()
    time.sleep(1)
    after = cpu_ns(pid)
    return after[0] - before[0], after[1] - before[1], time.monotonic() - begin


@kinds
@pytest.mark.parametrize("queues", [1, 3])
def test_idle_costs_nothing(netns, vnic, kind, queues):
    """After traffic too: the workers spin for a moment and then sleep until there is a packet."""
    host = vnic.host(*PREFIXES, "--queues", queues, *KINDS[kind])
    netns.ping("10.0.0.2", "-f", count=100)
    # Announcements after the start are done within a few seconds; so the quietest of some seconds.
    least = measure_idle(host.pid)
    for _ in range(4):
        if least[1] > 0:
            least = min(least, measure_idle(host.pid))
    print(f"in 1 s: {least[0] / 1e6:.3f} ms of CPU, scheduled {least[1]} times")
    assert least[0] < 1e6 * FACTOR, least
    assert least[1] <= 2 * queues, least
    netns.ping("10.0.0.2", count=1)


if not SANITIZER:  # whose shadow memory is not the tool's
    @kinds
    def test_memory(netns, vnic, kind):
        """Under 8 MiB idle, and no more than that after every size of packet went through."""
        host = vnic.host(*PREFIXES, *KINDS[kind])
        netns.ping("10.0.0.2", count=1)
        idle = status(host.pid, "VmRSS")
        print(f"idle: {idle} KiB")
        assert idle < 8 * 1024, idle
        for address in ("10.0.0.2", "fd00::2"):
            netns.ping(address, "-f", "-s", 65507, count=100)
            netns.ping(address, "-f", count=500)
        busy = status(host.pid, "VmRSS")
        print(f"afterwards: {busy} KiB")
        netns.ping("10.0.0.2", "-f", "-s", 65507, count=200)
        later = status(host.pid, "VmRSS")
        print(f"later: {later} KiB")
        assert later <= busy + 256, (busy, later)


@kinds
def test_descriptors(netns, vnic, kind):
    """The same after a thousand pings and ten times down and up."""
    host = vnic.host(*PREFIXES, *KINDS[kind])
    netns.ping("10.0.0.2", count=1)
    before = descriptors(host.pid)
    netns.ping("10.0.0.2", "-f", count=1000)
    for _ in range(10):
        netns.run(["ip", "link", "set", host.name, "down"])
        netns.run(["ip", "link", "set", host.name, "up"])
        netns.ping("10.0.0.2", count=1)
    assert descriptors(host.pid) == before
    print(before)


def test_from_start_to_first_reply(netns, vnic):
    """50 ms are the aim. A busy machine with two processors may take longer, so the best of five is
    looked at, and ten times as much allowed; the time itself is printed."""
    times = []
    for n in range(5):
        ping = ["-c", "1", "-W", "1", f"10.0.{n}.2"]
        begin = time.monotonic()
        host = vnic.start("host", f"10.0.{n}.1/24", "--", "ping", *ping, json=False, ready=False)
        status_ = host.wait()
        times.append(time.monotonic() - begin)
        assert status_ == 0, host
    print("from start to first reply, and the end:", ", ".join(f"{t * 1e3:.1f} ms" for t in times))
    assert min(times) < 0.5 * FACTOR, times


def test_end_is_prompt(netns, vnic):
    host = vnic.host(*PREFIXES)
    begin = time.monotonic()
    host.stop()
    seconds = time.monotonic() - begin
    print(f"{seconds * 1e3:.1f} ms")
    wait_until(lambda: not netns.links(), netns.links)
    assert seconds < 1 * FACTOR, seconds
