"""One sentence per pool: what it is doing, and what holds it back. A pure function of the view."""

from typing import NamedTuple

from lambda_dispatch.telemetry.view import PoolView


class Verdict(NamedTuple):
    level: str  # "ok", "busy" or "bad"
    text: str


def verdict(pool: PoolView) -> Verdict:
    """The first rule that applies, the worst first."""
    waiting = ""
    if pool.queued:
        waiting = f", {pool.queued} queued, oldest wait {_span(pool.oldest_queued or 0.0)}"
    up = pool.starting + pool.open
    if pool.breaker == "open":
        again = f"next start in {pool.backoff:.1f} s" if pool.backoff else "next start when a request needs one"
        return Verdict("bad", f"breaker open: instance starts keep failing; {again}{waiting}")
    if pool.breaker == "half-open":
        return Verdict("bad", f"breaker half-open: a trial start is under way{waiting}")
    if pool.queued and up >= pool.max_instances:
        return Verdict("bad", f"held back: maximum of {pool.max_instances} instances reached{waiting}")
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
