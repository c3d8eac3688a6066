"""`lambda-dispatch cost`: what a load costs on each way to run it, from prices.toml and a plain model.

The model, per second of the load (all of it is in `estimate`; nothing is fitted):

    busy          requests a second x seconds a request: requests that are under way at once (Little's law)
    instances     busy / (requests an instance serves at once x fill); fill is how full the scaler keeps them: `simple`
                  1 / InstanceCountMultiplier, `adaptive` more than one half of a steady load. CPU bounds it too:
                  requests x CPU seconds / CPUs of an instance
    lambda-dispatch   GB-seconds of the instances, one invoke for each life, the router's tasks, a load balancer. Where
                      less than one instance is busy, it is open from a request to the end of its idle time: a share
                      1 - exp(-rate x (time of a request + idle time)) of all time, for arrivals by chance
    one at a time     Lambda by function URL with the Web Adapter: each request an environment of its own for as long
                      as it lasts, one invoke a request
    Fargate           the same instances as tasks of the same memory and CPUs, enough for the peak: new tasks come in
                      minutes, so that they are there before it; at least as many as are asked for
    Cloud Run         vCPU- and GiB-seconds while requests are under way, shared by those of an instance, requests

Left out of all: data transfer, logs, free tiers, discounts. The figures are those of a load whose mean is given; a load
that differs from hour to hour is run through this once for each.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lambda_dispatch import prices
from lambda_dispatch.errors import ConfigError
from lambda_dispatch.prices import Price

MONTH = 730 * 3600.0  # seconds, as the providers count
VCPU_MB = 1769  # of Lambda memory that come with one vCPU
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Load:
    requests_per_second: float
    milliseconds: float  # of a request, as the application takes it
    cpu_milliseconds: float  # of them that it computes
    memory_mb: int = 1769
    architecture: str = "arm"  # or x86
    at_once: int = 10  # requests an instance serves, MaxConcurrentCount
    fill: float = 0.5  # share of those slots that are in use
    life: float = 870.0  # seconds of an instance
    kilobytes: float = 10.0  # of a request and its answer, for the load balancer
    router_vcpu: float = 1.0
    router_gb: float = 2.0
    routers: int = 1
    least_tasks: int = 2  # of Fargate alone
    peak: float = 1.0  # requests per second at most over those on average
    idle: float = 0.25  # seconds an instance stays open without a request

    @property
    def busy(self) -> float:
        return self.requests_per_second * self.milliseconds / 1000

    @property
    def vcpus(self) -> float:
        """Of an instance."""
        return max(self.memory_mb / VCPU_MB, 1e-6)

    @property
    def by_cpu(self) -> float:
        """Instances that the computing needs: busier than two thirds, a queue grows in front of the CPU."""
        return self.requests_per_second * self.cpu_milliseconds / 1000 / (self.vcpus * 2 / 3)

    @property
    def instances(self) -> float:
        """Open at once on average; whole ones where it is more than one."""
        wanted = max(self.busy / (self.at_once * self.fill), self.by_cpu)
        if wanted > 1:
            return math.ceil(wanted)
        return 1 - math.exp(-self.requests_per_second * (self.milliseconds / 1000 + self.idle))


def estimate(load: Load, price: Mapping[str, Price]) -> dict[str, dict[str, float]]:
    """US dollars a month of each way, by part."""
    arm = load.architecture == "arm"
    per = {name: entry.value for name, entry in price.items()}
    gb_second = per["lambda_arm_gb_second" if arm else "lambda_x86_gb_second"]
    vcpu_hour = per["fargate_arm_vcpu_hour" if arm else "fargate_x86_vcpu_hour"]
    gb_hour = per["fargate_arm_gb_hour" if arm else "fargate_x86_gb_hour"]
    gb = load.memory_mb / 1024
    requests = load.requests_per_second * MONTH
    # A load balancer's units: bytes an hour, or new connections; connections are kept, so bytes decide here.
    units = max(load.requests_per_second * load.kilobytes * HOUR / 1e6, 0.0)
    balancer = (per["alb_hour"] + units * per["alb_lcu_hour"]) * MONTH / HOUR
    instances = load.instances
    tasks = max(math.ceil(instances * load.peak), load.least_tasks)
    shared = max(min(load.at_once * load.fill, load.busy), 1.0)
    containers = max(load.busy / shared, load.by_cpu)
    second = load.vcpus * per["cloud_run_vcpu_second"] + gb * per["cloud_run_gib_second"]
    return {
        "lambda-dispatch": {
            "compute": instances * gb * gb_second * MONTH,
            "invokes": instances / load.life * MONTH * per["lambda_request"],
            "router": load.routers * (load.router_vcpu * vcpu_hour + load.router_gb * gb_hour) * MONTH / HOUR,
            "load balancer": balancer,
        },
        "one request at a time": {
            "compute": load.busy * gb * gb_second * MONTH,
            "invokes": requests * per["lambda_request"],
        },
        "Fargate": {
            "compute": tasks * (load.vcpus * vcpu_hour + gb * gb_hour) * MONTH / HOUR,
            "load balancer": balancer,
        },
        "Cloud Run": {
            "compute": containers * second * MONTH,
            "requests": requests * per["cloud_run_request"],
        },
    }


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1000000000")
    return value


def _above(text: str) -> float:
    value = _positive(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be more than 0")
    return value


def _share(text: str) -> float:
    value = _above(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 1")
    return value


def _peak(text: str) -> float:
    value = _above(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is less than 1: the peak is no less than the average")
    return value


def _memory(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 128 <= int(text) <= 10240:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of MB from 128 to 10240")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1000")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lambda-dispatch cost",
        description="What a steady load costs a month on lambda-dispatch, plain Lambda, Fargate and Cloud Run.",
        epilog="The model and what it leaves out: docs/which-one.md.",
    )
    add = parser.add_argument
    add("--requests-per-second", type=_positive, required=True, metavar="N")
    add("--milliseconds", type=_positive, required=True, metavar="N", help="of a request, as the application takes it")
    add("--cpu-milliseconds", type=_positive, metavar="N", help="of them that it computes; a tenth where not given")
    add("--memory", type=_memory, default=1769, metavar="MB", help="of an instance; 1769 is one vCPU, the default")
    add("--architecture", choices=("arm", "x86"), default="arm")
    add("--at-once", type=_count, default=10, metavar="N", help="requests an instance serves: MaxConcurrentCount, 10")
    add("--fill", type=_share, default=0.5, help="share of them in use, 0.5; of simple 1 / InstanceCountMultiplier")
    add("--kilobytes", type=_positive, default=10.0, metavar="N", help="of a request and its answer, 10")
    add("--routers", type=_count, default=1, metavar="N", help="router tasks of 1 vCPU and 2 GB, 1")
    add("--tasks", type=_count, default=2, metavar="N", help="tasks of Fargate alone at least, 2")
    add("--peak", type=_peak, default=1.0, metavar="N", help="requests a second at most over the average, 1")
    add("--prices", metavar="FILE", help="prices of your own, as lambda_dispatch/prices.toml has them")
    add("--json", action="store_true")
    return parser


def main(argv: Sequence[str]) -> int:
    given = _parser().parse_args(argv)
    try:
        price = prices.load(given.prices)
    except ConfigError as error:
        for problem in error.problems:
            print(f"lambda-dispatch cost: {problem}", file=sys.stderr)
        return error.exit_code
    computing = given.milliseconds / 10 if given.cpu_milliseconds is None else given.cpu_milliseconds
    if computing > given.milliseconds:
        print(
            f"lambda-dispatch cost: --cpu-milliseconds is {computing:g}, more than --milliseconds "
            f"({given.milliseconds:g}); a request cannot compute for longer than it lasts: correct one of the two",
            file=sys.stderr,
        )
        return 64
    load = Load(
        given.requests_per_second, given.milliseconds, computing, given.memory, given.architecture, given.at_once,
        given.fill, kilobytes=given.kilobytes, routers=given.routers, least_tasks=given.tasks, peak=given.peak,
    )  # fmt: skip
    found = estimate(load, price)
    if given.json:
        document = {"busy": load.busy, "instances": load.instances, "dollars_per_month": found}
        print(json.dumps(document, indent=2))
    else:
        print(describe(load, found, price))
    return 0


def describe(load: Load, found: Mapping[str, Mapping[str, float]], price: Mapping[str, Price]) -> str:
    lines = [
        f"{load.requests_per_second:g} requests/s of {load.milliseconds:g} ms ({load.cpu_milliseconds:g} ms of CPU): "
        f"{load.busy:.1f} under way at once, {load.instances:.2g} instances of {load.memory_mb} MB, "
        f"{load.architecture}",
        "",
        "US dollars a month",
    ]
    cheapest = min(sum(parts.values()) for parts in found.values())
    for name, parts in sorted(found.items(), key=lambda item: sum(item[1].values())):
        total = sum(parts.values())
        detail = ", ".join(f"{part} {value:,.2f}" for part, value in parts.items())
        mark = "  <- least" if total == cheapest else ""
        lines.append(f"  {name:<22}{total:>12,.2f}   ({detail}){mark}")
    dates = sorted({entry.date for entry in price.values()})
    days = f"{dates[0]}" if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    lines += ["", f"Prices of {days}, without data transfer and discounts; they change: --prices FILE takes yours."]
    return "\n".join(lines)
