"""Every error word has one spelling, is used somewhere, and stands in docs/operations.md."""

import re
from pathlib import Path

from lambda_dispatch.error_words import ErrorWord

ROOT = Path(__file__).parents[2]
ROOMS = ("src/lambda_dispatch/front", "src/lambda_dispatch/dispatch", "src/lambda_dispatch/control")
WORD = r"b?\"([a-z]+(?:_[a-z]+)+)\""
# Where a word is given away: to a request that fails, a connection that ends, a caller that answers.
USES = (
    rf"(?:fail|reject|cut|lost|hang_up|drop|end)\w*\([^\"\n]*{WORD}(?: if [^\"\n]* else {WORD})?",
    rf"(?:fault|because|reason|word)\w* (?:=|==|or) {WORD}",
    rf"REASON\[[^\]]*\] = {WORD}",
    rf"return \d{{3}}, {WORD}",
    rf"status\[0\] = \d+\n\s+return {WORD}",
)


def sources() -> dict[str, str]:
    paths = [path for room in ROOMS for kind in ("*.pyx", "*.py") for path in (ROOT / room).rglob(kind)]
    paths.append(ROOT / "cython_ext/lambda_dispatch_core/http1/head.pyx")
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


def used() -> dict[str, str]:
    found = {}
    for path, text in sources().items():
        for pattern in USES:
            for groups in re.findall(pattern, text):
                for word in (groups,) if isinstance(groups, str) else groups:
                    if word:
                        found[word] = path
    return found


def documented() -> dict[str, set[int]]:
    """The words of the table in docs/operations.md, and the statuses of their row."""
    text = (
        (ROOT / "docs/operations.md").read_text().partition("## Answers of the router's own")[2].partition("\n## ")[0]
    )
    words: dict[str, set[int]] = {}
    for row in re.findall(r"^\| (\d{3}|none) \| (.*) \|$", text, re.MULTILINE):
        for word in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", row[1]):
            words.setdefault(word, set()).add(0 if row[0] == "none" else int(row[0]))
    return words


def test_every_word_in_the_sources_is_in_the_list() -> None:
    unknown = {word: path for word, path in used().items() if word not in set(ErrorWord)}
    assert not unknown, f"add them to error_words.py and docs/operations.md, or spell them as there: {unknown}"


def test_every_word_of_the_list_is_used() -> None:
    assert set(ErrorWord) - used().keys() == set()


def test_the_table_in_the_documentation_has_exactly_these_words() -> None:
    assert documented() == {word.value: {word.status} for word in ErrorWord}
