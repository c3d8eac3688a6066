"""A recording of decisions, in the form of the admin port: taken again exactly, and played with other settings."""

import json
import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lambda_dispatch.admin import decisions
from lambda_dispatch.scaler.model import Limits
from lambda_dispatch.scaler.record import Record, to_board
from lambda_dispatch.simulator import policies, replay
from lambda_dispatch.simulator.command import main
from lambda_dispatch.simulator.generators import LOADS, generate
from lambda_dispatch.simulator.product import ProductScaler
from lambda_dispatch.simulator.replay import ReplayError
from lambda_dispatch.simulator.requests import Requests
from lambda_dispatch.simulator.setting import Setting
from lambda_dispatch.simulator.world import World
from lambda_dispatch_core.board.board import Board
from tests.unit.test_scaler_step import Pool

LOAD = LOADS["on-off"]


@pytest.fixture(scope="module")
def played() -> tuple[Requests, list[Record]]:
    setting = Setting()
    requests = generate(LOAD, 100, 180, LOAD.service, 1)
    world = World(requests.arrive, requests.takes, setting.service())
    config = policies.parse("simple:MaxInstances=40", setting).config
    assert config is not None
    scaler = ProductScaler(world, 0, config, 1)
    scaler.records = []
    while world.advance() >= 0:
        scaler.look()
    return requests, scaler.records


@pytest.fixture
def answer(played: tuple[Requests, list[Record]]) -> Iterator[dict[str, Any]]:
    """What the admin port says of it."""
    board = Board.create(1, instances=64, pools=2)
    board.claim_pool(b"shop", 1)
    for record in played[1]:
        to_board(record, board)
    yield json.loads(json.dumps(decisions.document(board, 0, None, 2048)))
    board.close()


def saved(tmp_path: Path, answer: object) -> Path:
    path = tmp_path / "decisions.json"
    path.write_text(json.dumps(answer))
    return path


def test_a_floor_that_has_never_had_a_request_is_answered_and_taken_again(tmp_path: Path) -> None:
    pool = Pool(min_instances=2)
    with closing(Board.create(1, instances=64, pools=2)) as board:
        board.claim_pool(b"shop", 1)
        for now, floor in ((10.0, 2), (16.0, 4)):
            record = pool.act(now, limits=Limits(10, 2, min_instances=floor))[1]
            assert record is not None and record.seen("idle_for") == math.inf
            to_board(record, board)
        answer = json.loads(json.dumps(decisions.document(board, 0, None, 2048), allow_nan=False))
    assert [it["inputs"]["idle_for"] for it in answer["decisions"]] == [None, None]
    assert replay.changed(replay.read(saved(tmp_path, answer))) == 0


def test_decisions_are_taken_again_as_recorded(tmp_path: Path, answer: dict[str, Any]) -> None:
    recording = replay.read(saved(tmp_path, answer))
    assert len(recording.records) == len(answer["decisions"]) > 10
    assert replay.changed(recording) == 0
    assert replay.setting_of(recording, 10) == "simple:InstanceCountMultiplier=2:MinInstances=0:MaxInstances=40"


@pytest.mark.parametrize(("slots", "target"), [(10, 4), (3, 3)])
def test_the_recorded_setting_has_the_options_that_its_policy_reads(slots: int, target: int) -> None:
    pool = Pool("adaptive", target=4, buffer=2, max_instances=40)
    record = pool.act(10.0, queued=9)[1]
    assert record is not None
    found = replay.setting_of(replay.Recording((record,)), slots)
    assert found == f"adaptive:TargetConcurrency={target}:BufferInstances=2:MinInstances=0:MaxInstances=40"
    config = policies.parse(found, Setting(slots=slots)).config
    assert config is not None and config.warnings == ()


def test_a_decision_that_would_be_another_one_now_is_counted(tmp_path: Path, answer: dict[str, Any]) -> None:
    answer["decisions"][0]["proposed"] += 1
    assert replay.changed(replay.read(saved(tmp_path, answer))) == 1


def test_the_load_of_a_recording_is_like_the_one_that_was_played(
    tmp_path: Path, answer: dict[str, Any], played: tuple[Requests, list[Record]]
) -> None:
    requests = replay.requests_of(replay.read(saved(tmp_path, answer)), 1)
    assert len(requests) == pytest.approx(len(played[0]), rel=0.25)
    assert requests.work == pytest.approx(played[0].work, rel=0.3)


def test_the_command_says_what_other_settings_would_have_cost(
    tmp_path: Path, answer: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--replay", str(saved(tmp_path, answer)), "--policies", "oracle,simple,simple-1"]) == 0
    out, err = capsys.readouterr()
    assert "this version takes every one of them again as recorded" in err
    cost = {line.split()[0]: float(line.split()[9]) for line in out.splitlines()[1:]}
    assert cost["oracle"] == 1 < cost["simple-1"] < cost["simple"]


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda it: it.update(decisions=[]), "has no decisions; save what the admin port answers"),
        (lambda it: it["decisions"][2].pop("inputs"), "decision 2 has no inputs and memory"),
        (lambda it: it["decisions"][2]["inputs"].pop("running"), "decision 2 has no input running"),
        (lambda it: it["decisions"][2]["inputs"].update(running="many"), "decision 2: running is 'many', not a number"),
        (lambda it: it["decisions"][2].update(desired=None), "decision 2: desired is None, not a whole number"),
        (lambda it: it["decisions"][2].update(policy="magic"), "decision 2: there is no policy 'magic'"),
        (lambda it: it["decisions"][2].update(pool=7), "has decisions of the pools 0, 7; choose one with --pool"),
    ],
)
def test_a_recording_that_cannot_be_used_is_named_with_the_place(
    change: Any, wrong: str, tmp_path: Path, answer: dict[str, Any]
) -> None:
    change(answer)
    with pytest.raises(ReplayError) as error:
        replay.read(saved(tmp_path, answer))
    assert wrong in str(error.value)
