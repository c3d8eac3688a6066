from typing import final

class HpackError(ValueError): ...
class HeaderListTooLarge(ValueError): ...

@final
class Decoder:
    max_list_size: int
    max_fields: int
    def __new__(cls, max_table_size: int = 4096, max_list_size: int = 65536, max_fields: int = 200) -> Decoder: ...
    @property
    def max_table_size(self) -> int: ...

@final
class Encoder:
    @property
    def table_size(self) -> int: ...
