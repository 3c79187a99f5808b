"""How the demo tells what happens: lines for people, or one JSON object per line for programs.

Event names and field names are stable. It must not know what the events mean. Read ``Printer`` first.
"""

import sys
from collections.abc import Callable
from typing import Protocol, TextIO

import msgspec

__all__ = ["JsonPrinter", "Printer", "TextPrinter"]


class Printer(Protocol):
    """Tells one thing that happened, at once."""

    def tell(self, event: str, text: str, **fields: object) -> None:
        """``text`` is for people and may have several lines; ``fields`` are for programs."""
        ...


class TextPrinter:
    """``[  1.2 s] text``; further lines are indented below the first."""

    def __init__(self, clock: Callable[[], float], out: TextIO | None = None) -> None:
        self._clock = clock
        self._out = out or sys.stdout
        self._start_s = clock()

    def tell(self, event: str, text: str, **fields: object) -> None:
        """Print ``text``, with the seconds since the start."""
        del event, fields
        first, *rest = text.split("\n")
        print(f"[{self._clock() - self._start_s:5.1f} s] {first}", file=self._out)
        for line in rest:
            print(f"          {line}".rstrip(), file=self._out)
        self._out.flush()


class JsonPrinter:
    """``{"event": ..., "atS": ..., ...}``, one object per line."""

    def __init__(self, clock: Callable[[], float], out: TextIO | None = None) -> None:
        self._clock = clock
        self._out = out or sys.stdout
        self._start_s = clock()

    def tell(self, event: str, text: str, **fields: object) -> None:
        """Print the event and its fields; ``text`` goes with it, so that a log stays readable."""
        line = {"event": event, "atS": round(self._clock() - self._start_s, 3), **fields, "text": text}
        print(msgspec.json.encode(line).decode(), file=self._out, flush=True)
