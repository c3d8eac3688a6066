"""One policy, one load, one world: from the first request until the last instance has ended."""

from collections.abc import Callable

from lambda_dispatch.simulator.direct import dispatch
from lambda_dispatch.simulator.knative import Knative
from lambda_dispatch.simulator.oracle import bound
from lambda_dispatch.simulator.outcome import Outcome, longest_by_time, quantile, spread
from lambda_dispatch.simulator.policies import Policy
from lambda_dispatch.simulator.product import ProductScaler
from lambda_dispatch.simulator.requests import NS, Requests
from lambda_dispatch.simulator.setting import Setting
from lambda_dispatch.simulator.world import World

PICTURE_STEPS = 300  # points of a line


def run(policy: Policy, requests: Requests, setting: Setting) -> Outcome:
    if policy.name == "oracle":
        return _oracle(requests, setting)
    if policy.name == "lambda":
        return _direct(requests, setting)
    return _simulated(policy, requests, setting)


def _oracle(requests: Requests, setting: Setting) -> Outcome:
    billed, invokes, cold, most, least = bound(
        requests.arrive,
        requests.takes,
        slots=setting.slots,
        cold=setting.cold.mean,
        thaw=setting.thaw.mean,
        warm=setting.warm.mean,
        life=setting.life,
        share=setting.share,
        cpus=setting.cpus,
    )
    n = len(requests)
    return Outcome(
        "oracle", n, n, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, quantile(sorted(requests.takes), 0.99), billed / NS, invokes,
        cold, most, least / billed if billed else 0.0,
    )  # fmt: skip


def _direct(requests: Requests, setting: Setting) -> Outcome:
    service = setting.service()
    step = requests.span / PICTURE_STEPS
    waits, times, billed, throttled, samples = dispatch(
        requests.arrive, requests.takes, service, share=setting.share, cpus=setting.cpus, sample_every=step
    )
    waited, p50, p99, most = spread(waits)
    return Outcome(
        "lambda",
        len(requests),
        len(waits),
        throttled,
        0,
        0,
        waited,
        p50,
        p99,
        most,
        quantile(sorted(times), 0.99),
        billed / NS,
        len(waits),
        service.cold_starts,
        max((running for _, running in samples), default=0),
        sum(requests.takes) / billed if billed and not throttled else 0.0,
        tuple((at / NS, running) for at, running in samples),
        longest_by_time(requests.arrive, waits, step),
    )


def _simulated(policy: Policy, requests: Requests, setting: Setting) -> Outcome:
    service = setting.service()
    step = requests.span / PICTURE_STEPS
    # The world writes the arrivals of clients' next requests.
    world = World(
        requests.arrive[:] if requests.clients else requests.arrive,
        requests.takes,
        service,
        pools=setting.routers,
        limit=setting.slots,
        idle_exit=setting.idle_exit,
        life=setting.life,
        queue_timeout=setting.queue_timeout,
        queue_limit=setting.queue_limit,
        tail=setting.tail,
        share=setting.share,
        cpus=setting.cpus,
        failing=setting.fails(),
        ends_idle=setting.ends_idle,
        sample_every=step,
        clients=requests.clients,
        until=requests.until,
    )
    looks: list[Callable[[], None]]
    if policy.config is None:
        looks = [Knative(world, pool).look for pool in range(setting.routers)]
    else:
        scalers = [ProductScaler(world, pool, policy.config, setting.seed) for pool in range(setting.routers)]
        for scaler in scalers:
            scaler.begins = requests.begins
        looks = [scaler.look for scaler in scalers]
    while (pool := world.advance()) >= 0:
        looks[pool]()
    waits = world.waits()
    waited, p50, p99, most = spread(waits)
    billed = world.billed / NS
    return Outcome(
        policy.name,
        world.completed + world.refused + world.expired + world.cut if requests.clients else len(requests),
        world.completed,
        world.refused,
        world.expired,
        world.cut,
        waited,
        p50,
        p99,
        most,
        quantile(sorted(world.times()), 0.99),
        billed,
        world.invokes,
        service.cold_starts,
        max((sample[1] for sample in world.samples), default=0),
        world.busy / NS / (billed * setting.slots) if billed else 0.0,
        tuple((at / NS, living) for at, living, _, _ in world.samples),
        () if requests.clients else longest_by_time(requests.arrive, waits, step),
    )
