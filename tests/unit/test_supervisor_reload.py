"""What the supervisor keeps and passes on when a new configuration is asked for."""

import time
from collections.abc import Iterator

import pytest

from lambda_dispatch import settings
from lambda_dispatch.config import RouterConfig
from lambda_dispatch.supervisor.certificate import Certificate
from lambda_dispatch.supervisor.reload import Reload
from lambda_dispatch.telemetry import log
from lambda_dispatch.telemetry.overrides import RouterOverrides
from lambda_dispatch_core.board import board as b

OLD = RouterConfig(function_name="f", cert_file="", key_file="", self_signed=False, max_queue=1, log_level="warning")
NEW = RouterConfig(function_name="f", cert_file="", key_file="", self_signed=False, max_queue=2, log_level="error")


@pytest.fixture
def board() -> Iterator[b.Board]:
    board = b.Board.create(1)
    yield board
    board.close()
    log.set_level(log.INFO)


def test_what_cannot_be_passed_on_changes_nothing(board: b.Board, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = settings.Writer()
    reload = Reload(OLD, lambda: NEW, Certificate(OLD), writer, RouterOverrides(board, OLD.log_level), board)
    with monkeypatch.context() as patch:
        patch.setattr(settings, "LONGEST", 10)
        refused = reload.carry_out("a test")
    assert (refused["reloaded"], reload.config) == (False, OLD)
    assert "at most 10 can be reloaded" in refused["problems"][0]
    assert board.reload_failed and board.reloaded_wall == board.created_wall
    assert reload.carry_out("a test")["live"] == {"LogLevel": "error", "MaxQueue": 2}
    assert reload.config == NEW
    assert not board.reload_failed and board.created_wall < board.reloaded_wall <= time.time_ns()
    writer.close()


def test_a_fault_in_the_reading_is_a_refusal(board: b.Board) -> None:
    def faulty() -> RouterConfig:
        raise RuntimeError("on purpose")

    writer = settings.Writer()
    reload = Reload(OLD, faulty, Certificate(OLD), writer, RouterOverrides(board, OLD.log_level), board)
    assert reload.carry_out("a test") == {"reloaded": False, "problems": ["RuntimeError: on purpose"]}
    assert board.reload_failed and reload.config == OLD
    writer.close()


def test_a_commanded_log_level_ends_at_its_time_and_the_new_configuration_holds(board: b.Board) -> None:
    writer = settings.Writer()
    overrides = RouterOverrides(board, OLD.log_level)
    reload = Reload(OLD, lambda: NEW, Certificate(OLD), writer, overrides, board)
    now = time.monotonic_ns()
    board.set_override(
        board.pools, b.OVERRIDE_LOG_LEVEL, at=now, until=now + 10, first=log.LEVELS["debug"], who="a test", reason="r"
    )
    overrides.look(now + 1)
    assert reload.carry_out("a test")["reloaded"]
    assert log.enabled(log.DEBUG)
    overrides.look(now + 11)
    assert log.enabled(log.ERROR) and not log.enabled(log.WARNING)
    writer.close()
