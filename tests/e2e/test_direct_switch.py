"""One function served directly and dispatched at once; benchmarks/load/direct_switch.py is the whole load."""

import pytest
from benchmarks.load.direct_switch import Clients, run

from tests.support.dev_run import dev_run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("mode", ["buffered", "response_stream"])
def test_a_function_is_served_both_ways_at_once_and_every_byte_is_right(mode: str) -> None:
    options = ["--workers", "1", "--direct-port", "0", "--direct-mode", mode, "--max-environments", "12"]
    with dev_run(*options) as dev:
        dev.wait_for_line("the first environment is ready")
        ports = {"dispatched": dev.port("router"), "direct": dev.port("direct mode")}
        ways = [Clients(port, way, 300, 4) for way, port in ports.items()]
        run(ways)
        assert [wrong for way in ways for wrong in way.wrong] == []
        assert [way.done for way in ways] == [300, 300]
        assert dev.interrupt() == 0
