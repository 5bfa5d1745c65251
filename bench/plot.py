# SPDX-License-Identifier: MIT
"""Bars and curves as SVG, from nothing but strings. It follows the reader's light or dark scheme."""

import math
from xml.sax.saxutils import escape

WIDTH, MARGIN, LABEL, VALUE = 820, 24, 130, 96
BAR, GAP, GROUP_GAP, TITLE, AXIS = 9, 1, 7, 26, 24
CURVE = 150  # its height

STYLE = """
svg { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; }
.title { font-weight: 600; font-size: 13px; }
.strong { font-weight: 600; }
.second { opacity: 0.6; }
.whisker { stroke-width: 1.2; } .curve { stroke-width: 1.6; }
.paper { fill: #ffffff; } .text { fill: #24292f; } .soft { fill: #57606a; }
.line { stroke: #d8dee4; } .whisker { stroke: #24292f; } .curve { stroke: #0b63ce; }
.vnic { fill: #0b63ce; } .peer { fill: #b26a00; } .limit { fill: #8c959f; }
@media (prefers-color-scheme: dark) {
.paper { fill: #0d1117; } .text { fill: #e6edf3; } .soft { fill: #9198a1; }
.line { stroke: #30363d; } .whisker { stroke: #e6edf3; } .curve { stroke: #4c9aff; }
.vnic { fill: #4c9aff; } .peer { fill: #d99a3d; } .limit { fill: #6e7681; }
}
"""

LEGEND = (("vnic", "vnic"), ("peer", "other programs"), ("limit", "limit: no program between"))


def nice_step(most):
    """So that an axis has about five marks."""
    raw = most / 5
    power = 10 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)


def short(value):
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


class Page:
    def __init__(self):
        self.parts = []
        self.y = MARGIN

    def text(self, x, y, words, classes="text", anchor="start"):
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" class="{classes}" text-anchor="{anchor}">'
            f"{escape(words)}</text>"
        )

    def rectangle(self, x, y, width, height, classes):
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height}" '
            f'class="{classes}"/>'
        )

    def line(self, x1, y1, x2, y2, classes):
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{classes}"/>'
        )

    def legend(self, two):
        x = MARGIN
        for kind, words in LEGEND:
            self.rectangle(x, self.y - 9, 12, 10, kind)
            self.text(x + 17, self.y, words)
            x += 30 + 6.6 * len(words)
        words = "lines: minimum to maximum" + (
            "; upper bar a to b, lower bar b to a" if two else ""
        )
        self.text(x, self.y, words, "soft")
        self.y += 14

    def panel(self, title, unit, bars):
        left, right = MARGIN + LABEL, WIDTH - MARGIN - VALUE
        most = max(numbers.high for _, _, group in bars for numbers in group) or 1
        step = nice_step(most)
        scale = (right - left) / most
        self.y += TITLE
        self.text(MARGIN, self.y, title, "text title")
        self.text(WIDTH - MARGIN, self.y, unit, "soft", "end")
        self.y += 10
        top = self.y
        height = sum(len(group) * (BAR + GAP) + GROUP_GAP for _, _, group in bars)
        mark = 0
        while mark <= most * 1.0001:
            x = left + mark * scale
            self.line(x, top, x, top + height, "line")
            self.text(x, top + height + 13, f"{mark:g}", "soft", "middle")
            mark += step
        for label, kind, group in bars:
            self.bars(left, scale, label, kind, group)
        self.y += AXIS

    def bars(self, left, scale, label, kind, group):
        height = len(group) * (BAR + GAP)
        strong = " strong" if kind == "vnic" else ""
        self.text(left - 8, self.y + height / 2 + 4, label, "text" + strong, "end")
        for index, numbers in enumerate(group):
            y = self.y + index * (BAR + GAP)
            self.rectangle(
                left, y, numbers.median * scale, BAR, kind + (" second" if index else "")
            )
            if numbers.low != numbers.high:
                self.line(
                    left + numbers.low * scale,
                    y + BAR / 2,
                    left + numbers.high * scale,
                    y + BAR / 2,
                    "whisker",
                )
        words = " / ".join(short(numbers.median) for numbers in group)
        end = max(numbers.high for numbers in group) * scale
        self.text(left + end + 6, self.y + height / 2 + 4, words, "text" + strong)
        self.y += height + GROUP_GAP


    def curve(self, title, unit, words, points):
        """Points over a logarithmic axis from 1 on; the other one begins with 0."""
        left, right = MARGIN + LABEL, WIDTH - MARGIN - VALUE
        most = max(numbers.high for _, numbers in points) or 1
        step = nice_step(most)
        self.y += TITLE
        self.text(MARGIN, self.y, title, "text title")
        self.text(WIDTH - MARGIN, self.y, unit, "soft", "end")
        self.y += 16
        bottom = self.y + CURVE
        decades = math.log10(max(points[-1][0], 10))
        places = [
            (
                left + math.log10(count) / decades * (right - left),
                [bottom - value / most * CURVE for value in numbers],
            )
            for count, numbers in points
        ]
        mark = 0
        while mark <= most * 1.0001:
            y = bottom - mark / most * CURVE
            self.line(left, y, right, y, "line")
            self.text(left - 24, y + 4, f"{mark:g}", "soft", "end")
            mark += step
        before = None
        for (count, numbers), (x, (median, low, high)) in zip(points, places):
            if before:
                self.line(*before, x, median, "curve")
            before = x, median
            self.line(x, low, x, high, "whisker")
            self.rectangle(x - 3, median - 3, 6, 6, "vnic")
            self.text(x, high - 8, f"{numbers.median:.0f}", "text strong", "middle")
            self.text(x, bottom + 15, f"{count:,}", "soft", "middle")
        self.text(right + 14, bottom + 32, words, "soft", "end")
        self.y = bottom + 8 + AXIS


def draw(panels, curves, caption):
    page = Page()
    page.y += 10
    page.legend(any(len(group) > 1 for _, _, bars in panels for _, _, group in bars))
    for panel in panels:
        page.panel(*panel)
    for curve in curves:
        page.curve(*curve)
    page.y += 20
    page.text(MARGIN, page.y, caption, "soft")
    height = page.y + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="Benchmark results">\n<style>{STYLE}</style>\n'
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>\n'
        + "\n".join(page.parts)
        + "\n</svg>\n"
    )
