# SPDX-License-Identifier: MIT
"""What came out: medians with minimum and maximum, ratios, targets, and the three files."""

import collections
import json
import math
import os
import statistics

import plot
from cases import CASES, CONNECTIONS, METRICS
from peers import PEERS

# A peer over another in one metric of a case, and how much that must be. at_least False: at most.
# other None: the number itself.
Target = collections.namedtuple("Target", "text case metrics peer other value at_least")
TARGETS = (
    Target(
        "One TCP stream, MTU 1500: wire over the tutorial's loop",
        "tcp-1-1500",
        ("there", "back"),
        "wire",
        "loop",
        5,
        True,
    ),
    Target(
        "One TCP stream, MTU 1500: wire over the veth pair",
        "tcp-1-1500",
        ("there", "back"),
        "wire",
        "veth",
        0.75,
        True,
    ),
    Target(
        "UDP of 1200 bytes sent with GSO: wire over the tutorial's loop",
        "udp-gso",
        ("arrived",),
        "wire",
        "loop",
        5,
        True,
    ),
    Target(
        "Request and reply: wire over the tutorial's loop",
        "request-reply",
        ("rate",),
        "wire",
        "loop",
        1.1,
        True,
    ),
    Target(
        "Request and reply, p99: wire over the tutorial's loop",
        "request-reply",
        ("p99",),
        "wire",
        "loop",
        1,
        False,
    ),
    Target(
        "Across a veth pair, one TCP stream: the wire over UDP over socat's TUN over UDP",
        "tunnel",
        ("there", "back"),
        "udp-wire",
        "udp-socat",
        6,
        True,
    ),
    Target(
        "Checksum over memcpy of the same 64 KiB",
        "pure",
        ("checksum_ratio",),
        "library",
        None,
        0.8,
        True,
    ),
    Target(
        "Segmenting 64 KiB into segments of 1448 bytes, GB/s",
        "pure",
        ("segment",),
        "library",
        None,
        15,
        True,
    ),
    Target(
        "Eight TCP streams, MTU 1500: four queues over one",
        "tcp-8-1500",
        ("there", "back"),
        "wire-4-queues",
        "wire",
        1,
        True,
    ),
    Target(
        "Eight TCP streams, MTU 65520: four queues over one",
        "tcp-8-65520",
        ("there", "back"),
        "wire-4-queues",
        "wire",
        1,
        True,
    ),
    Target(
        "One TCP stream of iperf3, MTU 1500: vnic host over iperf3's server by loopback",
        "host-tcp",
        ("there", "back"),
        "vnic-host",
        "loopback",
        0.9,
        True,
    ),
    Target(
        "One TCP stream, not of iperf3, MTU 1500: vnic host over loopback",
        "host-stream",
        ("there", "back"),
        "vnic-host",
        "loopback",
        0.9,
        True,
    ),
    Target(
        "UDP of 1200 bytes sent with GSO: vnic host over the tutorial's loop",
        "udp-gso",
        ("arrived",),
        "vnic-host",
        "loop",
        3,
        True,
    ),
    Target(
        "UDP of 1200 bytes sent one by one: vnic host over the tutorial's loop",
        "udp-plain",
        ("arrived",),
        "vnic-host",
        "loop",
        3,
        True,
    ),
    Target(
        "HTTP, 64 connections: vnic host over nginx behind a veth pair",
        "host-http",
        ("requests", "connections"),
        "vnic-host",
        "nginx",
        0.5,
        True,
    ),
)

# Whose rate the ratios of a table are taken over, and the rate.
REFERENCES = {
    "tcp": ("loop", "there"),
    "udp": ("loop", "arrived"),
    "request-reply": ("loop", "rate"),
    "tcp-echo": ("veth", "rate"),
    "host-tcp": ("loopback", "there"),
    "host-stream": ("loopback", "there"),
    "host-http": ("nginx", "requests"),
    "echo": ("loop-echo", "rate"),
    "tunnel": ("udp-socat", "there"),
}

# What one has to know to read a table, below it.
NOTES = {
    "host-tcp": "Between two ends of iperf3 its own work is much of what there is to do, and can "
    "limit the loopback more than the kernel does: see the same with a client that does nothing "
    "else, below.",
    "connections": "One request of 64 bytes and its reply of 64 after the other, each on a "
    "connection chosen at random. A segment: made in one stack, copied, taken in the other. Among "
    "many a timer acknowledges the reply, the next request among few. Memory is that of each end, "
    "without what its user keeps; it comes in blocks, so that few look dear.",
}

Spread = collections.namedtuple("Spread", "median low high")


def spread(numbers):
    numbers = [number for number in numbers if number is not None and not math.isnan(number)]
    return Spread(statistics.median(numbers), min(numbers), max(numbers)) if numbers else None


def summarize(rounds):
    """metric -> Spread over the rounds that succeeded."""
    good = [values for values in rounds if values]
    metrics = good[0] if good else ()
    spreads = {metric: spread([values[metric] for values in good]) for metric in metrics}
    return {metric: numbers for metric, numbers in spreads.items() if numbers}


def ratio(values, metric, peer, other):
    """Of two peers, within each round in which both succeeded."""
    pairs = zip(values.get(peer, ()), values.get(other, ()))
    return spread(
        [a[metric] / b[metric] for a, b in pairs if a and b and a.get(metric) and b.get(metric)]
    )


def number(value, digits):
    return f"{value:.{digits}f}"


def text_of(metric, numbers):
    """ "12.30 (11.95-12.80) Gbit/s"; without the range where there was one round only."""
    digits, unit = METRICS[metric].digits, METRICS[metric].unit
    return f"{range_of(numbers, digits)} {unit}".strip()


def range_of(numbers, digits):
    text = number(numbers.median, digits)
    if numbers.low != numbers.high:
        text += f" ({number(numbers.low, digits)}–{number(numbers.high, digits)})"
    return text


def judge(run):
    """(text, wanted, Spread or None, verdict) of each target whose case was run."""
    judged = []
    for target in TARGETS:
        if target.case not in run.values or not run.wanted >= {
            target.peer,
            target.other or target.peer,
        }:
            continue
        values = run.values[target.case]
        for metric in target.metrics:
            if target.other:
                got = ratio(values, metric, target.peer, target.other)
            else:
                got = summarize(values.get(target.peer, [])).get(metric)
            text = target.text + (f", {METRICS[metric].title}" if len(target.metrics) > 1 else "")
            wanted = f"{'≥' if target.at_least else '≤'} {target.value:g}"
            judged.append((text, wanted, got, verdict(target, got)))
    return judged


def verdict(target, got):
    if not got:
        return "not measured"
    if (got.median >= target.value) if target.at_least else (got.median <= target.value):
        return "pass"
    within = got.high >= target.value if target.at_least else got.low <= target.value
    return "miss, within the spread" if within else "miss"


def reference_of(case):
    return REFERENCES.get(case.name) or REFERENCES.get(case.group)


def connections_table(summary):
    """A row for each number of connections."""
    columns = ("segment_among", "request_among", "memory_among")
    titles = [METRICS[f"{name}_1"] for name in columns]
    heads = [f"{metric.title.removesuffix(' among 1')}, {metric.unit}" for metric in titles]
    lines = [f"| connections | {' | '.join(heads)} |", "| ---: |" + " ---: |" * len(heads)]
    for count in CONNECTIONS:
        cells = [range_of(summary[f"{name}_{count}"], 0) for name in columns]
        lines.append(f"| {count:,} | {' | '.join(cells)} |")
    return lines


def case_table(case, run):
    values = run.values[case.name]
    summaries = {name: summarize(rounds) for name, rounds in values.items()}
    summaries = {name: summary for name, summary in summaries.items() if summary}
    if not summaries:
        return []
    metrics = list(dict.fromkeys(metric for summary in summaries.values() for metric in summary))
    if case.name == "connections":
        return connections_table(next(iter(summaries.values())))
    if case.name == "pure":
        summary = next(iter(summaries.values()))
        return ["| | |", "| --- | ---: |"] + [
            f"| {METRICS[metric].title} | {text_of(metric, summary[metric])} |"
            for metric in metrics
        ]
    reference = reference_of(case)
    if reference and (reference[0] not in summaries or reference[1] not in metrics):
        reference = None
    head = [f"{METRICS[metric].title}, {METRICS[metric].unit}" for metric in metrics]
    if reference:
        head.append(f"{METRICS[reference[1]].title}, times {reference[0]}")
    lines = [f"| | {' | '.join(head)} |", "| --- |" + " ---: |" * len(head)]
    for name, summary in summaries.items():
        cells = [
            range_of(summary[metric], METRICS[metric].digits) if metric in summary else ""
            for metric in metrics
        ]
        if reference:
            times = ratio(values, reference[1], name, reference[0])
            cells.append(range_of(times, 2) if times else "")
        label = f"**{name}**" if PEERS[name].kind == "vnic" else name
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def machine_table(machine, run):
    idle = spread(run.idle)
    options = run.options
    rows = [
        ("Date", f"{machine['date']}, {machine['took_seconds']} s"),
        (
            "Machine",
            f"{machine['cpu']}, {machine['processors']} processors of which "
            f"{machine['processors_used']} were used, "
            f"{machine['memory_gib']} GiB; virtual: {machine['virtual']}",
        ),
        ("Kernel", f"Linux {machine['kernel']}, {machine['system']}"),
        (
            "TCP",
            f"{machine['congestion']}; connections of the programs themselves: the system's "
            f"{machine['congestion_default']}",
        ),
        (
            "vnic",
            f"{machine['vnic']}" + (f", commit {machine['commit']}" if machine["commit"] else ""),
        ),
        ("Compiler", machine["compiler"]),
        (
            "Compared with",
            ", ".join(f"{name} {version}" for name, version in machine["programs"].items()),
        ),
        (
            "Rounds",
            f"{options.repeats}, interleaved; {options.seconds:g} s each after a warm-up of "
            f"{run.settings.warmup:g} s",
        ),
        (
            "Other work on the machine",
            f"{idle.median:.0f} % of the processors ({idle.low:.0f}–{idle.high:.0f}), "
            "sampled before each round while nothing was measured",
        ),
    ]
    return ["| | |", "| --- | --- |"] + [f"| {name} | {text} |" for name, text in rows]


HOW = """\
The figures are medians, with minimum and maximum in brackets; ratios are taken within a round, and
then their median. Peers take turns within each round. Each measurement has network namespaces of
its own. a, who connects and asks, is pinned to the first processor used and b to the second;
programs between them may run on both; vnic host is b. iperf3 and wrk measure whole seconds, from
their start on. Only what arrives counts. CPU is the time of both processors,
with all the kernel's work, for each 10⁹ bytes (each round trip) that arrived. `make bench` makes
this page again.
"""


def markdown(run, machine):
    lines = ["# Benchmark", "", "Written by `make bench`.", ""] + machine_table(machine, run) + [""]
    idle = spread(run.idle)
    if idle and idle.median > 5:
        lines += [
            f"**The machine was not quiet** ({idle.median:.0f} % busy with other work): "
            "take these figures "
            "for what they are.",
            "",
        ]
    lines += [HOW]
    judged = judge(run)
    if judged:
        lines += ["## Targets", "", "| | wanted | measured | |", "| --- | ---: | ---: | --- |"]
        lines += [
            f"| {text} | {wanted} | {range_of(got, 2) if got else ''} | {result} |"
            for text, wanted, got, result in judged
        ] + [""]
    lines += ["## Measured", "", "![The same as a plot](latest.svg)", ""]
    for case in CASES:
        table = case_table(case, run) if case.name in run.values else []
        if table:
            lines += [f"### {case.title}", ""] + table + [""]
            lines += [NOTES[case.name], ""] if case.name in NOTES else []
    lines += ["## The peers", ""]
    used = [name for name in PEERS if any(name in values for values in run.values.values())]
    lines += [f"- {name}: {PEERS[name].text}" for name in used] + [""]
    left_out = [
        f"- {case}, {name}: {reason}"
        for case, names in run.skipped.items()
        for name, reason in names.items()
    ]
    left_out += [
        f"- {case}, {name}, round {number}: {text}" for case, name, number, text in run.failures
    ]
    if left_out:
        lines += ["## Left out", ""] + left_out + [""]
    return "\n".join(lines)


def raw(run, machine):
    return {
        "machine": machine,
        "rounds": run.options.repeats,
        "seconds": run.options.seconds,
        "warmup": run.settings.warmup,
        "busy_before_percent": [round(idle, 1) for idle in run.idle],
        "cases": run.values,
        "skipped": run.skipped,
        "failures": [
            dict(zip(("case", "peer", "round", "text"), failure)) for failure in run.failures
        ],
        "targets": [
            {"text": text, "wanted": wanted, "measured": got and got._asdict(), "verdict": result}
            for text, wanted, got, result in judge(run)
        ],
    }


def panels(run):
    """What plot.draw() wants: (title, unit, [(label, kind, [Spread, ...])])."""
    both = (("", "there", "back"),)
    drawn = {
        "tcp": both,
        "tunnel": both,
        "host-tcp": both,
        "host-stream": both,
        "udp": (("", "arrived"),),
        "latency": (("", "rate"),),
        "host-http": (("", "requests"), ("; a connection for each request", "connections")),
    }
    for case in CASES:
        if case.name in run.values:
            for more, *metrics in drawn.get(case.name, drawn.get(case.group, ())):
                yield from panel(case, case.title + more, metrics, run)


def panel(case, title, metrics, run):
    """One, or none where nothing was measured."""
    bars = []
    for name, rounds in run.values[case.name].items():
        summary = summarize(rounds)
        if all(metric in summary for metric in metrics):
            bars.append((name, PEERS[name].kind, [summary[metric] for metric in metrics]))
    if bars:
        yield title, METRICS[metrics[0]].unit, bars


def curves(run):
    """What plot.draw() wants as well: (title, unit, what the points count, [(count, Spread)])."""
    summary = summarize(run.values.get("connections", {}).get("library", []))
    if summary:
        yield (
            "TCP among many connections: a segment, from one stack into another",
            "ns",
            "connections",
            [(count, summary[f"segment_among_{count}"]) for count in CONNECTIONS],
        )


def write(path, text):
    """Whole or not at all."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(path + ".new", path)


def finish(run, machine, directory):
    judged = judge(run)
    if judged:
        print()
    for text, wanted, got, result in judged:
        print(f"{result:8} {text}: {range_of(got, 2) if got else '-'}, wanted {wanted}")
    if run.failures or run.skipped:
        print(f"{len(run.failures)} failed, {sum(map(len, run.skipped.values()))} left out")
    print(f"took {machine['took_seconds']} s", flush=True)
    if not directory:
        return
    os.makedirs(directory, exist_ok=True)
    write(
        os.path.join(directory, "latest.json"),
        json.dumps(raw(run, machine), indent=1, ensure_ascii=False) + "\n",
    )
    write(
        os.path.join(directory, "latest.svg"),
        plot.draw(list(panels(run)), list(curves(run)), caption(machine)),
    )
    write(os.path.join(directory, "latest.md"), markdown(run, machine))
    print(f"written: {os.path.relpath(directory)}/latest.md, .svg, .json")


def caption(machine):
    return (
        f"{machine['cpu']}, {len(machine['processors_used'].split(','))} processors, "
        f"Linux {machine['kernel']}, "
        f"{machine['vnic']}, {machine['date'][:10]}"
    )
