"""What the next request will wait for a slot, from what is known now."""

from lambda_dispatch.scaler.model import UNKNOWN, Observation, State

LONGEST = 120.0  # s: more is no prediction


def predicted(seen: Observation, slots: int) -> float:
    """Seconds. The queue's end is served by the slots that become free, one after another, in the open instances and,
    once they are, in those that start now."""
    opened = [it for it in seen.instances if it.state is State.OPEN]
    free = sum(max(0, slots - it.in_flight) for it in opened)
    ahead = seen.pending - free
    if ahead < 0:
        return 0.0
    seconds = max(0.001, (seen.takes_ms or UNKNOWN * 1000) / 1000)
    each = slots / seconds  # requests per second that a full instance answers
    rate = min(seen.running, len(opened) * slots) / seconds
    begin = seen.thaw if seen.frozen else seen.cold
    ready = sorted(max(0.0, it.since + begin - seen.now) for it in seen.instances if it.state is State.STARTING)
    if not ready and not opened:
        ready = [begin]  # the next look starts one
    at, left = 0.0, float(ahead + 1)
    for opens in ready:
        if rate and left <= rate * (opens - at):
            break
        left -= rate * (opens - at)
        at = opens
        if left <= slots:
            return min(at, LONGEST)
        left -= slots
        rate += each
    return min(at + left / rate, LONGEST) if rate else LONGEST
