"""Writes cython_ext/lambda_dispatch_core/hpack/tables.h:  python tools/gen_hpack_tables.py

RFC 7541 prints 257 Huffman codes, but they are canonical: sorted by length and then by octet, each code is the one
before plus one, shifted left where the length grows. So the lengths are all that has to be written down here.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

HEADER = Path(__file__).resolve().parent.parent / "cython_ext" / "lambda_dispatch_core" / "hpack" / "tables.h"

# Bits a decoder looks at in one step: two of the 5 and 6 bit codes (digits and the common letters) come out of one
# look-up, and the table (4 octets an entry) takes 16 KiB.
STEP = 12

EOS = 256

# Code length in bits -> the symbols that have it (RFC 7541 appendix B).
SYMBOLS: dict[int, list[int]] = {
    5: list(b"012aceiost"),
    6: list(b" %-./3456789=A_bdfghlmnpru"),
    7: list(b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    8: list(b"&*,;XZ"),
    10: list(b'!"()?'),
    11: list(b"'+|"),
    12: list(b"#>"),
    13: list(b"\0$@[]~"),
    14: list(b"^}"),
    15: list(b"<`{"),
    19: [92, 195, 208],
    20: [128, 130, 131, 162, 184, 194, 224, 226],
    21: [153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230],
    22: [129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196]
    + [198, 228, 232, 233],
    23: [1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175, 180]
    + [182, 183, 188, 191, 197, 231, 239],
    24: [9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237],
    25: [199, 207, 234, 235],
    26: [192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255],
    27: [203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254],
    28: [*range(2, 9), 11, 12, *range(14, 22), *range(23, 32), 127, 220, 249],
    30: [10, 13, 22, EOS],
}

# RFC 7541 appendix A, entries 1 to 61.
STATIC = """
:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate
"""


def static_table() -> list[tuple[str, str]]:
    entries = [line.partition(" ") for line in STATIC.strip().splitlines()]
    return [(name, value) for name, _, value in entries]


def huffman_codes() -> dict[int, tuple[int, int]]:
    """Symbol -> (code, length in bits), in order of code."""
    codes: dict[int, tuple[int, int]] = {}
    code = length = 0
    for bits, symbols in SYMBOLS.items():
        code <<= bits - length
        length = bits
        for symbol in symbols:
            codes[symbol] = (code, bits)
            code += 1
    assert len(codes) == EOS + 1
    assert code == 1 << length, "the codes fill the tree"
    return codes


def steps(codes: dict[int, tuple[int, int]]) -> list[int]:
    """What STEP bits at the front of a string mean; see hpack_tables.h for the layout of an entry."""
    short: dict[str, int] = {f"{code:0{bits}b}": s for s, (code, bits) in codes.items() if bits <= STEP}

    def first(text: str) -> tuple[int, int] | None:
        for bits in range(5, len(text) + 1):
            if text[:bits] in short:
                return short[text[:bits]], bits
        return None

    table = []
    for look in range(1 << STEP):
        text = f"{look:0{STEP}b}"
        entry = 0
        one = first(text)
        if one:
            symbol, bits = one
            two = first(text[bits:])
            if two:
                entry = symbol | two[0] << 8 | (bits + two[1]) << 16 | bits << 20 | 2 << 24
            else:
                entry = symbol | bits << 16 | bits << 20 | 1 << 24
        table.append(entry)
    return table


def rows(values: list[str], per_row: int) -> Iterator[str]:
    for i in range(0, len(values), per_row):
        yield "    " + ", ".join(values[i : i + per_row]) + ","


def array(kind: str, name: str, size: str, values: list[str], per_row: int) -> list[str]:
    return [f"static const {kind} {name}[{size}] = {{", *rows(values, per_row), "};", ""]


def render() -> str:
    codes = huffman_codes()
    long = [(bits, symbols) for bits, symbols in SYMBOLS.items() if bits > STEP]
    rest = [symbol for _, symbols in long for symbol in symbols]
    octets = [codes[symbol] for symbol in range(EOS)]
    lines = [
        "/* Written by tools/gen_hpack_tables.py; change that instead. Tables of RFC 7541, appendices A and B. */",
        "#ifndef LAMBDA_DISPATCH_HPACK_TABLES_H",
        "#define LAMBDA_DISPATCH_HPACK_TABLES_H",
        "",
        "#include <stdint.h>",
        "",
        f"#define HPACK_STATIC_ENTRIES {len(static_table())}",
        f"#define HPACK_STEP {STEP}",
        f"#define HPACK_LONG_LENGTHS {len(long)}",
        "",
        "typedef struct {",
        "    const char *name;",
        "    const char *value;",
        "    uint32_t name_len;",
        "    uint32_t value_len;",
        "} hpack_static_entry;",
        "",
        "/* Entries 1 to 61; 0 is no entry. */",
        "static const hpack_static_entry hpack_static[HPACK_STATIC_ENTRIES + 1] = {",
        '    {"", "", 0, 0},',
        *(f'    {{"{name}", "{value}", {len(name)}, {len(value)}}},' for name, value in static_table()),
        "};",
        "",
        "/* Per octet: its code, right-aligned, and the code's length in bits. */",
        *array("uint32_t", "hpack_code", "256", [f"0x{code:x}" for code, _ in octets], 8),
        *array("uint8_t", "hpack_code_bits", "256", [str(bits) for _, bits in octets], 16),
        "/* What the next HPACK_STEP bits mean: bits 0-7 the first octet, 8-15 the second one if any, 16-19 the length",
        " * of all codes together, 20-23 that of the first, 24-25 how many octets. 0: the first code is longer. */",
        *array("uint32_t", "hpack_step", "1 << HPACK_STEP", [f"0x{entry:x}" for entry in steps(codes)], 8),
        "/* The longer codes, by length: the length; the first code of the length and the first code after it,",
        " * both left-aligned in 32 bits (the very last is 2^32); where its symbols start in hpack_long_symbol. */",
        *array("uint8_t", "hpack_long_bits", "HPACK_LONG_LENGTHS", [str(bits) for bits, _ in long], 16),
        *array(
            "uint32_t",
            "hpack_long_first",
            "HPACK_LONG_LENGTHS",
            [f"0x{codes[symbols[0]][0] << 32 - bits:x}" for bits, symbols in long],
            8,
        ),
        *array(
            "uint64_t",
            "hpack_long_end",
            "HPACK_LONG_LENGTHS",
            [f"0x{codes[symbols[-1]][0] + 1 << 32 - bits:x}" for bits, symbols in long],
            8,
        ),
        *array(
            "uint16_t",
            "hpack_long_start",
            "HPACK_LONG_LENGTHS",
            [str(rest.index(symbols[0])) for _, symbols in long],
            16,
        ),
        *array("uint16_t", "hpack_long_symbol", str(len(rest)), [str(symbol) for symbol in rest], 16),
        "#endif",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    HEADER.write_text(render())
    print(f"wrote {HEADER}", file=sys.stderr)
