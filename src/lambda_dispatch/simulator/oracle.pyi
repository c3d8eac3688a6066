from array import array

def bound(
    arrive: array[int],
    takes: array[int],
    *,
    slots: int = 10,
    cold: float = 2.0,
    thaw: float = 0.05,
    warm: float = 300.0,
    life: float = 885.0,
    share: float = 0.0,
    cpus: float = 1.0,
) -> tuple[int, int, int, int, int]: ...
