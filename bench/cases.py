# SPDX-License-Identifier: MIT
"""What is measured: each case is a question that is asked of several peers in turn.

A case measures one peer in one fresh lab and returns numbers by metric. What a metric is called,
its unit and which way is better stand in METRICS.
"""

import collections
import json
import re
import time

from lab import HOME, Lab
from peers import PEERS

Metric = collections.namedtuple("Metric", "title unit higher_is_better digits")
METRICS = {
    "there": Metric("a to b", "Gbit/s", True, 2),
    "back": Metric("b to a", "Gbit/s", True, 2),
    "there_cpu": Metric("CPU a to b", "s/GB", False, 2),
    "back_cpu": Metric("CPU b to a", "s/GB", False, 2),
    "arrived": Metric("arrived", "Gbit/s", True, 2),
    "datagrams": Metric("datagrams", "1000/s", True, 0),
    "lost": Metric("lost on the way", "%", False, 1),
    "late": Metric("out of order", "%", False, 2),
    "arrived_cpu": Metric("CPU", "s/GB", False, 2),
    "rate": Metric("round trips", "1000/s", True, 1),
    "p50": Metric("p50", "us", False, 1),
    "p99": Metric("p99", "us", False, 1),
    "rate_cpu": Metric("CPU of each", "us", False, 1),
    "memcpy": Metric("memcpy, 64 KiB", "GB/s", True, 1),
    "checksum": Metric("checksum, 64 KiB", "GB/s", True, 1),
    "checksum_ratio": Metric("checksum / memcpy", "", True, 2),
    "segment": Metric("segment", "GB/s", True, 1),
    "segment_ns": Metric("segment, per packet", "ns", False, 1),
    "merge": Metric("merge", "GB/s", True, 1),
    "merge_ns": Metric("merge, per packet", "ns", False, 1),
}

Case = collections.namedtuple("Case", "name group title measure peers mtu")
STREAM_PORT = "5001"
LIMIT = 15  # seconds that a program may take longer than it should, before it is killed
PINGS_PER_SECOND = 40000


def measured(process, settings):
    return json.loads(process.result(settings.warmup + settings.seconds + LIMIT).splitlines()[-1])


def gbits(done):
    return done["bytes"] * 8e-9 / done["seconds"]


def cpu_per_gbyte(done):
    return done["cpu_seconds"] / (done["bytes"] * 1e-9) if done["bytes"] else float("nan")


def window(settings):
    return [str(settings.warmup), str(settings.seconds), settings.cpus]


def measure_stream(lab, ends, streams, back):
    """b listens and a connects, whoever sends: a translating gateway wants it so."""
    settings = lab.settings
    stream = settings.program("stream")
    roles = ("receive", "send") if back else ("send", "receive")
    common = [str(streams), settings.congestion]
    arguments = {"send": common, "receive": common + window(settings)}
    b = lab.start(
        [stream, "listen", roles[1], "0.0.0.0", STREAM_PORT] + arguments[roles[1]],
        ends.b,
        settings.cpu_b,
    )
    b.wait_ready()
    a = lab.start(
        [stream, "connect", roles[0], ends.target, STREAM_PORT] + arguments[roles[0]],
        ends.a,
        settings.cpu_a,
    )
    done = measured(a if back else b, settings)
    lab.stop(a)
    lab.stop(b)
    return done


def tcp(streams):
    def measure(lab, ends):
        numbers = {}
        for name, back in ("there", False), ("back", True):
            done = measure_stream(lab, ends, streams, back)
            numbers[name] = gbits(done)
            numbers[name + "_cpu"] = cpu_per_gbyte(done)
        return numbers

    return measure


def udp(how):
    def measure(lab, ends):
        settings = lab.settings
        program, size = settings.program("udp"), "1200"
        b = lab.start(
            [program, "receive", "0.0.0.0", STREAM_PORT, size] + window(settings),
            ends.b,
            settings.cpu_b,
        )
        b.wait_ready()
        a = lab.start(
            [
                program,
                "send",
                ends.target,
                STREAM_PORT,
                size,
                how,
                str(settings.warmup + settings.seconds + 0.3),
            ],
            ends.a,
            settings.cpu_a,
        )
        done = measured(b, settings)
        lab.stop(a)
        return {
            "arrived": gbits(done),
            "arrived_cpu": cpu_per_gbyte(done),
            "datagrams": done["datagrams"] / done["seconds"] / 1000,
            "lost": 100 * (1 - done["datagrams"] / max(done["numbers"], done["datagrams"], 1)),
            "late": 100 * done["late"] / max(done["datagrams"], 1),
        }

    return measure


def request_reply(lab, ends):
    settings = lab.settings
    program = settings.program("ping_pong")
    b = lab.start([program, "serve", "0.0.0.0", STREAM_PORT], ends.b, settings.cpu_b)
    b.wait_ready()
    a = lab.start(
        [program, "ask", ends.target, STREAM_PORT, "64"] + window(settings), ends.a, settings.cpu_a
    )
    done = measured(a, settings)
    lab.stop(b)
    return {
        "rate": done["round_trips"] / done["seconds"] / 1000,
        "p50": done["p50_us"],
        "p99": done["p99_us"],
        "rate_cpu": done["cpu_seconds"] / done["round_trips"] * 1e6,
    }


def tunnel(lab, ends):
    return {**tcp(1)(lab, ends), **request_reply(lab, ends)}


def flood(lab, ends):
    """ping -f: the next request goes out when a reply came. The times are those of ping."""
    settings = lab.settings
    count = int(PINGS_PER_SECOND * settings.seconds)
    before, start = busy_seconds(settings.cpus), time.monotonic()
    ping = lab.start(["ping", "-f", "-q", "-c", str(count), ends.target], ends.a, settings.cpu_a)
    output = ping.result(settings.seconds * 10 + LIMIT)
    busy, took = busy_seconds(settings.cpus) - before, time.monotonic() - start
    received = int(re.search(r"(\d+) received", output).group(1))
    milliseconds = int(re.search(r"time (\d+)ms", output).group(1))
    if milliseconds < 10:
        milliseconds = took * 1000
    average = float(re.search(r"= [\d.]+/([\d.]+)/", output).group(1))
    return {
        "rate": received / milliseconds,
        "average": average * 1000,
        "lost": 100 * (1 - received / count),
        "rate_cpu": busy / received * 1e6,
    }


METRICS["average"] = Metric("average", "us", False, 1)


def pure(lab, _):
    process = lab.start(
        [lab.settings.program("pure"), str(lab.settings.seconds)], HOME, lab.settings.cpu_a
    )
    done = json.loads(process.result(lab.settings.seconds + LIMIT))
    return {
        "memcpy": done["memcpy_gbytes"],
        "checksum": done["checksum_gbytes"],
        "checksum_ratio": done["checksum_ratio"],
        "segment": done["segment_gbytes"],
        "segment_ns": done["segment_ns"],
        "merge": done["merge_gbytes"],
        "merge_ns": done["merge_ns"],
    }


def busy_seconds(cpus):
    """As bench_busy_seconds() in measure.h."""
    wanted = {f"cpu{cpu}" for cpu in cpus.split(",")}
    ticks = 0
    with open("/proc/stat", encoding="ascii") as file:
        for line in file:
            fields = line.split()
            if fields[0] in wanted:
                ticks += sum(int(fields[i]) for i in (1, 2, 3, 6, 7))
    return ticks / 100


ONE = ("loopback", "veth", "wire", "wire-plain", "loop", "socat", "slirp4netns", "passt")
EIGHT = ("loopback", "veth", "wire", "wire-4-queues", "loop")
DATAGRAMS = ("loopback", "veth", "wire", "loop", "socat")
TUNNELS = ("veth", "udp-wire", "udp-loop", "udp-socat", "wireguard-go", "tcp-wire", "tcp-loop")

CASES = (
    Case("tcp-1-1500", "tcp", "One TCP stream, MTU 1500", tcp(1), ONE, 1500),
    Case("tcp-8-1500", "tcp", "Eight TCP streams, MTU 1500", tcp(8), EIGHT, 1500),
    Case("tcp-1-65520", "tcp", "One TCP stream, MTU 65520", tcp(1), ONE, 65520),
    Case("tcp-8-65520", "tcp", "Eight TCP streams, MTU 65520", tcp(8), EIGHT, 65520),
    Case(
        "udp-gso",
        "udp",
        "UDP datagrams of 1200 bytes, sent with GSO, MTU 1500",
        udp("gso"),
        DATAGRAMS,
        1500,
    ),
    Case(
        "udp-plain",
        "udp",
        "UDP datagrams of 1200 bytes, sent one by one, MTU 1500",
        udp("plain"),
        DATAGRAMS,
        1500,
    ),
    Case(
        "request-reply",
        "latency",
        "UDP request and reply of 64 bytes",
        request_reply,
        DATAGRAMS,
        1500,
    ),
    Case("echo", "latency", "ICMP echo: ping -f", flood, ("veth", "vnic-host", "loop-echo"), 1500),
    Case(
        "tunnel",
        "tunnel",
        "Across a veth pair of MTU 1500: one TCP stream, and request and reply of 64 bytes",
        tunnel,
        TUNNELS,
        1500,
    ),
    Case("pure", "pure", "Without system calls", pure, ("library",), 0),
)


def chosen(words):
    """The cases that a user means by names or groups; raises ValueError."""
    if not words:
        return list(CASES)
    unknown = [word for word in words if not any(matches(case, word) for case in CASES)]
    if unknown:
        known = sorted({case.group for case in CASES}) + [case.name for case in CASES]
        raise ValueError(
            f"no such case: {' '.join(unknown)}; there are: {' '.join(dict.fromkeys(known))}"
        )
    return [case for case in CASES if any(matches(case, word) for word in words)]


def matches(case, word):
    return word in (case.name, case.group) or case.name.startswith(word + "-")


def measure_once(case, name, settings):
    """The numbers of one peer in one round."""
    peer = PEERS[name]
    with Lab(settings) as lab:
        ends = peer.build(lab, case.mtu) if peer.build else None
        return case.measure(lab, ends)
