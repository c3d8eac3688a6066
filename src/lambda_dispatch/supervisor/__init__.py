"""Birth and death: the supervisor makes the board, the sockets and the bells, starts the others and watches them.

It never touches a request. What it hands to a child stands in lambda_dispatch.boot.
"""

from lambda_dispatch.config import RouterConfig


def run(config: RouterConfig) -> int:
    """`lambda-dispatch router`: returns when everything has ended, with the exit code."""
    from lambda_dispatch.supervisor.supervisor import Supervisor

    return Supervisor(config).run()
