"""Whether the router should get clients, for /readyz: a worker is ready and, with a floor, an instance is open."""

from lambda_dispatch.telemetry.view import View, has_opened


class Readiness:
    def __init__(self, function: str, floor: int) -> None:
        self.function = function
        # Once it has been warm it stays ready: failing starts later are for alarms, not for taking the router away.
        self.warm = floor == 0

    def lacks(self, view: View) -> str:
        """What it waits for; empty when it is ready."""
        if view.workers_in("ready") == 0:
            return "no worker is ready"
        self.warm = self.warm or any(has_opened(pool.numbers) for pool in view.pools if pool.function == self.function)
        return "" if self.warm else "MinInstances or its schedule asks for instances and none is open yet"
