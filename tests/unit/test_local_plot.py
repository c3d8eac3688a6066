"""The plot of the side-by-side benchmark."""

import xml.etree.ElementTree as ET

import pytest
from benchmarks.load.plot import Chart, Series, draw, ticks


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
