"""What `lambda-dispatch dev` shows: lines that stay, and on a terminal one status line that is drawn over in place."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

PLAIN_EVERY = 10.0  # seconds between two status lines where they cannot be drawn over


class Screen:
    """Writes to `out` until its reader is gone (`dev | head`); `on_closed` is called then, once."""

    def __init__(self, out: TextIO = sys.stdout, on_closed: Callable[[], None] = lambda: None) -> None:
        self.on_closed = on_closed
        self._out = out
        self._terminal = out.isatty()
        self._status = ""
        self._plain_at = float("-inf")
        self._closed = False

    def say(self, text: str) -> None:
        """A line, or several, that stay; the status line moves below them."""
        if self._status and self._terminal:
            self._write(f"\r\x1b[K{text}\n{self._status}")
        else:
            self._write(text + "\n")

    def status(self, forms: Sequence[str], now: float) -> None:
        """One line, in the longest of the given forms that fits the terminal; elsewhere the first."""
        text = forms[0]
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            text = next((form for form in forms if len(form) <= width), forms[-1][:width])
            if text != self._status:
                self._write("\r\x1b[K" + text)
        elif text != self._status and now - self._plain_at >= PLAIN_EVERY:
            self._plain_at = now
            self._write(text + "\n")
        else:
            return
        self._status = text

    def end(self) -> None:
        """The status line is not drawn any more."""
        if self._status and self._terminal:
            self._write("\r\x1b[K")
        self._status = ""

    def _write(self, text: str) -> None:
        if self._closed:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except BrokenPipeError:
            self._closed = True
            with open(os.devnull, "w") as nowhere:  # what is buffered must not fail again when Python exits
                os.dup2(nowhere.fileno(), self._out.fileno())
            self.on_closed()
