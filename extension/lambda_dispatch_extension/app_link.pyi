from typing import final

from lambda_dispatch_core.bytes.buffer import OutBuffer
from lambda_dispatch_extension.app_h2 import H2App
from lambda_dispatch_net.wire import Hub, Wire

class AppUser: ...

@final
class AppLink(Wire):
    served: int
    answered: bool
    reusable: bool
    bad: bytes | None
    bad_why: str | None
    def __init__(self, pool: AppPool) -> None: ...

@final
class AppPool:
    hub: Hub
    host: str
    port: int
    connect_timeout: float
    idle_timeout: float
    http2: H2App | None
    scratch: OutBuffer
    def __init__(self, hub: Hub, host: str, port: int, *, connect_timeout: float, idle_timeout: float) -> None: ...
    def close_idle(self) -> None: ...
    def abort(self) -> None: ...
    @property
    def open(self) -> int: ...
    @property
    def idle_count(self) -> int: ...
