# SPDX-License-Identifier: MIT
"""A strict reader of Prometheus' text format 0.0.4: what it does not understand is an error."""

import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)?\}})? ([0-9.eE+-]+|NaN|[+-]Inf)")
TYPES = {"counter", "gauge", "histogram", "summary", "untyped"}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}


def unescape(text):
    return re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), text)


def family_of(name, types):
    """The family that a sample belongs to."""
    if name in types and types[name] not in SUFFIXES:
        return name
    for family, kind in types.items():
        if name in [family + suffix for suffix in SUFFIXES.get(kind, ())]:
            return family
    raise AssertionError(f"no TYPE for {name}")


def check_histograms(samples, types):
    for family in [name for name, kind in types.items() if kind == "histogram"]:
        buckets = {}
        for (name, labels), value in samples.items():
            if name == family + "_bucket":
                rest = tuple(x for x in labels if x[0] != "le")
                buckets.setdefault(rest, []).append((float(dict(labels)["le"]), value))
        assert buckets, family
        for rest, values in buckets.items():
            assert values == sorted(values) and values[-1][0] == float("inf"), (family, values)
            assert [x[1] for x in values] == sorted(x[1] for x in values), (family, values)
            assert samples[family + "_count", rest] == values[-1][1], (family, rest)
            assert (family + "_sum", rest) in samples, (family, rest)


def parse(text):
    """{(name, ((label, value), ...)): number}"""
    assert text.endswith("\n"), "the last line has no end"
    types, helps, samples, closed, current = {}, set(), {}, set(), None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, _, about = line[7:].partition(" ")
            assert re.fullmatch(NAME, name) and about and name not in helps, line
            helps.add(name)
            continue
        if line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name in helps and name not in types and kind in TYPES, line
            types[name] = kind
            closed.add(current)
            current = name
            continue
        match = SAMPLE.fullmatch(line)
        assert match, f"not a sample: {line!r}"
        family = family_of(match[1], types)
        assert family == current and family not in closed, f"not with its family: {line}"
        labels = tuple((x[0], unescape(x[1])) for x in re.findall(LABEL, match[2] or ""))
        assert len({x[0] for x in labels}) == len(labels), line
        assert (match[1], labels) not in samples, f"twice: {line}"
        samples[match[1], labels] = float(match[match.lastindex])
        if types[family] == "counter":
            assert family.endswith("_total") and float(match[match.lastindex]) >= 0, line
    assert set(types) == helps
    check_histograms(samples, types)
    return samples
