"""Everything that can be compared: this router's policies with options of the router, and their rivals.

A policy is written NAME or NAME:Option=Value:Option=Value, with the router's own options and values.
"""

import re
from dataclasses import dataclass

from lambda_dispatch import config
from lambda_dispatch.errors import ConfigError
from lambda_dispatch.scaler.policies import POLICIES
from lambda_dispatch.simulator.setting import Setting

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")  # between the words of an option's name

RIVALS = {
    "oracle": "the lower bound: knows the future and lets no request wait",
    "lambda": "Lambda's own dispatch: one request per environment",
    "knative": "a scaler like Knative's",
}
SHORT = {
    "simple": "simple:InstanceCountMultiplier=2",
    "simple-1": "simple:InstanceCountMultiplier=1",
    "adaptive-auto": "adaptive:TargetConcurrency=auto",
    "adaptive-spares": "adaptive:FrozenSpares=12",
}
ALGORITHMS = tuple(policy.name for policy in POLICIES)
DEFAULT = ("oracle", "lambda", "knative", "simple-1", *ALGORITHMS)


class PolicyError(ValueError):
    """Not a policy; the text says why."""


@dataclass(frozen=True, slots=True)
class Policy:
    name: str
    config: config.RouterConfig | None  # None: a rival


def parse(text: str, setting: Setting) -> Policy:
    name, _, rest = SHORT.get(text, text).partition(":")
    if name in RIVALS:
        if rest:
            raise PolicyError(f"{text!r}: {name} has no options")
        return Policy(text, None)
    flags = ["--function-name", "simulated", "--scaling-algorithm", name]
    flags += ["--max-concurrent-count", str(setting.slots), "--channel-count", str(max(20, setting.slots))]
    for pair in filter(None, rest.split(":")):
        option, equals, value = pair.partition("=")
        if not equals:
            raise PolicyError(
                f"{text!r}: {pair!r} is not written Option=Value; a policy is NAME:Option=Value:Option=Value"
            )
        flags += ["--" + _WORDS.sub("-", option.strip()).lower(), value.strip()]
    try:
        return Policy(text, config.load({}, flags))
    except ConfigError as error:
        raise PolicyError(f"{text!r}: {'; '.join(error.problems)}") from error
