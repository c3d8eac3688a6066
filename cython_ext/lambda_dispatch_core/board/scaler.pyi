from collections.abc import Collection, Sequence

from lambda_dispatch_core.board.worker import WorkerSteps

class ScalerSteps(WorkerSteps):
    def hasten(self, slot: int, generation: int, goaway_at: int) -> bool: ...
    def close_instance(self, slot: int, generation: int, now: int) -> bool: ...
    def free_instance(self, slot: int, generation: int) -> bool: ...
    def allocate_instance(
        self, pool: int, id: bytes, limit: int, now: int, deadline: int
    ) -> tuple[int, int] | None: ...
    def record_life(self, slot: int, ended: int, reason: int, let_go: bool) -> int: ...
    def count_busy(self, ns: int) -> None: ...
    def set_secret(self, slot: int, secret: bytes) -> None: ...
    def adopt(self) -> None: ...
    def retire_pool(self, pool: int, now: int) -> bool: ...
    def revive_pool(self, pool: int) -> bool: ...
    def free_pools(self, pools: Collection[int]) -> int | None: ...
    def scaler_beat(self, now: int) -> None: ...
    def set_scaler_state(self, state: int) -> None: ...
    def publish_scaler(
        self,
        *,
        ticks: int,
        invokes: int,
        invokes_ended: int,
        invokes_failed: int,
        throttled: int,
        open_invokes: int,
        tokens_milli: int,
        breaker: int,
    ) -> None: ...
    def take_command(self, pool: int, number: int) -> None: ...
    def publish_pool(
        self,
        pool: int,
        *,
        desired: int,
        starting: int,
        open: int,
        draining: int,
        starts: int,
        starts_failed: int,
        ended: int,
        backoff_until: int,
        rate_milli: int,
        average_us: int,
        breaker: int,
        last_decision: int,
        last_exit: int,
    ) -> None: ...
    def publish_demand(
        self,
        pool: int,
        *,
        desired_raw: int,
        tokens_milli: int,
        decisions: Sequence[int],
        exits: Sequence[int],
        frozen: int = 0,
        target: int = 0,
        packs: int = 0,
    ) -> None: ...
    def publish_ledger(
        self,
        pool: int,
        *,
        predicted_wait_us: int,
        open_ms: int,
        busy_ms: int,
        invokes: int,
        cost_nusd: int,
        direct_ms: int,
        direct_invokes: int,
        direct_nusd: int,
        budget: int,
        billed_mb_ms: int = 0,
        max_cost_nusd: int = 0,
    ) -> None: ...
