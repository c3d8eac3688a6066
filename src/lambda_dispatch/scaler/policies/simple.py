"""`ScalingAlgorithm=simple`: what waits and runs now, at the target per instance."""

from lambda_dispatch.scaler import capacity
from lambda_dispatch.scaler.model import Limits, Observation
from lambda_dispatch.scaler.policies.steps import Steps


class Simple(Steps):
    name = "simple"
    number = 0

    def propose(self, seen: Observation, desired: int, limits: Limits) -> int:
        return capacity.simple(limits.max_concurrent, limits.multiplier, seen.pending, max(seen.running, seen.recent))
