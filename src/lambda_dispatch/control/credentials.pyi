from lambda_dispatch_core.board.board import Board
from lambda_dispatch_core.bytes.fields import FieldList

def proof(board: Board, slot: int, generation: int, head: FieldList, required: bool) -> int: ...
