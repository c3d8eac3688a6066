"""Writes the table of docs/which-one.md from the prices and the model:  python tools/gen_costs.py [--check]"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("src", "cython_ext", "extension")]

from lambda_dispatch import prices  # noqa: E402
from lambda_dispatch.cost import Load, estimate  # noqa: E402

PAGE = ROOT / "docs" / "which-one.md"
# Requests per second, milliseconds, of them computing, peak over average.
LOADS = [
    (0.1, 200, 20, 1),
    (10, 100, 10, 1),
    (100, 200, 20, 1),
    (100, 200, 20, 5),
    (100, 200, 150, 1),
    (1000, 50, 5, 1),
    (1000, 50, 5, 4),
]


def table() -> str:
    ways = list(estimate(Load(1, 1, 1), prices.load()))
    lines = ["| requests/s | ms | CPU ms | peak | " + " | ".join(ways) + " |", "| --- " * (4 + len(ways)) + "|"]
    for rate, milliseconds, computing, peak in LOADS:
        found = estimate(Load(rate, milliseconds, computing, peak=peak), prices.load())
        totals = [sum(found[way].values()) for way in ways]
        least = min(totals)
        cells = [f"**{total:,.0f}**" if total == least else f"{total:,.0f}" for total in totals]
        lines.append(f"| {rate:g} | {milliseconds} | {computing} | {peak} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page(text: str) -> str:
    pattern = re.compile(r"(<!-- table written by tools/gen_costs.py -->\n).*?(<!-- end -->)", re.S)
    changed, count = pattern.subn(lambda found: f"{found[1]}{table()}\n{found[2]}", text)
    if count != 1:
        raise SystemExit(f"the marks of the table are {count} times in {PAGE}, not once")
    return changed


if __name__ == "__main__":
    before = PAGE.read_text()
    after = page(before)
    if after != before and "--check" in sys.argv:
        sys.exit(f"{PAGE} is not current: run python tools/gen_costs.py")
    PAGE.write_text(after)
