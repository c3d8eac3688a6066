"""Prices have a unit, a page and a day; a file of one's own replaces some of them, and is checked."""

from pathlib import Path

import pytest

from lambda_dispatch import prices
from lambda_dispatch.errors import ConfigError

GOOD = """
[lambda_request]
value = 0.5
unit = "request"
page = "p"
read_at = "q"
date = 2026-01-02
"""


def test_every_price_has_a_page_and_a_day() -> None:
    loaded = prices.load()
    assert {"lambda_x86_gb_second", "lambda_arm_gb_second", "lambda_request"} <= set(loaded)
    for name, price in loaded.items():
        assert price.value > 0, name
        assert price.page.startswith("https://"), name
        assert price.read_at.startswith("https://"), name
        assert price.date.year >= 2026, name


def test_a_file_replaces_the_prices_it_names_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(GOOD)
    loaded = prices.load(file)
    assert loaded["lambda_request"].value == 0.5
    assert loaded["alb_hour"] == prices.load()["alb_hour"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[lambda_request", "is no TOML"),
        (GOOD.replace("0.5", '"much"'), r"\[lambda_request\] needs value"),
        (GOOD.replace("0.5", "-1"), r"\[lambda_request\] needs value"),
        (GOOD.replace("0.5", "nan"), r"\[lambda_request\] needs value"),
        (GOOD.replace("2026-01-02", '"soon"'), r"\[lambda_request\] needs value"),
        (GOOD.replace("lambda_request", "petrol"), r"\[petrol\] is not a price known here"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_reason(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        prices.load(file)
    assert caught.match(said)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        prices.load(tmp_path / "none.toml")
    assert "none.toml" in caught.value.problems[0]
