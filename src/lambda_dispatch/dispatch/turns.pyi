from typing import final

ORDER_WITHIN: int

@final
class Turns: ...
