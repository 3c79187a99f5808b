"""What happened in a run, as one JSONL file per process, merged by CLOCK_MONOTONIC: one machine, one clock.

``invoke`` is followed by ``ok``, ``fail`` or ``info`` (fate unknown) of the same process, which does one thing at a
time; an invoke without a completion is ``info``. What is a plain fact (a phone's step, a fault, a final read) is an
``ok`` without an invoke. It must not know what is right or wrong. Read ``Event`` first, then ``story``.

Operations of fitters: acquire, steal, submit, save, cancel. Facts of phones: boot, hello, welcome, offer_in, journal,
chunk, side_commit, restore, reboot, result_out, settled_in. Facts of the runner: register, read_device, read_delivery,
read_revision, read_audit, read_aid; start and stop of a fault; route, where a link of a client goes, and homes, which
connections a pod has had. Clients tell their connection when they greet the server (linked, hello, resume_open).
"""

import heapq
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

__all__ = ["Event", "EventType", "HistoryFile", "TornHistory", "merged", "read_history"]

EventType = Literal["invoke", "ok", "fail", "info"]


class TornHistory(Exception):
    """A history file holds a line, not its last one, that cannot be read: the run proves nothing."""


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. ``t``: CLOCK_MONOTONIC in ns; ``p``: the process; ``f``: what; ``dev``: the device, "" for none."""

    t: int
    p: str
    type: EventType
    f: str
    dev: str = ""
    v: dict[str, Any] = {}

    def line(self) -> str:
        """As it is printed in a witness: the clock in ms, then who, what and with what."""
        values = " ".join(f"{name}={_short(value)}" for name, value in self.v.items())
        return f"{self.t / 1e6:14.3f} ms  {self.p:<12} {self.type:<6} {self.f:<13} {values}"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{_short(part)}" for name, part in value.items()) + "}"
    text = str(value)
    if text.startswith("sha256:"):
        return text[7:15]
    return text if len(text) <= 48 else text[:45] + "..."


class HistoryFile:
    """Appends events of one process. One write a line, so that a killed process leaves whole lines behind."""

    def __init__(self, path: Path, process: str) -> None:
        self._process = process
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def write(self, kind: EventType, f: str, dev: str = "", /, **values: Any) -> Event:
        """Append one event, stamped now."""
        event = Event(time.monotonic_ns(), self._process, kind, f, dev, values)
        os.write(self._file, msgspec.json.encode(event) + b"\n")
        return event


def read_history(path: Path) -> Iterator[Event]:
    """The events of one file. A torn last line is what a killed process leaves, and is passed over.

    Raises TornHistory for a line in between.
    """
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            yield msgspec.json.decode(line, type=Event)
        except msgspec.DecodeError as error:
            if number < len(lines):
                raise TornHistory(f"{path.name}:{number}: {error}") from None


def merged(streams: Iterable[Iterable[Event]]) -> list[Event]:
    """All events of all processes in the order of the clock; each stream is in order already."""
    return list(heapq.merge(*streams, key=lambda event: event.t))
