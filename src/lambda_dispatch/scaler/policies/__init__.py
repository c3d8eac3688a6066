"""How many instances a pool should have: one object per `ScalingAlgorithm`, all behind the same two methods."""

from typing import Any, Protocol

from lambda_dispatch.scaler.model import Decision, Limits, Observation
from lambda_dispatch.scaler.policies.adaptive import Adaptive
from lambda_dispatch.scaler.policies.ewma import Ewma
from lambda_dispatch.scaler.policies.simple import Simple


class Policy(Protocol):
    """Pure: what it remembers from one decision to the next is a value that the caller keeps.

    A decision's numbers depend on an observation's counts only, not on which instance is which, so that they can be
    computed again from a record (scaler/record.py). Which instances are closed depends on more.
    """

    name: str
    number: int  # on the board
    memory_size: int  # numbers in flat()
    spreads: bool  # instances that were started together do not stay until their deadlines

    def first(self, desired: int = 0) -> Any:
        """The memory of a pool that has `desired` instances and no history."""

    def decide(self, seen: Observation, memory: Any, limits: Limits) -> tuple[Decision, Any]: ...

    def flat(self, memory: Any) -> tuple[float, ...]:
        """A memory as numbers for the board; nan where there is none."""

    def restore(self, flat: tuple[float, ...]) -> Any: ...


POLICIES: tuple[Policy, ...] = (Simple(), Ewma(), Adaptive())


def policy_named(name: str) -> Policy:
    return next(policy for policy in POLICIES if policy.name == name)


def policy_numbered(number: int) -> Policy:
    return next(policy for policy in POLICIES if policy.number == number)
