"""What `lambda-dispatch dev` shows: lines that stay, and on a terminal one status line that is drawn over in place."""

import shutil
import sys
from typing import TextIO

PLAIN_EVERY = 10.0  # seconds between two status lines where they cannot be drawn over


class Screen:
    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._status = ""
        self._plain_at = float("-inf")

    def say(self, text: str) -> None:
        """A line, or several, that stay; the status line moves below them."""
        if self._status and self._terminal:
            self._out.write("\r\x1b[K")
        self._out.write(text + "\n")
        if self._status and self._terminal:
            self._out.write(self._status)
        self._out.flush()

    def status(self, text: str, now: float) -> None:
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            text = text[:width]
            if text != self._status:
                self._out.write("\r\x1b[K" + text)
                self._out.flush()
        elif text != self._status and now - self._plain_at >= PLAIN_EVERY:
            self._plain_at = now
            self._out.write(text + "\n")
            self._out.flush()
        else:
            return
        self._status = text

    def end(self) -> None:
        """The status line is not drawn any more."""
        if self._status and self._terminal:
            self._out.write("\r\x1b[K")
            self._out.flush()
        self._status = ""
