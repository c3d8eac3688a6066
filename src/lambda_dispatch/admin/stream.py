"""The event stream: one snapshot, then a JSON merge patch (RFC 7386) a second, each with a sequence number.

A client that reconnects with Last-Event-ID gets the patches it missed while they are kept, else a new snapshot. Lists
of the state document become objects keyed by slot, so that a patch names only what changed; spans that grow by
themselves (age, uptime, …) are left out, their start times are not.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

KEPT = 60  # patches, one a second
MAX_STREAMS = 16

SPANS = ("uptime", "silent", "age", "open_for", "left", "unused")
KEYED = ("workers", "instances")


def keyed(document: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {name: value for name, value in document.items() if name not in SPANS}
    for name in KEYED:
        result[name] = {str(each["slot"]): _steady(each) for each in document[name]}
    result["overrides"] = [{name: each[name] for name in each if name != "left"} for each in document["overrides"]]
    result["pools"] = {str(each["pool"]): _steady(each) for each in document["pools"]}
    result["scaler"] = _steady(document["scaler"])
    return result


def _steady(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in SPANS}


def patch(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """What turns `old` into `new`; null removes."""
    changes: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            if inner := patch(before, value):
                changes[name] = inner
        elif name not in old or before != value:
            changes[name] = value
    return changes


def event(kind: str, number: int, data: Any) -> bytes:
    return f"event: {kind}\nid: {number}\ndata: {json.dumps(data, separators=(',', ':'), allow_nan=False)}\n\n".encode()


class Stream:
    def __init__(self, epoch: int) -> None:
        """`epoch`: the time in microseconds. Numbers grow by about one a second, so no predecessor has reached it."""
        self.open = 0  # streams now
        self._epoch = epoch
        self._number = epoch
        self._state: dict[str, Any] = {}
        self._patches: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self._tick = asyncio.Event()

    def feed(self, document: dict[str, Any]) -> None:
        state = keyed(document)
        changes = patch(self._state, state)
        self._state = state
        self._number += 1
        self._patches.append((self._number, event("delta", self._number, changes)))
        tick, self._tick = self._tick, asyncio.Event()
        tick.set()

    async def follow(self, last: str | None) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            number = self._resume(last)
            if number is None:
                number = self._number
                yield event("snapshot", number, self._state)
            while True:
                tick = self._tick
                missed = [data for each, data in self._patches if each > number]
                if len(missed) < self._number - number:
                    yield event("snapshot", self._number, self._state)
                else:
                    for data in missed:
                        yield data
                number = self._number
                await tick.wait()
        finally:
            self.open -= 1

    def _resume(self, last: str | None) -> int | None:
        if last is None or not (last.isascii() and last.isdigit() and len(last) < 20):
            return None
        number = int(last)
        oldest = self._patches[0][0] if self._patches else self._number + 1
        return number if oldest - 1 <= number <= self._number and number >= self._epoch else None
