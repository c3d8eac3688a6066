from array import array

from lambda_dispatch.simulator.service import Service

def dispatch(
    arrive: array[int],
    takes: array[int],
    service: Service,
    *,
    share: float = 0.0,
    cpus: float = 1.0,
    sample_every: float = 0.0,
) -> tuple[array[int], array[int], int, int, list[tuple[int, int]]]: ...
