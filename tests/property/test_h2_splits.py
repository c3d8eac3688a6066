"""However a byte stream is cut, it means the same."""

import random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lambda_dispatch_testing.h2_plain import PlainSession
from tests.support.fuzz_h2 import frames_of_a_client, frames_of_a_server
from tests.support.h2_pair import Event
from tests.support.h2_wire import PREFACE, REQUEST
from tests.support.h2_wire import settings as settings_frame


def joined(events: list[Event]) -> list[Event]:
    """Neighbouring pieces of one body as one piece."""
    told: list[list[Any]] = []
    for event in events:
        if event[0] == "data" and told and told[-1][:2] == ["data", event[1]] and not told[-1][3]:
            told[-1][2] += event[2]
            told[-1][3] = event[3]
        else:
            told.append(list(event))
    return [tuple(event) for event in told]


def outcome(client: bool, stream: bytes, cuts: list[int]) -> tuple[list[Event], bytes, dict[str, int], str | None]:
    session = PlainSession(client=client, initial_window=40_000, connection_window=100_000)
    if client:
        for end in (True, False, True):
            session.open(REQUEST, end)
    events: list[Event] = []
    before = 0
    for cut in [*sorted(cuts), len(stream)]:
        events += session.feed(stream[before:cut])
        before = cut
    figures = session.figures()
    # each read earns a little budget, so that alone may differ
    del figures["control"]
    result = (joined(events), session.take(), figures, session.session.error_reason)
    session.lost()
    return result


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.booleans(), st.data())
def test_any_split_gives_the_same_events_answers_and_figures(seed: int, client: bool, draw: st.DataObject) -> None:
    dice = random.Random(seed)
    stream = frames_of_a_server(dice, 12) if client else PREFACE + frames_of_a_client(dice, 12)
    cuts = draw.draw(st.lists(st.integers(0, len(stream)), max_size=20))
    assert outcome(client, stream, cuts) == outcome(client, stream, [])


# The example: a body in two pieces, the first of which is still within its content-length.
@settings(max_examples=10, deadline=None)
@example(16244, False)
@given(st.integers(0, 2**32), st.booleans())
def test_every_single_split_point_gives_the_same(seed: int, client: bool) -> None:
    dice = random.Random(seed)
    stream = settings_frame() + frames_of_a_server(dice, 5, 40) if client else PREFACE + frames_of_a_client(dice, 5, 40)
    whole = outcome(client, stream, [])
    for cut in range(len(stream)):
        assert outcome(client, stream, [cut]) == whole
    assert outcome(client, stream, list(range(len(stream)))) == whole
