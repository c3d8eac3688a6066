"""Who may import whom, how long a file may be, and how a C function says that it failed."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROUTER, EXTENSION, CORE, NET = (
    "lambda_dispatch",
    "lambda_dispatch_extension",
    "lambda_dispatch_core",
    "lambda_dispatch_net",
)
HOME = {
    ROUTER: ROOT / "src" / ROUTER,
    EXTENSION: ROOT / "extension" / EXTENSION,
    CORE: ROOT / "cython_ext" / CORE,
    NET: ROOT / "cython_ext" / NET,
}
# Each package and the packages of ours that it may import.
MAY_IMPORT = {CORE: {CORE}, NET: {CORE, NET}, EXTENSION: {CORE, NET, EXTENSION}, ROUTER: {CORE, NET, EXTENSION, ROUTER}}

LONGEST_FILE = 650
LONGER = {
    "cython_ext/lambda_dispatch_core/hpack/tables.h": "generated",
}

IMPORT = re.compile(r"^[ \t]*(?:from|import|cimport)[ \t]+(lambda_dispatch\w*)", re.M)
C_TYPE = (
    r"(?:(?:unsigned |const |signed )*"
    r"(?:void|bint|int|char|long long|long|short|double|float|s?size_t|Py_ssize_t|u?int(?:8|16|32|64)_t)(?: ?\*+)?"
    r"|\w+ ?\*+)"
)
C_FUNCTION = re.compile(rf"^[ \t]*(?:cdef|cpdef)(?: public| readonly| inline)* {C_TYPE} ?(\w+)\(", re.M)


def sources(*packages: str, ends: tuple[str, ...] = (".py", ".pyx", ".pxd")) -> Iterator[Path]:
    for package in packages:
        yield from (path for path in sorted(HOME[package].rglob("*")) if path.suffix in ends)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        for name in IMPORT.findall(path.read_text())
        if name not in MAY_IMPORT[package]
    ]
    assert wrong == []


SIMULATOR = re.compile(r"^[ \t]*(?:from|import|cimport)[ \t]+(lambda_dispatch[\w.]*)", re.M)
# What the simulator may stand on: the scaler's pure code, the configuration, words and log; no process, no network.
SIMULATED = re.compile(
    r"lambda_dispatch\.(simulator|errors|exits|config|prices|function_name|telemetry(\.(log|access))?"
    r"|scaler\.(?!act|access|lambda_api|loop|transport|__main__)\w+|scaler\.policies\.\w+)\b.*"
    r"|lambda_dispatch|lambda_dispatch_core(\.board)?(\.\w+)?"
)


def test_the_simulator_runs_the_scalers_code_and_starts_nothing() -> None:
    room = HOME[ROUTER] / "simulator"
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(ROUTER)
        for name in SIMULATOR.findall(path.read_text())
        if path.is_relative_to(room) and not SIMULATED.fullmatch(name)
    ]
    assert wrong == []


def test_nothing_but_the_command_line_imports_the_simulator() -> None:
    inside = HOME[ROUTER] / "simulator"
    found = [path for path in sources(*HOME) if "lambda_dispatch.simulator" in path.read_text()]
    assert [path.name for path in found if not path.is_relative_to(inside)] == ["cli.py"]


def test_the_core_reads_no_socket_and_no_log() -> None:
    banned = re.compile(r"^[ \t]*(?:from|import)[ \t]+(asyncio|socket|ssl|logging|select|threading)\b", re.M)
    assert [str(path) for path in sources(CORE) if banned.search(path.read_text())] == []


def test_files_are_short_or_named_here() -> None:
    lengths = {
        str(path.relative_to(ROOT)): path.read_text().count("\n")
        for path in sources(*HOME, ends=(".py", ".pyx", ".pxd", ".h"))
    }
    long = {name for name, length in lengths.items() if length > LONGEST_FILE}
    assert long <= set(LONGER), f"over {LONGEST_FILE} lines: split it, or say in LONGER why it stays whole"
    assert set(LONGER) <= long, "no longer long: remove it from LONGER"


def without_contract(text: str) -> Iterator[str]:
    for found in C_FUNCTION.finditer(text):
        depth, at = 1, found.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        tail = text[at : text.index("\n", at)]
        if not re.search(r"\b(noexcept|except)\b", tail):
            yield found[1]


def test_every_function_that_returns_a_c_value_says_how_it_fails() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources(*HOME, ends=(".pyx", ".pxd"))
        for name in without_contract(path.read_text())
    ]
    assert wrong == [], "write `noexcept`, `except -1` or another error value after the parameters"


def test_the_search_for_contracts_finds_what_it_should() -> None:
    text = (
        "    cdef int one(self, int x) noexcept:\n    cdef int two(self,\n             f(int) g):\n"
        "cdef inline uint64_t* three(int a):\n    cdef bytes four(self):\n    cpdef bint five() except -1:\n"
    )
    assert list(without_contract(text)) == ["two", "three"]


@pytest.mark.parametrize("module", ["admin.__main__", "supervisor.supervisor", "worker.process", "telemetry.status"])
def test_only_the_scaler_loads_botocore(module: str) -> None:
    """It takes a fifth of a second and 20 MiB: every other process starts without."""
    look = f"import sys, lambda_dispatch.{module}; sys.exit(not {{'boto3', 'botocore'}}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
