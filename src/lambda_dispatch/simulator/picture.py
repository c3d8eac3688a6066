"""The comparison as a picture: environments and the longest waits over time, a line for each policy."""

from collections.abc import Sequence

from lambda_dispatch.simulator.outcome import Outcome
from lambda_dispatch.simulator.plot import Chart, Series, draw

COLORS = ("#1f6fb2", "#e67e22", "#c0392b", "#16a085", "#8e44ad", "#d4ac0d", "#7f8c8d", "#2c3e50")


def render(outcomes: Sequence[Outcome], title: str) -> str:
    """The oracle is not drawn: it has no instances of its own."""
    drawn = [(it, COLORS[place % len(COLORS)]) for place, it in enumerate(o for o in outcomes if o.samples)]
    environments = [Series(it.policy, color, [(at, float(count)) for at, count in it.samples]) for it, color in drawn]
    waits = [Series(it.policy, color, list(it.slowest)) for it, color in drawn if it.slowest]
    charts = [Chart("environments", "s", environments)]
    if waits:
        charts.append(Chart("longest wait of what arrived at that time, ms", "s", waits))
    return draw(title, charts)
