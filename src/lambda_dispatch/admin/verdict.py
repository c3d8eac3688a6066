"""One sentence per pool: what it is doing, and what holds it back. A pure function of the view."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lambda_dispatch.telemetry.view import PoolView


class Verdict(NamedTuple):
    level: str  # "ok", "busy" or "bad"
    text: str


def verdict(pool: PoolView, overrides: Sequence[Mapping[str, Any]] = ()) -> Verdict:
    """The first rule that applies, the worst first. `overrides`: those of this pool that are in force."""
    by_hand = {it["kind"]: it["who"] for it in overrides}
    waiting = ""
    if pool.queued:
        waiting = f", {pool.queued} queued, oldest wait {_span(pool.oldest_queued or 0.0)}"
    up = pool.starting + pool.open
    if pool.breaker == "open":
        again = f"next start in {pool.backoff:.1f} s" if pool.backoff else "next start when a request needs one"
        return Verdict("bad", f"breaker open: instance starts keep failing; {again}{waiting}")
    if pool.breaker == "half-open":
        return Verdict("bad", f"breaker half-open: a trial start is under way{waiting}")
    if pool.budget:
        return Verdict("bad", f"budget: {pool.budget}, only the floor goes on{waiting}")
    if pool.queued and "pause" in by_hand and up >= pool.desired:
        return Verdict("bad", f"held back: scaling paused at {pool.desired} by {by_hand['pause']}{waiting}")
    if pool.queued and up >= pool.max_instances:
        whose = f", set by {by_hand['limits']}" if "limits" in by_hand else ""
        return Verdict("bad", f"held back: maximum of {pool.max_instances} instances reached{whose}{waiting}")
    if pool.backoff and pool.desired > up:
        return Verdict("bad", f"backing off after failed starts: next start in {pool.backoff:.1f} s{waiting}")
    # The desired count follows the demand down slowly; without a start or a waiting request nothing is missing.
    if pool.desired > pool.open and (pool.starting or pool.queued):
        return Verdict("busy", f"scaling: {pool.open} of {pool.desired} open{waiting}")
    if pool.queued:
        return Verdict("busy", f"all slots busy: {pool.in_flight} requests on {pool.open} instances{waiting}")
    if not up and not pool.in_flight:
        return Verdict("ok", "idle: no instance open, the next request starts one")
    return Verdict("ok", f"ok: {pool.open} open, {pool.in_flight} in flight, no request waits")


def _span(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
