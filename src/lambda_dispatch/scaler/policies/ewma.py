"""`ScalingAlgorithm=ewma`: averages of the rate of requests and of their time; `simple` while they are not known."""

from lambda_dispatch.scaler import capacity
from lambda_dispatch.scaler.model import Limits, Observation
from lambda_dispatch.scaler.policies.simple import Simple


class Ewma(Simple):
    name = "ewma"
    number = 1

    def propose(self, seen: Observation, desired: int, limits: Limits) -> int:
        if not seen.per_second or not seen.mean_ms:
            return super().propose(seen, desired, limits)
        return capacity.ewma(limits.max_concurrent, limits.multiplier, seen.per_second, seen.mean_ms, desired)
