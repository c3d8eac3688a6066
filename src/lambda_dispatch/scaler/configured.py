"""From the configuration to what decisions depend on: in the running scaler, in the simulator, and for readiness."""

from dataclasses import replace

from lambda_dispatch.config import RouterConfig
from lambda_dispatch.scaler.model import Limits
from lambda_dispatch.scaler.schedule import Schedule, parse

# A floor that rises is prepared for so many mean cold starts before: half of all starts take longer than the mean.
LEAD = 2.0


def limits_of(pool: int, config: RouterConfig) -> Limits:
    return Limits(
        max_concurrent=config.max_concurrent_count,
        multiplier=config.instance_count_multiplier,
        min_instances=config.min_instances if pool == 0 else 0,
        max_instances=config.max_instances,
        target=config.target_concurrency,
        buffer=config.buffer_instances,
        spares=config.frozen_spares if pool == 0 else 0,
    )


def schedule_of(config: RouterConfig) -> Schedule | None:
    """Of the configured function; others have none."""
    return parse(config.min_instances_schedule)


def scheduled(limits: Limits, schedule: Schedule | None, wall: float, cold: float) -> Limits:
    """The limits at `wall`, s since 1970. MinInstances and the schedule both hold: the greater one is the floor."""
    if schedule is None:
        return limits
    floor = min(schedule.ahead(wall, LEAD * cold), limits.max_instances)
    return limits if floor <= limits.min_instances else replace(limits, min_instances=floor, scheduled=True)


def floor_of(config: RouterConfig, wall: float) -> int:
    """Of the configured function, whatever operators have set."""
    return scheduled(limits_of(0, config), schedule_of(config), wall, 0.0).min_instances
