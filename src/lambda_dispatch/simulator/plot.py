"""Charts as SVG, written by hand: a few lines or bars, axes with round numbers, a legend.

They stand on white paper of their own, so that they can be read on a dark page too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 270  # of one chart
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 56, 40
BAR = 36
STYLE = "font-family='system-ui, sans-serif' fill='#333'"


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    color: str
    points: list[tuple[float, float]]
    dashed: bool = False
    dots: bool = False  # no line: a dot for each point


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    x_title: str
    series: list[Series]
    logarithmic: bool = False  # both axes; then every number must be more than 0


@dataclass(frozen=True, slots=True)
class Group:
    """Bars that stand together, one of each kind; None leaves a gap."""

    name: str
    bars: list[float | None]


@dataclass(frozen=True, slots=True)
class Bars:
    """Each group has a scale of its own, as what they show may differ by orders of magnitude."""

    title: str
    groups: list[Group]
    kinds: list[tuple[str, str]]  # name and colour


def draw(title: str, charts: Sequence[Chart | Bars]) -> str:
    height = 34 + HEIGHT * len(charts)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}' "
        "font-size='12'>",
        f"<rect width='{WIDTH}' height='{height}' fill='white'/>",
        f"<text x='{LEFT}' y='22' {STYLE} font-weight='bold' font-size='14'>{escape(title)}</text>",
    ]
    for number, chart in enumerate(charts):
        drawn = _chart(chart) if isinstance(chart, Chart) else _bars(chart)
        parts.append(f"<g transform='translate(0 {34 + HEIGHT * number})'>{drawn}</g>")
    return "\n".join([*parts, "</svg>", ""])


def _chart(chart: Chart) -> str:
    points = [point for series in chart.series for point in series.points] or [(1.0, 1.0)]
    find_ticks = _decades if chart.logarithmic else _from_zero
    x_ticks, y_ticks = find_ticks([x for x, _ in points]), find_ticks([y for _, y in points])

    def part(value: float, marks: list[float]) -> float:
        if chart.logarithmic:
            return math.log(value / marks[0]) / math.log(marks[-1] / marks[0])
        return value / marks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * part(x, x_ticks)
        return across, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part(y, y_ticks)

    parts = [f"<text x='{LEFT}' y='16' {STYLE}>{escape(chart.title)}</text>"]
    for y in y_ticks:
        _, at = place(x_ticks[0], y)
        parts.append(f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{at:.1f}' y2='{at:.1f}' stroke='#ddd'/>")
        parts.append(f"<text x='{LEFT - 8}' y='{at + 4:.1f}' {STYLE} text-anchor='end'>{y:g}</text>")
    for x in x_ticks:
        at, _ = place(x, y_ticks[0])
        parts.append(f"<text x='{at:.1f}' y='{HEIGHT - BOTTOM + 18}' {STYLE} text-anchor='middle'>{x:g}</text>")
    parts.append(f"<text x='{WIDTH - RIGHT}' y='{HEIGHT - 4}' {STYLE} text-anchor='end'>{escape(chart.x_title)}</text>")
    for series in chart.series:
        if series.dots:
            for across, down in (place(x, y) for x, y in series.points):
                parts.append(f"<circle cx='{across:.1f}' cy='{down:.1f}' r='4' fill='{series.color}'/>")
            continue
        line = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in series.points)
        parts.append(f"<polyline points='{line}' fill='none' stroke='{series.color}' {_stroke(series.dashed)}/>")
    for series, at in zip(chart.series, _legend_places([series.name for series in chart.series]), strict=True):
        parts.append(
            f"<line x1='{at}' x2='{at + 22}' y1='32' y2='32' stroke='{series.color}' {_stroke(series.dashed)}/>"
        )
        parts.append(f"<text x='{at + 28}' y='36' {STYLE}>{escape(series.name)}</text>")
    return "\n".join(parts)


def _from_zero(values: list[float]) -> list[float]:
    return ticks(max(values))


def _decades(values: list[float]) -> list[float]:
    """1, 2, 5, 10 ... around the values; only the powers of ten when they span more than three of them."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = (1,) if high - low > 3 else (1, 2, 5)
    marks = [step * 10.0**power for power in range(low, high + 1) for step in steps]
    begin = max(place for place, mark in enumerate(marks) if mark <= min(values) * (1 + 1e-9))
    end = min((place for place, mark in enumerate(marks) if mark >= max(values) * (1 - 1e-9)), default=len(marks) - 1)
    return [float(f"{mark:.6g}") for mark in marks[begin : max(end, begin + 1) + 1]]


def _bars(chart: Bars) -> str:
    parts = [f"<text x='{LEFT}' y='16' {STYLE}>{escape(chart.title)}</text>"]
    for (name, color), at in zip(chart.kinds, _legend_places([name for name, _ in chart.kinds]), strict=True):
        parts.append(f"<rect x='{at}' y='26' width='22' height='11' fill='{color}'/>")
        parts.append(f"<text x='{at + 28}' y='36' {STYLE}>{escape(name)}</text>")
    floor = HEIGHT - BOTTOM
    for number, group in enumerate(chart.groups):
        middle = LEFT + (WIDTH - LEFT - RIGHT) * (number + 0.5) / len(chart.groups)
        start = middle - BAR * len(group.bars) / 2
        highest = max((bar for bar in group.bars if bar is not None), default=0) or 1
        for place, (bar, (_, color)) in enumerate(zip(group.bars, chart.kinds, strict=True)):
            if bar is None:
                continue
            x, tall = start + BAR * place, (floor - TOP - 16) * bar / highest
            parts.append(
                f"<rect x='{x + 2:.1f}' y='{floor - tall:.1f}' width='{BAR - 4}' height='{tall:.1f}' fill='{color}'/>"
            )
            parts.append(
                f"<text x='{x + BAR / 2:.1f}' y='{floor - tall - 5:.1f}' {STYLE} text-anchor='middle' font-size='11'>"
                f"{bar:.3g}</text>"
            )
        parts.append(
            f"<text x='{middle:.1f}' y='{floor + 18}' {STYLE} text-anchor='middle'>{escape(group.name)}</text>"
        )
    parts.append(f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{floor}' y2='{floor}' stroke='#999'/>")
    return "\n".join(parts)


def _legend_places(names: list[str]) -> list[int]:
    return [LEFT + sum(50 + 7 * len(name) for name in names[:number]) for number in range(len(names))]


def _stroke(dashed: bool) -> str:
    return "stroke-width='2'" + (" stroke-dasharray='6 4'" if dashed else "")


def ticks(highest: float, wanted: int = 5) -> list[float]:
    """Round numbers from 0 to at least `highest`."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / wanted
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    return [round(step * number, 10) for number in range(math.ceil(highest / step - 1e-9) + 1)]
