"""Line charts as SVG, written by hand: a few lines, axes with round numbers, a legend."""

import math
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 260  # of one chart
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 40, 40
STYLE = "font-family='system-ui, sans-serif' fill='#333'"


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    color: str
    points: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    x_title: str
    series: list[Series]


def draw(title: str, charts: list[Chart]) -> str:
    height = 34 + HEIGHT * len(charts)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}' "
        "font-size='12'>",
        f"<rect width='{WIDTH}' height='{height}' fill='white'/>",
        f"<text x='{LEFT}' y='22' {STYLE} font-weight='bold' font-size='14'>{escape(title)}</text>",
    ]
    for number, chart in enumerate(charts):
        parts.append(f"<g transform='translate(0 {34 + HEIGHT * number})'>{_chart(chart)}</g>")
    return "\n".join([*parts, "</svg>", ""])


def _chart(chart: Chart) -> str:
    points = [point for series in chart.series for point in series.points] or [(0.0, 0.0)]
    x_ticks = ticks(max(x for x, _ in points))
    y_ticks = ticks(max(y for _, y in points))
    x_end, y_end = x_ticks[-1], y_ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * x / x_end
        return across, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / y_end

    parts = [f"<text x='{LEFT}' y='16' {STYLE}>{escape(chart.title)}</text>"]
    for y in y_ticks:
        _, at = place(0, y)
        parts.append(f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{at:.1f}' y2='{at:.1f}' stroke='#ddd'/>")
        parts.append(f"<text x='{LEFT - 8}' y='{at + 4:.1f}' {STYLE} text-anchor='end'>{y:g}</text>")
    for x in x_ticks:
        at, _ = place(x, 0)
        parts.append(f"<text x='{at:.1f}' y='{HEIGHT - BOTTOM + 18}' {STYLE} text-anchor='middle'>{x:g}</text>")
    parts.append(f"<text x='{WIDTH - RIGHT}' y='{HEIGHT - 4}' {STYLE} text-anchor='end'>{escape(chart.x_title)}</text>")
    for number, series in enumerate(chart.series):
        line = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in series.points)
        parts.append(f"<polyline points='{line}' fill='none' stroke='{series.color}' stroke-width='2'/>")
        at = WIDTH - RIGHT - 190 * (len(chart.series) - number)
        parts.append(f"<line x1='{at}' x2='{at + 22}' y1='12' y2='12' stroke='{series.color}' stroke-width='3'/>")
        parts.append(f"<text x='{at + 28}' y='16' {STYLE}>{escape(series.name)}</text>")
    return "\n".join(parts)


def ticks(highest: float, wanted: int = 5) -> list[float]:
    """Round numbers from 0 to at least `highest`."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / wanted
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    return [round(step * number, 10) for number in range(math.ceil(highest / step - 1e-9) + 1)]
