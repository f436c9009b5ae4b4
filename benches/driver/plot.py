"""Plots as SVG, for light and dark pages."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH = 800
LEFT = 250  # where bars begin
ROW, GAP = 15, 12
# Bright enough for dark pages, and dark enough for light ones; as many as there are peers.
COLOURS = (
    "#2f81f7",
    "#d29922",
    "#3fb950",
    "#db61a2",
    "#a371f7",
    "#e5534b",
    "#8b949e",
    "#1fa5b5",
    "#b5651d",
    "#84934a",
)
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #57606a }
.title { font-size: 15px; font-weight: 600; fill: #1f2328 }
.ours { font-weight: 600; fill: #1f2328 }
.grid { stroke: #8b949e; stroke-opacity: .3 }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1 }
  .title, .ours { fill: #e6edf3 }
}
</style>"""

Point = tuple[float, float]


def short(value: float) -> str:
    """With two or three digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 10 else f"{value:.2g}"


def svg(height: float, title: str, body: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}" role="img" aria-label="{escape(title)}">'
    )
    return "\n".join([head, STYLE, text(12, 22, title, "title"), *body, "</svg>\n"])


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{escape(words)}</text>'


def legend(names: Sequence[str], y: float) -> list[str]:
    body, x = [], 12.0
    for name, colour in zip(names, COLOURS, strict=False):
        body.append(f'<rect x="{x:.0f}" y="{y - 10:.0f}" width="11" height="11" fill="{colour}"/>')
        body.append(text(x + 16, y, name))
        x += 34 + 6.6 * len(name)
    return body


def bars(
    title: str, unit: str, series: Sequence[str], rows: Mapping[str, Sequence[float | None]]
) -> str:
    """Horizontal bars: for each row one of each series, none where the value is None."""
    values = [value for row in rows.values() for value in row if value is not None]
    scale = (WIDTH - LEFT - 90) / max(values, default=1)
    body = legend(series, 44)
    y = 62.0
    for name, row in rows.items():
        middle = y + len(series) * ROW / 2 + 4
        kind = "ours" if name.startswith("s3-backup-agent") else ""
        body.append(text(LEFT - 10, middle, name, kind, "end"))
        for n, (value, colour) in enumerate(zip(row, COLOURS, strict=False)):
            top = y + n * ROW
            length = max(1.0, value * scale) if value is not None else 0
            label = f"{short(value)} {unit}" if value is not None else "none"
            body.append(
                f'<rect x="{LEFT}" y="{top:.1f}" width="{length:.1f}" height="{ROW - 3}" rx="2" '
                f'fill="{colour}"/>'
            )
            body.append(text(LEFT + length + 6, top + ROW - 5, label))
        y += len(series) * ROW + GAP
    return svg(y, title, body)


def lines(
    title: str,
    x_title: str,
    y_title: str,
    series: Mapping[str, Sequence[Point]],
    x_names: Mapping[float, str],
) -> str:
    """Points joined by lines, both axes logarithmic."""
    left, top, right, bottom = 62.0, 64.0, WIDTH - 240.0, 372.0
    points = [point for line in series.values() for point in line if min(point) > 0]
    if not points:
        return svg(80, title, [text(12, 50, "not measured")])
    low, high = decades([y for _, y in points])
    x_low, x_high = math.log(min(x_names)), math.log(max(x_names))

    def place(point: Point) -> Point:
        share = (math.log(point[0]) - x_low) / ((x_high - x_low) or 1)
        rise = (math.log10(point[1]) - low) / (high - low)
        return left + share * (right - left), bottom - rise * (bottom - top)

    body = [text(12, 44, y_title)]
    for exponent in range(low, high + 1):
        _, y = place((points[0][0], 10.0**exponent))
        body.append(f'<path class="grid" d="M{left:.1f} {y:.1f}H{right:.1f}"/>')
        body.append(text(left - 8, y + 4, f"{10.0**exponent:g}", anchor="end"))
    for value, name in x_names.items():
        x, _ = place((value, points[0][1]))
        body.append(f'<path class="grid" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
        body.append(text(x, bottom + 18, name, anchor="middle"))
    body.append(text((left + right) / 2, bottom + 38, x_title, anchor="middle"))
    ends: list[tuple[float, str, str]] = []
    for (name, line), colour in zip(series.items(), COLOURS, strict=False):
        places = [place(point) for point in line if min(point) > 0]
        if not places:
            continue
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        body.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        body += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
        ends.append((places[-1][1], name, colour))
    return svg(bottom + 50, title, [*body, *names_at(right + 12, sorted(ends))])


def names_at(x: float, ends: Sequence[tuple[float, str, str]]) -> list[str]:
    """The names of lines beside their ends, moved apart where they would touch."""
    body: list[str] = []
    free = 0.0
    for wanted, name, colour in ends:
        y = max(wanted, free)
        free = y + 16
        body.append(f'<circle cx="{x + 4:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
        kind = "ours" if name.startswith("s3-backup-agent") else ""
        body.append(text(x + 13, y + 4, name, kind))
    return body


def decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten around these."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)
