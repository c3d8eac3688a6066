from typing import final

from lambda_dispatch_core.h2.sender import H2Sender

@final
class H2Session(H2Sender): ...
