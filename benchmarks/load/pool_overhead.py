"""What the pool costs where there is one worker: `python -m benchmarks.load.pool_overhead [--rounds N] [--seconds S]`.

Beside each other, on the same core and asked in turn: the worker of `lambda-dispatch router --workers=1`, with its
supervisor, its scaler and a board with room for siblings; and the same worker process alone, with a board of one worker
and no sibling to lend slots to; supervisor and scaler have done their work before it is measured. Each has instances
of its own. CPU per request of the two workers is compared; what supervisor and scaler use meanwhile is printed apart.
"""

import argparse
import json
import os
import socket
import statistics
import sys
import time
import uuid

from benchmarks.load.clients import Load, ask
from benchmarks.load.contestants import INSTANCES, Contestant, ours
from benchmarks.load.machine import Missing, Stage, check, cpu_ns, until

from lambda_dispatch import config
from lambda_dispatch.boot import Boot
from lambda_dispatch_core.board.board import INSTANCE_OPEN, WORKER_READY, Board, make_bell

CHANNELS = 20  # of an instance, as ours() has it
LIFE = 900 * 1_000_000_000


class Alone:
    """A worker without a pool. It holds what a supervisor would, and stands still while the worker is measured."""

    def __init__(self, stage: Stage) -> None:
        _, self._lambda_port = stage.own("instances")
        self._invokes: list[socket.socket] = []
        settings = config.load(
            {},
            [
                *("--workers=1", "--function-name=race", "--bind-host=127.0.0.1", "--callback-host=127.0.0.1"),
                *("--allow-insecure-control=true", "--preferred-control-scheme=http", "--log-level=warning"),
                *(f"--max-concurrent-count={CHANNELS}", f"--channel-count={CHANNELS}"),
            ],
        )
        self._board = Board.create(1)
        self._board.claim_pool(b"race", time.monotonic_ns())
        generation = self._board.start_worker(0, 0, time.monotonic_ns())
        self._bells = [make_bell() for _ in range(3)]
        life, self._alive = os.pipe()
        front, control = listener(), listener()
        self.port, self._control_port = front.getsockname()[1], control.getsockname()[1]
        boot = Boot(
            role="worker",
            index=0,
            generation=generation,
            listening=0,
            workers=1,
            config=settings.to_json(),
            board_fd=self._board.fd,
            bell_fd=self._bells[0],
            bells=(self._bells[0],),
            scaler_bell_fd=self._bells[1],
            supervisor_bell_fd=self._bells[2],
            front_fds=(front.fileno(),),
            front_tls_fds=(),
            control_fds=(control.fileno(),),
            control_tls_fds=(),
            peer_fd=-1,
            peer_addresses=("",),
            ports={"http": self.port, "https": 0, "control_http": self._control_port, "control_https": 0},
            life_fd=life,
            parent_pid=os.getpid(),
        )
        read_end, write_end = os.pipe()
        os.write(write_end, boot.to_json().encode())
        os.close(write_end)
        process = stage.start(
            [sys.executable, "-m", "lambda_dispatch.worker", str(read_end)],
            stage.contestant_core,
            "alone",
            {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            [read_end, self._board.fd, *self._bells, life, front.fileno(), control.fileno()],
        )
        for fd in (read_end, life):
            os.close(fd)
        front.close()
        control.close()
        self._board.set_worker_pid(0, process.pid)
        until(lambda: self._board.worker_state(0) == WORKER_READY, lambda: f"the worker: {stage.log('alone')}")
        for _ in range(INSTANCES):
            self._invoke()
        until(self._all_open, lambda: f"the instances: {stage.log('alone')}")
        self.contestant = Contestant("worker alone", self.port, 0, [process.pid], [])

    def _invoke(self) -> None:
        key, now = uuid.uuid4(), time.monotonic_ns()
        if self._board.allocate_instance(0, key.bytes, CHANNELS, now, now + LIFE) is None:
            raise RuntimeError("no room on the board")
        payload = {
            "Id": str(key),
            "DispatcherUrl": f"http://127.0.0.1:{self._control_port}/api/chunked",
            "NumberOfChannels": CHANNELS,
        }
        body = json.dumps(payload).encode()
        invoke = socket.create_connection(("127.0.0.1", self._lambda_port))
        invoke.sendall(b"POST /invoke HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        self._invokes.append(invoke)

    def _all_open(self) -> bool:
        instances = self._board.list_instances()
        channels = self._board.worker_numbers(0)["idle_channels"]
        return sum(one.state == INSTANCE_OPEN for one in instances) == INSTANCES and channels == INSTANCES * CHANNELS

    def close(self) -> None:
        for invoke in self._invokes:
            invoke.close()
        for fd in (*self._bells, self._alive):
            os.close(fd)
        self._board.close()


def listener() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(4096)
    return sock


def measure(stage: Stage, contestant: Contestant, load: Load, duration: float) -> tuple[float, float]:
    """Microseconds of CPU per request: of the worker, and of the processes beside it."""
    worker, beside = cpu_ns(contestant.pids), cpu_ns(contestant.beside)
    figures = ask(load, contestant.port, duration, stage.other_core, stage.scratch)
    if figures.errors or not figures.requests:
        raise RuntimeError(f"{contestant.name}: {figures}")
    count = figures.requests * 1e3
    return (cpu_ns(contestant.pids) - worker) / count, (cpu_ns(contestant.beside) - beside) / count


def compare(rounds: int, duration: float, load: Load) -> None:
    with Stage() as stage:
        alone = Alone(stage)
        try:
            contestants = [alone.contestant, ours(stage)]
            for contestant in contestants:
                measure(stage, contestant, load, 1)  # warms up
            cpu: list[list[float]] = [[], []]
            beside: list[float] = []
            for number in range(rounds):
                # Who comes first takes turns: the machine may grow busier, or hotter, by the second.
                for which in (0, 1) if number % 2 == 0 else (1, 0):
                    own, others = measure(stage, contestants[which], load, duration)
                    cpu[which].append(own)
                    if which:
                        beside.append(others)
        finally:
            alone.close()
    single, pooled = (statistics.median(one) for one in cpu)
    ratios = sorted(b / a for a, b in zip(*cpu, strict=True))
    print(f"{load.connections} connections, {rounds} rounds of {duration:g} s, medians; us of CPU per request")
    print(f"  worker alone            {single:7.2f}   {min(cpu[0]):.2f} to {max(cpu[0]):.2f}")
    print(f"  worker of a pool of one {pooled:7.2f}   {min(cpu[1]):.2f} to {max(cpu[1]):.2f}")
    each = [100 * (ratio - 1) for ratio in (statistics.median(ratios), ratios[0], ratios[-1])]
    print(f"  overhead               {100 * (pooled / single - 1):+8.1f} %")
    print("  ... of each round: median {:+.1f} %, {:+.1f} to {:+.1f}".format(*each))
    print(f"  supervisor and scaler   {statistics.median(beside):7.3f}", flush=True)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="pool_overhead", description="What the pool costs where there is one worker.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3, help="of each round")
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args(argv)
    try:
        check(("wrk", "openssl"))
        compare(options.rounds, options.seconds, Load(connections=options.connections))
    except Missing as error:
        parser.exit(2, f"pool_overhead: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
