# SPDX-License-Identifier: MIT
"""What is measured: each case is a question that is asked of several peers in turn.

A case measures one peer in one fresh lab and returns numbers by metric. What a metric is called,
its unit and which way is better stand in METRICS.
"""

import collections
import json
import re
import time

from lab import HOME, Failure, Lab
from peers import PEERS, RESOURCE

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
    "requests": Metric("requests", "1000/s", True, 1),
    "requests_cpu": Metric("CPU of each", "us", False, 1),
    "connections": Metric("a connection each", "1000/s", True, 1),
    "connections_cpu": Metric("CPU of each", "us", False, 1),
    "memcpy": Metric("memcpy, 64 KiB", "GB/s", True, 1),
    "checksum": Metric("checksum, 64 KiB", "GB/s", True, 1),
    "checksum_ratio": Metric("checksum / memcpy", "", True, 2),
    "segment": Metric("segment", "GB/s", True, 1),
    "segment_ns": Metric("segment, per packet", "ns", False, 1),
    "merge": Metric("merge", "GB/s", True, 1),
    "merge_ns": Metric("merge, per packet", "ns", False, 1),
}

# What a segment costs among so many connections, and a connection of memory.
CONNECTIONS = (1, 10, 100, 1000, 10000, 100000)
METRICS.update(
    (name + f"_{count}", Metric(f"{title} among {count}", unit, False, 0))
    for name, title, unit in (
        ("segment_among", "segment", "ns"),
        ("request_among", "request and reply", "ns"),
        ("memory_among", "memory of each", "bytes"),
    )
    for count in CONNECTIONS
)

# programs: what the measurement itself needs, besides those of the peers
Case = collections.namedtuple(
    "Case", "name group title measure peers mtu programs", defaults=((),)
)
STREAM_PORT = "5001"
ECHO_PORT, DISCARD_PORT, CHARGEN_PORT = "7", "9", "19"  # services of a peer that answers itself
HTTP_CONNECTIONS = 64
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


def whole_seconds(settings):
    """iperf3 and wrk know no others, and have no warm-up that would be worth its time."""
    return str(max(1, round(settings.seconds)))


def iperf3(lab, ends):
    """As tcp(1), but one client asks either server: the kernel's, or that of the peer itself."""
    settings = lab.settings
    seconds = whole_seconds(settings)
    if ends.b:
        lab.start(["iperf3", "-s", "--forceflush"], ends.b, settings.cpu_b).wait_ready()
    numbers = {}
    for name, more in ("there", []), ("back", ["-R"]):
        before = busy_seconds(settings.cpus)
        client = lab.start(
            ["iperf3", "-c", ends.target, "-t", seconds, "-i", "0", "-J"]
            + ["-C", settings.congestion, "--connect-timeout", "3000"]
            + more,
            ends.a,
            settings.cpu_a,
        )
        # In either direction what arrived, and while it did.
        end = json.loads(client.result(int(seconds) + LIMIT))["end"]
        done = end["sum_received"]
        if not 0 < done["bytes"] <= end["sum_sent"]["bytes"]:
            raise Failure(f"{done['bytes']} bytes came of {end['sum_sent']['bytes']}")
        busy = busy_seconds(settings.cpus) - before
        numbers[name] = gbits(done)
        numbers[name + "_cpu"] = cpu_per_gbyte({**done, "cpu_seconds": busy})
    return numbers


def start_stream(lab, ends, own, other, port):
    """Our own client, which measures. Its server is the host's service, or of our own as well."""
    settings = lab.settings
    stream = settings.program("stream")
    common = ["1", settings.congestion]
    if ends.b:
        lab.start(
            [stream, "listen", other, "0.0.0.0", port] + common, ends.b, settings.cpu_b
        ).wait_ready()
    return lab.start(
        [stream, "connect", own, ends.target, port] + common + window(settings),
        ends.a,
        settings.cpu_a,
    )


def stream_to_host(lab, ends):
    """As iperf3(), with our own client: it asks discard and chargen."""
    numbers = {}
    for name, own, other, port in (
        ("there", "send", "receive", DISCARD_PORT),
        ("back", "receive", "send", CHARGEN_PORT),
    ):
        done = measured(start_stream(lab, ends, own, other, port), lab.settings)
        numbers[name] = gbits(done)
        numbers[name + "_cpu"] = cpu_per_gbyte(done)
    return numbers


def udp_counters(lab, ends):
    """(packets, bytes of payload, packets that got to an endpoint): a super-datagram is one."""
    _, body = lab.fetch(ends.a, ends.target, "/status.json")
    status = json.loads(body)
    got = status["in"]["protocols"]["udp"]
    return got["packets"], got["bytes"] - 28 * got["packets"], status["stack"]["datagrams"]


def udp_to_host(lab, ends, how):
    """Discard does not tell what it got, but the host's counters do, before and after."""
    settings = lab.settings
    size = 1200
    counters, busy = udp_counters(lab, ends), busy_seconds(settings.cpus)
    a = lab.start(
        [settings.program("udp"), "send", ends.target, DISCARD_PORT, str(size), how]
        + [str(settings.warmup + settings.seconds)],
        ends.a,
        settings.cpu_a,
    )
    sent = measured(a, settings)
    busy = busy_seconds(settings.cpus) - busy
    # What is still in the queue comes out before the connection of this question.
    packets, payload, taken = (
        after - before for after, before in zip(udp_counters(lab, ends), counters)
    )
    if taken != packets or payload % size or not payload:
        raise Failure(f"{packets} packets of {payload} bytes came, {taken} of them to discard")
    done = {"bytes": payload, "seconds": sent["seconds"], "cpu_seconds": busy}
    return {
        "arrived": gbits(done),
        "arrived_cpu": cpu_per_gbyte(done),
        "datagrams": payload / size / sent["seconds"] / 1000,
        "lost": 100 * (1 - payload / size / sent["sent"]),
    }


def udp(how):
    def measure(lab, ends):
        if not ends.b:
            return udp_to_host(lab, ends, how)
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


def request_reply(protocol):
    def measure(lab, ends):
        settings = lab.settings
        program = settings.program("ping_pong")
        port = STREAM_PORT if ends.b else ECHO_PORT
        b = ends.b and lab.start(
            [program, "serve", protocol, "0.0.0.0", port], ends.b, settings.cpu_b
        )
        if b:
            b.wait_ready()
        a = lab.start(
            [program, "ask", protocol, ends.target, port, "64"] + window(settings),
            ends.a,
            settings.cpu_a,
        )
        done = measured(a, settings)
        if b:
            lab.stop(b)
        return {
            "rate": done["round_trips"] / done["seconds"] / 1000,
            "p50": done["p50_us"],
            "p99": done["p99_us"],
            "rate_cpu": done["cpu_seconds"] / done["round_trips"] * 1e6,
        }

    return measure


def beside_stream(lab, ends):
    """request_reply("udp") to who sends us a stream as well, as fast as it can."""
    stream = start_stream(lab, ends, "receive", "send", CHARGEN_PORT)
    numbers = request_reply("udp")(lab, ends)
    del numbers["rate_cpu"]  # it would be that of the stream, nearly all of it
    return {**numbers, "back": gbits(measured(stream, lab.settings))}


def wrk(lab, ends, *options):
    """(1000 requests per second, microseconds of CPU for each)"""
    settings = lab.settings
    seconds = whole_seconds(settings)
    busy = busy_seconds(settings.cpus)
    client = lab.start(
        ["wrk", "-t", "1", "-c", str(HTTP_CONNECTIONS), "-d", seconds + "s", *options]
        + [f"http://{ends.target}{RESOURCE}"],
        ends.a,
        settings.cpu_a,
    )
    output = client.result(int(seconds) + LIMIT)
    busy = busy_seconds(settings.cpus) - busy
    wrong = re.search(r"Socket errors: .*|Non-2xx.*", output)
    if wrong:
        raise Failure(f"wrk: {wrong.group()}")
    count = int(re.search(r"(\d+) requests in", output).group(1))
    rate = float(re.search(r"Requests/sec:\s*([\d.]+)", output).group(1))
    return rate / 1000, busy / count * 1e6


def http(lab, ends):
    """The same file from each, with connections that stay and with one for each request."""
    fields, body = lab.fetch(ends.a, ends.target, RESOURCE)
    wanted_fields, wanted = lab.settings.resource or (fields, body)
    # A field or two of another version of nginx make no difference that could be measured.
    if body != wanted or abs(len(fields) - len(wanted_fields)) > 2:
        raise Failure(
            f"{len(body)} bytes and {len(fields)} fields, not {len(wanted)} and {len(wanted_fields)}"
        )
    # Where wrk closes first, ports would run out.
    lab.sysctl(ends.a, "ipv4.ip_local_port_range", "1024 65535")
    lab.sysctl(ends.a, "ipv4.tcp_tw_reuse", "1")
    numbers = {}
    numbers["requests"], numbers["requests_cpu"] = wrk(lab, ends)
    numbers["connections"], numbers["connections_cpu"] = wrk(lab, ends, "-H", "Connection: close")
    return numbers


def tunnel(lab, ends):
    return {**tcp(1)(lab, ends), **request_reply("udp")(lab, ends)}


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


def connections(lab, _):
    settings = lab.settings
    numbers = {}
    for count in CONNECTIONS:
        process = lab.start(
            [settings.program("connections"), str(count), str(settings.seconds / 4)],
            HOME,
            settings.cpu_a,
        )
        done = json.loads(process.result(settings.seconds + 2 * LIMIT))
        numbers[f"segment_among_{count}"] = done["segment_ns"]
        numbers[f"request_among_{count}"] = done["request_ns"]
        numbers[f"memory_among_{count}"] = done["connection_bytes"]
    return numbers


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
        DATAGRAMS + ("vnic-host",),
        1500,
    ),
    Case(
        "udp-plain",
        "udp",
        "UDP datagrams of 1200 bytes, sent one by one, MTU 1500",
        udp("plain"),
        DATAGRAMS + ("vnic-host",),
        1500,
    ),
    Case(
        "request-reply",
        "latency",
        "UDP request and reply of 64 bytes",
        request_reply("udp"),
        DATAGRAMS + ("vnic-host",),
        1500,
    ),
    Case(
        "tcp-echo",
        "latency",
        "TCP request and reply of 64 bytes",
        request_reply("tcp"),
        ("veth", "vnic-host"),
        1500,
    ),
    Case(
        "beside-stream",
        "latency",
        "UDP request and reply of 64 bytes, beside a TCP stream from the same host",
        beside_stream,
        ("veth", "vnic-host"),
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
    Case(
        "host-tcp",
        "host",
        "One TCP stream of iperf3, MTU 1500",
        iperf3,
        ("loopback", "vnic-host"),
        1500,
        ("iperf3",),
    ),
    Case(
        "host-stream",
        "host",
        "One TCP stream, not of iperf3, to discard and from chargen, MTU 1500",
        stream_to_host,
        ("loopback", "vnic-host"),
        1500,
    ),
    Case(
        "host-http",
        "host",
        f"HTTP: a small file, {HTTP_CONNECTIONS} connections of wrk, MTU 1500",
        http,
        ("nginx", "vnic-host"),
        1500,
        ("wrk",),
    ),
    Case("pure", "pure", "Without system calls", pure, ("library",), 0),
    Case(
        "connections",
        "pure",
        "TCP among many connections: two stacks, without system calls",
        connections,
        ("library",),
        0,
    ),
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
