"""python-hyper h2 as a peer of ours, spoken to in the same words as PlainSession."""

from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from tests.support.h2_pair import Event, Pairs


class Hyper:
    """One side of a connection, with the events told as PlainSession tells them."""

    def __init__(self, client: bool) -> None:
        config = h2.config.H2Configuration(client_side=client, header_encoding=None)
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.waiting: dict[int, list[tuple[bytes, bool]]] = {}
        self.trailers: dict[int, Pairs] = {}

    def take(self) -> bytes:
        return self.connection.data_to_send()

    def feed(self, stream: bytes) -> list[Event]:
        events = [told for event in self.connection.receive_data(stream) if (told := self.told(event))]
        for id in list(self.waiting):
            self.flush(id)
        return merged_ends(events)

    def told(self, event: Any) -> Event | None:
        match event:
            case h2.events.RequestReceived() | h2.events.ResponseReceived():
                return ("head", event.stream_id, pairs(event.headers), False)
            case h2.events.InformationalResponseReceived():
                return ("informational", event.stream_id, pairs(event.headers))
            case h2.events.DataReceived():
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                return ("data", event.stream_id, event.data, False)
            case h2.events.TrailersReceived():
                return ("trailers", event.stream_id, pairs(event.headers))
            case h2.events.StreamReset():
                return ("reset", event.stream_id, int(event.error_code), True)
            case h2.events.StreamEnded():
                return ("end", event.stream_id)
        return None

    def send_data(self, id: int, data: bytes, end: bool = False) -> None:
        """As PlainSession does: what has no credit waits."""
        self.waiting.setdefault(id, []).append((data, end))
        self.flush(id)

    def send_head(self, id: int, head: Pairs, end: bool = False) -> None:
        if id in self.waiting:
            self.trailers[id] = head
        else:
            self.connection.send_headers(id, head, end_stream=end)

    def flush(self, id: int) -> None:
        queue = self.waiting[id]
        try:
            while queue:
                data, end = queue[0]
                room = min(self.connection.local_flow_control_window(id), self.connection.max_outbound_frame_size)
                if data and room <= 0:
                    return
                queue.pop(0)
                if len(data) > room:
                    queue.insert(0, (data[room:], end))
                    data, end = data[:room], False
                self.connection.send_data(id, data, end_stream=end)
            if id in self.trailers:
                self.connection.send_headers(id, self.trailers.pop(id), end_stream=True)
        except h2.exceptions.StreamClosedError:
            pass
        del self.waiting[id]


def pairs(headers: Any) -> Pairs:
    return [(bytes(name), bytes(value)) for name, value in headers]


def merged_ends(events: list[Event]) -> list[Event]:
    """An "end" as the flag of what came before it, which is how a PlainSession tells it."""
    told: list[Event] = []
    for event in events:
        if event[0] != "end":
            told.append(event)
            continue
        at = max(i for i, one in enumerate(told) if one[1] == event[1])
        if told[at][0] in ("head", "data"):
            told[at] = (*told[at][:3], True)
    return told


def story(events: list[Event]) -> dict[int, dict[str, Any]]:
    """What a stream was told in all, whatever the pieces."""
    streams: dict[int, dict[str, Any]] = {}
    for event in events:
        if event[0] in ("settings", "goaway", "ping_ack", "drained"):
            continue
        kind, id, *rest = event
        one = streams.setdefault(id, {"heads": [], "body": b"", "ended": False})
        if kind in ("head", "informational", "trailers"):
            one["heads"].append((kind, rest[0]))
        if kind == "data":
            one["body"] += rest[0]
        if kind == "reset":
            one["reset"] = rest[0]
        one["ended"] |= kind == "trailers" or (kind in ("head", "data") and rest[1])
    return streams
