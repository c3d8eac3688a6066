from typing import final

from lambda_dispatch_core.board.layout import BOARD_VERSION as BOARD_VERSION
from lambda_dispatch_core.board.layout import BUCKETS as BUCKETS
from lambda_dispatch_core.board.layout import CAUSES as CAUSES
from lambda_dispatch_core.board.layout import CLOSE_REQUESTED as CLOSE_REQUESTED
from lambda_dispatch_core.board.layout import COUNTERS as COUNTERS
from lambda_dispatch_core.board.layout import DECISION_INPUTS as DECISION_INPUTS
from lambda_dispatch_core.board.layout import DECISION_TEXT as DECISION_TEXT
from lambda_dispatch_core.board.layout import DECISIONS as DECISIONS
from lambda_dispatch_core.board.layout import EXITS as EXITS
from lambda_dispatch_core.board.layout import FEATURES_AT as FEATURES_AT
from lambda_dispatch_core.board.layout import GAUGES as GAUGES
from lambda_dispatch_core.board.layout import GRPC_STATUSES as GRPC_STATUSES
from lambda_dispatch_core.board.layout import INSTANCE_CLOSED as INSTANCE_CLOSED
from lambda_dispatch_core.board.layout import INSTANCE_DRAINING as INSTANCE_DRAINING
from lambda_dispatch_core.board.layout import INSTANCE_FREE as INSTANCE_FREE
from lambda_dispatch_core.board.layout import INSTANCE_OPEN as INSTANCE_OPEN
from lambda_dispatch_core.board.layout import INSTANCE_STARTING as INSTANCE_STARTING
from lambda_dispatch_core.board.layout import INSTANCE_STATES as INSTANCE_STATES
from lambda_dispatch_core.board.layout import LIVES as LIVES
from lambda_dispatch_core.board.layout import MAX_INSTANCES as MAX_INSTANCES
from lambda_dispatch_core.board.layout import MAX_POOLS as MAX_POOLS
from lambda_dispatch_core.board.layout import MAX_WORKERS as MAX_WORKERS
from lambda_dispatch_core.board.layout import NAME as NAME
from lambda_dispatch_core.board.layout import NOT_USABLE as NOT_USABLE
from lambda_dispatch_core.board.layout import OUTCOMES as OUTCOMES
from lambda_dispatch_core.board.layout import OVERRIDE_BREAKER as OVERRIDE_BREAKER
from lambda_dispatch_core.board.layout import OVERRIDE_DRAIN as OVERRIDE_DRAIN
from lambda_dispatch_core.board.layout import OVERRIDE_INSTANCE as OVERRIDE_INSTANCE
from lambda_dispatch_core.board.layout import OVERRIDE_KINDS as OVERRIDE_KINDS
from lambda_dispatch_core.board.layout import OVERRIDE_LIMITS as OVERRIDE_LIMITS
from lambda_dispatch_core.board.layout import OVERRIDE_LOG_LEVEL as OVERRIDE_LOG_LEVEL
from lambda_dispatch_core.board.layout import OVERRIDE_PAUSE as OVERRIDE_PAUSE
from lambda_dispatch_core.board.layout import OVERRIDE_REASON as OVERRIDE_REASON
from lambda_dispatch_core.board.layout import OVERRIDE_RECYCLE as OVERRIDE_RECYCLE
from lambda_dispatch_core.board.layout import OVERRIDE_WHO as OVERRIDE_WHO
from lambda_dispatch_core.board.layout import OVERRIDES as OVERRIDES
from lambda_dispatch_core.board.layout import POOL_ACTIVE as POOL_ACTIVE
from lambda_dispatch_core.board.layout import POOL_FREE as POOL_FREE
from lambda_dispatch_core.board.layout import POOL_NAME as POOL_NAME
from lambda_dispatch_core.board.layout import POOL_RETIRED as POOL_RETIRED
from lambda_dispatch_core.board.layout import POOL_STATES as POOL_STATES
from lambda_dispatch_core.board.layout import REASONS as REASONS
from lambda_dispatch_core.board.layout import SECRET_SHOWN as SECRET_SHOWN
from lambda_dispatch_core.board.layout import SECRET_SIZE as SECRET_SIZE
from lambda_dispatch_core.board.layout import WORDS as WORDS
from lambda_dispatch_core.board.layout import WORKER_BOOTING as WORKER_BOOTING
from lambda_dispatch_core.board.layout import WORKER_DRAINING as WORKER_DRAINING
from lambda_dispatch_core.board.layout import WORKER_FREE as WORKER_FREE
from lambda_dispatch_core.board.layout import WORKER_GONE as WORKER_GONE
from lambda_dispatch_core.board.layout import WORKER_READY as WORKER_READY
from lambda_dispatch_core.board.layout import WORKER_STATES as WORKER_STATES
from lambda_dispatch_core.board.layout import BoardError as BoardError
from lambda_dispatch_core.board.layout import Decision as Decision
from lambda_dispatch_core.board.layout import Instance as Instance
from lambda_dispatch_core.board.layout import Life as Life
from lambda_dispatch_core.board.layout import Numbers as Numbers
from lambda_dispatch_core.board.layout import Override as Override
from lambda_dispatch_core.board.layout import Pool as Pool
from lambda_dispatch_core.board.layout import PoolCounts as PoolCounts
from lambda_dispatch_core.board.layout import PoolTotals as PoolTotals
from lambda_dispatch_core.board.layout import Scaler as Scaler
from lambda_dispatch_core.board.layout import Times as Times
from lambda_dispatch_core.board.layout import Worker as Worker
from lambda_dispatch_core.board.layout import bucket_bounds as bucket_bounds
from lambda_dispatch_core.board.layout import bucket_of as bucket_of
from lambda_dispatch_core.board.supervisor import SupervisorSteps

def ring(fd: int) -> bool: ...
def make_bell() -> int: ...
def silence(fd: int) -> None: ...

@final
class Board(SupervisorSteps): ...
