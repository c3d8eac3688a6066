"""CONTRIBUTING.md describes the tree as it is, and its answers lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def rows(heading: str) -> list[list[str]]:
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return cells[2:]


ANSWERS = rows("Where is it?")


def folders() -> set[str]:
    """Folders with sources: all of the product's, and the first level of everything else."""
    product = [ROOT / top for top in ("cython_ext", "src", "extension")]
    found = {path.parent for top in product for path in top.rglob("*") if path.suffix in (".py", ".pyx", ".pxd", ".js")}
    packages = {path for path in found if path.relative_to(ROOT).parts[-1] not in ("lambda_dispatch", "cython_ext")}
    others = {path for path in ROOT.iterdir() if (path / ".").is_dir() and path.name in OTHERS}
    return {f"{path.relative_to(ROOT)}/" for path in packages | others}


OTHERS = ("examples", "benchmarks", "tests", "docs", "tools", "deploy", "contrib")


def test_the_tree_lists_every_folder_and_no_other() -> None:
    listed = {row[0].strip("`") for row in rows("The tree")}
    assert listed == folders()


def test_there_are_twelve_answers() -> None:
    assert len(ANSWERS) >= 12


@pytest.mark.parametrize(("question", "file", "symbol"), ANSWERS)
def test_an_answer_leads_to_a_file_that_has_the_symbol(question: str, file: str, symbol: str) -> None:
    path = ROOT / file.strip("`")
    assert path.is_file(), f"{question} {file} is gone; name the file that does it now"
    found = re.search(re.escape(symbol.strip("`")) + r"\b", path.read_text())
    assert found is not None, f"{question} {symbol} is not in {file}; name what does it now"


def test_the_glossary_has_at_most_thirty_words_and_each_once() -> None:
    words = [word.strip() for row in rows("Glossary") for word in row[0].split(",")]
    assert len(rows("Glossary")) <= 30
    assert len(words) == len(set(words))
    assert all(re.fullmatch(r"[a-z ]+", word) for word in words)
