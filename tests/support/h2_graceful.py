"""python-hyper h2 takes any GOAWAY for the end of the connection; a graceful one is only a warning (RFC 9113 6.8)."""

from typing import Any

import h2.connection
import h2.errors
import h2.events
from hyperframe.frame import GoAwayFrame


def survives_goaway(conn: h2.connection.H2Connection) -> h2.connection.H2Connection:
    """The connection goes on after a GOAWAY without an error; the event is told as ever."""
    ends = conn._frame_dispatch_table[GoAwayFrame]

    def warned(frame: GoAwayFrame) -> tuple[list[Any], list[h2.events.Event]]:
        if frame.error_code != h2.errors.ErrorCodes.NO_ERROR:
            return ends(frame)  # type: ignore[no-any-return]
        event = h2.events.ConnectionTerminated()
        event.error_code = h2.errors.ErrorCodes.NO_ERROR
        event.last_stream_id = frame.last_stream_id
        event.additional_data = frame.additional_data or None
        return [], [event]

    conn._frame_dispatch_table[GoAwayFrame] = warned
    return conn
