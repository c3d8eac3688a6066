"""Birth and death: the supervisor makes the board, the sockets and the bells, starts the others and watches them.

It never touches a request. What it hands to a child stands in lambda_dispatch.boot.
"""

from collections.abc import Callable

from lambda_dispatch.config import RouterConfig


def run(config: RouterConfig, read_again: Callable[[], RouterConfig] | None = None) -> int:
    """`lambda-dispatch router`: returns when everything has ended, with the exit code.

    `read_again` reads the configuration from where it came from, for a reload.
    """
    from lambda_dispatch.supervisor.supervisor import Supervisor

    return Supervisor(config, read_again=read_again).run()
