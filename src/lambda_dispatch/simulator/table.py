"""The table that is printed, and the same as JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lambda_dispatch.prices import Price
from lambda_dispatch.simulator.outcome import Outcome
from lambda_dispatch.simulator.setting import Setting

HEADS = (
    "policy",
    "requests",
    "lost",
    "waited",
    "wait p50 ms",
    "p99",
    "max",
    "time p99 ms",
    "environment-s",
    "of oracle",
    "invokes",
    "cold starts",
    "most",
    "utilisation",
    "USD",
)


def usd(it: Outcome, setting: Setting, prices: Mapping[str, Price]) -> float:
    gb_seconds = it.environment_seconds * setting.memory_mb / 1024
    return gb_seconds * prices["lambda_x86_gb_second"].value + it.invokes * prices["lambda_request"].value


def lost(outcome: Outcome) -> int:
    return outcome.requests - outcome.served


def render(outcomes: Sequence[Outcome], setting: Setting, prices: Mapping[str, Price]) -> str:
    base = next((o.environment_seconds for o in outcomes if o.policy == "oracle"), 0.0)
    rows = [HEADS, *(_row(outcome, base, setting, prices) for outcome in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    lines = []
    for row in rows:
        first = row[0].ljust(widths[0])
        lines.append("  ".join([first, *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]))
    return "\n".join(lines) + "\n"


def _row(it: Outcome, base: float, setting: Setting, prices: Mapping[str, Price]) -> tuple[str, ...]:
    return (
        it.policy,
        f"{it.requests:,}",
        f"{lost(it):,}",
        f"{it.waited:.2%}",
        f"{it.wait_p50:,.0f}",
        f"{it.wait_p99:,.0f}",
        f"{it.wait_max:,.0f}",
        f"{it.time_p99:,.0f}",
        f"{it.environment_seconds:,.1f}",
        f"{it.environment_seconds / base:.2f}" if base else "–",
        f"{it.invokes:,}",
        f"{it.cold_starts:,}",
        f"{it.most:,}",
        f"{it.utilisation:.0%}",
        f"{usd(it, setting, prices):.4f}",
    )


def document(outcomes: Sequence[Outcome], setting: Setting, prices: Mapping[str, Price]) -> str:
    """Everything but the series of the picture."""
    rows: list[dict[str, Any]] = []
    for it in outcomes:
        row = {name: getattr(it, name) for name in it.__dataclass_fields__ if name not in ("samples", "slowest")}
        row["usd"] = usd(it, setting, prices)
        rows.append({name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()})
    return json.dumps({"seed": setting.seed, "policies": rows}, indent=2) + "\n"
