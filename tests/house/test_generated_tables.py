"""What is generated is what the generator writes today."""

from tools import gen_costs
from tools.gen_hpack_tables import HEADER, huffman_codes, render, static_table


def test_the_hpack_tables_are_what_their_generator_writes() -> None:
    assert HEADER.read_text() == render(), "run: python tools/gen_hpack_tables.py"


def test_the_hpack_tables_are_those_python_hyper_uses() -> None:
    from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
    from hpack.table import HeaderTable

    codes = huffman_codes()
    assert [codes[symbol] for symbol in range(257)] == list(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True))
    assert [(n.encode(), v.encode()) for n, v in static_table()] == list(HeaderTable.STATIC_TABLE)


def test_the_costs_on_the_page_are_what_the_model_and_the_prices_give() -> None:
    assert gen_costs.PAGE.read_text() == gen_costs.page(gen_costs.PAGE.read_text()), "run: python tools/gen_costs.py"
