"""The charts of the simulator and the benchmarks."""

import xml.etree.ElementTree as ET

import pytest

from lambda_dispatch.simulator.plot import Chart, Series, draw, ticks


@pytest.mark.parametrize(
    ("highest", "last", "count"),
    [(0, 1, 2), (1, 1, 6), (8.8, 10, 6), (100, 100, 6), (101, 125, 6), (0.03, 0.03, 4), (20, 20, 5), (7, 8, 5)],
)
def test_axes_have_round_numbers(highest: float, last: float, count: int) -> None:
    found = ticks(highest)
    assert (found[0], found[-1], len(found)) == (0, last, count)


def test_the_plot_is_well_formed_and_inside_its_frame() -> None:
    series = [Series("a < b", "#c0392b", [(0, 0), (10, 13.9)]), Series("c", "#1f6fb2", [(0, 1), (20, 3)])]
    root = ET.fromstring(draw("100 clients & more", [Chart("slowest", "s", series), Chart("none", "s", [])]))
    height = float(root.attrib["height"])
    for line in root.iter("{http://www.w3.org/2000/svg}polyline"):
        for x, y in (map(float, point.split(",")) for point in line.attrib["points"].split()):
            assert 0 <= x <= 860 and 0 <= y <= height / 2
    assert "a < b" in "".join(root.itertext())


def test_a_logarithmic_chart_has_dots_inside_its_frame() -> None:
    series = [Series("a", "#c0392b", [(1, 1.2), (2005, 9.7)], dots=True)]
    root = ET.fromstring(draw("frontier", [Chart("cost", "ms", series, logarithmic=True)]))
    dots = [
        (float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in root.iter("{http://www.w3.org/2000/svg}circle")
    ]
    assert len(dots) == 2
    assert all(56 <= x <= 860 - 16 and 0 <= y <= 270 for x, y in dots)
    assert dots[0][0] == 56 and dots[0][1] > dots[1][1]
