"""One seed per run, for hypothesis and for `random`; printed, so that a failed run can be repeated."""

import random

import pytest


@pytest.hookimpl(tryfirst=True)  # before hypothesis reads the option
def pytest_configure(config: pytest.Config) -> None:
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = random.SystemRandom().randrange(2**32)


def _how_to_repeat(config: pytest.Config) -> str:
    seed = config.option.hypothesis_seed
    return f"seed: {seed} (repeat this run with --hypothesis-seed={seed})"


def pytest_report_header(config: pytest.Config) -> str:
    return _how_to_repeat(config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    if exitstatus == pytest.ExitCode.TESTS_FAILED:
        terminalreporter.write_line(_how_to_repeat(config))


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> None:
    random.seed(f"{request.config.option.hypothesis_seed} {request.node.nodeid}")
